"""The dynamic configuration of files, from plain tables (TOML, YAML, JSON) to objects. No I/O.

Tables are named as in Traefik 1.7: ``[backends.<b>]``, ``[frontends.<f>]`` and ``[[tls]]``; keys in any case. Nothing
is ignored silently: what cannot be meant is an error on its object, which is then left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from traefikee.config.durations import parse_duration
from traefikee.config.dynamic import Backend, DynamicConfiguration, Frontend, TLSCertificate
from traefikee.config.errors import did_you_mean
from traefikee.config.runtime import ObjectError, ObjectKind, Severity
from traefikee.providers import layout
from traefikee.providers.decoded import GROUPS, Decoded, Item, Outcome, passed_over, printable, put_together
from traefikee.providers.layout import Key

Table: TypeAlias = Mapping[Any, Any]

_BACKEND = layout.BACKEND.copy()
_BACKEND.children["forwardingresponse"] = replace(_BACKEND.at("responseforwarding"), name="forwardingResponse")
_KINDS: dict[str, tuple[ObjectKind, Key]] = {
    "backends": ("backend", _BACKEND),
    "frontends": ("frontend", layout.FRONTEND),
    "tls": ("tls", layout.TLS),
}
_LARGEST = 2**63 - 1
_NANO = 1e-9


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
        elif group == "tls" and not _is_list(value) and value is not None:
            errors.append(f"tls has to be a list of tables ([[tls]]), not {_kind_of(value)}")
        elif group != "tls" and not isinstance(value, Mapping) and value is not None:
            errors.append(f"{group} has to be a table ([{group}.<name>]), not {_kind_of(value)}")
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


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _kind_of(value: object) -> str:
    """Return what a value is; never the value, which may be a secret."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, str):
        return "a text"
    if isinstance(value, float):
        return "a decimal number"
    if isinstance(value, int):
        return "a number"
    if isinstance(value, Mapping):
        return "a table"
    if _is_list(value):
        return "a list with something else" if value else "a list"
    return f"a value of type {type(value).__name__}"


class _Reader:
    """Reads one object.

    :ivar errors: what is wrong with it, in the order of its keys.
    """

    def __init__(self, provider: str, group: str, name: str, *, nanoseconds: bool) -> None:
        self._provider = provider
        self._group = group
        self._kind, self._layout = _KINDS[group]
        self._name = name
        self._nanoseconds = nanoseconds
        self._failed = False
        self.errors: list[ObjectError] = []

    def read(self, value: object) -> Item | None:
        """Return the object, or None if it has an error."""
        if not printable(self._name):
            self._name = ascii(self._name)[1:-1]
            self._error("", "its name is empty or contains control characters")
            return None
        if not isinstance(value, Mapping):
            self._error("", f"it has to be a table, not {_kind_of(value)}")
            return None
        values = self._below(value, self._layout, "")
        match self._group:
            case "backends":
                return self._backend(values)
            case "frontends":
                return self._frontend(values)
            case _:
                return self._certificate(values)

    def _error(self, path: str, message: str, severity: Severity = "error", *, server: str = "") -> None:
        self._failed = self._failed or severity == "error"
        kind: ObjectKind = "server" if server else self._kind
        name = f"{self._name}/{server}" if server else self._name
        self.errors.append(
            ObjectError(provider=self._provider, kind=kind, name=name, path=path, message=message, severity=severity)
        )

    # --- values ---

    def _below(self, table: Table, key: Key, path: str) -> dict[str, Any]:
        """Return what a table holds, by the names of fields (or by any name)."""
        values: dict[str, Any] = {}
        seen: set[str] = set()
        for name, value in table.items():
            part = name if isinstance(name, str) else str(name)
            child_path = f"{path}.{part}" if path else part
            below = key.any or key.children.get(part.lower())
            if below is None or not printable(part):
                shown = child_path if printable(part) else ascii(child_path)[1:-1]
                known = [child.name for child in key.children.values() if child.name != "*"]
                self._error(shown, f'unknown key "{shown}"{did_you_mean(part, known)}')
                continue
            field = part if key.any is not None else below.field
            if field in seen:
                self._error(child_path, f"{child_path} is there twice, in different spellings")
            seen.add(field)
            if value is None:
                continue
            found = self._value(value, below, child_path)
            if found is not None:
                values[field] = found
                if found and below.deprecated:
                    text = f"{child_path} is deprecated; write {below.deprecated}"
                    self._error(child_path, text, "warning")
        return values

    def _value(self, value: object, key: Key, path: str) -> Any:
        """Return what a key holds, or None if it cannot be meant."""
        wanted = ""
        match key.kind:
            case None:
                if isinstance(value, Mapping):
                    return self._below(value, key, path)
                wanted = "a table"
            case "text" | "raw":
                if isinstance(value, str):
                    return self._text(value, path)
                wanted = "a text, in quotes"
            case "list":
                if _is_list(value) and isinstance(value, Sequence) and all(isinstance(one, str) for one in value):
                    return tuple(self._text(one, path) for one in value)
                wanted = 'a list of texts, such as ["a", "b"]'
            case "bool":
                if isinstance(value, bool):
                    return value
                wanted = "true or false, without quotes"
            case "int":
                if isinstance(value, int) and not isinstance(value, bool):
                    return self._number(value, path)
                wanted = "a whole number, without quotes"
            case "duration":
                if isinstance(value, str | int) and not isinstance(value, bool):
                    return self._duration(value, path)
                wanted = 'seconds (90) or a text with units ("1m30s")'
        self._error(path, f"{path} has to be {wanted}, not {_kind_of(value)}")
        return None

    def _text(self, value: str, path: str) -> str:
        if any("\ud800" <= char <= "\udfff" for char in value):
            self._error(path, f"{path} is not valid text")
            return ""
        return value

    def _number(self, value: int, path: str) -> int:
        if abs(value) > _LARGEST:
            self._error(path, f"{path} is too large")
            return 0
        return value

    def _duration(self, value: str | int, path: str) -> float:
        try:
            if isinstance(value, str):
                return parse_duration(value)
            seconds = parse_duration(str(self._number(value, path) // (10**9 if self._nanoseconds else 1)))
            return value * _NANO if self._nanoseconds else seconds
        except ValueError as error:
            self._error(path, f"{path}: {error}")
            return 0.0

    # --- objects ---

    def _backend(self, values: dict[str, Any]) -> Backend | None:
        for name, server in values.get("servers", {}).items():
            server.setdefault("weight", 0)
            if not server.get("url"):
                self._error(f"servers.{name}.url", "it has no url", server=name)
        health_check = values.get("health_check")
        if health_check is not None and not health_check.get("path"):
            self._error(
                "healthCheck.path", "healthCheck.path is missing: there are no health checks", severity="warning"
            )
            del values["health_check"]
        if not values.get("load_balancer", {}).get("method", "wrr"):
            del values["load_balancer"]["method"]
        return None if self._failed else Backend.model_validate(values)

    def _frontend(self, values: dict[str, Any]) -> Frontend | None:
        values.setdefault("backend", "")
        values.setdefault("pass_host_header", False)
        for route in values.get("routes", {}).values():
            route.setdefault("rule", "")
        return None if self._failed else Frontend.model_validate(values)

    def _certificate(self, values: dict[str, Any]) -> TLSCertificate | None:
        files = values.get("certificate", {})
        for name, field in (("certFile", "cert_file"), ("keyFile", "key_file")):
            if not files.get(field) and not self._failed:
                self._error(f"certificate.{name}", f"it has no certificate.{name}")
        return None if self._failed else TLSCertificate(entry_points=values.get("entry_points", ()), **files)
