"""How the lines of many nodes become one stream."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cluster.support_state import cluster, control, data

from traefikee.cluster.mirror import Mirror
from traefikee.cluster.state import Node
from traefikee.cluster.store import Store
from traefikee.errors import RefusedError, UnreachableError
from traefikee.log_lines import Batch, Line, Query, Ring, now
from traefikee.node import log_collecting, log_desk, log_reading
from traefikee.node.engine import Engine
from traefikee.node.log_collecting import Collector, Newest, Sources
from traefikee.node.log_desk import LogDesk
from traefikee.node.log_reading import Reader
from traefikee.node.log_sending import PART_BYTES, LogSender, parts
from traefikee.node.statedir import Identity

CONTROL, DATA, OTHER = "id-c", "id-d", "id-e"


def line(at: int, message: str = "", level: str = "info") -> Line:
    return Line(at=f"2026-11-28T10:00:00.{at:06}Z", level=level, message=message or str(at))


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await body()

    asyncio.run(bounded())


class FakeEngine(Engine):
    """An engine's newest lines."""

    def __init__(self) -> None:
        super().__init__(Path("/nowhere"))
        self.run, self.lines = "a", list[dict[str, Any]]()

    async def logs(self, after: int) -> Mapping[str, Any]:
        """As the engine answers."""
        return {"run": self.run, "last": len(self.lines), "lost": 0, "lines": self.lines[after:]}

    def say(self, at: int, message: str) -> None:
        self.lines.append({"timestamp": line(at).at, "level": "INFO", "message": message})


class FakePeer:
    """The control node, as a data node's agent reaches it."""

    def __init__(self, desk: LogDesk, identity: str) -> None:
        self.desk, self.identity = desk, identity

    async def request(self, method: str, path: str, body: Any = None) -> Any:
        """Post lines."""
        assert (method, path[:9]) == ("POST", "/v1/logs/")
        return {"more": await self.desk.take(self.identity, path[9:], Batch.model_validate(body))}


class DataNode:
    """A data node that is connected to a desk, with a ring of its own."""

    def __init__(self, desk: LogDesk, identity: str = DATA) -> None:
        self.desk, self.identity, self.ring = desk, identity, Ring()
        self.sender = LogSender(Reader(ring=self.ring))

    async def connected(self) -> None:
        """Hold the stream until cancelled."""
        with self.desk.stream(self.identity) as orders:
            try:
                while True:
                    await asyncio.sleep(0.005)
                    while orders:
                        self.sender.begin(FakePeer(self.desk, self.identity), orders.popleft())  # type: ignore[arg-type]
            finally:
                await self.sender.end()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for new lines often."""
    monkeypatch.setattr(log_reading, "POLL", 0.01)
    monkeypatch.setattr(log_collecting, "BEAT", 0.05)
    monkeypatch.setattr(log_collecting, "WINDOW", 0.02)
    monkeypatch.setattr(log_collecting, "DEADLINE", 1.0)


def test_agent_and_engine_are_one_log() -> None:
    async def body() -> None:
        ring, engine = Ring(), FakeEngine()
        ring.push(line(1))
        engine.say(2, "engine")
        ring.push(line(3))
        read = Reader(engine, ring).read(Query(follow=True))

        async def next_messages() -> list[str]:
            async for batch in read:
                if batch.lines or batch.caught_up:
                    return [one.message for one in batch.lines]
            return []

        assert await next_messages() == ["1", "engine", "3"]
        engine.say(5, "more")
        assert await next_messages() == ["more"]
        # Another engine takes over, whose lines are counted anew.
        engine.run, engine.lines = "b", []
        engine.say(6, "first of the other")
        assert await next_messages() == ["first of the other"]
        await read.aclose()
        await engine.close()

    run(body)


def test_an_engine_that_is_gone_hides_nothing_of_the_agent() -> None:
    async def body() -> None:
        ring = Ring()
        ring.push(line(1))
        async with asyncio.timeout(5):
            batches = [batch async for batch in Reader(Engine(Path("/nowhere")), ring).read(Query())]
        assert [one.message for one in batches[0].lines] == ["1"]

    run(body)


def test_a_data_node_is_asked_and_forgotten() -> None:
    async def body() -> None:
        desk = LogDesk()
        with pytest.raises(UnreachableError, match="is not connected"):
            await anext(desk.ask(DATA, Query()))
        node = DataNode(desk)
        for number in range(5):
            node.ring.push(line(number))
        stream = asyncio.create_task(node.connected())
        await asyncio.sleep(0.02)
        batches = [batch async for batch in desk.ask(DATA, Query(tail=2))]
        assert [one.message for batch in batches for one in batch.lines] == ["3", "4"]
        follower = desk.ask(DATA, Query(follow=True, tail=0))
        assert (await anext(follower)).caught_up
        node.ring.push(line(9))
        assert (await anext(follower)).lines == (line(9),)
        assert len(desk._wishes) == 1
        await follower.aclose()
        assert not desk._wishes
        # The next line finds nobody.
        node.ring.push(line(10))
        await asyncio.wait(node.sender._tasks, timeout=10)
        assert not node.sender._tasks
        stream.cancel()

    run(body)


def test_a_broken_connection_is_told() -> None:
    async def body() -> None:
        desk = LogDesk()
        stream = asyncio.create_task(DataNode(desk).connected())
        await asyncio.sleep(0.02)
        follower = desk.ask(DATA, Query(follow=True))
        await anext(follower)
        stream.cancel()
        with pytest.raises(UnreachableError, match="its connection to the control plane ended"):
            await anext(follower)
        assert not desk._wishes
        assert not desk.connected

    run(body)


def test_nobody_else_answers_for_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_desk, "PATIENCE", 0.05)

    async def body() -> None:
        desk = LogDesk()
        with desk.stream(DATA) as orders:
            follower = desk.ask(DATA, Query(follow=True))
            waiting = asyncio.ensure_future(anext(follower))
            await asyncio.sleep(0.01)
            name = orders[0]["id"]
            with pytest.raises(RefusedError, match="another node was asked"):
                await desk.take(OTHER, name, Batch())
            assert not await desk.take(DATA, "made-up", Batch())
            assert await desk.take(DATA, name, Batch(lines=(line(1),)))
            assert (await waiting).lines == (line(1),)
            # A reader that takes nothing: so many wait, and no more.
            taken = [await desk.take(DATA, name, Batch(lines=(line(n),))) for n in range(log_desk.WAITING + 1)]
            assert taken == [True] * log_desk.WAITING + [False]
            await follower.aclose()
            assert not await desk.take(DATA, name, Batch())

    run(body)


def test_batches_fit_into_requests() -> None:
    lines = tuple(line(n, "x" * 1000) for n in range(700))
    made = list(parts(Batch(lines=lines, caught_up=True, lost=4)))
    assert tuple(one for part in made for one in part.lines) == lines
    assert [part.caught_up for part in made] == [False] * (len(made) - 1) + [True]
    assert [part.lost for part in made] == [4] + [0] * (len(made) - 1)
    assert all(sum(one.size for one in part.lines) <= PART_BYTES for part in made)
    assert list(parts(Batch())) == [Batch()]


def test_the_newest_of_all_are_kept_in_order() -> None:
    newest = Newest(3, 10_000)
    newest.add("a", [line(1), line(4), line(5)])
    newest.add("b", [line(2), line(3)])
    assert [(node, one.message) for node, one in newest.take()] == [("b", "3"), ("a", "4"), ("a", "5")]
    assert newest.take() == []
    small = Newest(1000, 1_000)
    small.add("a", [line(n, "x" * 300) for n in range(10)])
    assert [one.at[-3:-1] for _, one in small.take()] == ["08", "09"]


class Setting:
    """A control node with a data node, and what it collects."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, down: bool = False, connected: bool = True) -> None:
        self.ring, self.desk = Ring(), LogDesk()
        self.node = DataNode(self.desk)
        self.sources = Sources(CONTROL, Reader(ring=self.ring), self.desk)
        mirror = Mirror(Store(Path("/nowhere")))
        records = [control("c"), data("d")], [data("gone")] if down else []
        mirror.state = cluster(*records, leader="c")
        identity = Identity.model_construct(None, id=CONTROL, name="c")  # type: ignore[call-arg]
        self.collector = Collector(identity, mirror, self.sources)
        self.stream = asyncio.create_task(self.node.connected()) if connected else None

    async def read(self, *names: str, **query: Any) -> list[Mapping[str, Any]]:
        """Everything that is told but beats."""
        await asyncio.sleep(0.02)
        events = self.collector.read(names, Query(**query))
        found = [event async for event in events if event["event"] != "beat"]
        assert self.sources._readers == 0
        return found


def shown(events: list[Mapping[str, Any]]) -> list[str]:
    return [f"{one['node']} {one['message']}" for one in events if one["event"] == "line"]


def test_all_nodes_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        setting = Setting(monkeypatch, down=True)
        for number in (1, 3, 5):
            setting.ring.push(line(number))
        for number in (2, 4):
            setting.node.ring.push(line(number, level="error"))
        events = await setting.read()
        assert shown(events) == ["c 1", "d 2", "c 3", "d 4", "c 5"]
        assert events[-1] == {"event": "problem", "node": "gone", "message": "it is DOWN"}
        assert shown(await setting.read(tail=2)) == ["d 4", "c 5"]
        assert shown(await setting.read("d")) == ["d 2", "d 4"]
        assert shown(await setting.read(level="error", tail=1)) == ["d 4"]
        with pytest.raises(RefusedError, match='there is no node "dd"; did you mean "d"'):
            setting.collector.choose(["dd"])
        assert setting.stream is not None
        setting.stream.cancel()

    run(body)


def test_a_node_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        setting = Setting(monkeypatch, connected=False)
        setting.ring.push(line(1))
        events = await setting.read()
        assert shown(events) == ["c 1"]
        assert events[-1] == {"event": "problem", "node": "d", "message": "it did not answer in time"}

    run(body)


def test_followers_hear_what_comes_also_of_who_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        setting = Setting(monkeypatch)
        setting.node.ring.push(line(1))
        setting.ring.push(line(2))
        await asyncio.sleep(0.02)
        events = setting.collector.read((), Query(follow=True, tail=1))

        async def until(wanted: str) -> list[str]:
            found = []
            async for event in events:
                if event["event"] in ("line", "problem"):
                    found.append(f"{event['node']} {event['message']}")
                    if found[-1] == wanted:
                        return found
            return found

        assert await until("c 2") == ["c 2"]
        setting.node.ring.push(line(3))
        assert await until("d 3") == ["d 3"]
        assert setting.stream is not None
        setting.stream.cancel()
        assert (await until("d its connection to the control plane ended"))[0].startswith("d ")
        setting.node.ring.push(line(4))
        setting.stream = asyncio.create_task(setting.node.connected())
        assert await until("d 4") == ["d 4"], "nothing twice, nothing left out"
        setting.ring.push(line(5))
        await until("c 5")
        assert isinstance(events, AsyncGenerator)
        await events.aclose()
        assert (setting.sources._readers, setting.desk._wishes) == (0, {})
        setting.stream.cancel()

    run(body)


class TwoControlNodes(Collector):
    """A collector that reaches the other control node without a network."""

    other: Sources

    async def _relayed(
        self, node: Node, wanted: tuple[str, ...] | None, query: Query
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        sources = self._sources if node.record.id == CONTROL else self.other
        async for event in sources.read(wanted, query):
            yield event


def test_a_data_node_that_moves_to_another_control_node_is_heard_on() -> None:
    async def body() -> None:
        first, second, ring = LogDesk(), LogDesk(), Ring()
        mirror = Mirror(Store(Path("/nowhere")))
        mirror.state = cluster([control("c"), control("c2"), data("d")], leader="c")
        collector = TwoControlNodes(
            Identity.model_construct(None, id=CONTROL, name="c"),  # type: ignore[call-arg]
            mirror,
            Sources(CONTROL, Reader(ring=Ring()), first),
        )
        collector.other = Sources("id-c2", Reader(ring=Ring()), second)
        before, after = DataNode(first), DataNode(second)
        before.ring = after.ring = ring
        before.sender, after.sender = LogSender(Reader(ring=ring)), LogSender(Reader(ring=ring))
        for number in (1, 2):
            ring.push(line(number))
        stream = asyncio.create_task(before.connected())
        await asyncio.sleep(0.02)
        events = collector.read((), Query(follow=True, tail=10))
        heard: list[str] = []

        async def until(message: str) -> None:
            async for event in events:
                if event["event"] == "line":
                    heard.append(event["message"])
                    if heard[-1] == message:
                        return

        await until("2")
        stream.cancel()
        ring.push(line(3))
        stream = asyncio.create_task(after.connected())
        await asyncio.sleep(0.1)
        ring.push(Line(at=now(), level="info", message="4"))
        await until("4")
        assert heard[:2] == ["1", "2"]
        assert heard.count("2") == 1, "what was told is not told again"
        stream.cancel()
        assert isinstance(events, AsyncGenerator)
        await events.aclose()

    run(body)


def test_readers_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_collecting, "MOST_READERS", 1)

    async def body() -> None:
        sources = Sources(CONTROL, Reader(ring=Ring()), LogDesk())
        first = sources.read(None, Query(follow=True))
        await anext(first)
        with pytest.raises(UnreachableError, match="1 readers of logs are served already"):
            await anext(sources.read(None, Query()))
        await first.aclose()
        await anext(sources.read(None, Query()))

    run(body)
