"""What a data node tries again."""

import asyncio
import base64
from collections.abc import Sequence
from typing import Any

import pytest

from traefikee.compile import changes
from traefikee.compile.changes import Change, Header, State
from traefikee.errors import UnreachableError
from traefikee.node import data
from traefikee.node.data import DataNode


class Told(DataNode):
    """A data node of which only what it tells its engine is real."""

    def __init__(self) -> None:
        nothing: Any = type("Nothing", (), {"hear": lambda *_: None, "get": lambda *_: ""})()
        self._journal = self._troubles = nothing
        self._changed, self._applying = asyncio.Event(), asyncio.Lock()
        self._in_engine: State | None = None
        self._heard = self._good = State()
        self._applied: int | None = None
        self._unreadable = ""
        self._refused = None
        self._to_retry: State | None = None
        self._unanswered = ""
        self.answers = True
        self.told: list[int] = []

    async def _tell_engine(self, wanted: State) -> None:
        if not self.answers:
            raise UnreachableError("the engine does not answer", kind="engine")
        self.told.append(wanted.revision)

    def _tell_manager(self) -> None:
        """There is none."""

    async def _save(self, wanted: State) -> None:
        """There is no disk."""

    async def hear(self, *revisions: int) -> None:
        """Hear of these from control nodes, each whole."""
        peer: Any = None
        for revision in revisions:
            event = {"snapshot": f"s{revision}", "revision": revision}
            frame = changes.pack(Header(base="", name=f"s{revision}", revision=revision), Change({}))
            await self._hear_of_snapshot(peer, {**event, "change": base64.b64encode(frame).decode()})

    async def tell(self, *revisions: int) -> None:
        """Put these in force, one after the other."""
        for revision in revisions:
            await self._apply_and_save(State(name=f"s{revision}", revision=revision))

    async def retry_for_a_while(self) -> None:
        """Try again what did not work, several times."""
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(self._retry_refused(), data.RETRY_REFUSED * 5)


@pytest.mark.parametrize(
    ("later", "told"),
    [((), [18]), ((17,), [17, 18]), ((18,), [18]), ((19,), [19]), ((19, 20), [19, 20])],
    ids=str,
)
def test_what_an_engine_did_not_answer_to_is_told_again_unless_a_newer_one_is_in_force(
    monkeypatch: pytest.MonkeyPatch, later: Sequence[int], told: list[int]
) -> None:
    monkeypatch.setattr(data, "RETRY_REFUSED", 0.02)

    async def main() -> list[int]:
        node = Told()
        node.answers = False
        await node.tell(18)
        node.answers = True
        await node.tell(*later)
        await node.retry_for_a_while()
        return node.told

    assert asyncio.run(main()) == told


def test_a_control_node_that_is_behind_is_not_followed_back() -> None:
    """One that is cut off from the others tells what it knows, for as long as it does not know that it is."""

    async def main() -> None:
        node = Told()
        await node.hear(10, 11, 9, 10, 11, 12)
        assert node.told == [10, 11, 12]

    asyncio.run(main())


def test_an_engine_with_something_newer_than_the_saved_snapshot_does_not_go_back_either() -> None:
    async def main() -> None:
        node = Told()
        node._heard = State("s5", 5)
        node._applied = 8
        await node.hear(7, 8)
        assert node.told == [8], "what it has is put in force once more, for the agent did not know it"

    asyncio.run(main())
