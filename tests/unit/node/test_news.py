"""What streams to data nodes say, and when."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from tests.unit.cluster.support_state import cluster, control, data

from traefikee.api.cluster import announcement, spread
from traefikee.cluster import state
from traefikee.cluster.mirror import Mirror
from traefikee.cluster.records import Pointer, Report
from traefikee.cluster.state import ClusterState
from traefikee.cluster.store import KeyValue
from traefikee.node.news import News


def publish(seen: ClusterState, revision: int) -> ClusterState:
    value = Pointer(revision=revision, config=1).stored()
    return state.advance(seen, seen.revision + 1, [(state.SNAPSHOT, KeyValue(state.SNAPSHOT, value, 1, 1))])


async def line(stream: AsyncIterator[bytes]) -> dict[str, Any]:
    async with asyncio.timeout(5):
        said: dict[str, Any] = json.loads(await anext(stream))
    return said


async def ended(stream: AsyncIterator[bytes]) -> bool:
    """Wait for a stream's next line, or its end."""
    return await anext(stream, b"") == b""


class Held:
    """A mirror that is told its states, and news over it."""

    def __init__(self) -> None:
        nowhere: Any = None
        self.mirror = Mirror(nowhere)
        self.mirror.state = cluster([control("a"), data("d"), data("e")])
        self.asked = self.prepared = 0
        self.news = News(self.mirror, self.announce, self.prepare)
        self.task = asyncio.create_task(self.news.run())

    async def prepare(self, seen: ClusterState) -> None:
        self.prepared = seen.pointer.revision if seen.pointer else 0

    def announce(self, seen: ClusterState, identity: str) -> dict[str, Any]:
        self.asked += 1
        return {**announcement(seen, identity), "you": identity}

    async def becomes(self, now: ClusterState) -> None:
        await self.mirror._set(now)
        await asyncio.sleep(0)
        await asyncio.sleep(0.01)


def test_a_stream_tells_what_is_and_what_changes_and_beats_meanwhile() -> None:
    async def main() -> None:
        held = Held()
        goes_on = [True]
        stream = held.news.lines("id-d", 0.05, lambda: goes_on[0])
        first = await line(stream)
        assert (first["event"], first["you"], first["revision"]) == ("cluster", "id-d", 0)
        assert (await line(stream)) == {"event": "unchanged"}
        await held.becomes(publish(held.mirror.state, 5))
        assert (await line(stream))["revision"] == held.prepared == 5
        assert (await line(stream)) == {"event": "unchanged"}
        goes_on[0] = False
        assert [one async for one in stream] == [], "without a quorum it ends"
        assert len(held.news) == 0
        held.task.cancel()

    asyncio.run(main())


def test_a_report_wakes_nobody() -> None:
    async def main() -> None:
        held = Held()
        streams = [held.news.lines(one, 60, lambda: True) for one in ("id-d", "id-e")]
        for stream in streams:
            await line(stream)
        await asyncio.sleep(0.01)
        asked = held.asked
        key = state.ALIVE + "id-d"
        report = KeyValue(key, Report(agent_version="1", revision=4).stored(), 1, 8)
        await held.becomes(state.advance(held.mirror.state, 8, [(key, report)]))
        assert held.asked == asked
        waiting = [asyncio.ensure_future(line(stream)) for stream in streams]
        await asyncio.sleep(0.01)
        await held.becomes(publish(held.mirror.state, 5))
        assert [one["revision"] for one in await asyncio.gather(*waiting)] == [5, 5]
        held.task.cancel()

    asyncio.run(main())


def test_many_data_nodes_are_told_not_to_come_all_at_once() -> None:
    assert (spread(2), spread(24), spread(100), spread(1000), spread(10_000)) == (0.0, 0.0, 0.2, 2.0, 2.0)


def test_streams_that_are_let_go_end() -> None:
    async def main() -> None:
        held = Held()
        streams = [held.news.lines(f"id-{number}", 60, lambda: True) for number in range(5)]
        for stream in streams:
            await line(stream)
        held.news.let_go(2)
        following = [asyncio.ensure_future(ended(stream)) for stream in streams]
        done, _ = await asyncio.wait(following, timeout=0.05)
        assert [one.result() for one in done] == [True, True]
        assert len(held.news) == 3
        held.news.let_go(50)
        assert await asyncio.gather(*following) == [True] * 5
        held.task.cancel()

    asyncio.run(main())
