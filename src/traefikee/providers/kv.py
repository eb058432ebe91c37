"""The key-value layout of Traefik 1.7 (Consul, etcd, ZooKeeper), from pairs to a dynamic configuration. No I/O.

Below the prefix: ``backends/<b>/...``, ``frontends/<f>/...``, ``tls/<id>/...``; ``alias`` names another prefix to read.
Nothing is ignored silently: what this version does not implement is an error on its object, which is then left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from traefikee.config.build import parse_bool
from traefikee.config.certificates import ReadFile, load_pem
from traefikee.config.dynamic import (
    Backend,
    DynamicConfiguration,
    Frontend,
    LoadBalancer,
    Route,
    Server,
    TLSCertificate,
)
from traefikee.config.errors import did_you_mean
from traefikee.config.names import top_level_names
from traefikee.config.runtime import ObjectError, ObjectKind, Severity
from traefikee.providers.kv_keys import BACKEND, FRONTEND, TLS, Key

_GROUPS = ("backends", "frontends", "tls")
_STATIC = top_level_names() | {"leader", "storeconfig"}
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_Place: TypeAlias = tuple[str, str | None]
"""Group and name of an object; no name: a key beside the objects."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What the pairs say.

    :ivar configuration: the objects without errors.
    :ivar errors: what is wrong with which object. One of kind ``provider`` means that the whole reading is of no use:
        its configuration is empty, and the last good one should be kept.
    :ivar notes: sentences about keys that were passed over.
    """

    configuration: DynamicConfiguration
    errors: tuple[ObjectError, ...] = ()
    notes: tuple[str, ...] = ()


def alias_of(pairs: Mapping[str, bytes], prefix: str) -> str | None:
    """Return the prefix that is read instead of this one, without slashes around it, or None if there is no alias.

    Traefik 1.7, "Atomic configuration changes": the value of ``<prefix>/alias``.
    """
    try:
        return _alias_value(pairs, prefix).decode().strip().strip("/") or None
    except UnicodeDecodeError:
        return None


def decode(pairs: Mapping[str, bytes], prefix: str, provider: str) -> Decoded:
    """Return the dynamic configuration that the pairs below a prefix hold, or below its alias. See :class:`Decoder`."""
    return Decoder(prefix, provider).decode(pairs)


class Decoder:
    """Decodes the pairs below a prefix again and again: an object whose pairs are the same is the same object.

    :param prefix: where the configuration is, unless a key there names another place.
    :param provider: the provider's name, for errors.
    """

    def __init__(self, prefix: str, provider: str) -> None:
        self._prefix = prefix
        self._provider = provider
        self._root: str | None = None
        self._pairs: Mapping[str, bytes] = {}
        self._places: dict[str, _Place | None] = {}
        self._keys: dict[_Place, set[str]] = {}
        self._outcomes: dict[tuple[str, str], _Outcome] = {}
        self._order: list[tuple[str, str]] | None = None
        """The outcomes' keys sorted, as long as they are the same."""

    def decode(self, pairs: Mapping[str, bytes]) -> Decoded:
        """Return the dynamic configuration that the pairs hold.

        Never raises for what the pairs hold. Keys outside of the prefix are not looked at; slashes around the prefix
        and before a key do not count; empty values (directories) are passed over.

        :param pairs: full keys and their values; not to be changed afterwards. It is quickest if a value that is the
            same is the same object.
        """
        try:
            _alias_value(pairs, self._prefix).decode()
        except UnicodeDecodeError:
            text = "the value of its key alias is not UTF-8"
            error = ObjectError(provider=self._provider, kind="provider", name="", path="alias", message=text)
            return Decoded(DynamicConfiguration(), (error,))
        alias = alias_of(pairs, self._prefix)
        root = self._prefix.strip("/") if alias is None else alias
        if root != self._root:
            self._root, self._pairs, self._places, self._keys, self._outcomes = root, {}, {}, {}, {}
            self._order = None
        self._take_over(pairs)
        notes = []
        if alias is not None and not self._keys:
            notes.append(f'the alias points to "{alias}", where there are no keys')
        beside = {key: pairs[key] for (_, name), keys in self._keys.items() if name is None for key in keys}
        notes += _passed_over(_tree(beside, root))
        return self._decoded(tuple(notes))

    def _take_over(self, pairs: Mapping[str, bytes]) -> None:
        """Decode the objects of which a pair is new, different or gone."""
        before = self._pairs
        touched = set()
        for key, value in pairs.items():
            old = before.get(key)
            if old is value or (old is not None and old == value):
                continue
            place = self._place(key)
            if place is not None:
                touched.add(place)
                if value:
                    self._keys.setdefault(place, set()).add(key)
                else:
                    self._keys.get(place, set()).discard(key)
        for key in before.keys() - pairs.keys():
            place = self._places.pop(key, None)
            if place is not None:
                touched.add(place)
                self._keys.get(place, set()).discard(key)
        self._pairs = pairs
        for place in touched:
            group, name = place
            keys = self._keys.get(place)
            if not keys:
                self._keys.pop(place, None)
                self._outcomes.pop((group, name or ""), None)
                self._order = None
                continue
            if name is not None:
                tree = _tree({key: pairs[key] for key in keys}, self._root or "")
                reader = _Reader(self._provider)
                item = reader.read(group, name, tree.children[group].children[name])
                if (group, name) not in self._outcomes:
                    self._order = None
                self._outcomes[group, name] = _Outcome(item, tuple(reader.errors))

    def _place(self, key: str) -> _Place | None:
        """Return the group and the name of the object that a key is part of; no name: it is beside the objects."""
        if key not in self._places:
            bare, start = key.lstrip("/"), f"{self._root}/" if self._root else ""
            first, _, rest = bare[len(start) :].strip("/").partition("/")
            name = rest.partition("/")[0] if rest and first in _GROUPS else None
            self._places[key] = (first, name) if bare.startswith(start) else None
        return self._places[key]

    def _decoded(self, notes: tuple[str, ...]) -> Decoded:
        """Put the objects together; a frontend needs its backend."""
        found: dict[str, dict[str, Any]] = {group: {} for group in _GROUPS}
        broken: set[str] = set()
        errors: dict[str, list[ObjectError]] = {group: [] for group in _GROUPS}
        if self._order is None:
            self._order = sorted(self._outcomes)
        for group, name in self._order:
            outcome = self._outcomes[group, name]
            errors[group] += outcome.errors
            if outcome.item is not None:
                found[group][name] = outcome.item
            elif group == "backends":
                broken.add(name)
        for name, frontend in list(found["frontends"].items()):
            if frontend.backend not in found["backends"]:
                del found["frontends"][name]
                message = _without_backend(frontend.backend, found["backends"], broken)
                errors["frontends"].append(
                    ObjectError(provider=self._provider, kind="frontend", name=name, path="backend", message=message)
                )
        if errors["frontends"]:
            errors["frontends"].sort(key=lambda error: error.name)
        configuration = DynamicConfiguration.model_validate(found)
        return Decoded(configuration, tuple(error for group in _GROUPS for error in errors[group]), notes)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of one object: nothing if it has an error."""

    item: Backend | Frontend | TLSCertificate | None
    errors: tuple[ObjectError, ...]


def _without_backend(name: str, backends: Mapping[str, Backend], broken: set[str]) -> str:
    if not name:
        return "it has no backend"
    if name in broken:
        return f'its backend "{name}" has an error'
    return f'backend "{name}" is not defined{did_you_mean(name, backends)}'


def load_certificates(
    config: DynamicConfiguration, read_file: ReadFile, provider: str
) -> tuple[DynamicConfiguration, tuple[ObjectError, ...]]:
    """Return the configuration with the files of its certificates read, without those that cannot be read.

    :param read_file: returns a file's content, raises FileNotFoundError or another OSError.
    """
    errors = []
    loaded = {}
    for name, certificate in sorted(config.tls.items()):
        texts = {}
        for attribute, leaf in (("cert_file", "certfile"), ("key_file", "keyfile")):
            try:
                texts[attribute] = load_pem(getattr(certificate, attribute), read_file)
            except ValueError as error:
                path = f"certificate/{leaf}"
                message = f"{path}: {error}"
                errors.append(ObjectError(provider=provider, kind="tls", name=name, path=path, message=message))
        if len(texts) == 2:
            loaded[name] = certificate.model_copy(update=texts)
    return config.model_copy(update={"tls": loaded}), tuple(errors)


@dataclass(slots=True)
class _Node:
    """One key: its value, if it has one, and what is below it."""

    value: bytes | None = None
    children: dict[str, _Node] = field(default_factory=dict)

    def at(self, path: str) -> _Node:
        """Return the node below, or an empty one."""
        node = self
        for part in path.split("/"):
            node = node.children.get(part) or _NOTHING
        return node

    def sorted(self) -> list[tuple[str, _Node]]:
        return sorted(self.children.items())


_NOTHING = _Node()


def _alias_value(pairs: Mapping[str, bytes], prefix: str) -> bytes:
    wanted = f"{prefix.strip('/')}/alias".strip("/")
    return next((pairs[key] for key in (wanted, f"/{wanted}", f"{wanted}/", f"/{wanted}/") if key in pairs), b"")


def _tree(pairs: Mapping[str, bytes], root: str) -> _Node:
    tree = _Node()
    start = f"{root}/" if root else ""
    for key in sorted(pairs):
        bare = key.lstrip("/")
        if not bare.startswith(start) or not pairs[key]:
            continue
        node = tree
        for part in bare[len(start) :].strip("/").split("/"):
            node = node.children.setdefault(part, _Node())
        node.value = pairs[key]
    return tree


def _passed_over(tree: _Node) -> Iterator[str]:
    for name, node in tree.sorted():
        if name in _GROUPS:
            if node.value is not None:
                yield f'key "{name}" has a value, which is passed over; its objects are below it'
        elif name.lower() in _STATIC:
            yield f'keys under "{name}" are for the static configuration or the cluster of Traefik 1.7: passed over'
        elif name != "alias":
            yield f'key "{name}" is unknown and passed over{did_you_mean(name, _GROUPS)}'


class _BadValueError(Exception):
    """A value that cannot be read; its text is a sentence."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path


def _text(node: _Node, path: str) -> str:
    value = node.at(path).value or b""
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise _BadValueError(path, f"the value of {path} is not UTF-8") from None


def _list(node: _Node, path: str) -> tuple[str, ...]:
    whole = _text(node, path)
    children = (_text(node, f"{path}/{name}") for name, _ in node.at(path).sorted())
    return tuple(part.strip() for part in (whole.split(",") if whole.strip() else children) if part.strip())


def _boolean(node: _Node, path: str, *, default: bool) -> bool:
    text = _text(node, path).strip()
    if not text:
        return default
    try:
        return parse_bool(text)
    except ValueError as error:
        raise _BadValueError(path, f"{path}: {error}") from None


def _number(node: _Node, path: str, default: int) -> int:
    text = _text(node, path).strip()
    if not text:
        return default
    if not _INTEGER.fullmatch(text):
        raise _BadValueError(path, f'{path}: "{text}" is not a whole number')
    return int(text)


def _means_off(key: Key, value: bytes) -> bool:
    """Tell whether a value asks for nothing: false, 0 or blank."""
    text = value.decode(errors="replace").strip()
    if not text:
        return True
    if key.kind == "bool":
        return text in ("0", "f", "F", "false", "FALSE", "False")
    return key.kind == "int" and _INTEGER.fullmatch(text) is not None and int(text) == 0


class _Reader:
    """Reads one object."""

    def __init__(self, provider: str) -> None:
        self.provider = provider
        self.errors: list[ObjectError] = []

    def read(self, group: str, name: str, node: _Node) -> Backend | Frontend | TLSCertificate | None:
        """Return the object, or None if it has an error."""
        match group:
            case "backends":
                return self._backend(name, node)
            case "frontends":
                return self._frontend(name, node)
            case _:
                return self._certificate(name, node)

    def _error(self, kind: ObjectKind, name: str, path: str, message: str, severity: Severity = "error") -> None:
        self.errors.append(
            ObjectError(provider=self.provider, kind=kind, name=name, path=path, message=message, severity=severity)
        )

    def _known(self, kind: ObjectKind, name: str, node: _Node, layout: Key) -> bool:
        """Report every key that is unknown or does not work yet; tell whether there was none."""
        before = len(self.errors)
        if not _printable(name):
            self._error(kind, ascii(name)[1:-1], "", "its name is empty or contains control characters")
            return False
        self._walk(kind, name, node, layout, "")
        return len(self.errors) == before

    def _walk(self, kind: ObjectKind, name: str, node: _Node, key: Key, path: str) -> None:
        if key.kind == "list" and not key.supported:
            self._error(kind, name, path, f"option {path} is not supported yet")
            return
        if node.value is not None:
            if not path:
                self._error(kind, name, "", "it has a value of its own; its settings are keys below it")
            elif key.kind is None:
                self._error(kind, name, path, f"key {path} has a value of its own; its settings are keys below it")
            elif not key.supported and not _means_off(key, node.value):
                self._error(kind, name, path, f"option {path} is not supported yet")
        for part, child in node.sorted():
            child_path = f"{path}/{part}" if path else part
            below = key.child(part) if _printable(part) else None
            if below is None:
                shown = child_path if _printable(part) else ascii(child_path)[1:-1]
                known = [known for known in key.children if known != "*" and known.islower()]
                self._error(kind, name, shown, f'unknown key "{shown}"{did_you_mean(part, known)}')
            else:
                self._walk(kind, name, child, below, child_path)

    def _backend(self, name: str, node: _Node) -> Backend | None:
        if not self._known("backend", name, node, BACKEND):
            return None
        try:
            method = _text(node, "loadbalancer/method").strip() or "wrr"
            servers = {}
            for server_name, server_node in node.at("servers").sorted():
                url = _text(node, f"servers/{server_name}/url").strip()
                weight = _number(node, f"servers/{server_name}/weight", 1)
                if url:
                    servers[server_name] = Server(url=url, weight=weight)
                elif server_node.children:
                    path = f"servers/{server_name}/url"
                    self._error("server", f"{name}/{server_name}", path, "it has no url and is left out", "warning")
        except _BadValueError as error:
            self._error("backend", name, error.path, str(error))
            return None
        if method.lower() != "wrr":
            later = "is not supported yet" if method.lower() == "drr" else "is unknown"
            self._error("backend", name, "loadbalancer/method", f'load balancer method "{method}" {later}; use wrr')
            return None
        return Backend(servers=servers, load_balancer=LoadBalancer(method="wrr"))

    def _frontend(self, name: str, node: _Node) -> Frontend | None:
        if not self._known("frontend", name, node, FRONTEND):
            return None
        try:
            legacy = _boolean(node, "passHostHeader", default=True)
            return Frontend(
                backend=_text(node, "backend").strip(),
                entry_points=_list(node, "entrypoints"),
                priority=_number(node, "priority", 0),
                pass_host_header=_boolean(node, "passhostheader", default=legacy),
                routes={route: Route(rule=_text(node, f"routes/{route}/rule")) for route in node.at("routes").children},
            )
        except _BadValueError as error:
            self._error("frontend", name, error.path, str(error))
            return None

    def _certificate(self, name: str, node: _Node) -> TLSCertificate | None:
        if not self._known("tls", name, node, TLS):
            return None
        try:
            entry_points = _list(node, "entrypoints")
            texts = {leaf: _text(node, f"certificate/{leaf}").strip() for leaf in ("certfile", "keyfile")}
        except _BadValueError as error:
            self._error("tls", name, error.path, str(error))
            return None
        if not entry_points:
            self._error("tls", name, "entrypoints", "it names no entry points; give it the key entrypoints")
        for leaf, text in texts.items():
            if not text:
                self._error("tls", name, f"certificate/{leaf}", f"it has no certificate/{leaf}")
        if not entry_points or not all(texts.values()):
            return None
        return TLSCertificate(entry_points=entry_points, cert_file=texts["certfile"], key_file=texts["keyfile"])


def _printable(text: str) -> bool:
    """Tell whether a name can be shown and stored: not empty, no control characters, no lone surrogates."""
    return bool(text) and text.isprintable()
