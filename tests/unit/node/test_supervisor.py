"""Children that end, and that are restarted on purpose."""

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path

import pytest
from tests.support.wait import wait_for

from traefikee.node import supervisor
from traefikee.node.supervisor import Child
from traefikee.node.troubles import Troubles

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
        child = Child("short", ["sh", "-c", "[ -e b ] && exec sleep 60; [ -e a ] && touch b; touch a"], tmp_path)
        task = await supervised(child)
        # The first time it is started again at once.
        ended_twice = lambda: child.failed_starts == 2 and child.pid is None  # noqa: E731
        await asyncio.to_thread(lambda: wait_for(ended_twice, "it has ended", every=0.01))
        await child.restart(5)
        assert child.pid is not None
        await ended(child, task)

    with contextlib.suppress(TimeoutError):
        asyncio.run(asyncio.wait_for(run(), WITHIN))
        return
    pytest.fail("it never came back")


def test_one_that_ends_again_and_again_is_told_and_started_less_and_less_often(tmp_path: Path) -> None:
    async def life() -> None:
        troubles, restarts = Troubles(), list[float]()

        async def restarted() -> None:
            restarts.append(time.monotonic())

        child = Child(
            "etcd", ["sh", "-c", "echo last words; exit 3"], tmp_path, on_restart=restarted, troubles=troubles
        )
        began = time.monotonic()
        await child.start()
        supervising = asyncio.create_task(child.supervise())
        async with asyncio.timeout(20):
            while len(restarts) < 3:  # noqa: ASYNC110 - a process changes it
                await asyncio.sleep(0.01)
        assert restarts[1] - restarts[0] >= 0.4
        assert restarts[2] - restarts[1] >= 0.8
        assert restarts[0] - began < restarts[2] - restarts[1], "the first time it is started again at once"
        assert troubles.get("etcd").startswith("etcd ends again and again (last exit code 3)")
        assert child.last_words == "last words"
        assert child.failed_starts >= 3
        supervising.cancel()
        await asyncio.gather(supervising, return_exceptions=True)
        await child.stop(1)

    asyncio.run(life())


def test_one_end_is_no_trouble(tmp_path: Path) -> None:
    async def life() -> None:
        troubles, again = Troubles(), asyncio.Event()

        async def restarted() -> None:
            again.set()

        child = Child("etcd", ["sleep", "60"], tmp_path, on_restart=restarted, troubles=troubles)
        await child.start()
        supervising = asyncio.create_task(child.supervise())
        assert child.pid is not None
        began = time.monotonic()
        os.kill(child.pid, signal.SIGKILL)
        async with asyncio.timeout(10):
            await again.wait()
        assert time.monotonic() - began < 1
        assert troubles.all() == ()
        await child.stop(2)
        async with asyncio.timeout(10):
            await supervising

    asyncio.run(life())
