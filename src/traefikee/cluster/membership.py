"""Decisions on who belongs to the cluster: pure functions from one state to actions, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from traefikee.cluster.roles import Role
from traefikee.cluster.state import ClusterState, Node, Phase

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
    """Return since when each node that is DOWN has been seen so, by this observer's monotonic clock in seconds."""
    return {node.record.id: down_since.get(node.record.id, now) for node in state.nodes if node.report is None}


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
