"""What data nodes are told as it changes: made once for each change, and only those are woken whose news it is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any

from traefikee.cluster.mirror import Mirror
from traefikee.cluster.state import ClusterState
from traefikee.node.log_desk import LogDesk

Announce = Callable[[ClusterState, str], Mapping[str, Any]]
Prepare = Callable[[ClusterState], Awaitable[None]]
UNCHANGED = b'{"event": "unchanged"}\n'


class _Listener:
    def __init__(self, told: Mapping[str, Any]) -> None:
        self.told = told
        self.changed = asyncio.Event()
        self.let_go = False


class News:
    """The streams that this control node holds.

    :param announce: what a node, named by its id, is told of a state.
    :param prepare: called first for each state that is told.
    :param desk: what else is to be said to single nodes.
    """

    def __init__(self, mirror: Mirror, announce: Announce, prepare: Prepare, desk: LogDesk | None = None) -> None:
        self._desk = desk or LogDesk()
        self._mirror = mirror
        self._announce = announce
        self._prepare = prepare
        self._encoded: tuple[Mapping[str, Any], bytes] = ({}, b"{}\n")
        self._listeners: dict[_Listener, str] = {}

    def __len__(self) -> int:
        return len(self._listeners)

    async def run(self) -> None:
        """Wake streams for ever."""
        told = -1
        async for seen in self._mirror.states():
            if seen.news == told:
                continue
            told = seen.news
            await self._prepare(seen)
            for listener, identity in self._listeners.items():
                now = self._announce(seen, identity)
                if now != listener.told:
                    listener.told = now
                    listener.changed.set()

    def let_go(self, count: int) -> None:
        """End so many of the streams: their nodes look for another control node, or come back."""
        self._end(random.sample(list(self._listeners), min(count, len(self._listeners))))

    def let_one_go(self, identity: str) -> None:
        """End a node's streams."""
        self._end([listener for listener, one in self._listeners.items() if one == identity])

    def _end(self, listeners: Iterable[_Listener]) -> None:
        for listener in listeners:
            listener.let_go = True
            listener.changed.set()

    def _line(self, told: Mapping[str, Any]) -> bytes:
        # Most are told the same.
        if told != self._encoded[0]:
            self._encoded = told, json.dumps(told).encode() + b"\n"
        return self._encoded[1]

    @contextlib.contextmanager
    def _listening(self, identity: str) -> Iterator[_Listener]:
        listener = _Listener(self._announce(self._mirror.state, identity))
        self._listeners[listener] = identity
        try:
            yield listener
        finally:
            del self._listeners[listener]

    async def lines(self, identity: str, beat: float, goes_on: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Yield lines of JSON for one node: what it is told now, each change of it, and one every ``beat`` seconds.

        :param goes_on: asked before each line; the stream ends when it says no.
        """
        with self._listening(identity) as listener, self._desk.stream(identity, listener.changed.set) as orders:
            told: Mapping[str, Any] = {}
            while goes_on() and not listener.let_go:
                if orders:
                    yield json.dumps(orders.popleft()).encode() + b"\n"
                elif listener.told != told:
                    told = listener.told
                    yield self._line(told)
                else:
                    yield UNCHANGED
                if orders:
                    continue
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(beat):
                        await listener.changed.wait()
                listener.changed.clear()
