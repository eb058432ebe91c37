"""What a surviving member's disk knows, read with the real etcd."""

import asyncio
import itertools
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import StartProcess
from tests.support.ports import loopback_address
from tests.support.process import Process
from traefikee.backup import wal
from traefikee.cluster import etcd
from traefikee.cluster.store import Put, Store
from traefikee.errors import UnreachableError

FIRST, LAST = "/traefikee/!", "/traefikee/~"
"""Two keys between which all others lie."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: sockets are in it."""
    with tempfile.TemporaryDirectory(prefix="etcd-") as name:
        yield Path(name)


def three_members(folder: Path, start_process: StartProcess) -> list[Process]:
    urls = [f"http://{loopback_address()}:2380" for _ in range(3)]
    cluster = ",".join(f"m{number}={url}" for number, url in enumerate(urls))
    started = []
    for number, url in enumerate(urls):
        (folder / f"m{number}").mkdir()
        argv = [
            etcd.find(),
            f"--name=m{number}",
            "--data-dir=data",
            f"--listen-client-urls=unix://{etcd.CLIENT_SOCKET}",
            f"--advertise-client-urls=unix://{etcd.CLIENT_SOCKET}",
            f"--listen-peer-urls={url}",
            f"--initial-advertise-peer-urls={url}",
            f"--initial-cluster={cluster}",
            "--log-level=error",
        ]
        started.append(start_process(argv, cwd=folder / f"m{number}", name=f"etcd-m{number}"))
    return started


async def answering(socket: Path) -> Store:
    store = Store(socket)
    async with asyncio.timeout(60):
        while True:
            try:
                await store.get("ready")
            except UnreachableError:
                await asyncio.sleep(0.05)
            else:
                return store


def test_the_newest_acknowledged_write_is_not_lost(folder: Path, start_process: StartProcess) -> None:
    """All three are killed right after a write was acknowledged: none has written down that it is committed."""

    async def body() -> None:
        members = three_members(folder, start_process)
        store = await answering(folder / "m1" / etcd.CLIENT_SOCKET)
        for number in range(3):
            await store.transact([], [Put(f"/traefikee/{number}", b"x")])
        for member in members:
            member.signal(signal.SIGKILL)
        await store.close()
        for member in members:
            member.wait()
        alone = folder / "r"
        shutil.copytree(folder / "m1" / "data", alone / "data")
        assert wal.commit_all(alone / "data" / "member" / "wal")
        assert not wal.commit_all(alone / "data" / "member" / "wal"), "there is nothing more to be done"
        start_process(_reading(), cwd=alone, name="etcd-alone")
        store = await answering(alone / etcd.CLIENT_SOCKET)
        _, found = await store.read_whole("/traefikee/")
        assert [one.key for one in found] == [f"/traefikee/{number}" for number in range(3)]
        assert len(await store.members()) == 1
        await store.close()

    asyncio.run(body())


def _reading() -> list[str]:
    return [
        etcd.find(),
        "--name=m1",
        "--data-dir=data",
        f"--listen-client-urls=unix://{etcd.CLIENT_SOCKET}",
        f"--advertise-client-urls=unix://{etcd.CLIENT_SOCKET}",
        f"--listen-peer-urls=unix://{etcd.PEER_SOCKET}",
        "--force-new-cluster",
        "--log-level=error",
    ]


def test_everything_is_read_at_one_revision(folder: Path, start_process: StartProcess) -> None:
    async def body() -> None:
        argv = [*_reading()[:-2], "--log-level=error"]
        start_process(argv, cwd=folder, name="etcd")
        store = await answering(folder / etcd.CLIENT_SOCKET)
        keys = [f"/traefikee/{number:03}" for number in range(120)]
        for key in keys:
            await store.transact([], [Put(key, key.encode())])
        await _write_both(store, 0)
        writing = asyncio.create_task(_write_on(store))
        seen = set()
        for _ in range(20):
            revision, found = await store.read_whole("/traefikee/")
            by_key = {one.key: one for one in found}
            assert {*keys, FIRST, LAST} == by_key.keys()
            assert max(one.mod_revision for one in found) <= revision
            assert by_key[FIRST].value == by_key[LAST].value, "they are always written together"
            seen.add(by_key[FIRST].value)
        assert len(seen) > 1, "nothing was written meanwhile"
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        _, serialisable = await store.read_whole("/traefikee/", serialisable=True)
        assert {one.key for one in serialisable} == {*keys, FIRST, LAST}
        await store.close()

    asyncio.run(body())


async def _write_on(store: Store) -> None:
    for number in itertools.count(1):
        await _write_both(store, number)


async def _write_both(store: Store, number: int) -> None:
    await store.transact([], [Put(key, str(number).encode()) for key in (FIRST, LAST)])
