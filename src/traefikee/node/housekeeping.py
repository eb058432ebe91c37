"""What the leader removes now and then: old entries of the audit log, old deployments."""

from __future__ import annotations

import asyncio

from traefikee import log
from traefikee.cluster import audit, history
from traefikee.cluster.fencing import FencedStore
from traefikee.errors import UnreachableError

EVERY = 600.0
"""Seconds between two looks."""

_log = log.get("leader")


async def tidy(term: FencedStore) -> None:
    """Remove what is beyond the limits, for ever."""
    while True:
        try:
            entries, deployments = await audit.prune(term), await history.clean(term)
        except UnreachableError as error:
            _log.info("old entries and deployments are removed later", reason=error.cause)
        else:
            if entries or deployments:
                _log.info("old entries and deployments removed", entries=entries, deployments=deployments)
        await asyncio.sleep(EVERY)
