"""The dynamic configuration of files, from plain tables (TOML, YAML, JSON) to objects. No I/O.

Tables are named as in Traefik 1.7: ``[backends.<b>]``, ``[frontends.<f>]`` and ``[[tls]]``; keys in any case. Nothing
is ignored silently: what cannot be meant is an error on its object, which is then left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from traefikee.config.dynamic import Backend, DynamicConfiguration, Frontend, TLSCertificate
from traefikee.config.runtime import ObjectError, ObjectKind
from traefikee.providers import layout
from traefikee.providers.decoded import GROUPS, Decoded, Item, Outcome, passed_over, put_together
from traefikee.providers.layout import Key
from traefikee.providers.tables import Table, TableReader, is_list, kind_of

_BACKEND = layout.BACKEND.copy()
_BACKEND.children["forwardingresponse"] = replace(_BACKEND.at("responseforwarding"), name="forwardingResponse")
_KINDS: dict[str, tuple[ObjectKind, Key]] = {
    "backends": ("backend", _BACKEND),
    "frontends": ("frontend", layout.FRONTEND),
    "tls": ("tls", layout.TLS),
}


def dynamic_from_mapping(data: Table, provider: str, *, nanoseconds: bool = False) -> Decoded:
    """Return the dynamic configuration that tables describe.

    Defaults are those of Traefik 1.7's files: ``passHostHeader`` is off, a server's weight is 0, which counts as 1.
    Certificates have no names; they are numbered from 0. Certificates, keys and users may be paths: see
    :func:`~traefikee.providers.files.load_files`. Never raises for what the tables hold.

    :param data: what a parser of TOML, YAML or JSON returns; other tables than the three are passed over with a note.
    :param provider: the provider's name, for errors.
    :param nanoseconds: a duration that is a number is in nanoseconds (JSON of 1.7's REST provider), not in seconds.
    """
    groups: dict[str, Any] = {}
    errors: list[str] = []
    notes: list[str] = []
    for name, value in data.items():
        group = name.lower() if isinstance(name, str) else ""
        if group not in GROUPS:
            notes.append(passed_over(str(name)))
        elif group in groups:
            errors.append(f"{group} is there twice, in different case")
        elif group == "tls" and not is_list(value) and value is not None:
            errors.append(f"tls has to be a list of tables ([[tls]]), not {kind_of(value)}")
        elif group != "tls" and not isinstance(value, Mapping) and value is not None:
            errors.append(f"{group} has to be a table ([{group}.<name>]), not {kind_of(value)}")
        else:
            groups[group] = value or {}
    if errors:
        found = (ObjectError(provider=provider, kind="provider", name="", path="", message=text) for text in errors)
        return Decoded(DynamicConfiguration(), tuple(found), tuple(notes))
    return put_together(provider, outcomes_of(groups, provider, nanoseconds=nanoseconds), tuple(notes))


def outcomes_of(
    groups: Mapping[str, Any], provider: str, *, nanoseconds: bool = False
) -> Iterator[tuple[str, str, Outcome]]:
    """Give group, name and outcome of each object of ``backends``, ``frontends`` (tables) and ``tls`` (a list)."""
    for group in GROUPS:
        found = groups.get(group, {})
        items = enumerate(found) if group == "tls" else sorted(found.items(), key=lambda item: str(item[0]))
        for name, value in items:
            reader = _Reader(provider, group, str(name), nanoseconds=nanoseconds)
            yield group, str(name), Outcome(reader.read(value), tuple(reader.errors))


class _Reader(TableReader):
    """Reads one object of Traefik 1.7."""

    def __init__(self, provider: str, group: str, name: str, *, nanoseconds: bool) -> None:
        kind, self._layout = _KINDS[group]
        super().__init__(provider, kind, name, nanoseconds=nanoseconds)
        self._group = group

    def read(self, value: object) -> Item | None:
        """Return the object, or None if it has an error."""
        values = self.table(value, self._layout)
        if values is None:
            return None
        match self._group:
            case "backends":
                return self._backend(values)
            case "frontends":
                return self._frontend(values)
            case _:
                return self._certificate(values)

    def _backend(self, values: dict[str, Any]) -> Backend | None:
        for name, server in values.get("servers", {}).items():
            server.setdefault("weight", 0)
            if not server.get("url"):
                self.error(f"servers.{name}.url", "it has no url", server=name)
        health_check = values.get("health_check")
        if health_check is not None and not health_check.get("path"):
            self.error(
                "healthCheck.path", "healthCheck.path is missing: there are no health checks", severity="warning"
            )
            del values["health_check"]
        if not values.get("load_balancer", {}).get("method", "wrr"):
            del values["load_balancer"]["method"]
        return None if self.failed else Backend.model_validate(values)

    def _frontend(self, values: dict[str, Any]) -> Frontend | None:
        values.setdefault("backend", "")
        values.setdefault("pass_host_header", False)
        for route in values.get("routes", {}).values():
            route.setdefault("rule", "")
        return None if self.failed else Frontend.model_validate(values)

    def _certificate(self, values: dict[str, Any]) -> TLSCertificate | None:
        files = values.get("certificate", {})
        for name, field in (("certFile", "cert_file"), ("keyFile", "key_file")):
            if not files.get(field) and not self.failed:
                self.error(f"certificate.{name}", f"it has no certificate.{name}")
        return None if self.failed else TLSCertificate(entry_points=values.get("entry_points", ()), **files)
