"""The runtime status of dynamic objects: what is wrong with which frontend, backend, server or certificate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

from traefikee.config.model import Model

ObjectKind: TypeAlias = Literal["frontend", "backend", "server", "tls", "provider"]
Severity: TypeAlias = Literal["error", "warning"]

MOST_TOLD = 500
"""Number of errors and warnings of each provider that are kept and shown."""
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
    :ivar severity: ``error``: the object is left out; ``warning``: it is served, but not all of it.
    """

    provider: str
    kind: ObjectKind
    name: str
    path: str
    message: str
    severity: Severity = "error"

    def sentence(self) -> str:
        """Return one line for a reader, such as ``frontend "consul/web": route "r1": unknown matcher "Hots"``."""
        target = f"{self.provider}/{self.name}" if self.name else self.provider
        return f'{self.kind} "{target}": {self.message}'


def told(errors: Iterable[ObjectError]) -> tuple[ObjectError, ...]:
    """Return what is kept and shown of errors: each once, and of each provider the first :data:`MOST_TOLD`.

    Errors come before warnings where there are too many; how many more there are is a last warning.
    """
    by_provider: dict[str, dict[ObjectError, None]] = {}
    for error in errors:
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
