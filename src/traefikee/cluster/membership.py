"""Decisions on who belongs to the cluster: pure functions from one state to actions, each with its reason."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from traefikee.cluster.records import Phase
from traefikee.cluster.roles import Role
from traefikee.cluster.state import ClusterState, Node

FORGET_AFTER = 45.0
"""Seconds that a node must have been seen DOWN before it is forgotten.

The list is promised to be clean within a minute of a node's end: its lease takes some seconds to end first, and the
leader that looks may be new.
"""


@dataclass(frozen=True)
class Forget:
    """Remove a node from the list and, if it was a member of etcd, from the membership first."""

    node: Node
    reason: str


@dataclass(frozen=True)
class Keep:
    """Leave a node that is DOWN in the list for now."""

    node: Node
    reason: str


def quorum(voters: int) -> int:
    """Return how many of so many voting members must be alive for the store to accept writes (Raft)."""
    return voters // 2 + 1


def observe_down(state: ClusterState, down_since: Mapping[str, float], now: float) -> dict[str, float]:
    """Return since when each node that is DOWN has been seen so, by this observer's monotonic clock in seconds.

    One that is to leave counts too, even if it gives signs of life: its removal was decided, and goes on.
    """
    gone = (node.record for node in state.nodes if node.report is None or node.record.left)
    return {record.id: down_since.get(record.id, now) for record in gone}


def decide_cleaning(
    state: ClusterState, down_since: Mapping[str, float], now: float, forget_after: float = FORGET_AFTER
) -> list[Forget | Keep]:
    """Decide for each node that is DOWN long enough whether it is forgotten now.

    A control node goes only if the members that are left alive are a quorum of the smaller membership, one node at a
    time, so that every decision is taken on a state in which the one before has happened. While the cluster forms no
    control node is forgotten: who is expected may still come.

    :param down_since: as :func:`observe_down` returned it.
    """
    decisions: list[Forget | Keep] = []
    members = [node for node in state.nodes if node.votes]
    alive = sum(node.ready for node in members)
    removed_a_member = False
    for node in state.nodes:
        if node.removed is not None:
            continue  # decide_removals does
        since = down_since.get(node.record.id)
        if since is None or now - since < forget_after:
            continue
        down = f"DOWN for {now - since:.0f} s"
        if not node.votes:
            decisions.append(Forget(node, f"{down}, and it carries no vote"))
        elif state.phase is not Phase.FORMED:
            decisions.append(Keep(node, f"{down}, but the cluster is still forming"))
        elif removed_a_member:
            decisions.append(Keep(node, f"{down}, but another member leaves first"))
        elif alive < quorum(len(members)):
            decisions.append(
                Keep(node, f"{down}, but only {alive} of {len(members)} members are alive: the quorum would be lost")
            )
        else:
            removed_a_member = True
            decisions.append(Forget(node, f"{down}, and {alive} of the {len(members) - 1} members that stay are alive"))
    return decisions


def joined_control_nodes(state: ClusterState) -> list[Node]:
    """Return the control nodes that have joined for good and are alive, the ephemeral bootstrap node not counted."""
    return [node for node in state.with_role(Role.CONTROL) if node.ready and not node.record.bootstrap]


def formation(state: ClusterState) -> tuple[bool, str]:
    """Tell whether every expected control node has joined, and how far the cluster is, as a sentence."""
    if state.info is None:
        return False, "the cluster's state is not there yet"
    joined = joined_control_nodes(state)
    expected = state.info.control_nodes
    names = ", ".join(sorted(node.record.name for node in joined)) or "none yet"
    return len(joined) >= expected, f"{len(joined)} of {expected} control nodes have joined ({names})"


def name_conflict(state: ClusterState, name: str, identity: str) -> str | None:
    """Say why a name cannot be given to a node, or return None if it can."""
    holder = state.holder(name)
    if holder is None or holder.record.id == identity or holder.given_up:
        return None
    what = f"the name {name!r} belongs to another {holder.record.role.value} node, which is {holder.status}"
    if holder.status == "DOWN":
        return f"{what}: it is forgotten within a minute"
    return what


# --- nodes that operators remove ---

TOMBSTONES = 1_000
"""Removed nodes that are remembered, the newest: a certificate is valid for ten years."""


def cannot_leave(state: ClusterState, leaving: Collection[str]) -> str | None:
    """Say why these control nodes cannot leave the membership one after the other, or return None if they can.

    Those that are DOWN leave first. Before each departure the living members have to be a quorum, which agrees to it,
    and after it a quorum of those that stay.

    :param leaving: ids; nodes without a vote are passed over. Those that are about to leave already count with them.
    """
    members = [node for node in state.nodes if node.votes]
    going = [node for node in members if node.record.id in leaving or node.removed is not None]
    if not going:
        return None
    if len(going) == len(members):
        return "no control node would be left, and with the last one the cluster would be lost"
    if state.phase is not Phase.FORMED:
        return "the cluster is still forming: its control nodes may join, but not leave"
    count, alive = len(members), sum(node.ready for node in members)
    for node in sorted(going, key=lambda one: one.ready):
        if alive < quorum(count):
            return f"only {alive} of {count} control nodes are alive, which is no quorum: nothing can be changed"
        count -= 1
        alive -= node.ready
        if alive < quorum(count):
            return (
                f"without {node.record.name} only {alive} of the {count} control nodes that stay would be alive, "
                "and the quorum would be lost"
            )
    return None


def decide_removals(state: ClusterState) -> list[Forget | Keep]:
    """Decide which control node that an operator has removed leaves now: one at a time, those that are DOWN first.

    The leader carries it out, which is never one of them.
    """
    leaving = sorted((node for node in state.nodes if node.removed is not None), key=lambda node: node.ready)
    decisions: list[Forget | Keep] = []
    for node in leaving:
        members = [one for one in state.nodes if one.votes]
        alive = sum(one.ready for one in members)
        stay = alive - (node.ready and node.votes)
        if node.is_leader:
            decisions.append(Keep(node, "it still leads"))
        elif not node.votes:
            decisions.append(Forget(node, "it was removed, and it carries no vote"))
        elif any(isinstance(one, Forget) and one.node.votes for one in decisions):
            decisions.append(Keep(node, "another member leaves first"))
        elif alive < quorum(len(members)) or stay < quorum(len(members) - 1) or len(members) == 1:
            decisions.append(Keep(node, f"only {stay} of the other {len(members) - 1} control nodes are alive"))
        else:
            decisions.append(Forget(node, f"it was removed, and {stay} of the other {len(members) - 1} are alive"))
    return decisions


def outlived(ids: Sequence[str], kept: int = TOMBSTONES) -> list[str]:
    """Return those that are too many, of ids from the oldest to the newest, where one more is to be kept."""
    return list(ids[: max(0, len(ids) + 1 - kept)])


# --- nodes that operators drain ---


def may_lead(state: ClusterState, identity: str) -> bool:
    """Tell whether a control node stands for election.

    One that is about to leave never does; one that is drained only if no other could lead: a cluster without a leader
    would follow no change.
    """
    node = state.node(identity)
    if node is None or not node.record.member or node.removed is not None:
        return False
    if node.drained is None:
        return True
    others = (one for one in state.nodes if one.votes and one.ready and one.record.id != identity)
    return not any(one.drained is None and one.removed is None for one in others)


def drains_the_last(state: ClusterState, ids: Collection[str], role: Role) -> bool:
    """Tell whether these nodes, once drained, leave no node of a role that is alive and active, though one is now."""
    active = {node.record.id for node in state.with_role(role) if node.ready and node.drained is None}
    return bool(active) and active <= set(ids)
