"""How a node is, in one line for ``systemctl status``. Pure."""

from __future__ import annotations

from traefikee.cluster.roles import Role
from traefikee.cluster.state import ClusterState


def control_sentence(seen: ClusterState, identity: str, *, has_quorum: bool) -> str:
    """Return how a control node is: whether it leads, what is published, and the nodes of the cluster."""
    if not has_quorum:
        return "control node without a quorum: it cannot change anything, data nodes serve what they have"
    leader = seen.node(seen.leader or "")
    if leader is None:
        role = "no leader yet"
    elif leader.record.id == identity:
        role = "leader"
    else:
        role = f"follower of {leader.record.name}"
    ready = {one: sum(node.ready for node in seen.with_role(one)) for one in (Role.CONTROL, Role.DATA)}
    snapshot = f"snapshot {seen.pointer.revision}" if seen.pointer and seen.pointer.name else "no snapshot"
    return f"control node, {role}: {snapshot}, {ready[Role.CONTROL]} control and {ready[Role.DATA]} data nodes READY"


def data_sentence(applied: int | None, refused: tuple[int, str] | None, through: str | None) -> str:
    """Return how a data node is: what it serves, what it refuses, and whom it follows.

    :param applied: the revision in force.
    :param refused: a revision that is not, and why.
    :param through: the address of the control node that it is connected to.
    """
    serves = "nothing is deployed yet" if applied is None else f"serves snapshot {applied}"
    if refused is not None:
        serves += f", refuses {refused[0]} ({refused[1]})"
    follows = f"follows {through}" if through else "no control node answers"
    return f"data node: {serves}; {follows}"
