"""What a data node answers on its socket: whether it is healthy, and where to ask for the rest."""

from __future__ import annotations

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from traefikee import __version__
from traefikee.api.answers import on_error
from traefikee.api.health import answer, node_health
from traefikee.cluster.records import Mark
from traefikee.errors import RefusedError, TraefikeeError
from traefikee.node.engine import Engine
from traefikee.node.statedir import Identity


class DataAPI:
    """The handlers of a data node's socket."""

    def __init__(self, identity: Identity, engine: Engine, drained: Callable[[], Mark | None]) -> None:
        self._identity = identity
        self._engine = engine
        self._drained = drained

    def app(self) -> Starlette:
        """Return the application for the node's socket."""
        return Starlette(
            routes=[Route("/v1/health", self.health), Route("/v1/version", self.version)],
            exception_handlers={TraefikeeError: on_error, 404: self.elsewhere},
        )

    async def health(self, _request: Request) -> Response:
        """``GET /v1/health``: whether this node's ping entry point, or else its engine, answers."""
        mark = self._drained()
        if mark is not None:
            return answer(False, f"{self._identity.name} was drained by {mark.by} at {mark.at}: it accepts no requests")
        return await node_health(self._engine)

    async def version(self, _request: Request) -> Response:
        """``GET /v1/version``."""
        return JSONResponse({"version": __version__, "node": self._identity.name, "role": self._identity.role.value})

    async def elsewhere(self, request: Request, _error: Exception) -> Response:
        """Anything else: a data node cannot answer it."""
        return await on_error(
            request,
            RefusedError(
                f"{self._identity.name!r} is a data node: it does not know the cluster",
                "run this command on a control node",
            ),
        )
