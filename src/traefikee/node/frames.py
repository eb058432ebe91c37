"""The published snapshot's changes in memory, so that a thousand data nodes cost the store one reading."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from traefikee.cluster.records import Link
from traefikee.node.publishing import SnapshotStore


class Frames:
    """Keeps the packed changes of one chain, each read when it is first asked for.

    What no longer belongs to the chain is let go: the memory is that of what is published.
    """

    def __init__(self, snapshots: SnapshotStore) -> None:
        self._snapshots = snapshots
        self._reading: dict[str, asyncio.Task[bytes]] = {}

    async def get(self, chain: Sequence[Link], first: int = 0) -> bytes:
        """Return the packed changes of a chain from one of its links on, in one.

        :raises UnreachableError: as :meth:`read`.
        """
        return b"".join(await self.read(chain, first))

    async def read(self, chain: Sequence[Link], first: int = 0) -> list[bytes]:
        """Return the packed changes of a chain from one of its links on.

        :param chain: the whole chain, as it is published now.
        :raises UnreachableError: if one is not (no longer) there whole.
        """
        current = {link.blob for link in chain}
        for blob in [one for one in self._reading if one not in current]:
            # Who still waits for it goes on waiting.
            del self._reading[blob]
        return [await self._one(link) for link in chain[first:]]

    async def _one(self, link: Link) -> bytes:
        reading = self._reading.get(link.blob)
        if reading is None or (reading.done() and (reading.cancelled() or reading.exception() is not None)):
            reading = self._reading[link.blob] = asyncio.create_task(self._snapshots.frames([link]))
            reading.add_done_callback(_look_at_failure)
        # A caller that goes away must not take the reading from the others.
        return await asyncio.shield(reading)


def _look_at_failure(reading: asyncio.Task[bytes]) -> None:
    """If all who waited have gone meanwhile, nobody else looks at how it ended, and asyncio logs that as a defect."""
    if not reading.cancelled():
        reading.exception()
