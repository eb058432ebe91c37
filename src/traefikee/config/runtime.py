"""The runtime status of dynamic objects: what is wrong with which frontend, backend, server or certificate."""

from __future__ import annotations

from typing import Literal, TypeAlias

from traefikee.config.model import Model

ObjectKind: TypeAlias = Literal["frontend", "backend", "server", "tls", "provider"]
Severity: TypeAlias = Literal["error", "warning"]

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
