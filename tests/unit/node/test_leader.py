"""A duty of the leader that fails."""

import asyncio

import pytest

from traefikee.cluster.fencing import DeposedError
from traefikee.node import leader
from traefikee.node.leader import keep


def test_a_duty_that_fails_is_started_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(leader, "DUTY_PAUSE", 0)
    failures: list[Exception] = [RuntimeError("once"), ExceptionGroup("tasks", [KeyError("twice")])]

    async def duty() -> None:
        if failures:
            raise failures.pop(0)

    asyncio.run(asyncio.wait_for(keep("cleaning", duty), 5))
    assert not failures
    told = capsys.readouterr()
    assert "duty=cleaning" in told.out + told.err


@pytest.mark.parametrize("error", [DeposedError(), ExceptionGroup("tasks", [DeposedError()])], ids=["bare", "group"])
def test_it_ends_with_the_term(error: Exception) -> None:
    async def duty() -> None:
        raise error

    ended = None
    try:
        asyncio.run(asyncio.wait_for(keep("routing", duty), 5))
    except* DeposedError as found:
        ended = found
    assert ended is not None


def test_it_can_be_cancelled_while_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leader, "DUTY_PAUSE", 60)

    async def cancel_it() -> None:
        failed = asyncio.Event()

        async def duty() -> None:
            failed.set()
            raise RuntimeError

        running = asyncio.create_task(keep("format", duty))
        await failed.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(asyncio.wait_for(cancel_it(), 5))
