"""A backup is of one moment, and holds each deployment, of those that are kept, that was acknowledged before it was
asked for.
"""

from __future__ import annotations

from tests.chaos.history import History, Outcome
from traefikee.cluster.history import KEPT


def check(history: History) -> list[str]:
    """Return what does not hold."""
    found = []
    for backup in history.backups:
        if backup.outcome is not Outcome.OK:
            if backup.damage:
                found.append(f"backup {backup.number} is damaged: {backup.damage}")
            continue
        held = {one[0]: one[1] for one in backup.configurations}
        if backup.current != max(held, default=0):
            found.append(f"backup {backup.number} has configuration {backup.current} in force and holds {sorted(held)}")
        found += [
            f"backup {backup.number} was begun after deploy {one.number} was acknowledged as {one.stored}, and lacks it"
            for one in history.deploys
            if one.outcome is Outcome.OK
            and one.end < backup.begin
            and one.stored > backup.current - KEPT
            and held.get(one.stored) != one.number
        ]
    return found
