"""One control node leads: an election in the store, under a lease that is also the node's sign of life.

The leader key's create-revision fences the leader's writes: each compares it, so that those of a deposed leader fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from traefikee import log
from traefikee.cluster import membership, state
from traefikee.cluster.mirror import Mirror
from traefikee.cluster.records import Phase, Report
from traefikee.cluster.state import ClusterState
from traefikee.cluster.store import Compare, Delete, Put, Store
from traefikee.errors import UnreachableError

LEASE = 5
"""Seconds that a node which went silent is taken for alive."""
RENEW = 1.5
RETRY = 0.3
BEHIND = 6.0
"""Seconds without a read of what is agreed after which this node's store counts as left behind by the others.

A lease alone does not tell: it is renewed by the store's leader, to which small messages may still find a way when what
the others have agreed on does not arrive here any more (a path whose MTU is smaller than its ends believe). A leader
would then hold its lead and see nothing of what it should act upon.
"""

_log = log.get("election")


class Presence:
    """This node's lease: its sign of life with what it reports, and its hold on leadership.

    :ivar may_lead: whether this node stands for election.
    """

    def __init__(self, store: Store, mirror: Mirror, identity: str, report: Callable[[], Report]) -> None:
        self._store = store
        self._mirror = mirror
        self._id = identity
        self._report = report
        self.may_lead = True
        self.lease = 0
        self._renewed = float("-inf")
        self._read = float("-inf")

    async def run(self) -> None:
        """Keep the lease, the report and, where there is no leader, the candidacy up for ever."""
        self._read = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read_along(), name="reading")
            tasks.create_task(self._live(), name="presence")
            tasks.create_task(self._stand(), name="candidacy")

    async def _read_along(self) -> None:
        """Read over and over something that this node's store can answer only if it is as far as the others are."""
        while True:
            with contextlib.suppress(UnreachableError):
                await self._store.probe()
                self._read = time.monotonic()
            await asyncio.sleep(RENEW)

    async def _live(self) -> None:
        reported = b""
        behind = False
        while True:
            was_behind, behind = behind, time.monotonic() - self._read > BEHIND
            if behind:
                if not was_behind:
                    _log.warning(f"nothing was read from the store for {BEHIND:.0f} s: this node lets its lease end")
                await asyncio.sleep(RETRY)
                continue
            try:
                if not self.lease or not await self._store.keep_alive(self.lease):
                    lost = self.lease
                    self.lease = await self._store.grant(LEASE)
                    reported = b""
                    if lost:
                        _log.warning("the lease had ended; this node was DOWN for a moment")
                self._renewed = time.monotonic()
                report = self._report().stored()
                if report != reported:
                    await self._store.transact([], [Put(state.ALIVE + self._id, report, self.lease)])
                    reported = report
                await asyncio.sleep(RENEW)
            except UnreachableError:
                await asyncio.sleep(RETRY)

    async def _stand(self) -> None:
        while True:
            await self._mirror.wait_for(self._may_stand_in)
            if self.lease:
                with contextlib.suppress(UnreachableError):
                    await self._store.transact(
                        [Compare.absent(state.LEADER)], [Put(state.LEADER, self._id.encode(), self.lease)]
                    )
            # Either the mirror soon shows a leader, or the store did not answer: then it is asked again.
            await asyncio.sleep(RETRY)

    def _may_stand_in(self, seen: ClusterState) -> bool:
        return (
            self.may_lead
            and seen.leader is None
            and seen.phase is not Phase.ABORTED
            and membership.may_lead(seen, self._id)
        )

    def has_quorum(self) -> bool:
        """Tell whether the store took this node's sign of life within the last lease: it then has a quorum."""
        return time.monotonic() - self._renewed < LEASE

    async def resign(self) -> None:
        """Give leadership up and do not stand again."""
        self.may_lead = False
        seen = self._mirror.state
        if seen.leader == self._id:
            await self._store.transact(
                [Compare.same_creation(state.LEADER, seen.leader_creation)], [Delete(state.LEADER)]
            )

    async def end(self) -> None:
        """Take the sign of life back: the node shows as DOWN at once."""
        if self.lease:
            with contextlib.suppress(UnreachableError):
                await self._store.revoke(self.lease)


async def depose(store: Store, seen: ClusterState) -> bool:
    """Take leadership from the leader of ``seen``, whose process is known to be gone.

    Safe even if that was wrong: the deposed leader's writes fail their comparison and it stands for election again.

    :returns: whether it still was the leader.
    """
    done = await store.transact([Compare.same_creation(state.LEADER, seen.leader_creation)], [Delete(state.LEADER)])
    return done is not None


async def while_leading(mirror: Mirror, identity: str, lead: Callable[[ClusterState], Awaitable[None]]) -> None:
    """Run ``lead`` whenever, and only as long as, this node is the leader.

    ``lead`` gets the state in which leadership was won; its ``leader_creation`` fences what it writes. It is
    cancelled when leadership is lost.
    """
    while True:
        won = await mirror.wait_for(lambda seen: seen.leader == identity)
        creation = won.leader_creation
        _log.info("this node leads the cluster")
        leading = asyncio.ensure_future(lead(won))
        losing = asyncio.ensure_future(mirror.wait_for(lambda seen, mine=creation: seen.leader_creation != mine))  # type: ignore[misc]
        try:
            done, _ = await asyncio.wait({leading, losing}, return_when=asyncio.FIRST_COMPLETED)
            if leading in done:
                leading.result()
        finally:
            for task in (leading, losing):
                task.cancel()
            await asyncio.gather(leading, losing, return_exceptions=True)
        _log.info("this node no longer leads the cluster")
