"""The replacement of the cluster's authority, phase by phase: decisions from one state, each with its reason.

A phase is over when every live node has confirmed it in its report. A control node restarts its etcd twice, because
etcd reads whom it trusts only when it starts: one control node at a time, and only while all the others are READY.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from traefikee.cluster import state
from traefikee.cluster.authorities import Authorities, RotationPhase, digests
from traefikee.cluster.records import Phase
from traefikee.cluster.roles import Role
from traefikee.cluster.state import ClusterState, Node
from traefikee.cluster.token_table import when
from traefikee.errors import RefusedError


@dataclass(frozen=True)
class Advance:
    """The phase is over. ``to`` is the next one, or None: the old authority is gone."""

    to: RotationPhase | None
    reason: str


@dataclass(frozen=True)
class Wait:
    """The phase goes on."""

    reason: str


def check_start(seen: ClusterState) -> None:
    """Check that a rotation can begin.

    :raises RefusedError: why not.
    """
    if seen.phase is not Phase.FORMED:
        raise RefusedError("the cluster is still forming", "wait until all its control nodes have joined")
    if seen.authorities.rotation is not None:
        raise RefusedError(
            "the authority is being replaced already",
            "follow it with `traefikee rotate-ca --status`; the next one can begin when that has ended",
        )
    silent = [node.record.name for node in _live(seen) if node.report is not None and node.report.certificate is None]
    if silent:
        raise RefusedError(
            f"{_names(silent)} run{'s' * (len(silent) == 1)} a version that cannot change whom it trusts",
            "upgrade first",
        )


def decide(seen: ClusterState, now: float) -> Advance | Wait | None:
    """Say what becomes of the rotation that is under way; None if there is none.

    :param now: seconds since 1970, of the leader.
    """
    if seen.info is None or seen.authorities.rotation is None:
        return None
    authorities, rotation = seen.authorities, seen.authorities.rotation
    live = _live(seen)
    reasons = [f"{node.record.name} {reason}" for node in live if (reason := behind(node, authorities))]
    if reasons:
        more = f", and {len(reasons) - 3} more" if len(reasons) > 3 else ""
        return Wait(f"waiting for {len(reasons)} of {len(live)} nodes: {', '.join(reasons[:3])}{more}{_held_up(seen)}")
    everybody = f"all {len(live)} live nodes"
    match rotation.phase:
        case RotationPhase.TRUST:
            return Advance(RotationPhase.ISSUE, f"{everybody} trust the new authority")
        case RotationPhase.ISSUE:
            left = (rotation.retire_after or now) - now
            if left > 0:
                return Wait(
                    f"{everybody} have certificates of the new authority; the old one stays trusted until "
                    f"{when(now + left)}, for who is away"
                )
            return Advance(RotationPhase.RETIRE, f"{everybody} have certificates of the new authority")
        case RotationPhase.RETIRE:
            return Advance(None, f"{everybody} trust the new authority alone")


def _held_up(seen: ClusterState) -> str:
    """Say which members hold the restarts of etcd up, if any does."""
    down = [node.record.name for node in seen.nodes if node.votes and not node.ready]
    if not down:
        return ""
    return f"; etcd is not restarted while {_names(down)} {'is' if len(down) == 1 else 'are'} DOWN"


def behind(node: Node, authorities: Authorities) -> str:
    """Say what a live node has not done yet of what the phase asks, or return an empty text."""
    told = node.report.certificate if node.report is not None else None
    if told is None:
        return "does not say whom it trusts"
    wanted = set(digests(authorities.bundle))
    control = node.record.role is Role.CONTROL
    for trusted, what in ((told.trusts, ""), (told.store_trusts, "'s etcd")):
        if what and not control:
            continue
        if wanted - set(trusted):
            return f"does not trust the new authority yet{' in its etcd' if what else ''}"
        if set(trusted) - wanted:
            return f"still trusts the old authority{' in its etcd' if what else ''}"
    phase = authorities.rotation.phase if authorities.rotation is not None else None
    if phase is not RotationPhase.TRUST and told.issuer != digests(authorities.signing)[0]:
        return "has a certificate of the old authority"
    return ""


def why_not_restart_store(seen: ClusterState, identity: str, wanted: Sequence[str], *, leads: bool) -> str:
    """Say why a control node may not restart its etcd now, or return an empty text.

    :param wanted: digests of whom etcd is to trust.
    :param leads: whether its etcd is etcd's leader: it goes last.
    """
    others = [node for node in seen.with_role(Role.CONTROL) if node.votes and node.record.id != identity]
    for node in others:
        if not node.ready:
            return f"{node.record.name} is {node.status}"
    if state.JOINING in seen.keys:
        return "a control node joins"
    holder = seen.keys.get(state.RESTARTING)
    if holder is not None and holder.value.decode() != identity:
        first = seen.node(holder.value.decode())
        return f"{first.record.name if first else 'another node'} restarts its etcd"
    if leads:
        for node in others:
            told = node.report.certificate if node.report is not None else None
            if told is not None and set(told.store_trusts) != set(wanted):
                return f"{node.record.name} restarts its etcd first"
    return ""


def _live(seen: ClusterState) -> list[Node]:
    return [node for node in seen.nodes if node.report is not None and not node.record.left]


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
