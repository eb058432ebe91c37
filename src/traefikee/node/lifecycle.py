"""What starting and ending have in common for both kinds of nodes."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Newcomer:
    """What a joining node was told.

    :ivar peers: ``host:port`` of control nodes.
    :ivar timeout: seconds to go on trying to reach one.
    """

    name: str
    peers: Sequence[str]
    token: str = field(repr=False)
    advertise: str
    timeout: float


def stop_on_signals() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set; let SIGUSR1, which would end the process, do nothing."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_on_stray_error)
    loop.add_signal_handler(signal.SIGUSR1, lambda: None)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    return stopping


def raise_file_limit() -> None:
    """Let this process have as many files open as it may: each data node's stream is one, and 1024 is usual."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _on_stray_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Tell of errors that no task has caught, but for one that means nothing.

    When bytes arrive on a unix socket in the very moment in which their reader is cancelled, anyio (4.x) sets the
    result of a future that is done already.
    """
    if not isinstance(context.get("exception"), asyncio.InvalidStateError):
        loop.default_exception_handler(context)


async def until(stopping: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """Run something to its end and return its result, or None as soon as the node is told to stop."""
    task, stop = asyncio.ensure_future(work), asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for one in (task, stop):
            one.cancel()
        await asyncio.gather(task, stop, return_exceptions=True)
