"""A client of a test's own etcd."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from traefikee.cluster.store import Store

Body = Callable[[Store], Awaitable[None]]
DEADLINE = 20.0


@asynccontextmanager
async def opened(socket: Path) -> AsyncIterator[Store]:
    async with asyncio.timeout(DEADLINE), Store(socket) as store:
        await store.get("ready")
        yield store


def in_store(socket: Path, body: Body) -> None:
    """Run a coroutine with the store, with a deadline."""

    async def run() -> None:
        async with opened(socket) as store:
            await body(store)

    asyncio.run(run())
