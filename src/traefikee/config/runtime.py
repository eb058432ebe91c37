"""The runtime status of dynamic objects: what is wrong with which frontend, backend, server or certificate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

from traefikee.config.model import Model

ObjectKind: TypeAlias = Literal["frontend", "backend", "server", "tls", "router", "service", "middleware", "provider"]
Severity: TypeAlias = Literal["error", "warning"]

MOST_TOLD = 500
"""Number of errors and warnings of each provider that are kept and shown."""
LONGEST_MESSAGE = 500
"""Characters of each: all of them together have to fit into one key of the store."""
KEY_VALUE_PROVIDERS = frozenset({"consul", "etcd", "etcdv3", "zk", "boltdb"})
"""Names of providers whose objects consist of keys in lower case with slashes; others have tables."""


def spelt(provider: str, path: str, *names: str) -> str:
    """Return where in an object as its provider's users write it: ``healthcheck/port``, or ``healthCheck.port``.

    :param path: as in a table, with ``*`` for each of the names: ``routes.*.rule``.
    """
    if provider in KEY_VALUE_PROVIDERS:
        path = path.lower().replace(".", "/")
    parts = path.split("*")
    return "".join(part + name for part, name in zip(parts, (*names, ""), strict=True))


class ObjectError(Model):
    """What is wrong with one object of a provider.

    :ivar provider: the provider's name (``consul``).
    :ivar kind: what the object is; ``provider`` stands for everything that the provider said.
    :ivar name: the object's name; a server's is ``<backend>/<server>``, a provider's is empty.
    :ivar path: where in the object (``routes/r1/rule``), or an empty text.
    :ivar message: what is wrong, and what is allowed. Complete without the path. Never contains a secret.
    :ivar where: file and line (``rules.toml:12``), or an empty text.
    :ivar severity: ``error``: the object is left out; ``warning``: it is served, but not all of it.
    """

    provider: str
    kind: ObjectKind
    name: str
    path: str
    message: str
    severity: Severity = "error"
    where: str = ""

    def sentence(self) -> str:
        """Return one line for a reader, such as ``frontend "consul/web": route "r1": unknown matcher "Hots"``."""
        target = f"{self.provider}/{self.name}" if self.name else self.provider
        sentence = f'{self.kind} "{target}": {self.message}'
        return f"{self.where}: {sentence}" if self.where else sentence


def told(errors: Iterable[ObjectError]) -> tuple[ObjectError, ...]:
    """Return what is kept and shown of errors: each once, and of each provider the first :data:`MOST_TOLD`.

    Errors come before warnings where there are too many; how many more there are is a last warning.
    """
    by_provider: dict[str, dict[ObjectError, None]] = {}
    for error in errors:
        if len(error.message) > LONGEST_MESSAGE:
            error = error.model_copy(update={"message": f"{error.message[:LONGEST_MESSAGE]} ..."})
        by_provider.setdefault(error.provider, {})[error] = None
    found: list[ObjectError] = []
    for provider, ones in by_provider.items():
        if len(ones) <= MOST_TOLD:
            found += ones
            continue
        found += sorted(ones, key=lambda one: one.severity != "error")[:MOST_TOLD]
        message = f"{len(ones) - MOST_TOLD} more errors and warnings are not listed"
        found.append(
            ObjectError(provider=provider, kind="provider", name="", path="", message=message, severity="warning")
        )
    return tuple(found)


_PREFIXES: Mapping[str, tuple[str, ...]] = {
    "frontend": ("frontends.{}",),
    "backend": ("backends.{}", "http.services.{}.loadbalancer", "http.services.{}"),
    "tls": ("tls.{}",),
    "router": ("http.routers.{}",),
    "service": ("http.services.{}",),
    "middleware": ("http.middlewares.{}",),
}


def located(error: ObjectError, places: Mapping[str, str]) -> ObjectError:
    """Return an error with the line that it is about, or else with that of its object.

    :param places: ``file:line`` by dotted paths in lower case: ``frontends.web.routes.r1.rule``,
        ``http.services.app.loadbalancer.servers.0.url``.
    """
    if error.where or not places:
        return error
    kind, name = error.kind, error.name
    if kind == "server":
        kind, name = "backend", error.name.partition("/")[0]
    # A service is compiled as a backend, of whose name there is no other then.
    service = kind == "backend" and f"backends.{name}".lower() not in places
    service = service and f"http.services.{name}".lower() in places
    update: dict[str, str] = {"kind": "service"} if service and error.kind == "backend" else {}
    for prefix in _PREFIXES.get(kind, ()):
        whole = prefix.format(name).lower()
        path = f"{whole}.{error.path.lower()}" if error.path else whole
        while path not in places and len(path) > len(whole):
            path = path.rpartition(".")[0]
        if path in places:
            update["where"] = places[path]
            break
    return error.model_copy(update=update) if update else error
