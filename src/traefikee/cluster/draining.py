"""Taking nodes out of service and back: ``drain-node``.

That a node is drained is in the store (:class:`~traefikee.cluster.Mark`) and outlives its record, so that it
also holds for a node that was away for long. A data node hears of it through its stream, and reports how far it is. A
control node gives up leadership, and does not stand for it while another one can.
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
from traefikee.cluster.mirror import Mirror
from traefikee.cluster.records import Mark
from traefikee.cluster.roles import Role
from traefikee.cluster.state import ClusterState, Node
from traefikee.cluster.store import OPERATOR_PATIENCE, Compare, Delete, Put, Store
from traefikee.errors import RefusedError, UnreachableError

BEAT = 1.0
TRIES = 5
TOGETHER = 30
"""Nodes of one transaction, which etcd limits to 128 operations."""
PRUNED = 20
"""Marks of nodes that are gone, which one transaction forgets at most."""

Step = Mapping[str, Any]


def check(seen: ClusterState, nodes: Sequence[Node], *, force: bool) -> None:
    """Refuse to drain these nodes if nobody would be left to serve or to lead.

    :param force: drain the last data nodes nevertheless.
    :raises RefusedError: with the reason.
    """
    ids = {node.record.id for node in nodes}
    for node in nodes:
        if node.removed is not None:
            raise RefusedError(f"{node.record.name} was removed and is about to leave", kind="refused")
    if membership.drains_the_last(seen, ids, Role.CONTROL):
        raise RefusedError(
            "nothing was drained: no other control node could lead the cluster",
            "let another control node join, or come back, first",
        )
    if membership.drains_the_last(seen, ids, Role.DATA) and not force:
        raise RefusedError(
            "nothing was drained: no data node would accept requests any more",
            "start another data node first, or add --force",
        )


async def drain(
    store: Store,
    mirror: Mirror,
    words: Sequence[str],
    *,
    undo: bool,
    force: bool,
    timeout: float,
    actor: Actor,
    node: str,
) -> AsyncIterator[Step]:
    """Drain nodes or bring them back, and wait until they are.

    Yields ``warning``, ``progress`` (what a node has still open), ``waiting``, ``node`` with ``ok``, and at last
    ``done`` with ``ok``.

    :param words: names or ids.
    :param timeout: seconds to wait; 0 is no limit. What was written stays afterwards.
    :param node: the name of the control node that is asked.
    :raises TraefikeeError: if one is unknown or cannot be drained; then none is.
    """
    before = mirror.state
    ids = await _write(store, mirror, words, undo=undo, force=force, actor=actor, node=node)
    if not undo and membership.drains_the_last(before, ids, Role.DATA):
        yield {"event": "warning", "message": "Warning: no data node accepts requests any more."}
    ok = True
    until = time.monotonic() + timeout if timeout else float("inf")
    left = list(ids)
    told: dict[str, str] = {}
    while left:
        seen = mirror.state
        late = time.monotonic() >= until
        for identity in list(left):
            done, good, message = progress(seen, identity, ids[identity], undo=undo)
            if not done and late:
                done, good = True, False
                message = f"{message.rstrip('.')}: not waited for any longer. {_afterwards(undo)}"
            name = ids[identity].record.name
            if done:
                left.remove(identity)
                ok = ok and good
                yield {"event": "node", "name": name, "id": identity, "ok": good, "message": message}
            elif told.get(identity) != message:
                told[identity] = message
                yield {"event": "progress", "name": name, "id": identity, "message": message}
        if left:
            yield {"event": "waiting", "message": ""}
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(BEAT, max(0.05, until - time.monotonic()))):
                    await mirror.wait_for(lambda now, then=seen: now is not then)  # type: ignore[misc]
    yield {"event": "done", "ok": ok, "message": ""}


def _afterwards(undo: bool) -> str:
    if undo:
        return "It goes on trying by itself."
    return "It stays drained and lets them end; stop it to cut them, or bring it back with --undo."


def progress(seen: ClusterState, identity: str, before: Node, *, undo: bool) -> tuple[bool, bool, str]:
    """Return whether a node need not be waited for any longer, whether that is good, and how it stands as a sentence.

    :param before: the node as it was when it was asked for.
    """
    node, name = seen.node(identity), before.record.name
    if node is None:
        return True, False, f"{name} is no longer in the list of nodes."
    if (node.drained is None) != undo:
        return False, True, f"{name} is about to be {'brought back' if undo else 'drained'}."
    if undo and before.drained is None:
        return True, True, f"{name} was not drained."
    if node.record.role is Role.CONTROL:
        return _control_progress(seen, node, undo=undo)
    if not node.ready:
        when = "accepts again" if undo else "accepts nothing"
        return True, True, f"{name} is {node.status}; it {when} when it comes back."
    report = node.report
    emptying = report.emptying if report else None
    if undo:
        if report is not None and report.undrain_problem:
            return True, False, f"{name} cannot accept requests again: {report.undrain_problem}. It goes on trying."
        if emptying is None:
            return True, True, f"{name} accepts requests again."
        return False, True, f"{name} still accepts nothing."
    if emptying is None or node.drained is None or emptying.mark != node.drained.at:
        return False, True, f"{name} has not said yet that it is being drained."
    if emptying.done:
        return True, True, f"{name} is drained."
    connections, requests = _count(emptying.connections, "connection"), _count(emptying.requests, "request")
    if emptying.accepting:
        return False, True, f"{name} still accepts, while its pings announce the end: {connections}, {requests}."
    return False, True, f"{name}: {connections} and {requests} left."


def _control_progress(seen: ClusterState, node: Node, *, undo: bool) -> tuple[bool, bool, str]:
    name = node.record.name
    if undo:
        return True, True, f"{name} stands for election again."
    if node.is_leader or seen.leader is None:
        return False, True, f"{name} hands leadership over."
    return True, True, f"{name} is drained: it does not lead while another control node can; its API goes on."


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


async def _write(
    store: Store, mirror: Mirror, words: Sequence[str], *, undo: bool, force: bool, actor: Actor, node: str
) -> dict[str, Node]:
    """Write down what is wanted, if it is possible in the very state that was looked at; return the nodes by id."""
    for _ in range(TRIES):
        seen = mirror.state
        nodes = choose(seen, words)
        if not undo:
            check(seen, nodes, force=force)
        changing = [one for one in nodes if (one.drained is None) != undo]
        settled = [one for one in nodes if (one.drained is None) == undo]
        batches = [changing[start : start + TOGETHER] for start in range(0, len(changing), TOGETHER)]
        if await _is_so(store, settled, undo=undo):
            known = seen.revision
            for batch in batches:
                written = await _put(store, seen, batch, known, undo=undo, actor=actor, node=node)
                if written is None:
                    break
                known = written
            else:
                return {one.record.id: one for one in nodes}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2 * BEAT):
                await mirror.wait_for(lambda now, then=seen: now is not then)  # type: ignore[misc]
    raise UnreachableError(
        f"{node} does not know what the store says of these nodes by now",
        "try again in a moment, or ask another control node",
    )


async def _is_so(store: Store, nodes: Sequence[Node], *, undo: bool) -> bool:
    """Ask the store whether nothing need be written for these: what this control node has seen may be old."""
    if not nodes:
        return True
    _, marks = await store.list_keys(state.DRAINED)
    return all((state.DRAINED + one.record.id in marks) != undo for one in nodes)


async def _put(
    store: Store, seen: ClusterState, nodes: Sequence[Node], known: int, *, undo: bool, actor: Actor, node: str
) -> int | None:
    """Write marks or delete them.

    :param known: the revision up to which all marks are known.
    :returns: the revision of the write, or None if it was not made.
    """
    at = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    compares: list[Compare] = []
    operations: list[Put | Delete] = []
    if not undo:
        # Two that are harmless each may drain the last together: the later one looks again.
        compares.append(Compare.none_newer(state.DRAINED, known))
    for one in nodes:
        key = state.NODES + one.record.id
        compares.append(Compare.unchanged(key, seen.keys[key].mod_revision))
        mark = state.DRAINED + one.record.id
        operations.append(Delete(mark) if undo else Put(mark, Mark(by=actor.who, at=at).stored()))
        if one.is_leader and not undo:
            compares.append(Compare.same_creation(state.LEADER, seen.leader_creation))
            operations.append(Delete(state.LEADER))
        what = "brought back" if undo else "drained"
        detail = f"{what} the {one.record.role.value} node {one.record.name} ({one.record.id})"
        operations.append(audit.entry(actor, node, "drain-node", detail))
    orphans = [found for key, found in seen.keys.items() if key.startswith(state.DRAINED) and not _listed(seen, key)]
    oldest = [found.key for found in sorted(orphans, key=lambda found: found.mod_revision)]
    operations += [Delete(key) for key in membership.outlived(oldest)[:PRUNED]]
    return await store.transact(compares, operations, patience=OPERATOR_PATIENCE)


def _listed(seen: ClusterState, key: str) -> bool:
    return seen.node(key.removeprefix(state.DRAINED)) is not None
