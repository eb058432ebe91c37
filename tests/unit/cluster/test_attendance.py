"""Which data nodes a control node hears: what is written of it, and when it ends."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from tests.unit.cluster.support_state import cluster, control, data

from traefikee.cluster import attendance, state
from traefikee.cluster.attendance import Attendance, Heard, no_longer_ours, silent, surplus, to_end, to_write, total
from traefikee.cluster.records import Counters, Report, Traffic
from traefikee.cluster.state import ClusterState
from traefikee.cluster.store import Compare, Delete, KeyValue, Put, StoreRefusedError
from traefikee.errors import UnreachableError

ME = "id-me"


def report(revision: int = 1, requests: int = 0) -> Report:
    counters = Counters(by_status={"200": requests}, duration_seconds_total=requests / 2, response_bytes_total=requests)
    return Report(agent_version="1", revision=revision, counters=counters)


# --- decisions ---


def test_what_differs_from_the_store_is_written() -> None:
    one = Heard(b"new", Counters(), 0.0)
    assert to_write(one, None, 7)
    assert to_write(one, KeyValue("k", b"old", 1, 1, 7), 7)
    assert to_write(one, KeyValue("k", b"new", 1, 1, 8), 7), "another control node's lease ends without this one"
    assert not to_write(one, KeyValue("k", b"new", 1, 1, 7), 7)


def test_who_another_control_node_has_heard_later_is_let_go() -> None:
    heard = {name: Heard(b"", Counters(), 0.0, written=5) for name in ("mine", "moved", "back", "unwritten")}
    heard["unwritten"].written, heard["unwritten"].seen = 0, 6
    heard["silent"] = Heard(b"", Counters(), 0.0, seen=5)
    keys = {
        state.ALIVE + "mine": KeyValue("", b"", 1, 5, 7),
        state.ALIVE + "moved": KeyValue("", b"", 1, 6, 8),
        state.ALIVE + "back": KeyValue("", b"", 1, 4, 8),
        state.ALIVE + "unwritten": KeyValue("", b"", 1, 6, 8),
        state.ALIVE + "silent": KeyValue("", b"", 1, 6, 8),
    }
    assert no_longer_ours(heard, keys, 7) == ["moved", "silent"]


def test_silence() -> None:
    heard = {"a": Heard(b"", Counters(), 10.0), "b": Heard(b"", Counters(), 12.0)}
    assert silent(heard, 9.9 + attendance.SILENCE, attendance.SILENCE) == []
    assert silent(heard, 11.0 + attendance.SILENCE, attendance.SILENCE) == ["a"]


def test_only_own_signs_of_life_are_ended() -> None:
    keys = {
        key: KeyValue(key, b"", 1, 1, lease)
        for key, lease in (
            (state.ALIVE + "heard", 7),
            (state.ALIVE + "gone", 7),
            (state.ALIVE + "elsewhere", 8),
            (state.TRAFFIC + ME, 7),
            (state.LEADER, 7),
        )
    }
    heard = {"heard": Heard(b"", Counters(), 0.0)}
    assert [one.key for one in to_end(heard, keys, 7)] == [state.ALIVE + "gone"]
    assert to_end(heard, {"k": KeyValue("k", b"", 1, 1)}, 0) == []


def test_the_sum() -> None:
    heard = [Heard(b"", report(requests=number).counters, 0.0) for number in (10, 20)]
    heard.append(Heard(b"", Counters(by_status={"404": 1}), 0.0))
    assert total(heard) == Traffic(
        counters=Counters(by_status={"200": 30, "404": 1}, duration_seconds_total=15.0, response_bytes_total=30),
        data_nodes=3,
    )
    assert total([]) == Traffic()


@pytest.mark.parametrize(
    ("streams", "others", "let_go"),
    [
        (500, (500, 0), 50),  # another one is back
        (420, (420, 160), 10),
        (400, (400, 200), 0),
        (333, (334, 333), 0),
        (2, (0, 0), 0),  # so few that it does not matter
        (13, (0, 0), 0),
        (40, (0, 0), 14),
        (500, (500, None), 0),  # of an earlier version: it does not tell
    ],
)
def test_streams_are_evened_out(streams: int, others: tuple[int | None, int | None], let_go: int) -> None:
    seen = cluster([control("me"), control("a"), control("b")], [control("down")])
    changes = []
    for name, count in zip(("a", "b"), others, strict=True):
        key = f"{state.TRAFFIC}id-{name}"
        if count is not None:
            changes.append((key, KeyValue(key, Traffic(data_nodes=count).stored(), 1, 9)))
    mine = state.TRAFFIC + ME
    changes.append((mine, KeyValue(mine, Traffic().stored(), 1, 9)))
    assert surplus(state.advance(seen, 9, changes), ME, streams) == let_go


# --- carried out ---


class FakeStore:
    """A store in memory, which the mirror follows at once."""

    def __init__(self) -> None:
        self.state: ClusterState = state.from_keys(0, {})
        self.transactions: list[Sequence[Put | Delete]] = []
        self.leases: set[int] = set()
        self.answers = True
        self._revision = 10

    def _check(self) -> None:
        if not self.answers:
            raise UnreachableError("no", kind="store")

    def change(self, *changes: tuple[str, KeyValue | None]) -> int:
        self._revision += 1
        self.state = state.advance(self.state, self._revision, changes)
        return self._revision

    def put(self, key: str, value: bytes, lease: int = 0) -> None:
        self.change((key, KeyValue(key, value, self._revision + 1, self._revision + 1, lease)))

    def end_lease(self, lease: int) -> None:
        self.leases.discard(lease)
        self.change(*((key, None) for key, found in self.state.keys.items() if found.lease == lease))

    @property
    def alive(self) -> dict[str, KeyValue]:
        found = self.state.keys.items()
        return {key.removeprefix(state.ALIVE): one for key, one in found if key.startswith(state.ALIVE)}

    # --- what Attendance asks ---

    async def transact(self, compares: Sequence[Compare], operations: Sequence[Put | Delete]) -> int | None:
        self._check()
        assert len(operations) <= 128, "etcd refuses more"
        for one in operations:
            if isinstance(one, Put) and one.lease not in self.leases:
                raise StoreRefusedError("requested lease not found")
        for compare in compares:
            found = self.state.keys.get(compare.key)
            if (found.mod_revision if found else 0) != compare.revision:
                return None
        self.transactions.append(operations)
        changed: list[tuple[str, KeyValue | None]] = []
        for one in operations:
            revision = self._revision + 1
            now = KeyValue(one.key, one.value, revision, revision, one.lease) if isinstance(one, Put) else None
            changed.append((one.key, now))
        return self.change(*changed)

    async def grant(self, ttl: int) -> int:
        self._check()
        lease = 100 + len(self.leases) + self._revision
        self.leases.add(lease)
        return lease

    async def keep_alive(self, lease: int) -> bool:
        self._check()
        return lease in self.leases


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with hundredths of the times."""
    for name in ("SILENCE", "LOOK_EVERY", "GATHER", "SUM_EVERY", "RENEW", "RETRY"):
        monkeypatch.setattr(attendance, name, getattr(attendance, name) / 20)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the store in memory tells nobody
            await asyncio.sleep(0.005)


def run(work: Callable[[FakeStore, Attendance], Awaitable[None]]) -> None:
    async def main() -> None:
        store = FakeStore()
        as_store: Any = store
        attending = Attendance(as_store, as_store, ME)
        running = asyncio.create_task(attending.run())
        try:
            await work(store, attending)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(main())


NAMES = [f"id-{number}" for number in range(250)]


def test_reports_are_written_together_and_only_what_is_new() -> None:
    async def work(store: FakeStore, attending: Attendance) -> None:
        for name in NAMES:
            attending.hear(name, report())
        await until(lambda: len(store.alive) == len(NAMES))
        assert len({one.lease for one in store.alive.values()}) == 1
        assert len(store.transactions) <= 4
        written = len(store.transactions)
        for name in NAMES:
            attending.hear(name, report(requests=4))
        await until(lambda: ME in store.state.traffic)
        assert store.state.traffic[ME].data_nodes == len(NAMES)
        assert store.state.traffic[ME].counters.by_status == {"200": 4 * len(NAMES)}
        assert len(store.transactions) == written + 1, "counters alone are in the sum"
        attending.hear(NAMES[0], report(revision=2))
        await until(lambda: b'"revision":2' in store.alive[NAMES[0]].value)

    run(work)


def test_a_goodbye_counts_at_once_even_if_the_report_was_just_heard() -> None:
    async def work(store: FakeStore, attending: Attendance) -> None:
        attending.hear("id-d", report())
        await until(lambda: "id-d" in store.alive)
        attending.hear("id-d", report(revision=2))
        await attending.goodbye("id-d")
        assert "id-d" not in store.alive
        await asyncio.sleep(attendance.GATHER * 3)
        assert "id-d" not in store.alive
        store.put(state.ALIVE + "id-e", b"{}", 7)
        await attending.goodbye("id-e")
        assert "id-e" not in store.alive, "a node that had just come here from another control node"
        await attending.goodbye("id-unknown")

    run(work)


def test_who_is_silent_ends_and_who_is_heard_elsewhere_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(store: FakeStore, attending: Attendance) -> None:
        for record in (control("a"), data("silent"), data("moved")):
            store.put(state.NODES + record.id, record.stored())
        for name in ("id-silent", "id-moved", "id-heard"):
            attending.hear(name, report())
        await until(lambda: len(store.alive) == 3)
        moved, silence = store.alive["id-moved"], attendance.SILENCE
        monkeypatch.setattr(attendance, "SILENCE", 3600)
        store.put(moved.key, moved.value, 7)
        await until(lambda: len(attending) == 2)
        monkeypatch.setattr(attendance, "SILENCE", silence)
        while "id-silent" in store.alive:
            attending.hear("id-heard", report())
            await asyncio.sleep(0.005)
        assert set(store.alive) == {"id-moved", "id-heard"}
        assert len(attending) == 1
        # What was left behind, for whatever reason, is found too.
        store.put(state.ALIVE + "id-left", b"{}", store.alive["id-heard"].lease)
        await until(lambda: "id-left" not in store.alive)

    run(work)


def test_a_report_that_is_written_late_undoes_no_newer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(store: FakeStore, attending: Attendance) -> None:
        attending.hear("id-d", report(1))
        await until(lambda: "id-d" in store.alive)
        late: list[tuple[Sequence[Compare], Sequence[Put | Delete]]] = []

        async def give_no_answer(compares: Sequence[Compare], operations: Sequence[Put | Delete]) -> int | None:
            late.append((compares, operations))
            raise UnreachableError("no answer", kind="store")

        with monkeypatch.context() as silence:
            silence.setattr(store, "transact", give_no_answer)
            attending.hear("id-d", report(13))
            await until(lambda: bool(late))
            newer = attendance.without_counters(report(21))
            store.put(state.ALIVE + "id-d", newer, 7)
        assert await store.transact(*late[0]) is None
        await until(lambda: len(attending) == 0)
        assert store.alive["id-d"].value == newer

    run(work)


def test_what_was_never_written_undoes_no_newer_report_either(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(store: FakeStore, attending: Attendance) -> None:
        attending.hear("id-a", report())
        await until(lambda: "id-a" in store.alive)
        with monkeypatch.context() as silence:

            async def give_no_answer(compares: Sequence[Compare], operations: Sequence[Put | Delete]) -> int | None:
                raise UnreachableError("no answer", kind="store")

            silence.setattr(store, "transact", give_no_answer)
            attending.hear("id-d", report(11))
            await asyncio.sleep(attendance.GATHER * 2)
            # It is tired of waiting, goes to another control node, and says more there.
            newer = attendance.without_counters(report(24))
            store.put(state.ALIVE + "id-d", newer, 7)
        attending.hear("id-a", report(2))
        await until(lambda: b'"revision":2' in store.alive["id-a"].value)
        await until(lambda: len(attending) == 1)
        assert store.alive["id-d"].value == newer

    run(work)


def test_what_the_network_delivers_late_is_not_taken() -> None:
    async def work(store: FakeStore, attending: Attendance) -> None:
        assert not attending.hear("id-d", report(1), "never begun")
        attending.begin("id-d", "first")
        assert attending.hear("id-d", report(1), "first")
        await until(lambda: "id-d" in store.alive)
        assert attending.hear("id-d", report(2), "first"), "its own write is no news"
        # It speaks to another control node now; what it had sent here arrives only then.
        newer = attendance.without_counters(report(14))
        store.put(state.ALIVE + "id-d", newer, 7)
        assert attending.speaks("id-d", "first")
        assert not attending.hear("id-d", report(4), "first")
        await until(lambda: len(attending) == 0)
        assert store.alive["id-d"].value == newer
        attending.begin("id-d", "second")
        assert not attending.speaks("id-d", "first")
        assert not attending.hear("id-d", report(5), "first")
        assert attending.hear("id-d", report(15), "second")
        await until(lambda: b'"revision":15' in store.alive["id-d"].value)
        assert attending.hear("id-d", report(16)), "of a version that names no connection"

    run(work)


def test_a_node_that_comes_from_another_control_node_is_written_at_once() -> None:
    async def work(store: FakeStore, attending: Attendance) -> None:
        for revision in (1, 2, 3):
            store.put(state.ALIVE + "id-d", attendance.without_counters(report(revision)), 7)
        attending.hear("id-d", report(4))
        await until(lambda: b'"revision":4' in store.alive["id-d"].value)
        assert store.alive["id-d"].lease != 7

    run(work)


def test_a_lease_that_ended_and_a_store_that_was_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attendance, "RENEW", 3600)

    async def work(store: FakeStore, attending: Attendance) -> None:
        attending.hear("id-a", report())
        await until(lambda: "id-a" in store.alive)
        store.end_lease(store.alive["id-a"].lease)
        assert not store.alive
        # The next renewal is far away: the next report finds it.
        attending.hear("id-gone", report())
        attending._heard["id-gone"].at -= 5
        attending.hear("id-a", report())
        await until(lambda: "id-a" in store.alive)
        assert "id-gone" not in store.alive, "it may have said more to another control node"
        store.answers = False
        attending.hear("id-b", report())
        await asyncio.sleep(attendance.RETRY * 3)
        assert "id-b" not in store.alive
        store.answers = True
        await until(lambda: set(store.alive) == {"id-a", "id-b"})

    run(work)
