"""Children that are restarted on purpose."""

import asyncio
import contextlib
from pathlib import Path

import pytest
from tests.support.wait import wait_for

from traefikee.node import supervisor
from traefikee.node.supervisor import Child

UP = ["sh", "-c", "echo up; exec sleep 60"]
WITHIN = 20.0


async def supervised(child: Child) -> "asyncio.Task[None]":
    await child.start()
    return asyncio.create_task(child.supervise())


async def ended(child: Child, task: "asyncio.Task[None]") -> None:
    await child.stop(5)
    await task


def test_a_restart_returns_once_another_process_runs(tmp_path: Path) -> None:
    async def run() -> None:
        ends = 0

        def end(_: Child) -> None:
            nonlocal ends
            ends += 1

        child = Child("sleeper", UP, tmp_path, on_end=end)
        task = await supervised(child)
        before = child.pid
        await child.restart(5)
        assert child.pid is not None
        assert child.pid != before
        await child.restart(5)
        assert ends == 2
        await ended(child, task)
        assert child.pid is None

    asyncio.run(asyncio.wait_for(run(), WITHIN))


def test_a_restart_of_one_that_has_just_ended_waits_for_its_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "SHORTEST_PAUSE", 0.3)

    async def run() -> None:
        child = Child("short", ["sh", "-c", "[ -e again ] && exec sleep 60; touch again"], tmp_path)
        task = await supervised(child)
        await asyncio.to_thread(lambda: wait_for(lambda: child.pid is None, "it has ended", every=0.01))
        await child.restart(5)
        assert child.pid is not None
        await ended(child, task)

    with contextlib.suppress(TimeoutError):
        asyncio.run(asyncio.wait_for(run(), WITHIN))
        return
    pytest.fail("it never came back")
