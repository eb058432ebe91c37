"""Deployments in a real etcd: numbered, kept, found again, and stored once whatever becomes of an answer."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.etcd.stores import in_store
from traefikee.cluster import audit, history, state
from traefikee.cluster.audit import Actor
from traefikee.cluster.fencing import DeposedError, FencedStore
from traefikee.cluster.mirror import Mirror
from traefikee.cluster.state import ClusterState
from traefikee.cluster.store import Compare, Delete, Put, Store
from traefikee.config.static import StaticConfiguration
from traefikee.errors import RefusedError, TraefikeeError, UnreachableError
from traefikee.node import deployed_files, storing
from traefikee.node.deployment import read_deployment
from traefikee.node.storing import Order, put_in_force
from traefikee.providers.file.content import Content

ACTOR = Actor("user root", "socket", "me@here")


def order(name: str = "http", files: Content | None = None, **more: Any) -> Order:
    """What is deployed; configurations of different names differ."""
    configuration = StaticConfiguration(default_entry_points=(name,), root_cas=more.pop("root_cas", ""))
    return Order(configuration, files, by="me@here", command=f"deploy {name}", actor=ACTOR, node="n", **more)


def content(name: str) -> Content:
    return Content(files=(name,))


async def mirrored(store: Store) -> ClusterState:
    _, found = await store.read_prefix(state.STATE)
    return state.from_keys(1, {one.key: one for one in found})


def test_deployments_are_numbered_and_kept_whole(socket: Path) -> None:
    async def body(store: Store) -> None:
        assert [await put_in_force(store, order(name, content(name))) for name in ("a", "b")] == [1, 2]
        # The same content once more: what it shares with the first is stored once.
        assert await put_in_force(store, order("a", content("a"), rollback_of=1)) == 3
        records = await history.newest(store, 10)
        assert [(one.number, one.how, one.by, one.who) for one in records] == [
            (3, "rollback of 1", "me@here", "user root"),
            (2, "deploy", "me@here", "user root"),
            (1, "deploy", "me@here", "user root"),
        ]
        for number, name in ((1, "a"), (2, "b"), (3, "a")):
            configuration, files = await read_deployment(store, number)
            assert (configuration.default_entry_points, files) == ((name,), content(name))
        seen = await mirrored(store)
        assert seen.deployment is not None
        assert (seen.deployment.number, seen.deployment.configuration.default_entry_points) == (3, ("a",))
        watched = {key for key in seen.keys if key.startswith(state.CONFIGS)}
        assert watched == {state.CURRENT, f"{state.CONFIGS}3"}, "only what is in force is watched"
        with pytest.raises(RefusedError, match="there is no configuration 4: kept are 1 to 3"):
            await read_deployment(store, 4)

    in_store(socket, body)


def test_the_newest_are_kept_with_what_they_need(socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clean = history.clean
    monkeypatch.setattr(history, "clean", lambda store: clean(store, kept=3))

    async def body(store: Store) -> None:
        # The first and the fifth have the same files.
        for name in ("a", "b", "c", "d", "a", "e"):
            await put_in_force(store, order(name, content(name)))
        assert [one.number for one in await history.newest(store, 10)] == [6, 5, 4]
        for number, name in ((4, "d"), (5, "a"), (6, "e")):
            assert (await read_deployment(store, number))[1] == content(name)
        _, keys = await store.list_keys(state.FILES)
        assert len(keys) == 6, "a configuration and files for each of three"
        with pytest.raises(RefusedError, match="kept are 4 to 6"):
            await read_deployment(store, 3)

    in_store(socket, body)


def test_nothing_is_removed_that_a_deployment_at_that_moment_needs(socket: Path) -> None:
    class Meanwhile(Store):
        """Between looking and removing, somebody else deploys what the first had."""

        other: Store
        done = False

        async def list_keys(self, prefix: str) -> tuple[int, list[str]]:
            found = await super().list_keys(prefix)
            if prefix == state.FILES and not self.done:
                self.done = True
                await put_in_force(self.other, order("new", content("new")))
            return found

    async def body(store: Store) -> None:
        await put_in_force(store, order("a"))
        # Left behind by a deployment that did not get further; the next one has the same files.
        await store.transact([], [*deployed_files.pack_files(content("new")).puts()])
        async with Meanwhile(socket) as slow:
            slow.other = store
            await history.clean(slow)
        assert (await read_deployment(store, 2))[1] == content("new")

    in_store(socket, body)


def test_a_configuration_beyond_the_request_limit(socket: Path) -> None:
    large = random.Random(1).randbytes(3_000_000).hex()

    async def body(store: Store) -> None:
        await put_in_force(store, order("large", root_cas=large))
        seen = await mirrored(store)
        assert seen.deployment is not None
        assert seen.deployment.configuration.root_cas == large
        again = state.from_keys(2, dict(seen.keys))
        assert again.deployment is seen.deployment, "it is not read anew with every change of the state"
        assert (await read_deployment(store, 1))[0].root_cas == large
        await put_in_force(store, order("small"))
        seen = await mirrored(store)
        assert not [key for key in seen.keys if key.startswith(state.CONFIG_PARTS)], "its watched parts are gone"
        assert (await read_deployment(store, 1))[0].root_cas == large

    in_store(socket, body)


def test_the_mirror_follows_a_configuration_in_parts(socket: Path) -> None:
    large = random.Random(2).randbytes(400_000).hex()

    async def body(store: Store) -> None:
        mirror = Mirror(store)
        running = asyncio.create_task(mirror.run())
        for number, text in enumerate(("", large, "x", large), 1):
            await put_in_force(store, order(root_cas=text))
            seen = await mirror.wait_for(lambda now, n=number: bool(now.deployment and now.deployment.number == n))  # type: ignore[misc]
            assert seen.deployment is not None
            assert seen.deployment.configuration.root_cas == text
        running.cancel()

    in_store(socket, body)


def test_what_is_expected_to_be_in_force(socket: Path) -> None:
    async def body(store: Store) -> None:
        with pytest.raises(RefusedError, match="nothing is deployed yet, not configuration 1"):
            await put_in_force(store, order(if_revision=1))
        assert await put_in_force(store, order(if_revision=0)) == 1
        assert await put_in_force(store, order(if_revision=1)) == 2
        with pytest.raises(RefusedError) as refused:
            await put_in_force(store, order(if_revision=1))
        assert refused.value.exit_code == 3
        assert refused.value.cause.startswith(
            "configuration 2 is in force, not 1; deployed meanwhile: 2 (deploy) by me@here as user root at 20"
        )
        with pytest.raises(RefusedError, match="configuration 2 is in force, not 5; there is no 5"):
            await put_in_force(store, order(if_revision=5))
        assert (await mirrored(store)).keys[state.CURRENT].value == b"2"

    in_store(socket, body)


def test_of_two_at_the_same_moment_one_is_refused(socket: Path) -> None:
    async def body(store: Store) -> None:
        done = await asyncio.gather(
            *(put_in_force(store, order(name, if_revision=0)) for name in "abcd"), return_exceptions=True
        )
        assert sorted(str(type(one).__name__) for one in done) == ["RefusedError"] * 3 + ["int"]

    in_store(socket, body)


class LosesAnswers(Store):
    """A store of which one answer to a transaction that stores a deployment is lost.

    :ivar carried_out: whether the transaction happens.
    :ivar meanwhile: what happens before it is asked again.
    """

    carried_out = True
    losses = 1
    meanwhile: Order | None = None

    async def transact(
        self, compares: Sequence[Compare], operations: Sequence[Put | Delete], *, patience: float | None = None
    ) -> int | None:
        """Carry it out or not, and lose the answer."""
        stores = any(isinstance(one, Put) and one.key == state.CURRENT for one in operations)
        if not stores or self.losses == 0:
            return await super().transact(compares, operations, patience=patience)
        self.losses -= 1
        if self.carried_out:
            await super().transact(compares, operations, patience=patience)
        if self.meanwhile is not None:
            other, self.meanwhile = self.meanwhile, None
            losses, self.losses = self.losses, 0
            await put_in_force(self, other)
            self.losses = losses
        raise UnreachableError("etcd does not answer: lost", kind="store")


@asynccontextmanager
async def losing(socket: Path, **how: Any) -> AsyncIterator[LosesAnswers]:
    async with LosesAnswers(socket) as store:
        for name, value in how.items():
            setattr(store, name, value)
        yield store


@pytest.mark.parametrize("carried_out", [True, False])
@pytest.mark.parametrize("meanwhile", [True, False])
@pytest.mark.parametrize("losses", [1, 3])
def test_a_lost_answer_is_found_out(
    socket: Path,
    carried_out: bool,
    meanwhile: bool,
    losses: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(storing, "RETRY", 0.01)

    async def body(store: Store) -> None:
        await put_in_force(store, order("before"))
        other = order("other") if meanwhile else None
        async with losing(socket, carried_out=carried_out, meanwhile=other, losses=losses) as bad:
            number = await put_in_force(bad, order("mine"))
        assert number == (2 if carried_out or not meanwhile else 3)
        assert (await read_deployment(store, number))[0].default_entry_points == ("mine",)
        names = [
            (await read_deployment(store, one.number))[0].default_entry_points for one in await history.newest(store, 9)
        ]
        assert names.count(("mine",)) == 1, "it is deployed once"
        assert len(names) == (3 if meanwhile else 2)

    in_store(socket, body)


def test_an_outcome_that_stays_unknown_is_told_so(socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "OUTCOME_DEADLINE", 0.5)

    async def body(store: Store) -> None:
        async with losing(socket, losses=100) as bad:
            with pytest.raises(
                UnreachableError, match="not known whether the configuration was stored, as number 1"
            ) as it:
                await put_in_force(bad, order())
        assert it.value.kind == "outcome"
        assert "history" in it.value.next_step

    in_store(socket, body)


def test_what_the_store_will_never_take_is_refused_at_once(socket: Path) -> None:
    async def body(store: Store) -> None:
        with pytest.raises(TraefikeeError, match="the store refuses the deployment: etcd: request is too large"):
            await storing.commit(store, [], [Put("/x", bytes(2_000_000))], None, 0)  # type: ignore[arg-type]

    in_store(socket, body)


def test_the_audit_log_is_written_with_what_it_tells(socket: Path) -> None:
    async def body(store: Store) -> None:
        await put_in_force(store, order("a"))
        await put_in_force(store, order("b", rollback_of=1))
        current = await store.get(state.CURRENT)
        _, entries = await store.read_prefix(audit.AUDIT)
        assert current is not None
        assert entries[-1].mod_revision == current.mod_revision, "one transaction"
        told = await audit.read(store)
        assert [(one.action, one.detail, one.who, one.says) for one in told] == [
            ("deploy", "configuration 1 deployed", "user root", "me@here"),
            ("rollback", "configuration 2 deployed, a rollback of 1", "user root", "me@here"),
        ]
        with pytest.raises(RefusedError):
            await put_in_force(store, order(if_revision=9))
        assert len(await audit.read(store)) == 2, "what did not happen is not told"

    in_store(socket, body)


def test_pages_of_the_audit_log(socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "PAGE", 4)

    async def body(store: Store) -> None:
        for number in range(20):
            action = "rm-node" if number % 5 == 0 else "deploy"
            at = f"2026-11-28T10:00:{number:02}.000000+00:00"
            entry = audit.AuditEntry(at=at, who="w", through="api", node="n", action=action, detail=str(number))
            await store.transact([], [Put(f"{audit.AUDIT}{at}-x", entry.model_dump_json().encode())])

        async def details(limit: int, **which: str) -> list[int]:
            return [int(one.detail) for one in await audit.read(store, limit, **which)]

        assert await details(6) == [14, 15, 16, 17, 18, 19]
        assert await details(100) == list(range(20))
        assert await details(3, action="rm-node") == [5, 10, 15]
        assert await details(100, since="2026-11-28T10:00:17") == [17, 18, 19]
        assert await details(100, since="2026-11-28T10:00:07", action="rm-node") == [10, 15]
        await store.transact([], [Put(state.LEADER, b"me")])
        leader = await store.get(state.LEADER)
        assert leader is not None
        with pytest.raises(DeposedError):
            await audit.prune(FencedStore(store, leader.create_revision - 1), 15)
        assert await details(100) == list(range(20)), "a deposed leader removes nothing"
        assert await audit.prune(FencedStore(store, leader.create_revision), 15) == 5
        assert await details(100) == list(range(5, 20))

    in_store(socket, body)
