"""What a control node answers its operators: the local socket (``traefikee``) and ``:55055`` (``traefikeectl``)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from traefikee import __version__
from traefikee.api import audit_log, backup, history, licence, logs, nodes, trust
from traefikee.api.actor import actor_of
from traefikee.api.answers import lines, on_error, on_missing, read_body
from traefikee.api.explaining import ExplainRequest, choose_entry_point, explained, question
from traefikee.api.health import node_health
from traefikee.api.parts import Parts
from traefikee.api.shown_configuration import PARTS, configuration_document
from traefikee.api.shown_routes import routes_document
from traefikee.api.view import read_view
from traefikee.cluster.licence import sentence
from traefikee.cluster.roles import Role
from traefikee.cluster.state import Node
from traefikee.config.static import StaticConfiguration
from traefikee.errors import RefusedError, TraefikeeError
from traefikee.node.deployment import deploy, plan
from traefikee.node.storing import Order
from traefikee.providers.file.content import Content

TOPICS: tuple[Callable[[Parts], Sequence[Route]], ...] = (
    audit_log.routes,
    backup.routes,
    history.routes,
    licence.routes,
    logs.routes,
    nodes.routes,
    trust.routes,
)
"""What the API answers beside the handlers below: one module each."""


class DeployRequest(BaseModel):
    """``POST /v1/deploy``: a static configuration, what its files say, and who deploys it with which command line.

    :ivar if_revision: the number of the configuration that has to be in force for it; 0: none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    configuration: StaticConfiguration
    by: str = Field(max_length=400)
    command: str
    files: Content | None = None
    if_revision: int | None = Field(default=None, ge=0)


class PlanRequest(BaseModel):
    """``POST /v1/plan``: a static configuration, and what its files say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    configuration: StaticConfiguration
    files: Content | None = None
    if_revision: int | None = Field(default=None, ge=0)


class ControlAPI:
    """The handlers of a control node's operator API."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._explaining = asyncio.Lock()
        """Held while the engine builds a snapshot to answer from: one at a time is enough of its memory."""

    def app(self) -> Starlette:
        """Return the application."""
        return Starlette(
            routes=[
                Route("/v1/cluster", self.cluster),
                Route("/v1/nodes", self.nodes),
                Route("/v1/deploy", self.deploy, methods=["POST"]),
                Route("/v1/plan", self.plan, methods=["POST"]),
                Route("/v1/config", self.config),
                Route("/v1/routes", self.routes),
                Route("/v1/explain", self.explain, methods=["POST"]),
                Route("/v1/health", self.health),
                Route("/v1/version", self.version),
                *(route for topic in TOPICS for route in topic(self._parts)),
            ],
            exception_handlers={TraefikeeError: on_error, 404: on_missing, 405: on_missing},
        )

    async def cluster(self, _request: Request) -> Response:
        """``GET /v1/cluster``: which cluster this is."""
        _, info = self._parts.state()
        return JSONResponse({"id": info.id, "node": self._parts.identity.name})

    async def nodes(self, _request: Request) -> Response:
        """``GET /v1/nodes``: every node of the list, and what is wrong with them."""
        seen, _ = self._parts.state()
        mine = self._parts.identity.name
        # This node's own are known here even if they keep it from writing its report.
        warnings = [f"{mine}: {one}" for one in self._parts.troubles.all()]
        for node in seen.nodes:
            if node.report is not None and node.record.name != mine:
                warnings += [f"{node.record.name}: {one}" for one in node.report.troubles]
        return JSONResponse(
            {
                "nodes": [node_json(node) for node in seen.nodes],
                "store": "ok" if self._parts.has_quorum() else "lost",
                "warnings": warnings,
            }
        )

    async def deploy(self, request: Request) -> Response:
        """``POST /v1/deploy``: put a static configuration in force; a stream of steps until all data nodes have it."""
        self._parts.state()
        body: DeployRequest = await read_body(request, DeployRequest)
        order = Order(
            configuration=body.configuration,
            files=body.files,
            by=body.by,
            command=body.command,
            actor=actor_of(request),
            node=self._parts.identity.name,
            if_revision=body.if_revision,
        )
        parts = self._parts
        return lines(deploy(parts.store, parts.mirror, parts.engine, parts.admission, order))

    async def plan(self, request: Request) -> Response:
        """``POST /v1/plan``: what deploying a static configuration would change; changes nothing."""
        self._parts.state()
        body: PlanRequest = await read_body(request, PlanRequest)
        parts = self._parts
        planned = await plan(
            parts.store,
            parts.mirror,
            parts.engine,
            parts.admission,
            body.configuration,
            body.files,
            body.if_revision,
        )
        return JSONResponse(planned)

    async def config(self, request: Request) -> Response:
        """``GET /v1/config[?part=static|dynamic|merged]``: the configuration, secrets masked."""
        self._parts.state()
        part = request.query_params.get("part", "")
        if part and part not in PARTS:
            raise RefusedError(f'"{part}" is none of {", ".join(PARTS)}', kind="invalid")
        view = await read_view(self._parts.mirror, self._parts.snapshots)
        return JSONResponse(await asyncio.to_thread(configuration_document, view, part))

    async def routes(self, _request: Request) -> Response:
        """``GET /v1/routes``: every frontend and what became of it."""
        self._parts.state()
        view = await read_view(self._parts.mirror, self._parts.snapshots)
        return JSONResponse(await asyncio.to_thread(routes_document, view))

    async def explain(self, request: Request) -> Response:
        """``POST /v1/explain``: where a request would go, and why, by what is published."""
        self._parts.state()
        body: ExplainRequest = await read_body(request, ExplainRequest)
        view = await read_view(self._parts.mirror, self._parts.snapshots)
        asked = await asyncio.to_thread(question, view, body, choose_entry_point(view, body))
        async with self._explaining:
            answer = await self._parts.engine.explain(asked)
        return JSONResponse(explained(view, body, answer))

    async def health(self, _request: Request) -> Response:
        """``GET /v1/health``: whether this node's ping entry point, or else its engine, answers."""
        return await node_health(self._parts.engine)

    async def version(self, _request: Request) -> Response:
        """``GET /v1/version``: of the node that answers; with the licence key, and how it stands."""
        seen = self._parts.mirror.state
        info = seen.info
        return JSONResponse(
            {
                "version": __version__,
                "node": self._parts.identity.name,
                "role": Role.CONTROL.value,
                "licence": info.licence if info else "",
                "licence_status": sentence(seen) if info else "",
            }
        )


def drained_json(node: Node) -> dict[str, Any] | None:
    """Return who drained a node, and how far a data node is with it; None if nobody did."""
    if node.drained is None:
        return None
    emptying = node.report.emptying if node.report else None
    if emptying is None or emptying.mark != node.drained.at:
        return {**node.drained.model_dump(), "done": None, "connections": None, "requests": None}
    return {**node.drained.model_dump(), **emptying.model_dump(exclude={"mark"})}


def node_json(node: Node) -> dict[str, Any]:
    """Return a node as the API shows it."""
    record, report = node.record, node.report
    return {
        "id": record.id,
        "name": record.name,
        "role": record.role.value,
        "membership": "REMOVED" if node.removed else "ACCEPTED",
        "status": node.status,
        "availability": "DRAIN" if node.drained else "ACTIVE",
        "drained": drained_json(node),
        "leader": node.is_leader,
        "address": record.advertise,
        "agent_version": report.agent_version if report else None,
        "engine_version": report.engine_version if report else None,
        "snapshot_revision": report.revision if report else None,
        "refusal": report.refusal if report else "",
        "not_after": report.certificate.not_after if report and report.certificate else None,
        "warning": trust.warning(node, datetime.now(UTC)),
    }
