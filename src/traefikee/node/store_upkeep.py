"""Carries out the upkeep of etcd: one control node at a time looks at all members, compacts, defragments, disarms.

That is the leader. In a store that is full there may be none, for an election is a write: then it is the first control
node, by its id, that is alive. Each node looks after its own etcd's health besides, and tells what it finds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from traefikee import log
from traefikee.cluster import upkeep
from traefikee.cluster.joining import own_pair
from traefikee.cluster.mirror import Mirror
from traefikee.cluster.peers import Peer
from traefikee.cluster.roles import Role
from traefikee.cluster.state import ClusterState
from traefikee.cluster.store import PATIENCE, REQUEST_TIMEOUT, Store
from traefikee.cluster.upkeep import Size
from traefikee.config.certificates import CertificatePair
from traefikee.errors import TraefikeeError, UnreachableError
from traefikee.node.statedir import Identity
from traefikee.node.troubles import Troubles

EVERY = 10.0
"""Seconds between two looks at the store."""
ANSWER_DEADLINE = 10.0
"""Seconds in which a node tells the sizes of its file."""
DEFRAGMENT_DEADLINE = 60.0
"""Seconds that one member may take; it answers nothing meanwhile."""
WRITES = 8
"""Writes to the disk that a change is waited for."""
SLOW = 0.1
"""Seconds of one write to etcd's disk, on average, from which on the disk is told to be slow."""

_log = log.get("store")


class Member(Protocol):
    """One member of etcd, through the agent of its node.

    :ivar away: whether the node gives no sign of life, so that it need not answer. It may all the same: a sign of life
        is a write, and in a store that is full none is taken.
    """

    away: bool

    async def size(self) -> Size:
        """Return the sizes of its file."""

    async def defragment(self) -> None:
        """Give its unused space back."""


class OwnMember:
    """This node's own etcd.

    :param quota: bytes that its file may have.
    """

    away = False

    def __init__(self, store: Store, quota: int) -> None:
        self._store = store
        self._quota = quota
        self._defragmenting = asyncio.Lock()

    async def size(self) -> Size:
        """Return the sizes of its file.

        :raises UnreachableError: if it does not answer.
        """
        return (await self.standing())[0]

    async def standing(self) -> tuple[Size, bool]:
        """Return the sizes of its file, and whether it only learns and does not vote yet.

        :raises UnreachableError: if it does not answer.
        """
        status = await self._store.status()
        header = status["header"]
        member = int(header["member_id"])
        size = Size(
            member=member,
            file=int(status.get("dbSize", 0)),
            used=int(status.get("dbSizeInUse", 0)),
            quota=self._quota,
            leads=int(status.get("leader", 0)) == member,
            alarm=any("NOSPACE" in str(error) for error in status.get("errors", ())),
            revision=int(header.get("revision", 0)),
        )
        return size, bool(status.get("isLearner", False))

    async def defragment(self) -> None:
        """Give its unused space back; nothing is read or written through it meanwhile.

        :raises UnreachableError: if it does not answer in time.
        """
        async with self._defragmenting:
            before = await self.size()
            if before.leads:
                await self._step_aside(before.member)
            began = time.monotonic()
            await self._store.defragment(DEFRAGMENT_DEADLINE)
            after = await self.size()
            _log.info(
                "the store's file was defragmented",
                before=upkeep.megabytes(before.file),
                after=upkeep.megabytes(after.file),
                seconds=round(time.monotonic() - began, 2),
            )

    async def _step_aside(self, member: int) -> None:
        """Have another member lead etcd: its leader renews the leases of all nodes, and cannot while it is blocked."""
        others = [one.id for one in await self._store.members() if one.id != member and not one.is_learner]
        for other in others:
            try:
                await self._store.move_leadership(other)
            except UnreachableError as error:
                _log.debug("a member does not take etcd's lead", member=f"{other:x}", reason=error.cause)
            else:
                return


class OtherMember:
    """Another control node's etcd."""

    def __init__(self, address: str, ca_pem: str, own: CertificatePair, *, away: bool) -> None:
        self.away = away
        self._address = address
        self._ca_pem = ca_pem
        self._pair = own

    async def size(self) -> Size:
        """Return the sizes of its file.

        :raises TraefikeeError: if the node does not answer.
        """
        async with Peer(self._address, self._ca_pem, self._pair) as peer:
            content = await peer.request("GET", "/v1/upkeep", timeout=ANSWER_DEADLINE)
        try:
            return Size(**content)
        except TypeError as error:
            raise UnreachableError(f"{self._address} is of another version: {error}", kind="peer") from error

    async def defragment(self) -> None:
        """Give its unused space back.

        :raises TraefikeeError: if it could not, or the node does not answer in time.
        """
        async with Peer(self._address, self._ca_pem, self._pair) as peer:
            await peer.request("POST", "/v1/upkeep", timeout=DEFRAGMENT_DEADLINE + 5)


async def tend(store: Store, members: Callable[[], Awaitable[list[Member]]], compacted: int) -> int:
    """Look at all members once, and do what is needed.

    :param compacted: the revision that was compacted last, as this returned it the last time.
    :raises TraefikeeError: if one of them does not answer: what is done is done, and the rest is for the next time.
    """
    found, sizes = await _reached(await members())
    compaction = upkeep.decide_compaction(sizes, compacted)
    if compaction is not None:
        await store.compact(compaction.revision)
        compacted = compaction.revision
        # Where little history holds much there is something to do each time.
        write = _log.info if any(size.alarm for size in sizes) else _log.debug
        write("the store's history was compacted", until=compaction.revision, reason=compaction.reason)
        sizes = [await member.size() for member in found]
    by_id = {size.member: member for size, member in zip(sizes, found, strict=True)}
    # One after the other: a member that is being defragmented counts as absent for the quorum.
    for step in upkeep.decide_defragmentation(sizes):
        _log.info("a member of the store is defragmented", member=f"{step.member:x}", reason=step.reason)
        await by_id[step.member].defragment()
    if any(size.alarm for size in sizes):
        disarming = upkeep.decide_disarming([await member.size() for member in found])
        if disarming is not None:
            await store.disarm()
            _log.info("the store takes changes again", reason=disarming.reason)
    return compacted


async def _reached(members: Sequence[Member]) -> tuple[list[Member], list[Size]]:
    """Return the members that answer, with their sizes.

    :raises TraefikeeError: if one does not that gives signs of life.
    """
    found, sizes = [], []
    for member in members:
        try:
            sizes.append(await member.size())
            found.append(member)
        except TraefikeeError:
            # Its file is no smaller for being away, but nothing can be done about it; the others are looked after.
            if not member.away:
                raise
    return found, sizes


class StoreUpkeep:
    """The upkeep as one control node does its part of it.

    :param own: this node's member.
    :param identity: this node's, with the certificate that it has by then.
    """

    def __init__(
        self, store: Store, mirror: Mirror, own: OwnMember, identity: Callable[[], Identity], troubles: Troubles
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._own = own
        self._identity = identity
        self._troubles = troubles
        self._fsyncs = (0.0, 0)

    async def run(self) -> None:
        """Look after the store for ever."""
        compacted, failed = 0, ""
        while True:
            await asyncio.sleep(EVERY)
            try:
                self._troubles.note("store space", upkeep.trouble(await self._own.size()))
                self._troubles.note("store disk", await self._slowness())
                if coordinator(self._mirror.state) == self._identity().id:
                    compacted = await tend(self._store, self._members, compacted)
                    self._troubles.note("store space", upkeep.trouble(await self._own.size()))
                failed = ""
            except TraefikeeError as error:
                if error.cause != failed:
                    failed = error.cause
                    _log.warning("the store's upkeep is tried again", reason=failed)

    async def _members(self) -> list[Member]:
        seen, me = self._mirror.state, self._identity()
        others = [node for node in seen.with_role(Role.CONTROL) if not node.record.left and node.record.id != me.id]
        pair = own_pair(me)
        return [
            *(OtherMember(one.record.advertise, me.ca_pem, pair, away=not one.ready) for one in others),
            self._own,
        ]

    async def _slowness(self) -> str:
        """Say that the disk is slow, if it was so since the last time."""
        seconds, count = await self._store.fsyncs()
        before, self._fsyncs = self._fsyncs, (seconds, count)
        if count <= before[1]:
            return "" if count < before[1] else self._troubles.get("store disk")
        mean = (seconds - before[0]) / (count - before[1])
        # A change takes some writes, one after the other, on several members.
        self._store.patience = min(REQUEST_TIMEOUT, max(PATIENCE, WRITES * mean))
        if mean < SLOW:
            return ""
        # In coarse steps, so that it is not told anew with every measurement.
        step = next((one for one in (0.1, 0.2, 0.5, 1, 2, 5) if mean < 2 * one), 10)
        return (
            f"the disk of the state directory is slow: a write of the store takes more than {step:g} s, and "
            "each change some times as long; move it to a faster disk, or find out what else writes there"
        )


def coordinator(seen: ClusterState) -> str:
    """Return the id of the control node that looks after all members now: the leader, or else the first that lives."""
    if seen.leader is not None:
        return seen.leader
    alive = sorted(node.record.id for node in seen.with_role(Role.CONTROL) if node.ready)
    return alive[0] if alive else ""
