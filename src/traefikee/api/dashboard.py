"""The JSON API and the page on ``:8080`` of control nodes (Traefik 1.7, ``[api]``; sections named as there).

``/ping`` is answered by the engine in front. The routes are read-only; nothing here shows a secret.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from traefikee import __version__
from traefikee.api.answers import on_error
from traefikee.api.control import node_json
from traefikee.cluster.mirror import Mirror
from traefikee.config.dynamic_api import to_api
from traefikee.config.places import place_of
from traefikee.config.runtime import ObjectError
from traefikee.errors import TraefikeeError
from traefikee.node.publishing import Runtime, SnapshotStore
from traefikee.node.statedir import Identity

CODENAME = "maroilles"
NOT_LEADER = 429


class Dashboard:
    """The handlers of the dashboard port."""

    def __init__(
        self, identity: Identity, mirror: Mirror, snapshots: SnapshotStore, has_quorum: Callable[[], bool]
    ) -> None:
        self._identity = identity
        self._mirror = mirror
        self._snapshots = snapshots
        self._has_quorum = has_quorum
        self._started = time.time()
        self._providers: tuple[str, dict[str, Any]] = ("", {})

    def app(self) -> Starlette:
        """Return the application."""
        return Starlette(
            routes=[
                Route("/", self.root),
                Route("/dashboard/", self.page),
                Route("/api", self.providers),
                Route("/api/providers", self.providers),
                Route("/api/providers/{path:path}", self.inside),
                Route("/api/version", self.version),
                Route("/api/cluster/leader", self.leader),
                Route("/api/nodes", self.nodes),
                Route("/api/errors", self.errors),
                Route("/health", self.health),
            ],
            exception_handlers={TraefikeeError: on_error, 404: not_found, 405: not_found},
        )

    async def root(self, _request: Request) -> Response:
        """``/``: to the page."""
        return RedirectResponse("/dashboard/", status_code=302)

    async def page(self, _request: Request) -> Response:
        """``/dashboard/``: one plain page that reads the JSON API."""
        text = resources.files("traefikee.api").joinpath("dashboard.html").read_text()
        return HTMLResponse(text, headers={"Content-Security-Policy": "default-src 'self' 'unsafe-inline'"})

    async def _configurations(self) -> dict[str, Any]:
        pointer = self._mirror.state.pointer
        if pointer is None or not pointer.runtime:
            return {}
        name = pointer.runtime[-1].name
        if self._providers[0] != name:
            read = await self._snapshots.read(pointer.runtime)
            effective = (await asyncio.to_thread(Runtime.load, read.objects)).effective
            self._providers = (name, {provider: to_api(one) for provider, one in effective.items()})
        return self._providers[1]

    async def providers(self, _request: Request) -> Response:
        """``/api/providers``: each provider's frontends and backends as they are in force (section 6.2)."""
        return JSONResponse(await self._configurations())

    async def inside(self, request: Request) -> Response:
        """``/api/providers/<p>[/backends|frontends[/<name>[/servers|routes[/<name>]]]]``: a part of it."""
        found: Any = await self._configurations()
        for part in request.path_params["path"].split("/"):
            if not isinstance(found, dict) or part not in found:
                return await not_found(request, None)
            found = found[part]
        return JSONResponse(found) if isinstance(found, dict) else await not_found(request, None)

    async def version(self, _request: Request) -> Response:
        """``/api/version``."""
        return JSONResponse({"Version": __version__, "Codename": CODENAME})

    async def leader(self, _request: Request) -> Response:
        """``/api/cluster/leader``: 200 on the leader, 429 elsewhere (section 1.14), for load balancers."""
        seen = self._mirror.state
        leads = seen.leader == self._identity.id
        return JSONResponse(
            {"leader": leads, "leader_node": seen.leader or ""}, status_code=200 if leads else NOT_LEADER
        )

    async def nodes(self, _request: Request) -> Response:
        """``/api/nodes``: the cluster's nodes and what each has applied."""
        return JSONResponse([node_json(node) for node in self._mirror.state.nodes])

    async def errors(self, _request: Request) -> Response:
        """``/api/errors``: providers that fail, objects that were left out, snapshots that were refused."""
        seen = self._mirror.state
        pointer = seen.pointer

        def key(error: ObjectError) -> str:
            return place_of(error, seen.providers[error.provider].source if error.provider in seen.providers else "")

        return JSONResponse(
            {
                "providers": {name: one.model_dump() for name, one in seen.providers.items()},
                "objects": [
                    one.model_dump(mode="json") | {"sentence": one.sentence(), "key": key(one)}
                    for one in (pointer.errors if pointer else ())
                ],
                "deployment": pointer.failure if pointer else "",
                "nodes": {
                    node.record.name: node.report.refusal for node in seen.nodes if node.report and node.report.refusal
                },
                "store": "ok" if self._has_quorum() else "lost",
            }
        )

    async def health(self, _request: Request) -> Response:
        """``/health``: the totals of all data nodes that are alive (section 6.3), some seconds old."""
        codes: Counter[str] = Counter()
        seconds, size = 0.0, 0
        seen = self._mirror.state
        # Control nodes of earlier versions kept each node's own counters in the store.
        own = (node.report.counters for node in seen.nodes if node.report is not None)
        for counters in (*own, *(one.counters for one in seen.traffic.values())):
            codes.update(counters.by_status)
            seconds += counters.duration_seconds_total
            size += counters.response_bytes_total
        count = sum(codes.values())
        uptime, now = time.time() - self._started, time.time()
        return JSONResponse(
            {
                "pid": os.getpid(),
                "hostname": socket.gethostname(),
                "uptime": f"{uptime:.3f}s",
                "uptime_sec": uptime,
                "time": datetime.fromtimestamp(now, UTC).isoformat(),
                "unixtime": int(now),
                "status_code_count": {},
                "total_status_code_count": dict(sorted(codes.items())),
                "count": 0,
                "total_count": count,
                "total_response_time": f"{seconds:.3f}s",
                "total_response_time_sec": seconds,
                "total_response_size": size,
                "average_response_size": size // count if count else 0,
                "average_response_time": f"{seconds / count if count else 0:.6f}s",
                "average_response_time_sec": seconds / count if count else 0.0,
                "total_metrics_counts": {},
                "average_metrics_timers": {},
            }
        )


async def not_found(_request: Request, _error: Exception | None) -> Response:
    """Answer as Traefik answers what it has no route for."""
    return PlainTextResponse("404 page not found\n", status_code=404, headers={"X-Content-Type-Options": "nosniff"})
