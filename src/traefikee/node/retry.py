"""Writes that are repeated until the store answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from traefikee.errors import UnreachableError

PAUSE = 0.3

T = TypeVar("T")


async def insist(write: Callable[[], Awaitable[T]]) -> T:
    """Repeat a write that is safe to repeat until the store answers; returns its result."""
    while True:
        try:
            return await write()
        except UnreachableError:
            await asyncio.sleep(PAUSE)
