"""How etcd is kept from filling up: decisions on one view of its members, each with its reason.

etcd keeps every revision until it is compacted, and gives no space back to its file until it is defragmented. When the
file of one member reaches the quota, etcd raises the alarm NOSPACE, and the whole cluster takes nothing but deletions
until the alarm is taken back. It compacts every five minutes by itself (:mod:`traefikee.cluster.etcd`); here is decided
what that is not enough for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

QUOTA = 1 << 30
"""Bytes of etcd's file by default. 10,000 frontends with their history are below 100 MB; a member that has to be
defragmented at 1 GiB is back within seconds."""
LEAST_QUOTA = 16 << 20
"""Bytes below which a quota is refused."""
COMPACT_ABOVE = 0.25
"""Share of the quota in use beyond which history is worth less than space."""
HISTORY = 100
"""Revisions that stay for whoever watches and is a little behind; who is further behind reads everything again."""
WORTH = 64 << 20
"""Bytes of a file that is worth defragmenting; a smaller one only if it is near the quota."""
NEAR = 0.5
"""Share of the quota beyond which a file is near it."""
FULL = 0.9
"""Share of the quota in use beyond which no upkeep helps any more."""


@dataclass(frozen=True)
class Size:
    """One member's file.

    :ivar member: etcd's member id.
    :ivar file: bytes of the file.
    :ivar used: bytes of them that hold something.
    :ivar quota: bytes that the file may have.
    :ivar leads: whether the member is etcd's leader.
    :ivar alarm: whether the store takes no writes because a member has run out of space.
    :ivar revision: the store's revision as this member has it.
    """

    member: int
    file: int
    used: int
    quota: int
    leads: bool = False
    alarm: bool = False
    revision: int = 0


@dataclass(frozen=True)
class Compact:
    """Forget what was before a revision."""

    revision: int
    reason: str


@dataclass(frozen=True)
class Defragment:
    """Give one member's unused space back."""

    member: int
    reason: str


@dataclass(frozen=True)
class Grow:
    """Go on with a larger quota (bytes)."""

    quota: int


@dataclass(frozen=True)
class Disarm:
    """Take the alarm back."""

    reason: str


Step: TypeAlias = Compact | Defragment | Disarm


def decide_compaction(sizes: Sequence[Size], compacted: int) -> Compact | None:
    """Decide whether history has to go.

    :param compacted: the revision that was compacted last.
    """
    if not sizes:
        return None
    revision = max(size.revision for size in sizes)
    alarm = any(size.alarm for size in sizes)
    until = revision if alarm else revision - HISTORY
    if until <= compacted:
        return None
    fullest = max(sizes, key=lambda size: size.used / size.quota)
    share = f"{fullest.used / fullest.quota:.0%} of the quota of {megabytes(fullest.quota)} is in use"
    if alarm:
        return Compact(until, f"the store is full: {share}")
    return Compact(until, share) if fullest.used > fullest.quota * COMPACT_ABOVE else None


def decide_defragmentation(sizes: Sequence[Size]) -> list[Defragment]:
    """Decide which members are defragmented, one after the other: etcd's leader last, and only those where it pays."""
    alarm = any(size.alarm for size in sizes)
    found = []
    for size in sorted(sizes, key=lambda size: size.leads):
        near = size.file > size.quota * NEAR
        pays = size.used * 2 <= size.file and (near or size.file >= WORTH)
        if pays or (alarm and near and size.used < size.file):
            reason = f"of {megabytes(size.file)} only {megabytes(size.used)} are in use"
            found.append(Defragment(size.member, reason))
    return found


def decide_disarming(sizes: Sequence[Size]) -> Disarm | None:
    """Decide whether the alarm can be taken back: every member has to have room again."""
    if not any(size.alarm for size in sizes) or any(size.file > size.quota * FULL for size in sizes):
        return None
    fullest = max(size.file / size.quota for size in sizes)
    return Disarm(f"no member's file has more than {fullest:.0%} of its quota")


def decide_catching_up(size: Size, given: int, *, learns: bool) -> Grow | Defragment | None:
    """Decide what the etcd of a node that joins needs, to have room for what it catches up with.

    It carries out, all at once, what the others have had hours for and have forgotten. If its file reached the quota,
    that would stop the whole store again and again. etcd lets nobody defragment a member that does not vote yet.

    :param given: bytes of the quota that it runs with; ``size`` has the one that is meant.
    """
    if size.file <= given * FULL:
        return None
    if learns:
        return Grow(size.file + size.quota)
    return next(iter(decide_defragmentation([size])), None)


def trouble(size: Size) -> str:
    """Say what an operator has to know of this member's space, or nothing."""
    share = f"{megabytes(size.used)} of {megabytes(size.quota)} are in use"
    if size.alarm and size.used > size.quota * FULL:
        return f"the store is full and takes no changes: {share}; start each control node with a larger --storequota"
    if size.alarm:
        return f"the store is full and takes no changes: {share}; it is being cleaned up, which takes a minute at most"
    if size.used > size.quota * FULL:
        return f"the store is nearly full: {share}; start each control node with a larger --storequota"
    return ""


def megabytes(count: int) -> str:
    """Return bytes in words."""
    return f"{count / (1 << 20):.0f} MiB" if count >= 10 << 20 else f"{count / (1 << 20):.1f} MiB"
