"""From the keys of one object to the object."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from traefikee.config.build import parse_bool
from traefikee.config.durations import parse_duration
from traefikee.config.dynamic import Backend, Frontend, TLSCertificate
from traefikee.config.errors import did_you_mean
from traefikee.config.runtime import ObjectError, ObjectKind, Severity, spelt
from traefikee.providers.decoded import Item, printable
from traefikee.providers.kv.keys import BACKEND, DOTTED, ENABLED, FRONTEND, HEADER_MAPS, LEGACY, TAGS, TLS, Key
from traefikee.providers.kv.tree import Node

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_KINDS: dict[str, tuple[ObjectKind, Key]] = {
    "backends": ("backend", BACKEND),
    "frontends": ("frontend", FRONTEND),
    "tls": ("tls", TLS),
}


Counts: TypeAlias = Callable[[tuple[str, ...]], bool]
"""Tells by a server's tags whether it counts (Traefik 1.7, ``constraints``)."""


def everyone(_tags: tuple[str, ...]) -> bool:
    """Say that each server counts: there are no constraints."""
    return True


def canonical(name: str) -> str:
    """Return a header's name as Go writes it: ``X-Foo`` for ``x-foo``; what is no header name stays."""
    if not _TOKEN.fullmatch(name):
        return name
    return "-".join(word[:1].upper() + word[1:].lower() for word in name.split("-"))


class Reader:
    """Reads one object.

    :param counts: tells by its tags whether a server is one.
    :ivar errors: what is wrong with it, in the order of its keys.
    """

    def __init__(self, provider: str, group: str, name: str, counts: Counts = everyone) -> None:
        self._provider = provider
        self._group = group
        self._kind, self._layout = _KINDS[group]
        self._name = name
        self._counts = counts
        self._failed = False
        self.errors: list[ObjectError] = []

    def read(self, node: Node) -> Item | None:
        """Return the object, or None if it has an error."""
        if not printable(self._name):
            self._name = ascii(self._name)[1:-1]
            self._error("", "its name is empty or contains control characters")
            return None
        if node.value is not None:
            self._error("", "it has a value of its own; its settings are keys below it")
        values = self._below(node, self._layout, "")
        if self._failed:
            return None
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

    def _warning(self, path: str, message: str) -> None:
        self._error(path, f"{path} {message}", "warning")

    # --- values ---

    def _below(self, node: Node, key: Key, path: str) -> dict[str, Any]:
        """Return what the keys below one hold, by the names of fields (or by any name)."""
        values: dict[str, Any] = {}
        known = key.children
        for part, child in node.sorted():
            child_path = f"{path}/{part}" if path else part
            below = (known.get(part) or known.get("*")) if part.isprintable() and part else None
            if below is None:
                shown = child_path if printable(part) else ascii(child_path)[1:-1]
                names = [name for name in known if name != "*" and name.islower()]
                self._error(shown, f'unknown key "{shown}"{did_you_mean(part, names)}')
                continue
            value = self._value(child, below, child_path)
            if below.name == "*":
                values[canonical(part) if key.name in HEADER_MAPS and below.kind else part] = value
            elif value is not None:
                values[below.field] = value
        return values

    def _value(self, node: Node, key: Key, path: str) -> Any:
        """Return what a key holds: None if that is nothing."""
        if key.kind == "list":
            found = self._list(node, path)
            if found and key.deprecated:
                self._deprecated(path, key)
            return found
        if key.kind is None:
            if node.value is not None:
                self._error(path, f"key {path} has a value of its own; its settings are keys below it")
            return self._below(node, key, path)
        single = None if node.value is None else self._single(node.value, key, path)
        if single and key.deprecated:
            self._deprecated(path, key)
        if not key.children:
            if node.children:
                self._below(node, key, path)
            return single
        return {ENABLED: single} | self._below(node, key, path)

    def _deprecated(self, path: str, key: Key) -> None:
        self._warning(path, f"is deprecated; write {spelt(self._provider, key.deprecated)}")

    def _text(self, value: bytes, path: str) -> str:
        try:
            return value.decode()
        except UnicodeDecodeError:
            self._error(path, f"the value of {path} is not UTF-8")
            return ""

    def _single(self, value: bytes, key: Key, path: str) -> str | bool | int | float | None:
        text = self._text(value, path)
        if key.kind == "raw":
            return text
        text = text.strip()
        if key.kind == "text":
            return text
        if not text:
            return None
        try:
            match key.kind:
                case "bool":
                    return parse_bool(text)
                case "duration":
                    return parse_duration(text)
                case _:
                    if not _INTEGER.fullmatch(text):
                        raise ValueError(f'"{text}" is not a whole number')
                    return int(text)
        except ValueError as error:
            self._error(path, f"{path}: {error}")
            return None

    def _list(self, node: Node, path: str) -> tuple[str, ...]:
        """Return the parts of the value between commas or, without one, the values of the keys below."""
        whole = self._text(node.value or b"", path)
        parts = []
        for name, child in node.sorted():
            if not printable(name) or child.children:
                shown = ascii(f"{path}/{name}")[1:-1]
                self._error(shown, f'unknown key "{shown}"; the values of {path} are keys right below it')
            parts.append(self._text(child.value or b"", f"{path}/{name}"))
        return tuple(part.strip() for part in (whole.split(",") if whole.strip() else parts) if part.strip())

    # --- objects ---

    def _backend(self, values: dict[str, Any]) -> Backend | None:
        servers = {}
        for name, server in values.get("servers", {}).items():
            tags = server.pop(TAGS, ())
            if not self._counts(tags):
                continue
            if server.get("url"):
                servers[name] = server
            else:
                self._error(f"servers/{name}/url", "it has no url and is left out", "warning", server=name)
        values["servers"] = servers
        balancer = values.get("load_balancer")
        if balancer is not None:
            self._load_balancer(balancer)
        if "amount" not in values.get("max_conn", {"amount": 0}):
            self._warning("maxconn/amount", "is missing: there is no limit")
            del values["max_conn"]
        elif "max_conn" in values:
            values["max_conn"].setdefault("extractor_func", "request.host")
        if not values.get("health_check", {"path": "/"}).get("path"):
            self._warning("healthcheck/path", "is missing: there are no health checks")
            del values["health_check"]
        if not values.get("circuit_breaker", {}).get("expression"):
            values.pop("circuit_breaker", None)
        return Backend.model_validate(values)

    def _load_balancer(self, values: dict[str, Any]) -> None:
        if not values.get("method", "wrr"):
            del values["method"]
        stickiness = values.get("stickiness")
        if stickiness is not None:
            enabled = stickiness.pop(ENABLED)
            if not enabled:
                if enabled is None and stickiness:
                    self._warning("loadbalancer/stickiness", "is not true: the keys below it have no effect")
                del values["stickiness"]

    def _frontend(self, values: dict[str, Any]) -> Frontend | None:
        legacy = values.pop(LEGACY, None)
        if legacy is not None:
            values.setdefault("pass_host_header", legacy)
        values.setdefault("backend", "")
        forward = values.get("auth", {}).get("forward", {})
        dotted = forward.pop(DOTTED, ())
        if dotted and not forward.get("auth_response_headers"):
            forward["auth_response_headers"] = dotted
        if not values.get("rate_limit", {"extractor_func": "?"}).get("extractor_func"):
            self._warning("ratelimit/extractorfunc", "is missing: there is no limit")
            del values["rate_limit"]
        redirect = values.get("redirect")
        if redirect is not None and not any(redirect.get(one) for one in ("entry_point", "regex", "replacement")):
            if redirect.get("permanent"):
                self._warning("redirect", "has neither entrypoint nor regex: nothing is redirected")
            del values["redirect"]
        for name in ("headers", "white_list"):
            if not any(values.get(name, {}).values()):
                values.pop(name, None)
        for route in values.get("routes", {}).values():
            route.setdefault("rule", "")
        return Frontend.model_validate(values)

    def _certificate(self, values: Mapping[str, Any]) -> TLSCertificate | None:
        entry_points = values.get("entry_points", ())
        files = values.get("certificate", {})
        if not entry_points:
            self._error("entrypoints", "it names no entry points; give it the key entrypoints")
        for leaf, field in (("certfile", "cert_file"), ("keyfile", "key_file")):
            if not files.get(field):
                self._error(f"certificate/{leaf}", f"it has no certificate/{leaf}")
        return None if self._failed else TLSCertificate(entry_points=entry_points, **files)
