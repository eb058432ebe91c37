"""Removing nodes for good: ``rm-node``.

A data node is gone with one write. For a control node that write is the intention, which takes leadership from it at
the same moment; the leader then takes it out of etcd's membership, one at a time, and out of the list. Whoever is asked
only waits for that, so that it does not matter if that node, or the command, ends meanwhile. A removed node is
remembered by its id (:class:`~traefikee.cluster.Removal`): its certificate does not let it in again.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from traefikee.cluster import audit, membership, state
from traefikee.cluster.audit import Actor
from traefikee.cluster.chosen import choose
from traefikee.cluster.membership import Keep
from traefikee.cluster.mirror import Mirror
from traefikee.cluster.records import Removal
from traefikee.cluster.roles import Role
from traefikee.cluster.state import ClusterState, Node
from traefikee.cluster.store import OPERATOR_PATIENCE, Compare, Delete, Put, Store
from traefikee.errors import RefusedError, TraefikeeError, UnreachableError

DEADLINE = 60.0
"""Seconds that the leader may take for the control nodes."""
BEAT = 2.0
TRIES = 5
TOGETHER = 12
"""Nodes of one transaction, which etcd limits to 128 operations."""
NOTHING = "nothing was removed: "
PRUNED = 20
"""Removals that one transaction forgets at most."""

Step = Mapping[str, Any]

_ALIVE = "stop what is READY first (data nodes: drain-node, then stop), or add --force: it is then told to end"


def check(seen: ClusterState, nodes: Sequence[Node], *, force: bool) -> None:
    """Refuse to remove these nodes, for every reason that there is.

    :param force: remove those that are alive, too.
    :raises RefusedError: with all reasons. What would cost the quorum is refused in any case.
    """
    reasons, hints = [], []
    for node in nodes:
        name = node.record.name
        if node.status == "PENDING" and node.report is not None:
            reasons.append(f"{name} joins at this moment")
            hints.append("wait until it is READY, or stop it")
        elif node.report is not None and not force:
            does = "carries traffic" if node.record.role is Role.DATA else "takes part in the consensus"
            reasons.append(f"{name} is {node.status} and {does}")
            hints.append(_ALIVE)
    lost = membership.cannot_leave(seen, {node.record.id for node in nodes})
    if lost is not None and any(node.votes for node in nodes):
        reasons.append(lost)
        hints.append("start the control nodes that are DOWN, or let new ones join first")
    if reasons:
        raise RefusedError(NOTHING + "; ".join(reasons), "; ".join(dict.fromkeys(hints)))


async def remove(
    store: Store, mirror: Mirror, words: Sequence[str], *, force: bool, actor: Actor, node: str
) -> AsyncIterator[Step]:
    """Remove nodes; yields each step: ``node`` with ``ok``, ``waiting``, and at last ``done`` with ``ok``.

    All are checked before the first is removed. The node that is asked leaves last, so that it can tell of the others.

    :param words: names or ids.
    :param node: the name of the control node that is asked.
    :raises TraefikeeError: if one is unknown or cannot be removed; then none is.
    """
    nodes = choose(mirror.state, words)
    check(mirror.state, nodes, force=force)
    others = [one.record.id for one in nodes if one.record.name != node]
    own = [one for one in nodes if one.record.name == node]
    removed = await _record(store, mirror, others, force=force, actor=actor, node=node)
    for one in removed:
        if one.record.role is Role.DATA:
            yield _told(one, _gone(one))
    ok = True
    async for step in _until_gone(mirror, [one for one in removed if one.record.role is Role.CONTROL]):
        ok = ok and bool(step.get("ok", True))
        yield step
    for one in own:
        stays = "" if ok else "the others have not left"
        if ok:
            try:
                await _record(store, mirror, [one.record.id], force=force, actor=actor, node=node)
            except TraefikeeError as error:
                stays = error.cause.removeprefix(NOTHING)
        ok = ok and not stays
        # It cannot tell of its own end.
        ends = "leaves now and ends; ask another control node from now on"
        yield _told(one, f"{node}, which was asked, {f'stays: {stays}' if stays else ends}.", ok=not stays)
    yield {"event": "done", "ok": ok, "message": ""}


def _told(node: Node, message: str, *, ok: bool = True) -> Step:
    return {"event": "node", "name": node.record.name, "id": node.record.id, "ok": ok, "message": message}


def _gone(node: Node) -> str:
    if node.report is None:
        return f"{node.record.name} was removed; it was {node.status}."
    return f"{node.record.name} was removed; it is told to stop serving, and ends."


async def _record(
    store: Store, mirror: Mirror, words: Sequence[str], *, force: bool, actor: Actor, node: str
) -> list[Node]:
    """Write down that the nodes are removed, if that is possible in the very state that was looked at."""
    done: list[Node] = []
    left, tries = list(words), TRIES
    while left:
        seen = mirror.state
        try:
            nodes = choose(seen, left)
            check(seen, nodes, force=force)
        except RefusedError as error:
            if not done:
                raise
            names = ", ".join(one.record.name for one in done)
            raise RefusedError(f"after {names} had been removed: {error.cause}", error.next_step) from error
        # The control nodes first: they are what the others depend on.
        nodes.sort(key=lambda one: one.record.role is not Role.CONTROL)
        batch = nodes[:TOGETHER]
        if await _write(store, seen, batch, force=force, actor=actor, node=node):
            done += batch
            left = [one.record.id for one in nodes[TOGETHER:]]
            continue
        # Something changed since it was looked at; the mirror is about to hear of it.
        tries -= 1
        if not tries:
            raise UnreachableError("the nodes change faster than they can be removed", "try again in a moment")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BEAT):
                await mirror.wait_for(lambda now, then=seen: now is not then)  # type: ignore[misc]
    return done


async def _write(
    store: Store, seen: ClusterState, nodes: Sequence[Node], *, force: bool, actor: Actor, node: str
) -> bool:
    at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    compares: list[Compare] = []
    operations: list[Put | Delete] = []
    for one in nodes:
        record = one.record
        compares.append(_as_seen(seen, state.NODES + record.id))
        if not force:
            # It may have come back since it was looked at.
            compares.append(Compare.absent(state.ALIVE + record.id))
        removal = Removal(
            id=record.id,
            name=record.name,
            role=record.role,
            certificate_serial=record.certificate_serial,
            by=actor.who,
            at=at,
        )
        operations += [Put(state.REMOVED + record.id, removal.stored()), Delete(state.DRAINED + record.id)]
        if record.role is Role.DATA:
            operations += [
                Delete(key + record.id if key != state.NAMES else key + record.name)
                for key in (state.NODES, state.ALIVE, state.NAMES)
            ]
        if one.is_leader:
            compares.append(Compare.same_creation(state.LEADER, seen.leader_creation))
            operations.append(Delete(state.LEADER))
        detail = f"removed the {record.role.value} node {record.name} ({record.id}), which was {one.status}"
        operations.append(audit.entry(actor, node, "rm-node", detail))
    if any(one.record.role is Role.CONTROL for one in nodes):
        # Two removals that are harmless each may cost the quorum together: the later one looks again.
        compares.append(_as_seen(seen, state.REMOVAL))
        operations.append(Put(state.REMOVAL, nodes[0].record.id.encode()))
    past = sorted(seen.removed.values(), key=lambda one: one.at)
    settled = [one.id for one in past if seen.node(one.id) is None]
    operations += [Delete(state.REMOVED + one) for one in membership.outlived(settled)[:PRUNED]]
    return await store.transact(compares, operations, patience=OPERATOR_PATIENCE) is not None


def _as_seen(seen: ClusterState, key: str) -> Compare:
    found = seen.keys.get(key)
    return Compare.unchanged(key, found.mod_revision if found else 0)


async def _until_gone(mirror: Mirror, nodes: Sequence[Node]) -> AsyncIterator[Step]:
    left = {one.record.id: one for one in nodes}
    until = time.monotonic() + DEADLINE
    told = ""
    while left:
        seen = mirror.state
        for identity in [one for one in left if seen.node(one) is None]:
            one = left.pop(identity)
            yield _told(one, f"{one.record.name} was removed and has left the store's membership.")
        if not left:
            return
        reasons = _reasons(seen, left)
        if time.monotonic() > until:
            for one in left.values():
                message = (
                    f"{one.record.name} has not left the store's membership after {DEADLINE:.0f} s"
                    f"{f' ({reasons})' if reasons else ''}; the leader goes on trying."
                )
                yield _told(one, message, ok=False)
            return
        names = ", ".join(sorted(one.record.name for one in left.values()))
        sentence = f"Waiting for {names} to leave the store's membership{f' ({reasons})' if reasons else ''}."
        yield {"event": "waiting", "message": sentence if sentence != told else ""}
        told = sentence
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BEAT):
                await mirror.wait_for(lambda now, then=seen: now is not then)  # type: ignore[misc]


def _reasons(seen: ClusterState, left: Mapping[str, Node]) -> str:
    if seen.leader is None:
        return "a leader is being elected"
    kept = (one for one in membership.decide_removals(seen) if isinstance(one, Keep) and one.node.record.id in left)
    return "; ".join(dict.fromkeys(one.reason for one in kept))
