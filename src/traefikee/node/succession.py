"""Noticing at once that the leader's process is gone, instead of waiting for its lease to end.

Every other control node holds a stream to the leader open. When it breaks and the leader's port refuses connections,
its process has ended (a cut network does not refuse, it is silent): the leadership is taken from it. The fencing of the
leader's writes makes that safe even if it was wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from traefikee import log
from traefikee.cluster.election import depose
from traefikee.cluster.joining import own_pair
from traefikee.cluster.mirror import Mirror
from traefikee.cluster.peers import Peer
from traefikee.cluster.state import ClusterState
from traefikee.cluster.store import Store
from traefikee.errors import TraefikeeError, UnreachableError
from traefikee.node.statedir import Identity

PAUSE = 0.15
REFUSALS = 2
"""Refused connections in a row that say that the process is gone, and not that it restarts its engine."""
SILENCE = 8.0

_log = log.get("succession")


async def watch_leader(store: Store, mirror: Mirror, own: Callable[[], Identity]) -> None:
    """Depose leaders whose process has ended, for ever.

    :param own: this node's identity, with the certificate that it has by then.
    """
    while True:
        seen = await mirror.wait_for(lambda now: now.leader is not None and now.leader != own().id)
        node = seen.node(seen.leader or "")
        if node is None:
            await asyncio.sleep(PAUSE)
            continue
        creation = seen.leader_creation
        watching = asyncio.ensure_future(_until_gone(node.record.advertise, own))
        changing = asyncio.ensure_future(mirror.wait_for(lambda now, was=creation: now.leader_creation != was))  # type: ignore[misc]
        try:
            await asyncio.wait({watching, changing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (watching, changing):
                task.cancel()
            results = await asyncio.gather(watching, changing, return_exceptions=True)
        if results[0] is True:
            await _take_leadership(store, mirror, seen, node.record.name)


async def _take_leadership(store: Store, mirror: Mirror, seen: ClusterState, name: str) -> None:
    """Insist until the store has answered: it may be electing a leader of its own just now."""
    while mirror.state.leader_creation == seen.leader_creation:
        with contextlib.suppress(UnreachableError):
            if await depose(store, seen):
                _log.warning("the leader's process is gone; it is deposed", leader=name)
            return
        await asyncio.sleep(PAUSE)


async def _until_gone(address: str, own: Callable[[], Identity]) -> bool:
    """Return True when the process behind the address has ended; anything else is tried again."""
    refusals = 0
    while True:
        identity = own()
        async with Peer(address, identity.ca_pem, own_pair(identity)) as peer:
            while own() is identity:
                try:
                    async for _ in peer.stream("GET", "/v1/pulse", silence=SILENCE):
                        refusals = 0
                except TraefikeeError as error:
                    refusals = refusals + 1 if error.kind == "refused_connection" else 0
                    if refusals >= REFUSALS:
                        return True
                await asyncio.sleep(PAUSE)
