"""What a node is told that an operator has removed; apart from admission, whose libraries a data node does not need."""

from __future__ import annotations

from traefikee.cluster.state import ClusterState
from traefikee.errors import RefusedError

REMOVED = "removed"
"""The kind of error by which a removed node learns that it is one."""


def refuse_removed(seen: ClusterState, identity: str) -> None:
    """Refuse a node that an operator has removed.

    :raises RefusedError: saying who did, and when; its kind is ``removed``.
    """
    removal = seen.removed.get(identity)
    if removal is not None:
        raise removed_error(removal.sentence())


def removed_error(sentence: str) -> RefusedError:
    """Return what a removed node, and whoever starts it again, is told."""
    return RefusedError(
        sentence,
        "to use its machine again, remove its state directory and join with a token from `traefikee env`",
        kind=REMOVED,
    )
