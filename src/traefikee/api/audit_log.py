"""``GET /v1/audit``: who changed what."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from traefikee.api.history import number_of
from traefikee.api.parts import Parts
from traefikee.cluster import audit
from traefikee.errors import RefusedError

DEFAULT_LIMIT = 50


def in_utc(text: str) -> str:
    """Return a time (ISO 8601; without an offset in UTC) as the log's entries have theirs.

    :raises RefusedError: if it is none.
    """
    try:
        at = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise RefusedError(
            f'since: "{text}" is not a time', "write it like 2026-11-28T09:30:00", kind="invalid"
        ) from None
    at = at if at.tzinfo else at.replace(tzinfo=datetime.UTC)
    return at.astimezone(datetime.UTC).isoformat(timespec="microseconds")


def routes(parts: Parts) -> Sequence[Route]:
    """Return the routes of this topic."""

    async def entries(request: Request) -> Response:
        """``GET /v1/audit[?limit=&action=&since=]``: the newest entries, the oldest of them first."""
        parts.state()
        limit = min(number_of(request, "limit", DEFAULT_LIMIT), audit.KEPT)
        since = request.query_params.get("since", "")
        action = request.query_params.get("action", "")
        found = await audit.read(parts.store, limit, action=action, since=in_utc(since) if since else "")
        return JSONResponse({"entries": [one.model_dump() for one in found]})

    return [Route("/v1/audit", entries)]
