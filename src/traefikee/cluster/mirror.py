"""A local copy of the agreed state, kept up to date by a watch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

from traefikee import log
from traefikee.cluster import state
from traefikee.cluster.state import ClusterState
from traefikee.cluster.store import CompactedError, KeyValue, Store
from traefikee.errors import UnreachableError

RETRY = 0.3
"""Seconds between two tries to read a store that does not answer."""

_log = log.get("store")


class Mirror:
    """Holds the newest :class:`ClusterState` that the local store has told.

    :ivar state: the state, or an empty one before the first read.
    :ivar lost_since: monotonic time since which the store does not answer, or None.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changed = asyncio.Condition()
        self.state: ClusterState = state.from_keys(0, {})
        self.lost_since: float | None = None

    async def run(self) -> None:
        """Read and watch for ever; a lost store is retried and shown in :attr:`lost_since`."""
        while True:
            try:
                revision, found = await self._store.read_prefix(state.STATE)
                await self._set(state.from_keys(revision, {one.key: one for one in found}))
                if self.lost_since is not None:
                    _log.info("the store answers again", seconds=round(time.monotonic() - self.lost_since, 1))
                    self.lost_since = None
                async for changes in self._store.watch(state.STATE, revision + 1):
                    await self._apply(changes.revision, [(change.key, change.now) for change in changes.changes])
            except CompactedError:
                continue
            except UnreachableError as error:
                if self.lost_since is None:
                    self.lost_since = time.monotonic()
                    _log.warning("the store does not answer; what is in force stays", error=str(error))
                await asyncio.sleep(RETRY)

    async def _apply(self, revision: int, changes: list[tuple[str, KeyValue | None]]) -> None:
        if changes:
            await self._set(state.advance(self.state, revision, changes))

    async def _set(self, now: ClusterState) -> None:
        async with self._changed:
            self.state = now
            self._changed.notify_all()

    async def wait_for(self, predicate: Callable[[ClusterState], bool]) -> ClusterState:
        """Return the first state, from now on, for which the predicate holds."""
        async with self._changed:
            await self._changed.wait_for(lambda: predicate(self.state))
            return self.state

    async def states(self) -> AsyncIterator[ClusterState]:
        """Yield the present state, then the newest one after every change; states in between may be skipped."""
        seen = self.state
        yield seen
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda last=seen: self.state is not last)  # type: ignore[misc]
                seen = self.state
            yield seen
