"""Lines of many nodes as one stream: each control node tells its own and those of the data nodes connected to it, and
the one that is asked puts together what all of them tell.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from traefikee.cluster.joining import own_pair
from traefikee.cluster.messages import BEAT
from traefikee.cluster.mirror import Mirror
from traefikee.cluster.peers import Peer
from traefikee.cluster.roles import Role
from traefikee.cluster.state import ClusterState, Node
from traefikee.config.errors import did_you_mean
from traefikee.errors import RefusedError, TraefikeeError, UnreachableError
from traefikee.log_lines import Batch, Line, Query
from traefikee.node.log_desk import LogDesk
from traefikee.node.log_reading import Reader
from traefikee.node.statedir import Identity

DEADLINE = 5.0
"""Seconds that nodes may take until they have sent what there is."""
WINDOW = 0.25
"""Seconds in which lines that come are put into the order of their times."""
MOST_READERS = 16
"""Who may read at the same time through one control node."""
MOST_LINES = 10_000
MOST_BYTES = 16 << 20
"""What is kept until it is in order."""

Event = Mapping[str, Any]


class LogRequest(BaseModel):
    """``POST /v1/logs`` on ``:4242``: which lines another control node wants of this one and its data nodes.

    :ivar nodes: ids; None for all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    nodes: tuple[str, ...] | None = None
    query: Query


class Newest:
    """Lines with their nodes, the newest of them, in the order of their times."""

    def __init__(self, most_lines: int = MOST_LINES, most_bytes: int = MOST_BYTES) -> None:
        self._most = (most_lines, most_bytes)
        self._heap: list[tuple[str, int, str, Line]] = []
        self._bytes = 0
        self._count = 0

    def add(self, node: str, lines: Iterable[Line]) -> None:
        """Add lines of a node; the oldest of all make room."""
        most_lines, most_bytes = self._most
        for line in lines:
            self._count += 1
            heapq.heappush(self._heap, (line.at, self._count, node, line))
            self._bytes += line.size
            while self._heap and (len(self._heap) > most_lines or self._bytes > most_bytes):
                self._bytes -= heapq.heappop(self._heap)[3].size

    def take(self) -> list[tuple[str, Line]]:
        """Return what there is, and forget it."""
        found = [(node, line) for _, _, node, line in sorted(self._heap)]
        self._heap, self._bytes = [], 0
        return found


class _Pumps:
    """Streams of events that are read at the same time, each by a task of its own, into one bounded queue."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Event] = asyncio.Queue(32)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._tasks

    def __len__(self) -> int:
        return len(self._tasks)

    def begin(self, name: str, events: AsyncGenerator[Event, None]) -> None:
        """Begin to read a stream; its end, and what broke it, becomes an event of its own."""
        self._tasks[name] = asyncio.create_task(self._pump(name, events), name=f"log lines of {name}")

    async def _pump(self, name: str, events: AsyncGenerator[Event, None]) -> None:
        reason = ""
        try:
            async with contextlib.aclosing(events):
                async for event in events:
                    await self.queue.put(event)
        except TraefikeeError as error:
            reason = error.cause
        self._tasks.pop(name, None)
        await self.queue.put({"event": "ended", "of": name, "reason": reason})

    async def next(self, seconds: float) -> Event | None:
        """Return the next event, or None if there is none within some seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                return await self.queue.get()
        return None

    async def end(self) -> None:
        """Read nothing any more."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Sources:
    """What one control node can tell: its own lines, and those of the data nodes whose streams it holds."""

    def __init__(self, identity: str, reader: Reader, desk: LogDesk) -> None:
        self._id = identity
        self._reader = reader
        self._desk = desk
        self._readers = 0

    async def read(self, wanted: Collection[str] | None, query: Query) -> AsyncGenerator[Event, None]:
        """Yield ``lines`` (``node``, ``batch``), ``failed`` (``node``, ``message``) and, every now and then, ``beat``.

        :param wanted: ids of nodes, or None for all.
        :raises UnreachableError: if too many read at the same time.
        """
        if self._readers >= MOST_READERS:
            raise UnreachableError(f"{MOST_READERS} readers of logs are served already", kind="busy")
        self._readers += 1
        pumps = _Pumps()
        last: dict[str, str] = {}
        asked: set[str] = set()

        def begin() -> None:
            for node in {self._id, *self._desk.connected}:
                if (wanted is None or node in wanted) and node not in pumps and (query.follow or node not in asked):
                    # Whoever comes back goes on where it was.
                    again = {"since": last[node]} if node in last else {}
                    pumps.begin(node, self._one(node, query.model_copy(update=again)))
                    asked.add(node)

        loop = asyncio.get_running_loop()
        until = loop.time() + DEADLINE
        beat = loop.time() + BEAT
        try:
            begin()
            while query.follow or (len(pumps) or not pumps.queue.empty()):
                event = await pumps.next(beat - loop.time())
                if event is None:
                    beat = loop.time() + BEAT
                    begin()
                    yield {"event": "beat"}
                elif event["event"] == "ended":
                    if event["reason"]:
                        yield {"event": "failed", "node": event["of"], "message": event["reason"]}
                else:
                    lines = event["batch"]["lines"]
                    if lines:
                        last[event["node"]] = lines[-1]["at"]
                    yield event
                if not query.follow and loop.time() > until:
                    return
        finally:
            self._readers -= 1
            await pumps.end()

    async def _one(self, node: str, query: Query) -> AsyncGenerator[Event, None]:
        batches = self._reader.read(query) if node == self._id else self._desk.ask(node, query)
        async with contextlib.aclosing(batches):
            async for batch in batches:
                if batch.lines or batch.lost or batch.caught_up:
                    yield {"event": "lines", "node": node, "batch": batch.model_dump(mode="json")}


class Collector:
    """Puts together what all control nodes tell."""

    def __init__(self, identity: Identity, mirror: Mirror, sources: Sources) -> None:
        self._identity = identity
        self._mirror = mirror
        self._sources = sources

    def choose(self, names: Collection[str]) -> dict[str, Node]:
        """Return the nodes of these names, or all, by their ids.

        :raises RefusedError: if one is not in the list.
        """
        seen = self._mirror.state
        known = {node.record.name: node for node in seen.nodes}
        for name in names:
            if name not in known:
                raise RefusedError(
                    f'there is no node "{name}"{did_you_mean(name, known)}', "see list-nodes", kind="unknown"
                )
        return {node.record.id: node for name, node in known.items() if not names or name in names}

    async def read(self, chosen: Mapping[str, Node], query: Query) -> AsyncIterator[Event]:
        """Yield ``line`` (a :class:`Line` with ``node``), ``lost``, ``problem`` and ``beat``.

        First what there is, in the order of time, and what kept nodes from telling; then, if wanted, what comes.
        """
        pumps = _Pumps()
        names = {identity: node.record.name for identity, node in chosen.items()}
        told: dict[str, str] = {}
        last = query.since

        def begin() -> None:
            for node in _to_ask(self._mirror.state, chosen):
                if node.record.id not in pumps:
                    now = query.model_copy(update={"since": last})
                    pumps.begin(node.record.id, self._relayed(node, frozenset(chosen), now))

        try:
            begin()
            newest = Newest(min(query.tail, MOST_LINES))
            missing = {one for one, node in chosen.items() if node.ready}
            loop = asyncio.get_running_loop()
            until = loop.time() + DEADLINE + 1
            lost: list[Event] = []
            while (len(pumps) or not pumps.queue.empty()) and missing and loop.time() < until:
                event = await pumps.next(min(BEAT, until - loop.time()))
                if event is None:
                    yield {"event": "beat"}
                    continue
                node, batch = _batch(event, told)
                if batch is not None and node in names:
                    newest.add(node, batch.lines)
                    told.pop(node, None)
                    if batch.lost:
                        lost.append({"event": "lost", "node": names[node], "count": batch.lost})
                    if batch.caught_up:
                        missing.discard(node)
            for event in lost:
                yield event
            for node, line in newest.take():
                last = max(last, line.at)
                yield _shown(names[node], line)
            for identity, one in chosen.items():
                if not one.ready:
                    yield {"event": "problem", "node": one.record.name, "message": f"it is {one.status}"}
                elif identity in missing:
                    message = told.get(identity, "it did not answer in time")
                    yield {"event": "problem", "node": one.record.name, "message": message}
            if not query.follow:
                return
            async for event in self._follow(pumps, names, begin):
                if event["event"] == "line":
                    last = max(last, event["at"])
                yield event
        finally:
            await pumps.end()

    async def _follow(self, pumps: _Pumps, names: Mapping[str, str], begin: Callable[[], None]) -> AsyncIterator[Event]:
        loop = asyncio.get_running_loop()
        beat = loop.time() + BEAT
        while True:
            newest, told = Newest(), dict[str, str]()
            event = await pumps.next(beat - loop.time())
            until = loop.time() + WINDOW
            while event is not None:
                node, batch = _batch(event, told)
                if batch is not None and node in names:
                    newest.add(node, batch.lines)
                    if batch.lost:
                        yield {"event": "lost", "node": names[node], "count": batch.lost}
                event = await pumps.next(until - loop.time())
            for node, line in newest.take():
                yield _shown(names[node], line)
            for node, reason in told.items():
                if node in names:
                    yield {"event": "problem", "node": names[node], "message": reason}
            if loop.time() >= beat:
                beat = loop.time() + BEAT
                # Control nodes that came, or came back.
                begin()
                yield {"event": "beat"}

    async def _relayed(self, node: Node, wanted: frozenset[str], query: Query) -> AsyncGenerator[Event, None]:
        if node.record.id == self._identity.id:
            async with contextlib.aclosing(self._sources.read(wanted, query)) as events:
                async for event in events:
                    yield event
            return
        body = LogRequest(nodes=tuple(sorted(wanted)), query=query).model_dump(mode="json")
        async with Peer(node.record.advertise, self._identity.ca_pem, own_pair(self._identity)) as peer:
            async for event in peer.stream("POST", "/v1/logs", body):
                yield event


def _to_ask(seen: ClusterState, chosen: Mapping[str, Node]) -> list[Node]:
    """Return the control nodes that may know something: all of them, if a data node is wanted."""
    control = [node for node in seen.with_role(Role.CONTROL) if node.ready]
    if any(node.record.role is Role.DATA for node in chosen.values()):
        return control
    return [node for node in control if node.record.id in chosen]


def _batch(event: Event, told: dict[str, str]) -> tuple[str, Batch | None]:
    """Return the node and the lines of an event; what it says of a failure is noted."""
    match event.get("event"):
        case "lines":
            try:
                return str(event.get("node")), Batch.model_validate(event.get("batch"))
            except ValidationError:
                told[str(event.get("node"))] = "what it sends cannot be read; is it of another version?"
        case "failed":
            told[str(event.get("node"))] = str(event.get("message"))
        case "ended" if event.get("reason"):
            told[str(event.get("of"))] = str(event.get("reason"))
    return "", None


def _shown(name: str, line: Line) -> Event:
    return {"event": "line", "node": name, **line.model_dump(mode="json")}
