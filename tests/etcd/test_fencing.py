"""What a leader that was deposed, or a node that slept, can still write: against a real etcd."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.etcd.stores import in_store
from tests.unit.cluster.support_state import control, data
from traefikee.cluster import draining, state
from traefikee.cluster.admission import Admission
from traefikee.cluster.audit import Actor
from traefikee.cluster.fencing import DeposedError, FencedStore
from traefikee.cluster.mirror import Mirror
from traefikee.cluster.records import Mark, NodeRecord, Pointer, Report
from traefikee.cluster.store import Compare, Delete, Put, Store
from traefikee.errors import RefusedError, UnreachableError
from traefikee.node.publishing import SnapshotStore, draft

ACTOR = Actor("me", "socket")
Body = Callable[[Store], Awaitable[None]]


async def elect(store: Store, who: str) -> FencedStore:
    """Make a node the leader; its term."""
    await store.transact([], [Delete(state.LEADER)])
    creation = await store.transact([Compare.absent(state.LEADER)], [Put(state.LEADER, who.encode())])
    assert creation is not None
    return FencedStore(store, creation)


@asynccontextmanager
async def admission(store: Store) -> AsyncIterator[Admission]:
    mirror = Mirror(store)
    running = asyncio.create_task(mirror.run())
    try:
        yield Admission(store, mirror, bytes(32))
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def enter(store: Store, record: NodeRecord, *, alive: bool = False) -> None:
    """Put a node into the list."""
    puts = [Put(state.NODES + record.id, record.stored()), Put(state.NAMES + record.name, record.id.encode())]
    puts += [Put(state.ALIVE + record.id, Report(agent_version="1").stored())] * alive
    await store.transact([], puts)


async def listed(store: Store, record: NodeRecord) -> NodeRecord | None:
    found = await store.get(state.NODES + record.id)
    return None if found is None else NodeRecord.model_validate_json(found.value)


def test_a_term_that_is_over_writes_nothing(socket: Path) -> None:
    async def body(store: Store) -> None:
        old = await elect(store, "one")
        assert await old.transact([], [Put("/x", b"1")])
        assert await old.transact([Compare.absent("/x")], [Put("/x", b"2")]) is None, "its own comparison failed"
        new = await elect(store, "one")
        for operation in (Put("/x", b"3"), Delete("/x")):
            with pytest.raises(DeposedError):
                await old.transact([], [operation])
        with pytest.raises(DeposedError):
            await old.transact([Compare.absent("/x")], [Put("/x", b"3")])
        found = await store.get("/x")
        assert found is not None
        assert found.value == b"1"
        assert await new.transact([], [Put("/x", b"4")])
        await store.transact([], [Delete(state.LEADER)])
        with pytest.raises(DeposedError):
            await new.transact([], [Put("/x", b"5")])

    in_store(socket, body)


def test_publishing_ends_with_the_term_part_by_part(socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("traefikee.node.publishing.PART_BYTES", 64)

    async def body(store: Store) -> None:
        snapshots = SnapshotStore(store)
        made = draft((), {}, {"a": bytes(range(256)) * 4}, 1, new=True)
        assert made.links[0].parts > 1
        old = await elect(store, "one")
        await elect(store, "two")
        with pytest.raises(DeposedError):
            await snapshots.publish(Pointer(revision=1, config=1, snapshot=made.links), None, [made.frame], old, 0)
        assert (await store.list_keys(state.BLOBS))[1] == []
        assert await snapshots.pointer() == (None, 0)

    in_store(socket, body)


def test_a_write_that_arrives_late_does_not_undo_what_followed_it(socket: Path) -> None:
    """The same leader, in the same term: the answer to its first write was lost, and so it wrote something else."""

    async def body(store: Store) -> None:
        snapshots, term = SnapshotStore(store), await elect(store, "one")
        first = Pointer(revision=1, config=1)
        at = await snapshots.publish(first, None, [], term, 0)
        second = Pointer(revision=2, config=1)
        assert await snapshots.publish(second, first, [], term, at) > at
        late = Pointer(revision=2, config=1, failure="late")
        with pytest.raises(UnreachableError, match="not what was read before"):
            await snapshots.publish(late, first, [], term, at)
        assert (await snapshots.pointer())[0] == second

    in_store(socket, body)


def test_a_node_that_has_come_back_is_not_forgotten(socket: Path) -> None:
    async def body(store: Store) -> None:
        term = await elect(store, "one")
        async with admission(store) as admitting:
            for record in (data("d"), control("c")):
                await enter(store, record, alive=True)
                assert not await admitting.forget(record, term), "it gives signs of life again"
                assert await listed(store, record) == record
                await store.transact([], [Delete(state.ALIVE + record.id)])
                assert await admitting.forget(record, term)
                assert await listed(store, record) is None
                assert await store.get(state.NAMES + record.name) is None
                assert await admitting.forget(record, term), "once more is as good as once"

    in_store(socket, body)


def test_a_leader_that_slept_removes_no_member(socket: Path) -> None:
    async def body(store: Store) -> None:
        member, _ = await store.add_learner("https://127.0.0.1:1")
        record = control("c", member=member.id)
        await enter(store, record)
        old = await elect(store, "one")
        new = await elect(store, "two")
        async with admission(store) as admitting:
            with pytest.raises(DeposedError):
                await admitting.forget(record, old)
            assert len(await store.members()) == 2
            assert await listed(store, record) == record
            assert await admitting.forget(record, new)
        assert len(await store.members()) == 1

    in_store(socket, body)


def test_a_removal_that_was_decided_is_carried_out_by_whoever_leads_next(socket: Path) -> None:
    """The leader falls asleep after it has decided; the member comes to life; the next leader ends it."""

    async def body(store: Store) -> None:
        member, _ = await store.add_learner("https://127.0.0.1:1")
        record = control("c", member=member.id)
        await enter(store, record.model_copy(update={"left": True}), alive=True)
        term = await elect(store, "two")
        async with admission(store) as admitting:
            assert await admitting.forget(record, term)
        assert await listed(store, record) is None
        assert len(await store.members()) == 1

    in_store(socket, body)


def test_a_name_that_another_has_by_now_stays(socket: Path) -> None:
    async def body(store: Store) -> None:
        gone, other = data("d"), data("e")
        await enter(store, gone)
        await store.transact([], [Put(state.NAMES + "d", other.id.encode())])
        async with admission(store) as admitting:
            assert await admitting.forget(gone, await elect(store, "one"))
        holder = await store.get(state.NAMES + "d")
        assert holder is not None
        assert holder.value.decode() == other.id

    in_store(socket, body)


def test_a_join_whose_turn_is_over_changes_no_member(socket: Path) -> None:
    async def body(store: Store) -> None:
        record = control("c", member=0)
        await enter(store, record)
        lease = await store.grant(60)
        async with admission(store) as admitting:
            await admitting._mirror.wait_for(lambda seen: seen.node(record.id) is not None)
            turn = await admitting._stand_in_line(record, lease, lambda _: None)
            await store.revoke(lease)
            with pytest.raises(UnreachableError, match="its turn is over"):
                await admitting._add_and_promote(record, turn, lambda _: None, started=False)
            with pytest.raises(UnreachableError, match="its turn is over"):
                await admitting._note_member(record.id, 7, turn)
        assert len(await store.members()) == 1
        assert await listed(store, record) == record

    in_store(socket, body)


def test_what_a_control_node_has_not_heard_of_yet_is_not_taken_for_done(
    socket: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(draining, "BEAT", 0.05)

    async def body(store: Store) -> None:
        nodes = [*map(control, "ab"), data("d"), data("e")]
        for one in nodes:
            await enter(store, one, alive=True)
        mirror = Mirror(store)
        first = asyncio.create_task(mirror.run())
        await mirror.wait_for(lambda seen: len(seen.nodes) == len(nodes))
        # From here on it hears nothing: its watch is silent, though its store answers.
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)

        async def ask(word: str, *, undo: bool) -> list[tuple[str, bool]]:
            asked = draining.drain(store, mirror, [word], undo=undo, force=False, timeout=0.2, actor=ACTOR, node="a")
            return [(str(one["message"]), bool(one["ok"])) async for one in asked if one["event"] == "node"]

        mark = state.DRAINED + data("d").id
        await store.transact([], [Put(mark, Mark(by="me", at="then").stored())])
        with pytest.raises(UnreachableError, match="a does not know what the store says of these nodes by now"):
            await ask("d", undo=True)
        assert await store.get(mark) is not None
        # The other one would be the last: whoever knows of both refuses that.
        with pytest.raises(UnreachableError, match="a does not know"):
            await ask("e", undo=False)
        again = asyncio.create_task(mirror.run())
        await mirror.wait_for(lambda seen: any(one.drained for one in seen.nodes))
        with pytest.raises(RefusedError, match="no data node would accept requests any more"):
            await ask("e", undo=False)
        assert (await ask("d", undo=True))[0][0].startswith("d ")
        assert await store.get(mark) is None
        again.cancel()
        await asyncio.gather(again, return_exceptions=True)

    in_store(socket, body)
