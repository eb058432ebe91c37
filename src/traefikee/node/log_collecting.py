"""Lines of many nodes as one stream: each control node tells its own and those of the data nodes connected to it, and
the one that is asked puts together what all of them tell.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Iterator, Mapping
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
from traefikee.log_lines import Batch, Line, Query, now
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

    def check(self) -> None:
        """Refuse one reader too many.

        :raises UnreachableError: if so many are served already.
        """
        if self._readers >= MOST_READERS:
            raise UnreachableError(
                f"{MOST_READERS} readers of logs are served already", "ask another control node", kind="busy"
            )

    async def read(self, wanted: Collection[str] | None, query: Query) -> AsyncGenerator[Event, None]:
        """Yield ``lines`` (``node``, ``batch``), ``failed`` (``node``, ``message``) and, every now and then, ``beat``.

        :param wanted: ids of nodes, or None for all.
        :raises UnreachableError: if too many read at the same time.
        """
        self.check()
        self._readers += 1
        pumps = _Pumps()
        last: dict[str, str] = {}
        asked: set[str] = set()

        began = now()

        def begin(*, late: bool) -> None:
            # Of who comes back, or comes later, only what is new.
            more: dict[str, Any] = {"tail": MOST_LINES} if late else {}
            for node in {self._id, *self._desk.connected}:
                if (wanted is None or node in wanted) and node not in pumps and (query.follow or node not in asked):
                    since = {"since": last.get(node, max(query.since, began))} if late else {}
                    pumps.begin(node, self._one(node, query.model_copy(update=more | since)))
                    asked.add(node)

        loop = asyncio.get_running_loop()
        until = loop.time() + DEADLINE
        beat = loop.time() + BEAT
        try:
            begin(late=False)
            while query.follow or (len(pumps) or not pumps.queue.empty()):
                event = await pumps.next(beat - loop.time())
                if event is None:
                    beat = loop.time() + BEAT
                    if query.follow:
                        begin(late=True)
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

    async def read(self, names: Collection[str], query: Query) -> AsyncIterator[Event]:
        """Yield ``line`` (a :class:`Line` with ``node``), ``lost``, ``problem`` and ``beat``.

        First what there is, in the order of time, and what kept nodes from telling; then, if wanted, what comes.

        :param names: of nodes that :meth:`choose` knows; none for all, and those to come.
        """
        chosen = self.choose(names)
        reading = _Reading(self._mirror, chosen, everyone=not names)
        pumps = _Pumps()
        since = query

        def begin() -> None:
            for node in _to_ask(self._mirror.state, chosen, everyone=not names):
                if node.record.id not in pumps:
                    pumps.begin(node.record.id, self._relayed(node, tuple(sorted(chosen)) if names else None, since))

        try:
            begin()
            loop = asyncio.get_running_loop()
            until = loop.time() + DEADLINE + 1
            newest = Newest(min(query.tail, MOST_LINES))
            missing = {one for one, node in chosen.items() if node.ready}
            while (len(pumps) or not pumps.queue.empty()) and missing and loop.time() < until:
                event = await pumps.next(min(BEAT, until - loop.time()))
                if event is None:
                    yield {"event": "beat"}
                elif reading.take(event, newest):
                    missing.discard(str(event["node"]))
            for event in reading.told(newest):
                yield event
            for identity, one in chosen.items():
                if not one.ready:
                    yield {"event": "problem", "node": one.record.name, "message": f"it is {one.status}"}
                elif identity in missing:
                    message = reading.failed.get(identity, "it did not answer in time")
                    yield {"event": "problem", "node": one.record.name, "message": message}
            if not query.follow:
                return
            since = query.model_copy(update={"since": max(query.since, now()), "tail": MOST_LINES})
            beat = loop.time() + BEAT
            while True:
                reading.failed.clear()
                newest = Newest()
                event = await pumps.next(beat - loop.time())
                until = loop.time() + WINDOW
                while event is not None:
                    reading.take(event, newest)
                    event = await pumps.next(until - loop.time()) if loop.time() < until else None
                for event in (*reading.told(newest), *reading.problems()):
                    yield event
                if loop.time() >= beat:
                    beat = loop.time() + BEAT
                    # Control nodes that came, or came back.
                    begin()
                    yield {"event": "beat"}
        finally:
            await pumps.end()

    async def _relayed(self, node: Node, wanted: tuple[str, ...] | None, query: Query) -> AsyncGenerator[Event, None]:
        if node.record.id == self._identity.id:
            async with contextlib.aclosing(self._sources.read(wanted, query)) as events:
                async for event in events:
                    yield event
            return
        body = LogRequest(nodes=wanted, query=query).model_dump(mode="json")
        async with Peer(node.record.advertise, self._identity.ca_pem, own_pair(self._identity)) as peer:
            async for event in peer.stream("POST", "/v1/logs", body):
                yield event


class _Reading:
    """What one reader has heard.

    :ivar failed: what kept nodes from telling, by their ids.
    """

    def __init__(self, mirror: Mirror, chosen: Mapping[str, Node], *, everyone: bool) -> None:
        self._mirror = mirror
        self._names = {identity: node.record.name for identity, node in chosen.items()}
        self._everyone = everyone
        self._last: dict[str, str] = {}
        self._lost: dict[str, int] = {}
        self.failed: dict[str, str] = {}

    def _name(self, identity: str) -> str:
        """Return a node's name, or an empty text if it is not wanted, or nobody knows it."""
        if self._everyone and identity not in self._names:
            node = self._mirror.state.node(identity)
            if node is not None:
                self._names[identity] = node.record.name
        return self._names.get(identity, "")

    def take(self, event: Event, newest: Newest) -> bool:
        """Note what an event tells; return whether its node has sent everything that there was."""
        node, batch = _batch(event, self.failed)
        if batch is None or not self._name(node):
            return False
        # Who comes through another control node begins with what there was.
        known = self._last.get(node, "") if batch.initial else ""
        lines = [line for line in batch.lines if line.at > known]
        if lines:
            self._last[node] = max(self._last.get(node, ""), lines[-1].at)
        newest.add(node, lines)
        self._lost[node] = self._lost.get(node, 0) + batch.lost
        self.failed.pop(node, None)
        return batch.caught_up

    def told(self, newest: Newest) -> Iterator[Event]:
        """Yield what has come, in the order of time."""
        for node, count in self._lost.items():
            if count:
                yield {"event": "lost", "node": self._name(node), "count": count}
        self._lost.clear()
        for node, line in newest.take():
            yield {"event": "line", "node": self._name(node), **line.model_dump(mode="json")}

    def problems(self) -> Iterator[Event]:
        """Yield what has kept nodes from telling more."""
        for node, reason in self.failed.items():
            if self._name(node):
                yield {"event": "problem", "node": self._name(node), "message": reason}


def _to_ask(seen: ClusterState, chosen: Mapping[str, Node], *, everyone: bool) -> list[Node]:
    """Return the control nodes that may know something: all of them, if a data node is wanted."""
    control = [node for node in seen.with_role(Role.CONTROL) if node.ready]
    if everyone or any(node.record.role is Role.DATA for node in chosen.values()):
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
