"""How nodes start: as a new cluster, as a newcomer with a token, or coming back with their state directory."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Sequence

from traefikee import log
from traefikee.cluster import etcd, joining, upkeep
from traefikee.cluster.messages import Standing
from traefikee.cluster.roles import Role
from traefikee.errors import ClusterAbortedError, RefusedError, TraefikeeError, UnreachableError, UsageError
from traefikee.node import engine as engines
from traefikee.node import removed
from traefikee.node.bootstrap import Bootstrap, NewCluster, check_credentials_folder, forget_cluster, wait_and_leave
from traefikee.node.control import CleanedAwayError, ControlNode, ControlOptions
from traefikee.node.lifecycle import Newcomer, stop_on_signals, until
from traefikee.node.own_certificate import renewed_from_disk
from traefikee.node.restore import Backup, Restore, refuse_to_restore_over
from traefikee.node.statedir import Identity, StateDir, need_no_identity

JOIN_DEADLINE = 60.0
"""Seconds that a node with an identity goes on looking for a control node that lets it in."""

ROOM_EVERY = 0.5
"""Seconds between two looks at how much room etcd has while it catches up."""

_log = log.get("node")


async def bootstrap(statedir: StateDir, asked: NewCluster, options: ControlOptions, backup: Backup | None) -> None:
    """Run ``traefikee bootstrap``: make a cluster, or come back as the node that made one.

    :param backup: what to make it of; None for a new one, or one that was made of it before.
    :raises TraefikeeError: whatever keeps the cluster from being made, among it the timeout.
    """
    identity = _own_identity(statedir, Role.CONTROL)
    stopping = stop_on_signals()
    if identity is not None:
        if backup is not None:
            refuse_to_restore_over(statedir, identity)
        # Killed or restarted: its cluster may be formed by now, or still wait for the others.
        _log.info(
            "this node has made its cluster before: it comes back, and the options for a new one are not looked at",
            cluster=identity.cluster_id,
        )
        await _stay(statedir, identity, options, stopping, asked.timeout if identity.ephemeral else None)
        return
    _check_programs()
    # What a bootstrap has left that was killed before it was done.
    statedir.set_store_aside("unfinished")
    making: Bootstrap | Restore
    if backup is None:
        check_credentials_folder(asked.credentials)
        making = Bootstrap(asked)
        await until(stopping, making.check_licence())
        if stopping.is_set():
            return
    else:
        making = Restore(asked, backup, statedir.load_generation())
    node = ControlNode(statedir, making.identity, options)
    try:
        await node.run(making.enter, making.duties if asked.ephemeral else None, stopping)
    except CleanedAwayError:
        if node.removal:
            raise removed.remember(statedir, node.removal) from None
        await _stay(statedir, making.identity, options, stopping, None)
    except TraefikeeError as error:
        if error.kind == "aborted" or statedir.load_identity() is None:
            forget_cluster(statedir, asked.credentials if making.issues_credentials else None)
        raise


async def control_node(statedir: StateDir, newcomer: Newcomer, options: ControlOptions) -> None:
    """Run ``traefikee start-control-node``: join, or come back.

    :raises TraefikeeError: whatever keeps it from joining or running.
    """
    identity = _own_identity(statedir, Role.CONTROL)
    stopping = stop_on_signals()
    _check_programs()
    if identity is None:
        if not newcomer.peers:
            raise UsageError("--peeraddresses is needed to join a cluster", "name its control nodes: host:port,...")
        identity = await until(
            stopping,
            joining.obtain_identity(
                newcomer.token, newcomer.peers, Role.CONTROL, newcomer.name, newcomer.advertise, newcomer.timeout
            ),
        )
        if identity is None:
            return
        statedir.wipe_store()
        # Before anything else: a join that fails or is killed from here on goes on with the next start.
        statedir.save_identity(identity)
    elif newcomer.advertise and newcomer.advertise != identity.advertise:
        raise RefusedError(
            f"this node joined with the address {identity.advertise}, not {newcomer.advertise}",
            "start it with that --advertise, or remove its state directory and join again with a token",
        )
    await _stay(statedir, identity, options, stopping, None, newcomer.peers)


async def _stay(
    statedir: StateDir,
    identity: Identity,
    options: ControlOptions,
    stopping: asyncio.Event,
    timeout: float | None,
    peers: Sequence[str] = (),
) -> None:
    """Run a node that has an identity, through as many joins and returns as it takes.

    :param timeout: seconds that an ephemeral bootstrap node goes on waiting for the others.
    """
    _check_programs()
    found: tuple[Standing, str] | None = None
    while True:
        known = list(dict.fromkeys([*statedir.load_peers(), *peers]))
        others = [one for one in known if one != identity.advertise]
        identity = renewed_from_disk(statedir, identity)
        caught_up = await joining.caught_up(identity, others)
        if caught_up is not identity:
            identity = caught_up
            statedir.save_identity(identity)
        standing = None
        found = found or await joining.ask_standing(identity, others, statedir.load_generation())
        if found is not None:
            standing, told_by = found
            if standing.removed:
                raise removed.remember(statedir, standing.removed)
            others = [told_by, *(one for one in others if one != told_by)]
            _leave_behind(statedir, standing.generation)
        afresh = not statedir.has_store() or (standing is not None and not standing.member)
        if afresh and identity.ephemeral:
            raise RefusedError(
                "this bootstrap node is no longer in its cluster",
                f"to make another cluster, remove {statedir.path} first",
                kind="left",
            )
        if afresh:
            statedir.wipe_store()
            if standing is not None and not standing.listed:
                _log.info("this node was cleaned from the cluster while it was away: it joins afresh")
                identity = await joining.return_to_list(identity, others, JOIN_DEADLINE)
                statedir.save_identity(identity)
        node = ControlNode(statedir, identity, options)

        async def enter(node: ControlNode, *, afresh: bool = afresh, others: Sequence[str] = others) -> None:
            if afresh:
                await join_store(node, others, JOIN_DEADLINE)
                node.look_out(others, joined=True)
            else:
                node.look_out(others, joined=False)
                # With its data there etcd knows the members; what it is told here is not looked at.
                await node.start_store([(node.identity.id, etcd.peer_url(node.identity.advertise))], existing=True)
                await node.wait_for_store()

        async def duties(node: ControlNode) -> None:
            if timeout is not None:
                await wait_and_leave(node, timeout)

        try:
            await node.run(enter, duties, stopping)
        except CleanedAwayError as away:
            if node.removal:
                raise removed.remember(statedir, node.removal) from None
            found = away.found
            continue
        except ClusterAbortedError:
            # One that was restored may be restored again, and this node then comes back to it.
            if not statedir.load_generation():
                statedir.forget()
            raise
        return


def _leave_behind(statedir: StateDir, generation: int) -> None:
    """Keep a store of an earlier generation aside: it must not be started, and may hold what the later one lacks."""
    if generation > statedir.load_generation():
        kept = statedir.set_store_aside("left-behind")
        if kept is not None:
            _log.warning(
                "the cluster was restored or recovered while this node was away: it joins afresh; "
                "its own data is kept until you remove it",
                kept=str(kept),
            )
        statedir.save_generation(generation)


async def join_store(node: ControlNode, peers: Sequence[str], deadline: float) -> None:
    """Bring a control node's etcd into the membership, through any control node that answers.

    :raises TraefikeeError: if the join was refused or rolled back.
    """
    identity = node.identity

    async def ask(address: str) -> None:
        async for step in joining.store_steps(identity, address, started=node.store_started):
            match step.get("event"):
                case "added":
                    _log.info("added to the store as a learner", through=address)
                    await node.start_store([(name, url) for name, url in step["cluster"]], existing=True)
                case "promoted":
                    _log.info("caught up with the store and promoted to a voting member")
                    return
                case _:
                    _log.info(str(step.get("message", step.get("event"))))
        raise UnreachableError(f"{address} ended the join", kind="peer")

    others = [peer for peer in peers if peer != identity.advertise]
    keeping = asyncio.create_task(_keep_room(node), name="room to catch up")
    try:
        await joining.ask_any(others, deadline, "bring this node into the store", ask)
        await node.wait_for_store()
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


async def _keep_room(node: ControlNode) -> None:
    """See to it that etcd has room while it catches up; once the node has joined, the leader looks after all members.

    A larger quota is kept until the node is started again: the other members' are as they should be.
    """
    given = node.options.store_quota
    while True:
        await asyncio.sleep(ROOM_EVERY)
        with contextlib.suppress(TraefikeeError):
            size, learns = await node.own_member.standing()
            match upkeep.decide_catching_up(size, given, learns=learns):
                case upkeep.Grow(quota):
                    given = quota
                    _log.info(
                        "etcd gets more room, to catch up with what the others have dropped since",
                        file=upkeep.megabytes(size.file),
                        quota=upkeep.megabytes(quota),
                    )
                    await node.restart_store(quota=quota)
                case upkeep.Defragment():
                    await node.own_member.defragment()


def _own_identity(statedir: StateDir, role: Role) -> Identity | None:
    removed.refuse(statedir)
    identity = statedir.load_identity()
    need_no_identity(identity, statedir, role)
    if identity is not None and identity.left:
        raise RefusedError(
            "this bootstrap node has left its cluster for good",
            f"to use this machine again, remove {statedir.path} first",
            kind="left",
        )
    return identity


def _check_programs() -> None:
    engines.find()
    output = subprocess.run([etcd.find(), "--version"], capture_output=True, text=True, check=False).stdout
    etcd.check_version(output)
