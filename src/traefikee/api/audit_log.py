"""``GET /v1/audit``: who changed what."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from traefikee.api.parts import Parts
from traefikee.cluster import audit


def routes(parts: Parts) -> Sequence[Route]:
    """Return the routes of this topic."""

    async def entries(_request: Request) -> Response:
        parts.state()
        return JSONResponse({"entries": [one.model_dump() for one in await audit.read(parts.store)]})

    return [Route("/v1/audit", entries)]
