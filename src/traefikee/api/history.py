"""``/v1/history``, ``/v1/diff`` and ``/v1/rollback``: the configurations that were deployed."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from traefikee.api.actor import actor_of
from traefikee.api.answers import lines, read_body
from traefikee.api.parts import Parts
from traefikee.cluster import history
from traefikee.errors import RefusedError
from traefikee.node.deployment import compare, deploy, plan, read_deployment
from traefikee.node.storing import Order


class RollbackRequest(BaseModel):
    """``POST /v1/rollback``: the deployment to deploy again; the rest as ``POST /v1/deploy`` has it.

    :ivar dry_run: tell only what would change.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int = Field(ge=1)
    by: str = Field(max_length=400)
    command: str
    if_revision: int | None = Field(default=None, ge=0)
    dry_run: bool = False


def number_of(request: Request, name: str, default: int, least: int = 1) -> int:
    """Return a whole number of the query.

    :raises RefusedError: if it is none, or too small.
    """
    text = request.query_params.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < least:
        raise RefusedError(f'{name}: "{text}" is not a whole number from {least}', kind="invalid")
    return int(text)


def routes(parts: Parts) -> Sequence[Route]:
    """Return the routes of this topic."""

    def current() -> int:
        deployed = parts.state()[0].deployment
        return deployed.number if deployed else 0

    async def show(request: Request) -> Response:
        """``GET /v1/history[?limit=N]``: the newest deployments, newest first; which of them is in force."""
        in_force = current()
        found = await history.newest(parts.store, number_of(request, "limit", history.KEPT))
        return JSONResponse(
            {
                "current": in_force or None,
                "deployments": [
                    {
                        "number": one.number,
                        "current": one.number == in_force,
                        "at": one.at,
                        "who": one.who,
                        "through": one.through,
                        "by": one.by,
                        "node": one.node,
                        "how": one.how,
                        "rollback_of": one.rollback_of,
                        "command": one.command,
                    }
                    for one in found
                ],
            }
        )

    async def diff(request: Request) -> Response:
        """``GET /v1/diff?from=N[&to=M]``: what M, or what is in force, has changed against N; secrets masked."""
        first = number_of(request, "from", 0)
        second = number_of(request, "to", 0) or current()
        if not first or not second:
            raise RefusedError("nothing is deployed yet" if first else "from= is missing", kind="invalid")
        return JSONResponse(await compare(parts.store, first, second))

    async def rollback(request: Request) -> Response:
        """``POST /v1/rollback``: deploy an earlier configuration again under a new number; steps as of a deployment."""
        in_force = current()
        body: RollbackRequest = await read_body(request, RollbackRequest)
        configuration, files = await read_deployment(parts.store, body.number)
        if body.dry_run:
            planned = await plan(
                parts.store, parts.mirror, parts.engine, parts.admission, configuration, files, body.if_revision
            )
            return JSONResponse(planned)
        if body.number == in_force:
            raise RefusedError(
                f"configuration {body.number} is in force: there is nothing to roll back", "see `history`"
            )
        order = Order(
            configuration=configuration,
            files=files,
            by=body.by,
            command=body.command,
            actor=actor_of(request),
            node=parts.identity.name,
            if_revision=body.if_revision,
            rollback_of=body.number,
        )
        return lines(deploy(parts.store, parts.mirror, parts.engine, parts.admission, order))

    return [
        Route("/v1/history", show),
        Route("/v1/diff", diff),
        Route("/v1/rollback", rollback, methods=["POST"]),
    ]
