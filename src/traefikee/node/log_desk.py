"""Where a control node asks the data nodes that are connected to it for their lines, and takes what they send.

A data node listens on no port: what it is asked goes along the stream that it holds, and it posts the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from typing import Any

from traefikee.errors import RefusedError, UnreachableError
from traefikee.log_lines import Batch, Query

WAITING = 4
"""Batches that wait for a reader; whoever sends more waits, and its node forgets old lines meanwhile."""
PATIENCE = 10.0
"""Seconds that a batch may wait for a reader."""


class _Wish:
    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.batches: asyncio.Queue[Batch] = asyncio.Queue(WAITING)
        self.gone = asyncio.Event()


Orders = deque[Mapping[str, Any]]


class LogDesk:
    """The data nodes whose streams this control node holds, and who waits for lines of theirs."""

    def __init__(self) -> None:
        self._streams: dict[str, list[tuple[Orders, Callable[[], None]]]] = {}
        self._wishes: dict[str, _Wish] = {}

    @property
    def connected(self) -> frozenset[str]:
        """The ids of the data nodes that can be asked."""
        return frozenset(self._streams)

    @contextlib.contextmanager
    def stream(self, identity: str, wake: Callable[[], None] = lambda: None) -> Iterator[Orders]:
        """Register a data node's stream while it lasts; what is to be said on it appears in the result.

        :param wake: called once something is there.
        """
        orders: Orders = deque()
        self._streams.setdefault(identity, []).append((orders, wake))
        try:
            yield orders
        finally:
            streams = self._streams[identity]
            # Not by value: two streams that are told the same are still two.
            streams[:] = [one for one in streams if one[0] is not orders]
            if not streams:
                del self._streams[identity]
                for wish in self._wishes.values():
                    if wish.identity == identity:
                        wish.gone.set()

    async def ask(self, identity: str, query: Query) -> AsyncGenerator[Batch, None]:
        """Yield what a data node sends, until it has sent everything or, where more is wanted, for ever.

        :raises UnreachableError: if it is not connected here, or no more.
        """
        streams = self._streams.get(identity)
        if not streams:
            raise UnreachableError("it is not connected to this control node")
        wish = _Wish(identity)
        name = secrets.token_urlsafe(16)
        self._wishes[name] = wish
        try:
            # The newest stream: an older one may be about to break.
            orders, wake = streams[-1]
            orders.append({"event": "logs", "id": name, "query": query.model_dump(mode="json")})
            wake()
            gone = asyncio.ensure_future(wish.gone.wait())
            try:
                while True:
                    take = asyncio.ensure_future(wish.batches.get())
                    try:
                        await asyncio.wait({take, gone}, return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        if not take.done():
                            take.cancel()
                    if not take.done() or take.cancelled():
                        raise UnreachableError("its connection to the control plane ended")
                    batch = take.result()
                    yield batch
                    if batch.caught_up and not query.follow:
                        return
            finally:
                gone.cancel()
        finally:
            del self._wishes[name]

    async def take(self, identity: str, name: str, batch: Batch) -> bool:
        """Take what a data node sends; tell whether more is wanted.

        :raises RefusedError: if it was somebody else who was asked.
        """
        wish = self._wishes.get(name)
        if wish is None:
            return False
        if wish.identity != identity:
            raise RefusedError("another node was asked for these lines", kind="role")
        try:
            async with asyncio.timeout(PATIENCE):
                await wish.batches.put(batch)
        except TimeoutError:
            return False
        return name in self._wishes
