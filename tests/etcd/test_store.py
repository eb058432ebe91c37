"""The store against a real etcd: what the cluster leans on."""

import asyncio
import signal
from pathlib import Path

import pytest

from tests.etcd.stores import in_store
from tests.support.process import Process
from traefikee.cluster import store as stores
from traefikee.cluster.mirror import Mirror
from traefikee.cluster.records import Phase
from traefikee.cluster.state import LEADER, PHASE, STATE
from traefikee.cluster.store import CompactedError, Compare, Delete, Put, Store, StoreRefusedError
from traefikee.errors import TraefikeeError, UnreachableError
from traefikee.node import deployed_files
from traefikee.providers.file.content import Content


def test_a_transaction_happens_whole_or_not_at_all(socket: Path) -> None:
    async def body(store: Store) -> None:
        assert await store.get("/a") is None
        assert await store.transact([Compare.absent("/a")], [Put("/a", b"1"), Put("/b", b"2")])
        assert await store.transact([Compare.absent("/a")], [Put("/b", b"3")]) is None
        found = await store.get("/a")
        assert found is not None
        assert await store.transact([Compare.unchanged("/a", found.mod_revision)], [Put("/a", b"4")])
        assert await store.transact([Compare.unchanged("/a", found.mod_revision)], [Put("/a", b"5")]) is None
        _, keys = await store.read_prefix("/")
        assert [(one.key, one.value) for one in keys] == [("/a", b"4"), ("/b", b"2")]
        assert (await store.list_keys("/"))[1] == ["/a", "/b"]

    in_store(socket, body)


def test_a_deposed_leader_s_writes_fail(socket: Path) -> None:
    async def body(store: Store) -> None:
        await store.transact([], [Put(LEADER, b"one")])
        first = await store.get(LEADER)
        assert first is not None
        fence = Compare.same_creation(LEADER, first.create_revision)
        assert await store.transact([fence], [Put("/x", b"1")])
        await store.transact([], [Delete(LEADER)])
        await store.transact([], [Put(LEADER, b"one")])
        assert await store.transact([fence], [Put("/x", b"2")]) is None

    in_store(socket, body)


def test_a_prefix_ends_where_it_should(socket: Path) -> None:
    async def body(store: Store) -> None:
        await store.transact([], [Put("/a/1", b""), Put("/a0", b""), Put("/b", b"")])
        assert (await store.list_keys("/a/"))[1] == ["/a/1"]
        await store.transact([], [Delete("/a", prefix=True)])
        assert (await store.list_keys("/"))[1] == ["/b"]

    in_store(socket, body)


def test_a_lease_takes_its_keys_with_it(socket: Path) -> None:
    async def body(store: Store) -> None:
        lease = await store.grant(60)
        await store.transact([], [Put("/alive", b"1", lease)])
        found = await store.get("/alive")
        assert found is not None
        assert found.lease == lease
        assert await store.keep_alive(lease)
        await store.revoke(lease)
        assert await store.get("/alive") is None
        assert not await store.keep_alive(lease)
        await store.revoke(lease)

    in_store(socket, body)


def test_a_watch_tells_what_happened_since_a_revision(socket: Path) -> None:
    async def body(store: Store) -> None:
        revision, _ = await store.read_prefix("/")
        await store.transact([], [Put("/k", b"1"), Put("/other/k", b"1")])
        await store.transact([], [Delete("/k")])
        seen = []
        async for changes in store.watch("/k", revision + 1):
            seen += [(change.key, change.now.value if change.now else None) for change in changes.changes]
            if len(seen) == 2:
                break
        assert seen == [("/k", b"1"), ("/k", None)]

    in_store(socket, body)


def test_a_watch_from_a_revision_that_is_gone_says_so(socket: Path) -> None:
    async def body(store: Store) -> None:
        for number in range(5):
            last = await store.transact([], [Put("/k", str(number).encode())])
        await store._post("/v3/kv/compaction", {"revision": str(last)})
        with pytest.raises(CompactedError):
            async for _ in store.watch("/k", 2):
                pass

    in_store(socket, body)


def test_a_mirror_follows(socket: Path) -> None:
    async def body(store: Store) -> None:
        mirror = Mirror(store)
        running = asyncio.create_task(mirror.run())
        try:
            await store.transact([], [Put(PHASE, Phase.FORMED.encode()), Put("/elsewhere", b"")])
            seen = await mirror.wait_for(lambda state: state.phase is Phase.FORMED)
            assert set(seen.keys) == {PHASE}
            await store.transact([], [Delete(STATE, prefix=True)])
            await mirror.wait_for(lambda state: not state.keys)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    in_store(socket, body)


def test_what_etcd_refuses_is_an_error_with_its_words(socket: Path) -> None:
    async def body(store: Store) -> None:
        (member,) = await store.members()
        assert not member.is_learner
        learner, members = await store.add_learner("https://127.0.0.1:1")
        assert learner.is_learner
        assert len(members) == 2
        with pytest.raises(StoreRefusedError, match="too many learner members"):
            await store.add_learner("https://127.0.0.1:2")
        with pytest.raises(StoreRefusedError, match="in sync with leader"):
            await store.promote(learner.id)
        await store.remove_member(learner.id)
        assert len(await store.members()) == 1

    in_store(socket, body)


def test_a_read_outlasts_a_pause_of_the_store(member: Process, socket: Path) -> None:
    async def body(store: Store) -> None:
        await store.transact([], [Put("/a", b"1")])
        member.signal(signal.SIGSTOP)
        reading = asyncio.gather(store.get("/a"), store.list_keys("/"), store.count("/"), store.read_page("/", limit=9))
        try:
            with pytest.raises(UnreachableError, match="etcd does not answer in time; ") as it:
                await store.probe()
            assert "list-nodes" in it.value.next_step
            assert not reading.done()
        finally:
            member.signal(signal.SIGCONT)
        found, (_, keys), count, page = await reading
        assert found is not None
        assert found.value == b"1"
        assert keys == ["/a"] == [one.key for one in page]
        assert count == 1

    in_store(socket, body)


def test_a_read_of_a_store_that_stays_away_ends(member: Process, socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "READING", 2.0)

    async def body(store: Store) -> None:
        member.signal(signal.SIGSTOP)
        with pytest.raises(UnreachableError, match="etcd does not answer in time; "):
            await store.get("/a")

    in_store(socket, body)


def test_nobody_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "READING", 0.5)

    async def run() -> None:
        async with Store(folder / "none") as store:
            with pytest.raises(UnreachableError, match="etcd does not answer"):
                await store.get("/")

    asyncio.run(run())


def test_deployed_files_are_stored_in_parts(socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployed_files, "PART_BYTES", 64)
    content = Content(files=tuple(f"rules-{number}.toml" for number in range(100)))

    async def body(store: Store) -> None:
        packed = deployed_files.pack_files(content)
        assert packed.link.parts == len(packed.parts) > 1
        held = await deployed_files.store_parts(store, packed.puts())
        assert await deployed_files.read_files(store, packed.link) == content
        assert await deployed_files.read_files(store, None) == Content()
        assert await store.transact(held, [Put("a", b"")])
        await store.transact([], [Delete(packed.puts()[0].key)])
        assert await store.transact(held, [Put("a", b"")]) is None, "whoever lost them puts them again"
        with pytest.raises(TraefikeeError, match="part 1 of the deployed files is gone"):
            await deployed_files.read_files(store, packed.link)

    in_store(socket, body)
