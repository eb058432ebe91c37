"""``POST /v1/nodes/remove`` and ``POST /v1/nodes/drain``: nodes that leave, for good or for a while."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from traefikee.api.actor import actor_of
from traefikee.api.answers import lines, read_body
from traefikee.api.parts import Parts
from traefikee.cluster.draining import drain
from traefikee.cluster.removing import remove
from traefikee.errors import UnreachableError

MOST = 1_000


class RemoveRequest(BaseModel):
    """Which nodes, by name or id; with ``force`` also those that are alive."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    nodes: list[str] = Field(min_length=1, max_length=MOST)
    force: bool = False


class DrainRequest(BaseModel):
    """Which nodes, by name or id.

    :ivar undo: bring them back.
    :ivar force: drain the last data node that accepts requests, too.
    :ivar timeout: seconds to wait until they are drained or back; 0 is no limit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    nodes: list[str] = Field(min_length=1, max_length=MOST)
    undo: bool = False
    force: bool = False
    timeout: float = Field(default=0.0, ge=0, allow_inf_nan=False)


def routes(parts: Parts) -> Sequence[Route]:
    """Return the routes of this topic."""

    def ready() -> None:
        parts.state()
        if not parts.has_quorum():
            raise UnreachableError(
                "this control node has no quorum: nothing can be changed",
                "look at list-nodes, and start the control nodes that are DOWN",
                kind="store",
            )

    async def removal(request: Request) -> Response:
        ready()
        body: RemoveRequest = await read_body(request, RemoveRequest)
        return lines(
            remove(
                parts.store,
                parts.mirror,
                body.nodes,
                force=body.force,
                actor=actor_of(request),
                node=parts.identity.name,
            )
        )

    async def draining(request: Request) -> Response:
        ready()
        body: DrainRequest = await read_body(request, DrainRequest)
        return lines(
            drain(
                parts.store,
                parts.mirror,
                body.nodes,
                undo=body.undo,
                force=body.force,
                timeout=body.timeout,
                actor=actor_of(request),
                node=parts.identity.name,
            )
        )

    return [
        Route("/v1/nodes/remove", removal, methods=["POST"]),
        Route("/v1/nodes/drain", draining, methods=["POST"]),
    ]
