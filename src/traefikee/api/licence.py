"""``POST /v1/licence``: change the licence key."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from traefikee.api.actor import actor_of
from traefikee.api.answers import read_body
from traefikee.api.parts import Parts
from traefikee.cluster import licence
from traefikee.errors import RefusedError
from traefikee.node.licensing import change_key


class LicenceRequest(BaseModel):
    """The new key."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    key: str = Field(repr=False, max_length=licence.LONGEST_KEY)


def routes(parts: Parts) -> Sequence[Route]:
    """Return the routes of this topic."""

    async def change(request: Request) -> Response:
        parts.state()
        body: LicenceRequest = await read_body(request, LicenceRequest)
        key = body.key.strip()
        if not key:
            raise RefusedError("the licence key is empty", kind="invalid")
        said = await change_key(parts.store, parts.mirror, key, actor_of(request), parts.identity.name)
        return JSONResponse({"message": said})

    return [Route("/v1/licence", change, methods=["POST"])]
