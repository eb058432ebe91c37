"""What is said to be in force is what serves: each data node listens where the last deployment says, and nowhere else.

Every deployment has an entry point of its own, at a port that tells its number. A rollback has the one of what it
deploys again.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.chaos.history import History, Stored
from tests.chaos.store_log import config_number, content, deployed_number


def check(history: History) -> list[str]:
    """Return what does not hold."""
    final = history.final
    if final is None or final.converged is None:
        return []
    stored = {
        number: one
        for one in history.stored
        if (number := config_number(one.key)) is not None and one.value is not None
    }
    last = _origin(stored, max(stored)) if stored else None
    return [
        f"{node} has deploy {last} in force and listens for {ports or 'none'}"
        for node, ports in sorted(final.ports.items())
        if ports != [last]
    ]


def _origin(stored: Mapping[int, Stored], number: int) -> int | None:
    """The deployment by which a configuration came: what was rolled back to, if it is a rollback."""
    before = content(stored[number]).get("rollback_of")
    return deployed_number(stored[number]) if before is None else _origin(stored, int(before))
