"""Whose files are looked after: also those of nodes that give no sign of life, if they answer."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from traefikee.cluster.upkeep import Size
from traefikee.errors import UnreachableError
from traefikee.node.store_upkeep import tend

MB = 1 << 20
WELL = Size(member=1, file=1 * MB, used=1 * MB, quota=16 * MB, revision=50, alarm=True)


class File:
    """A member's file, of a store that is full."""

    def __init__(self, size: Size, *, away: bool, answers: bool = True) -> None:
        self.away = away
        self._answers = answers
        self._size = size

    async def size(self) -> Size:
        if not self._answers:
            raise UnreachableError("it does not answer")
        return self._size

    async def defragment(self) -> None:
        self._size = replace(self._size, file=self._size.used)


class Full:
    """A store that is full: notes what is done with it."""

    def __init__(self) -> None:
        self.done: list[str] = []

    async def compact(self, revision: int) -> None:
        self.done.append(f"compacted until {revision}")

    async def disarm(self) -> None:
        self.done.append("disarmed")


def tended(*members: File) -> tuple[list[str], list[int]]:
    """What is done with the store, and how large the files of those that answer are then, in MiB."""
    store: Any = Full()

    async def found() -> Any:
        return members

    async def main() -> list[int]:
        await tend(store, found, 0)
        return [(await one.size()).file // MB for one in members if one._answers]

    sizes = asyncio.run(main())
    return store.done, sizes


def test_a_full_file_of_a_node_that_cannot_give_a_sign_of_life_is_defragmented_before_writes_are_taken() -> None:
    """It has just joined: its sign of life is a write, and its file is why none is taken."""
    joined = File(replace(WELL, member=2, file=17 * MB), away=True)
    assert tended(File(WELL, away=False), joined) == (["compacted until 50", "disarmed"], [1, 1])


def test_who_is_away_and_does_not_answer_keeps_nobody_from_looking_after_the_others() -> None:
    gone = File(replace(WELL, member=2, file=17 * MB), away=True, answers=False)
    assert tended(File(replace(WELL, file=12 * MB), away=False), gone) == (["compacted until 50", "disarmed"], [1])


def test_who_lives_and_does_not_answer_is_waited_for() -> None:
    with pytest.raises(UnreachableError):
        tended(File(WELL, away=False), File(WELL, away=False, answers=False))
