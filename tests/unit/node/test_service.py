"""Whether a data node is in service: what is kept on disk, what the engine is told, what is reported."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.wait import wait_for

from traefikee.cluster.records import Emptying, Mark
from traefikee.errors import UnreachableError
from traefikee.node import service
from traefikee.node.engine import Problem, SnapshotRefusedError
from traefikee.node.service import FILE, Service
from traefikee.node.statedir import StateDir

MARK = Mark(by="user me", at="then")
STORED = MARK.stored().decode()


class Engine:
    """What a :class:`Service` needs of one."""

    def __init__(self) -> None:
        self.client = self
        self.drained = False
        self.accepts = True
        self.connections = 0
        self.fails: Exception | None = None

    async def drain(self) -> None:
        self._fail()
        self.accepts = False

    async def undrain(self) -> None:
        self._fail()
        self.accepts = True

    async def open(self) -> tuple[bool, int, int]:
        self._fail()
        return self.accepts, self.connections, 0

    def _fail(self) -> None:
        if self.fails is not None:
            raise self.fails


@pytest.fixture
def statedir(tmp_path: Path) -> Iterator[StateDir]:
    made = StateDir(tmp_path / "s")
    yield made
    made.close()


def made(statedir: StateDir, engine: Engine) -> Service:
    told: Any = engine
    return Service(statedir, told, lambda: None)


@contextlib.asynccontextmanager
async def running(one: Service) -> AsyncIterator[None]:
    task = asyncio.create_task(one.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def reported(one: Service, wanted: Emptying | None, problem: str = "") -> None:
    await seen(lambda: (one.emptying, one.problem) == (wanted, problem), f"{wanted} is reported")


async def seen(condition: Callable[[], bool], what: str) -> None:
    await asyncio.to_thread(wait_for, condition, what)


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "LOOK_EVERY", 0.01)


def test_drained_and_back(statedir: StateDir) -> None:
    async def work() -> None:
        engine = Engine()
        one = made(statedir, engine)
        assert (one.mark, one.emptying, engine.drained) == (None, None, False)
        async with running(one):
            engine.connections = 2
            one.hear(STORED)
            assert engine.drained
            await reported(one, Emptying(mark="then", accepting=False, connections=2))
            engine.connections = 0
            await reported(one, Emptying(mark="then", accepting=False, done=True))
            one.hear(STORED)
            assert made(statedir, Engine()).mark == MARK, "it is on disk"
            # Another engine, started by anybody.
            engine.accepts = True
            await seen(lambda: not engine.accepts, "that one is drained too")
            one.hear("")
            await reported(one, None)
        assert (engine.accepts, engine.drained) == (True, False)
        assert statedir.read(FILE) is None

    asyncio.run(work())


def test_an_agent_that_starts_knows_from_its_disk(statedir: StateDir) -> None:
    async def work() -> None:
        statedir.write(FILE, MARK.stored())
        engine = Engine()
        one = made(statedir, engine)
        assert engine.drained, "an engine that is started begins so"
        async with running(one):
            await reported(one, Emptying(mark="then", accepting=False, done=True))

    asyncio.run(work())


def test_what_keeps_it_from_accepting_again_is_reported_until_it_is_gone(statedir: StateDir) -> None:
    async def work() -> None:
        engine = Engine()
        one = made(statedir, engine)
        async with running(one):
            one.hear(STORED)
            done = Emptying(mark="then", accepting=False, done=True)
            await reported(one, done)
            engine.fails = UnreachableError("the engine is gone")
            one.hear("")
            engine.fails = SnapshotRefusedError("", (Problem(kind="entry_point", id="http", error="in use"),))
            await reported(one, done, "entry point http: in use")
            engine.fails = None
            await reported(one, None)

    asyncio.run(work())


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff"])
def test_a_file_that_cannot_be_read_is_as_none(statedir: StateDir, content: bytes) -> None:
    statedir.write(FILE, content)
    assert made(statedir, Engine()).mark is None


def test_what_cannot_be_read_changes_nothing(statedir: StateDir) -> None:
    statedir.write(FILE, MARK.stored())
    one = made(statedir, Engine())
    one.hear("{")
    assert one.mark == MARK
