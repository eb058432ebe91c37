"""What a data node tries again."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from traefikee.compile.changes import State
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
        self._good = State()
        self._applied = None
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
