"""``POST /v1/logs``: lines of any nodes, for operators; on ``:4242`` for other control nodes, and from data nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydantic import BaseModel, ConfigDict, Field, field_validator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from traefikee.api.answers import lines, read_body
from traefikee.api.audit_log import in_utc
from traefikee.api.parts import Parts
from traefikee.cluster.roles import Role
from traefikee.log_lines import Batch, Query, time_of
from traefikee.node.log_collecting import Collector, LogRequest, Sources
from traefikee.node.log_desk import LogDesk
from traefikee.node.log_reading import Reader

AdmitOnly = Callable[..., str]


class ReadLogs(BaseModel):
    """What an operator asks for.

    :ivar nodes: names; none for all nodes.
    :ivar since: a time (ISO 8601), or an empty text.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    nodes: tuple[str, ...] = Field(default=(), max_length=10_000)
    since: str = ""
    level: str = "debug"
    tail: int = Field(default=100, ge=0, le=10_000)
    follow: bool = False

    @field_validator("level")
    @classmethod
    def _is_level(cls, value: str) -> str:
        return Query(level=value).level


def routes(parts: Parts) -> Sequence[Route]:
    """Return the routes of this topic."""

    async def read(request: Request) -> Response:
        parts.state()
        body: ReadLogs = await read_body(request, ReadLogs)
        since = time_of(in_utc(body.since)) if body.since else ""
        query = Query(since=since, level=body.level, tail=body.tail, follow=body.follow)
        collector = Collector(parts.identity, parts.mirror, parts.log_sources)
        collector.choose(body.nodes)
        parts.log_sources.check()
        return lines(collector.read(body.nodes, query))

    return [Route("/v1/logs", read, methods=["POST"])]


def cluster_routes(sources: Sources, desk: LogDesk, admit_only: AdmitOnly) -> Sequence[Route]:
    """Return what control nodes and data nodes ask of each other.

    :param admit_only: returns the id of a caller that has one of the roles.
    """

    async def relay(request: Request) -> Response:
        """``POST /v1/logs``: the lines that this control node can tell, for another one."""
        admit_only(request, Role.CONTROL)
        body: LogRequest = await read_body(request, LogRequest)
        return lines(sources.read(body.nodes, body.query))

    async def take(request: Request) -> Response:
        """``POST /v1/logs/<id>``: lines that a data node was asked for; the answer tells whether more are wanted."""
        identity = admit_only(request, Role.DATA)
        body: Batch = await read_body(request, Batch)
        return JSONResponse({"more": await desk.take(identity, request.path_params["name"], body)})

    return [
        Route("/v1/logs", relay, methods=["POST"]),
        Route("/v1/logs/{name}", take, methods=["POST"]),
    ]


def sources_of(identity: str, desk: LogDesk) -> Sources:
    """Return what a control node can tell: its engine's lines pass through its agent."""
    return Sources(identity, Reader(), desk)
