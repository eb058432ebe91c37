"""What is published, read for an operator: one immutable view of deployment, providers, snapshot and health."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from traefikee.cluster.mirror import Mirror
from traefikee.cluster.records import Deployment, Pointer, ProviderStatus
from traefikee.cluster.roles import Role
from traefikee.cluster.state import ClusterState
from traefikee.compile.changes import State, Texts
from traefikee.config.dynamic import Frontend, Router
from traefikee.config.places import STATIC, place, place_of
from traefikee.config.runtime import ObjectError, ObjectKind
from traefikee.errors import UnreachableError
from traefikee.node.publishing import Runtime, SnapshotStore

ATTEMPTS = 5
PAUSE = 0.2
"""How often, and after how many seconds, a snapshot is read again that was replaced while it was read."""


@dataclass(frozen=True)
class View:
    """Everything that can be told of the configuration in force.

    :ivar runtime: the dynamic configurations, as the providers say them and as they are in force.
    :ivar objects: the texts of the snapshot's objects, by key.
    :ivar down: by service and URL of a server, the names of the data nodes that find it down.
    :ivar data_nodes: how many data nodes are alive.
    :ivar down_unlisted: services with servers that are down and are not in ``down``.
    """

    deployment: Deployment | None = None
    pointer: Pointer | None = None
    providers: Mapping[str, ProviderStatus] = field(default_factory=dict)
    runtime: Runtime = field(default_factory=lambda: Runtime({}, {}))
    objects: Texts = field(default_factory=dict)
    down: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    data_nodes: int = 0
    down_unlisted: int = 0

    def said(self, identity: str) -> Frontend | Router | None:
        """Return a frontend or router as it is in force, or else as its provider says it."""
        provider, _, name = identity.partition("/")
        for configurations in (self.runtime.effective, self.runtime.heard):
            one = configurations.get(provider)
            found = one.frontends.get(name) or one.routers.get(name) if one else None
            if found is not None:
                return found
        return None

    def own_name(self, identity: str) -> str:
        """Return the id of the frontend or router whose route this is: a router has one for each alternative."""
        if self.said(identity) is None and self.said(identity.rpartition("#")[0]) is not None:
            return identity.rpartition("#")[0]
        return identity

    def kind_of(self, identity: str) -> ObjectKind:
        """Return ``frontend`` or ``router``."""
        return "router" if isinstance(self.said(identity), Router) else "frontend"

    def route(self, identity: str) -> dict[str, Any] | None:
        """Return a route as the snapshot has it."""
        return self._object(f"route/{identity}")

    def service(self, identity: str) -> dict[str, Any] | None:
        """Return a service as the snapshot has it."""
        return self._object(f"service/{identity}")

    def _object(self, key: str) -> dict[str, Any] | None:
        text = self.objects.get(key)
        found: dict[str, Any] | None = None if text is None else json.loads(text)
        return found

    def place(self, provider: str, kind: ObjectKind, name: str, path: str = "") -> str:
        """Return where an object, or a part of it, was read."""
        status = self.providers.get(provider)
        return place(provider, status.source if status else "", kind, name, path)

    def told(self, error: ObjectError) -> dict[str, str]:
        """Return an error as it is shown: severity, message, and the key that causes it."""
        status = self.providers.get(error.provider)
        key = place_of(error, status.source if status else "")
        return {"severity": error.severity, "key": key, "message": error.message}

    def errors_by_object(self) -> dict[tuple[str, str, str], list[ObjectError]]:
        """Return the errors by provider, kind and name; those of servers and services are their backends'."""
        found: dict[tuple[str, str, str], list[ObjectError]] = {}
        for error in self.pointer.errors if self.pointer else ():
            if error.provider == STATIC:
                continue
            kind, name = error.kind, error.name
            if kind == "server":
                kind, name = "backend", name.partition("/")[0]
            elif kind == "service":
                kind = "backend"
            found.setdefault((error.provider, kind, name), []).append(error)
        return found

    def unlisted(self) -> tuple[str, ...]:
        """Return the sentences about errors that are too many to be kept one by one, and about whole providers."""
        errors = self.pointer.errors if self.pointer else ()
        return tuple(error.sentence() for error in errors if error.kind == "provider")


def health(seen: ClusterState) -> tuple[dict[str, dict[str, tuple[str, ...]]], int, int]:
    """Return what a view has of the data nodes' reports: ``down``, ``data_nodes``, ``down_unlisted``."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    live = [node for node in seen.with_role(Role.DATA) if node.ready and node.report is not None]
    unlisted = 0
    for node in live:
        if node.report is None:
            continue
        unlisted = max(unlisted, node.report.down_unlisted)
        for service, urls in node.report.down.items():
            by_url = found.setdefault(service, {})
            for url in urls:
                by_url[url] = (*by_url.get(url, ()), node.record.name)
    return found, len(live), unlisted


async def read_view(mirror: Mirror, snapshots: SnapshotStore) -> View:
    """Read what is published now.

    :raises UnreachableError: if it cannot be read.
    """
    for attempt in range(ATTEMPTS):
        seen = mirror.state
        pointer = seen.pointer
        try:
            snapshot = await snapshots.read(pointer.snapshot) if pointer else State()
            runtime = await snapshots.read(pointer.runtime) if pointer else State()
        except UnreachableError as error:
            # Another one may have been published meanwhile, and the mirror may not know it yet.
            if error.kind != "superseded" or attempt == ATTEMPTS - 1:
                raise
            await asyncio.sleep(PAUSE)
            continue
        down, data_nodes, unlisted = health(seen)
        return View(
            deployment=seen.deployment,
            pointer=pointer,
            providers=seen.providers,
            runtime=await asyncio.to_thread(Runtime.load, runtime.objects),
            objects=snapshot.objects,
            down=down,
            data_nodes=data_nodes,
            down_unlisted=unlisted,
        )
    raise UnreachableError("the published snapshot changes too fast to be read", "try again", kind="superseded")
