import asyncio
from typing import Any

import pytest

from traefikee.node.lifecycle import stop_on_signals


def stray(error: Exception) -> None:
    """Let a callback of the loop fail, as a node's loop would see it."""

    async def run() -> None:
        stop_on_signals()

        def fail(_: Any = None) -> None:
            raise error

        asyncio.get_running_loop().call_soon(fail)
        await asyncio.sleep(0)

    asyncio.run(run())


def test_an_error_that_nobody_caught_is_told(caplog: pytest.LogCaptureFixture) -> None:
    stray(ValueError("too late"))
    assert "too late" in caplog.text


def test_a_result_that_nobody_waits_for_any_more_is_not(caplog: pytest.LogCaptureFixture) -> None:
    stray(asyncio.InvalidStateError("invalid state"))
    assert caplog.text == ""
