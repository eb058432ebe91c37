"""Which data nodes this control node hears, and their signs of life in the store.

All of them are kept under one lease, this control node's: one renewal whatever their number. If the control node ends,
so do they, unless another one has heard the node meanwhile and written the sign under its own lease. What a data node
says is written only where it differs from what is there; how much it carries goes into a sum for all of them.

The decisions are pure functions; :class:`Attendance` carries them out.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from traefikee import log
from traefikee.cluster import state
from traefikee.cluster.messages import LIFE
from traefikee.cluster.mirror import Mirror
from traefikee.cluster.records import Counters, Report, Traffic
from traefikee.cluster.roles import Role
from traefikee.cluster.state import ClusterState
from traefikee.cluster.store import Compare, Delete, KeyValue, Put, Store, StoreRefusedError
from traefikee.errors import UnreachableError

LEASE = 15
"""Seconds that the data nodes of a control node which went silent are taken for alive.

Longer than a data node takes to notice it (:data:`SILENCE`) and to be heard by another one.
"""
RENEW = 3.0
SILENCE = 9.0
"""Seconds that a data node which went silent is taken for alive."""
FRESH = LIFE + 1.0
"""Seconds for which what a data node said last is new: it speaks more often."""
LOOK_EVERY = 0.5
GATHER = 0.05
"""Seconds that a report waits for others which are written together with it."""
SUM_EVERY = 5.0
MOST_TOGETHER = 100
"""Reports in one transaction: etcd takes 128 operations."""
RETRY = 0.3
BALANCE_EVERY = 10.0
UNEVEN = 1.2
FEW = 10
"""A control node has too many streams if it has more than this much more than its share."""
MOST_LET_GO = 50
FORGOTTEN = 100
"""Nodes that are gone, of which something may be kept here."""

_log = log.get("nodes")


@dataclass
class Heard:
    """A data node, as this control node has heard it last.

    :ivar stored: its report as the store keeps it.
    :ivar counters: how much it has carried.
    :ivar at: when that was (monotonic seconds).
    :ivar seen: the store's revision that this control node knew then.
    :ivar written: the revision of the last write of its report from here; 0 if there was none.
    """

    stored: bytes
    counters: Counters
    at: float
    seen: int = 0
    written: int = 0


@dataclass(frozen=True)
class Line:
    """The connection over which a data node speaks to this control node.

    :ivar name: as the data node calls it; empty if it is of a version that does not name it.
    :ivar seen: the store's revision that this control node knew when it last heard something over it.
    """

    name: str
    seen: int


def without_counters(report: Report) -> bytes:
    """Return a report as the store keeps it: what changes all the time is left out."""
    return report.model_copy(update={"counters": Counters()}).stored()


def total(heard: Iterable[Heard]) -> Traffic:
    """Return what some data nodes carry together."""
    codes: Counter[str] = Counter()
    seconds, size, count = 0.0, 0, 0
    for one in heard:
        codes.update(one.counters.by_status)
        seconds += one.counters.duration_seconds_total
        size += one.counters.response_bytes_total
        count += 1
    counters = Counters(
        by_status=dict(sorted(codes.items())), duration_seconds_total=round(seconds, 3), response_bytes_total=size
    )
    return Traffic(counters=counters, data_nodes=count)


def to_write(one: Heard, known: KeyValue | None, lease: int) -> bool:
    """Tell whether a report has to be written: the store has another one, or it is under another one's lease."""
    return known is None or known.value != one.stored or known.lease != lease


def unchanged(identity: str, one: Heard, seen: ClusterState) -> Compare:
    """Return the comparison that a node's sign of life is what is known of it here."""
    key = state.ALIVE + identity
    known = seen.keys.get(key)
    revision = known.mod_revision if known is not None else 0
    # The mirror may be behind this node's own last write.
    return Compare.unchanged(key, one.written if one.written > seen.revision else revision)


def is_newer(known: KeyValue | None, revision: int, lease: int) -> bool:
    """Tell whether another control node has written this sign of life since a revision."""
    return known is not None and known.lease != lease and known.mod_revision > revision


def no_longer_ours(heard: Mapping[str, Heard], keys: Mapping[str, KeyValue], lease: int) -> list[str]:
    """Return the nodes that another control node has heard after this one: they hold on to that one now."""
    return [
        identity
        for identity, one in heard.items()
        if is_newer(keys.get(state.ALIVE + identity), max(one.written, one.seen), lease)
    ]


def silent(heard: Mapping[str, Heard], now: float, limit: float) -> list[str]:
    """Return the nodes that were not heard for so many seconds."""
    return [identity for identity, one in heard.items() if now - one.at > limit]


def to_end(heard: Mapping[str, Heard], keys: Mapping[str, KeyValue], lease: int) -> list[KeyValue]:
    """Return the signs of life under this control node's lease of nodes that it does not hear."""
    return [
        found
        for key, found in keys.items()
        if lease and found.lease == lease and key.startswith(state.ALIVE) and key.removeprefix(state.ALIVE) not in heard
    ]


def surplus(seen: ClusterState, identity: str, streams: int) -> int:
    """Return how many of its streams a control node ends now, so that others which have far fewer get some of them.

    One that comes back has none, and data nodes do not leave by themselves. As long as there is a control node of which
    it is not known how many it has, nobody is sent there.

    :param streams: how many it holds.
    """
    ready = [node.record.id for node in seen.with_role(Role.CONTROL) if node.ready]
    if identity not in ready or any(one not in seen.traffic for one in ready):
        return 0
    share = (streams + sum(seen.traffic[one].data_nodes for one in ready if one != identity)) / len(ready)
    return max(0, min(MOST_LET_GO, int(streams - share * UNEVEN - FEW)))


class Attendance:
    """The data nodes that one control node hears.

    :param identity: this control node's id.
    """

    def __init__(self, store: Store, mirror: Mirror, identity: str) -> None:
        self._store = store
        self._mirror = mirror
        self._id = identity
        self._heard: dict[str, Heard] = {}
        self._lines: dict[str, Line] = {}
        self._due: dict[str, None] = {}
        """Nodes whose reports are to be written, the longest waiting first."""
        self._wake = asyncio.Event()
        self._writing = asyncio.Lock()
        self._lease = 0
        self._lease_wanted = asyncio.Event()
        self._sum = b""

    def __len__(self) -> int:
        return len(self._heard)

    def begin(self, identity: str, connection: str) -> None:
        """Take note of the connection over which a data node speaks from now on."""
        self._lines[identity] = Line(connection, self._mirror.state.revision)

    def speaks(self, identity: str, connection: str) -> bool:
        """Tell whether that is the connection over which a data node speaks; also if it does not name it."""
        line = self._lines.get(identity)
        return not connection or (line is not None and line.name == connection)

    def hear(self, identity: str, report: Report, connection: str = "") -> bool:
        """Take note of a data node's report; it is written soon, if it says something new.

        :param connection: over which it came, as :meth:`begin` was told; empty if the data node does not name it.
        :returns: False if it is not taken: the network has delivered it late, and the node has said more since, over
            another connection or to another control node.
        """
        seen = self._mirror.state
        if not self.speaks(identity, connection):
            return False
        if connection:
            if is_newer(seen.keys.get(state.ALIVE + identity), self._lines[identity].seen, self._lease):
                return False
            self._lines[identity] = Line(connection, seen.revision)
        stored = without_counters(report)
        one = self._heard.get(identity)
        if one is None:
            one = self._heard[identity] = Heard(stored, report.counters, time.monotonic())
        else:
            one.stored, one.counters, one.at = stored, report.counters, time.monotonic()
        one.seen = seen.revision
        if to_write(one, seen.keys.get(state.ALIVE + identity), self._lease):
            self._ask(identity)
        return True

    def _ask(self, identity: str) -> None:
        self._due[identity] = None
        self._wake.set()

    async def goodbye(self, identity: str) -> None:
        """Take a data node's sign of life back: it shows as DOWN at once.

        :raises UnreachableError: if the store does not answer; the sign ends later then.
        """
        one = self._heard.pop(identity, None)
        self._due.pop(identity, None)
        async with self._writing:
            known = self._mirror.state.keys.get(state.ALIVE + identity)
            written = max(one.written if one else 0, known.mod_revision if known else 0)
            if written:
                await self._end(state.ALIVE + identity, written)

    async def _end(self, key: str, revision: int) -> None:
        await self._store.transact([Compare.unchanged(key, revision)], [Delete(key)])

    async def run(self) -> None:
        """Keep the lease, the signs of life and the sum up for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_lease(), name="lease of data nodes")
            tasks.create_task(self._write(), name="reports of data nodes")
            tasks.create_task(self._look(), name="silent data nodes")
            tasks.create_task(self._tell_sum(), name="traffic of data nodes")

    async def _keep_lease(self) -> None:
        while True:
            try:
                if not self._lease or not await self._store.keep_alive(self._lease):
                    lost = self._lease
                    self._lease = await self._store.grant(LEASE)
                    self._sum = b""
                    if lost:
                        _log.warning("the lease of the data nodes had ended; they were DOWN for a moment")
                        # While this node was cut off they may have gone to another one and have said more to that.
                        for identity in silent(self._heard, time.monotonic(), FRESH):
                            del self._heard[identity]
                            self._due.pop(identity, None)
                    for identity in self._heard:
                        self._ask(identity)
            except UnreachableError:
                await asyncio.sleep(RETRY)
                continue
            self._lease_wanted.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RENEW):
                    await self._lease_wanted.wait()

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(GATHER)
            self._wake.clear()
            while self._due:
                if not self._lease or not await self._write_some():
                    await asyncio.sleep(RETRY)

    async def _write_some(self) -> bool:
        async with self._writing:
            due = list(self._due)[:MOST_TOGETHER]
            for identity in due:
                del self._due[identity]
            some = {identity: self._heard[identity] for identity in due if identity in self._heard}
            seen = self._mirror.state
            for identity in no_longer_ours(some, seen.keys, self._lease):
                # It talks to another control node: what is known here is older than what is there.
                del some[identity]
            if not some:
                return True
            # A write that the store carries out late, when it has been given up here, must not undo a newer one.
            compares = [unchanged(identity, one, seen) for identity, one in some.items()]
            puts = [Put(state.ALIVE + identity, one.stored, self._lease) for identity, one in some.items()]
            try:
                revision = await self._store.transact(compares, puts)
            except UnreachableError as error:
                # It may have been written or not: written again is the same.
                self._due = {**dict.fromkeys(some), **self._due}
                if isinstance(error, StoreRefusedError):
                    # Perhaps the lease is gone: that is asked at once.
                    self._lease_wanted.set()
                return False
            if revision is None:
                # The mirror is about to tell what has changed.
                self._due = {**dict.fromkeys(some), **self._due}
                return False
            for one in some.values():
                one.written = revision
            return True

    async def _look(self) -> None:
        """End the signs of life of nodes that went silent."""
        looked = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_EVERY)
            now = time.monotonic()
            if now - looked > 2 * LOOK_EVERY:
                # This process stood still: what nodes have said meanwhile may not have been read yet.
                for one in self._heard.values():
                    one.at += now - looked
            looked = now
            seen = self._mirror.state
            for identity in no_longer_ours(self._heard, seen.keys, self._lease):
                del self._heard[identity]
            if len(self._lines) > len(seen.nodes) + FORGOTTEN:
                self._lines = {one: line for one, line in self._lines.items() if seen.node(one) is not None}
            for identity in silent(self._heard, now, SILENCE):
                del self._heard[identity]
                node = self._mirror.state.node(identity)
                _log.warning("a data node is silent", name=node.record.name if node else identity, seconds=SILENCE)
            async with self._writing:
                # If the store does not answer they wait, and so does nothing else.
                with contextlib.suppress(UnreachableError):
                    for found in to_end(self._heard, self._mirror.state.keys, self._lease):
                        await self._end(found.key, found.mod_revision)

    async def _tell_sum(self) -> None:
        while True:
            await asyncio.sleep(SUM_EVERY)
            stored = total(self._heard.values()).stored()
            if self._lease and stored != self._sum:
                with contextlib.suppress(UnreachableError):
                    await self._store.transact([], [Put(state.TRAFFIC + self._id, stored, self._lease)])
                    self._sum = stored
