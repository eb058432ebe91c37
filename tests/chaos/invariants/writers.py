"""One writer at a time: what only the leader may write is written under the leadership that is in force.

Each published pointer names the term in which it was written: the revision at which its writer's leader key was
created. The store's history tells whose term it was.
"""

from __future__ import annotations

from tests.chaos.history import History
from tests.chaos.store_log import content, steps
from traefikee.cluster import state

FENCED = frozenset({state.SNAPSHOT, state.PROVIDERS, state.TICKET_KEYS})


def check(history: History) -> list[str]:
    """Return what does not hold."""
    found = []
    for step in steps(history.stored):
        for one in step.changes:
            if one.key not in FENCED:
                continue
            if step.leader is None:
                found.append(f"{one.key} was written at revision {step.revision}, while nobody led")
            elif one.key == state.SNAPSHOT and one.value is not None:
                term = int(content(one).get("term", 0))
                if term != step.leader.created:
                    found.append(
                        f"snapshot {content(one).get('revision')} was written at revision {step.revision} in the term "
                        f"{term}, while that of {step.leader.created} was in force"
                    )
    return found
