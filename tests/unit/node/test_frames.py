"""The published changes in memory."""

import asyncio
import gc
from collections.abc import Sequence
from typing import Any

import pytest

from traefikee.cluster.records import Link
from traefikee.errors import UnreachableError
from traefikee.node.frames import Frames


def link(name: str) -> Link:
    return Link(name=name, blob=f"blob-{name}", parts=1, size=1)


class Slow:
    """A snapshot store that answers when it is told to."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self.answers = asyncio.Event()
        self.gone = False

    async def frames(self, links: Sequence[Link]) -> bytes:
        self.read += [one.name for one in links]
        await self.answers.wait()
        if self.gone:
            raise UnreachableError("gone", kind="superseded")
        return b"".join(one.name.encode() for one in links)


def test_each_change_is_read_once_for_all_who_ask() -> None:
    async def main() -> None:
        slow = Slow()
        as_store: Any = slow
        frames = Frames(as_store)
        chain = [link("a"), link("b")]
        asking = [asyncio.ensure_future(frames.get(chain, first)) for first in (0, 1, 0, 1)]
        leaving = asyncio.ensure_future(frames.get(chain))
        await asyncio.sleep(0.01)
        leaving.cancel()
        slow.answers.set()
        assert await asyncio.gather(*asking) == [b"ab", b"b", b"ab", b"b"]
        assert sorted(slow.read) == ["a", "b"]
        chain.append(link("c"))
        assert await frames.get(chain, 2) == b"c"
        assert await frames.get([link("d")]) == b"d"
        assert await frames.get(chain, 2) == b"c"
        assert slow.read[2:] == ["c", "d", "c"], "what is no longer published is let go"

    asyncio.run(main())


def test_a_reading_that_failed_is_tried_again() -> None:
    async def main() -> None:
        slow = Slow()
        slow.gone = True
        slow.answers.set()
        as_store: Any = slow
        frames = Frames(as_store)
        with pytest.raises(UnreachableError):
            await frames.get([link("a")])
        slow.gone = False
        assert await frames.get([link("a")]) == b"a"

    asyncio.run(main())


def test_a_reading_that_fails_when_all_have_gone_is_no_defect() -> None:
    complaints: list[str] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["message"]))
        slow = Slow()
        slow.gone = True
        as_store: Any = slow
        frames = Frames(as_store)
        leaving = asyncio.ensure_future(frames.get([link("a")]))
        await asyncio.sleep(0.01)
        leaving.cancel()
        slow.answers.set()
        await asyncio.sleep(0.01)
        del frames
        gc.collect()

    asyncio.run(main())
    assert complaints == []
