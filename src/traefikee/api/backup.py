"""``POST /v1/backup``: everything that the cluster keeps, as lines of JSON (:mod:`traefikee.backup.content`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from traefikee.api.actor import actor_of
from traefikee.api.answers import lines, read_body
from traefikee.api.parts import Parts
from traefikee.cluster import audit
from traefikee.cluster.store import OPERATOR_PATIENCE
from traefikee.errors import UnreachableError


class BackupRequest(BaseModel):
    """What is asked for.

    :ivar force: without a quorum what this node knows is enough.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    force: bool = False


def routes(parts: Parts) -> Sequence[Route]:
    """Return the routes of this topic."""

    async def backup(request: Request) -> Response:
        parts.state()
        body: BackupRequest = await read_body(request, BackupRequest)
        return lines(_told(parts, request, force=body.force))

    return [Route("/v1/backup", backup, methods=["POST"])]


async def _told(parts: Parts, request: Request, *, force: bool) -> AsyncIterator[Mapping[str, Any]]:
    # Imported here: they bring a certificate library of 10 MB, which a node that makes no backups does not need.
    from traefikee.backup.content import to_lines
    from traefikee.backup.taking import take

    try:
        content = await take(parts.store, parts.identity)
        sentence = f"backup taken at revision {content.origin.revision}"
        await parts.store.transact(
            [], [audit.entry(actor_of(request), parts.identity.name, "backup", sentence)], patience=OPERATOR_PATIENCE
        )
    except UnreachableError as error:
        if not force:
            raise UnreachableError(
                f"no backup can be taken through {parts.identity.name!r}: {error.cause}",
                "ask another control node, or take what this one knows, which may be old, with --force",
                kind="store",
            ) from error
        content = await take(parts.store, parts.identity, quorum=False)
    for line in to_lines(content):
        yield line
