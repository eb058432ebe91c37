"""Known faults that a node can be told to have, so that the tests can show that they would find them.

Nothing here does anything unless ``TRAEFIKEE_TEST_FAULT`` names a fault when the process starts, which the node's log
then says loudly. Never set it on a node that matters: each of them loses data or lies about it.
"""

from __future__ import annotations

import os

from traefikee import log
from traefikee.errors import UsageError

VARIABLE = "TRAEFIKEE_TEST_FAULT"

NO_FENCING = "no-fencing"
"""The leader's writes are compared neither with its term nor with what it has read."""
ACK_BEFORE_COMMIT = "ack-before-commit"
"""A deployment is acknowledged before the store has taken it."""
APPLY_WITHOUT_SWAP = "apply-without-swap"
"""An engine is told the number of a new snapshot, and nothing of what is in it."""
LOST_WRITE_RETRIED = "lost-write-retried"
"""A deployment whose write got no answer is written again."""
OLD_JOURNAL = "old-journal"
"""A data node keeps its first snapshot for its next start, and none after it."""

ALL = frozenset({NO_FENCING, ACK_BEFORE_COMMIT, APPLY_WITHOUT_SWAP, LOST_WRITE_RETRIED, OLD_JOURNAL})

_ACTIVE = os.environ.get(VARIABLE, "")
_log = log.get("node")


def is_on(name: str) -> bool:
    """Tell whether this process is to have a fault."""
    return name == _ACTIVE


def check(active: str = _ACTIVE) -> None:
    """Say loudly that there is a fault, if there is one.

    :raises UsageError: if there is no fault of that name.
    """
    if not active:
        return
    if active not in ALL:
        raise UsageError(
            f"{VARIABLE}: there is no fault {active!r}", f"unset it, or name one of {', '.join(sorted(ALL))}"
        )
    _log.error("this node was told to be FAULTY, for a test; it must not carry anything that matters", fault=active)
