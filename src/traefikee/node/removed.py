"""The end of a node that an operator has removed from its cluster, and of every try to start it again."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from traefikee import log
from traefikee.cluster.removed import REMOVED, removed_error
from traefikee.errors import RefusedError, TraefikeeError
from traefikee.node.statedir import StateDir

if TYPE_CHECKING:
    from traefikee.node.control import ControlNode

FILE = "removed"

_log = log.get("node")


def refuse(statedir: StateDir) -> None:
    """Refuse to start a node that knows that it was removed.

    :raises RefusedError: saying who removed it, and when.
    """
    try:
        told = statedir.read(FILE)
    except OSError as error:
        raise TraefikeeError(f"{statedir.path / FILE} cannot be read: {error.strerror}", kind="statedir") from error
    if told is not None:
        raise _error(statedir, told.decode(errors="replace"))


def remember(statedir: StateDir, sentence: str) -> RefusedError:
    """Write down that this node was removed; return the error with which it ends."""
    with contextlib.suppress(TraefikeeError):  # whoever starts it again is told by the cluster
        statedir.write(FILE, sentence.encode())
    return _error(statedir, sentence)


def _error(statedir: StateDir, sentence: str) -> RefusedError:
    general = removed_error(sentence)
    hint = general.next_step.replace("its state directory", f"its state directory {statedir.path}")
    return RefusedError(general.cause, hint, kind=REMOVED)


async def leave_when_removed(node: ControlNode) -> None:
    """Hand over and end once this control node was removed; the leader takes it out of the membership.

    Until that has happened it votes: it may be needed for the quorum that agrees to its leaving.

    :raises RefusedError: when it is out.
    """
    identity = node.identity.id
    seen = await node.mirror.wait_for(lambda now: identity in now.removed)
    node.removal = sentence = seen.removed[identity].sentence()
    _log.warning("this node is about to leave the cluster", reason=sentence)
    node.presence.may_lead = False
    with contextlib.suppress(TraefikeeError):
        await node.hand_raft_over()
    await node.mirror.wait_for(lambda now: now.node(identity) is None)
    raise remember(node.statedir, sentence)
