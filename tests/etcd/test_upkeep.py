"""Months of changes against a real etcd with a small quota: with the upkeep they do not fill it."""

import asyncio
import random
from pathlib import Path

import pytest

from tests.etcd.stores import in_store
from traefikee.cluster.store import Put, Store, StoreFullError
from traefikee.node import store_upkeep
from traefikee.node.store_upkeep import Member, OwnMember

MB = 1 << 20
QUOTA = 16 * MB
CHANGES = 12_000
CHANGE = 2 * 1024
"""Bytes of one: all of them are more than the quota."""
AT_ONCE = 20
"""Changes of one transaction: what limits a test is the number of requests."""


@pytest.fixture
def etcd_options() -> tuple[str, ...]:
    """A small quota."""
    return (f"--quota-backend-bytes={QUOTA}",)


class Writer:
    """Changes three hundred keys over and over.

    :ivar newest: what was acknowledged last.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._random = random.Random(1)
        self._next = 0
        self.newest: dict[str, bytes] = {}

    async def write(self, count: int) -> None:
        """So many changes."""
        for _ in range(0, count, AT_ONCE):
            numbers = range(self._next, self._next + AT_ONCE)
            values = {f"/k/{number % 300}": self._random.randbytes(CHANGE) for number in numbers}
            await self._store.transact([], [Put(key, value) for key, value in values.items()], patience=20)
            self._next += AT_ONCE
            self.newest |= values


async def tending(store: Store, pause: float) -> None:
    own, compacted = OwnMember(store, QUOTA), 0

    async def members() -> list[Member]:
        return [own]

    while True:
        compacted = await store_upkeep.tend(store, members, compacted)
        await asyncio.sleep(pause)


async def check_newest(store: Store, newest: dict[str, bytes]) -> None:
    _, found = await store.read_prefix("/k/")
    assert {one.key: one.value for one in found} == newest


def test_months_of_changes_do_not_fill_the_store(socket: Path) -> None:
    async def body(store: Store) -> None:
        tender = asyncio.create_task(tending(store, 0.2))
        writer = Writer(store)
        try:
            await writer.write(CHANGES)
        finally:
            tender.cancel()
            await asyncio.gather(tender, return_exceptions=True)
        await check_newest(store, writer.newest)
        size = await OwnMember(store, QUOTA).size()
        assert not size.alarm
        assert size.file < QUOTA

    in_store(socket, body)


def test_a_store_that_is_full_takes_changes_again_by_itself(socket: Path) -> None:
    async def body(store: Store) -> None:
        writer = Writer(store)
        with pytest.raises(StoreFullError, match="the store is full and takes no changes"):
            await writer.write(2 * CHANGES)
        own = OwnMember(store, QUOTA)
        assert (await own.size()).alarm
        # Without a lease there could be no leader.
        with pytest.raises(StoreFullError, match="full"):
            await store.grant(5)

        async def members() -> list[Member]:
            return [own]

        await store_upkeep.tend(store, members, 0)
        size = await own.size()
        assert not size.alarm
        assert size.file < QUOTA / 2
        # etcd carries out the write for which it raises the alarm, and yet answers that it did not.
        await writer.write(300)
        await check_newest(store, writer.newest)

    in_store(socket, body)
