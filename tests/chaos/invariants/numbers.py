"""Configurations are numbered 1, 2, 3, ..., each is written once, and together with the pointer to it."""

from __future__ import annotations

from tests.chaos.history import History
from tests.chaos.store_log import config_number, steps
from traefikee.cluster import state


def check(history: History) -> list[str]:
    """Return what does not hold."""
    found = []
    last = 0
    for step in steps(history.stored):
        current = step.change(state.CURRENT)
        written = {
            number: one
            for one in step.changes
            if (number := config_number(one.key)) is not None and one.value is not None
        }
        for number, one in written.items():
            if one.created != one.revision:
                found.append(f"configuration {number} was changed at revision {step.revision}")
        if current is not None and current.value is None:
            found.append(f"the pointer to the configuration in force was deleted at revision {step.revision}")
        elif current is not None:
            now = int(current.value or 0)
            if now != last + 1:
                found.append(f"configuration {now} came after {last}, at revision {step.revision}")
            if now not in written:
                found.append(f"configuration {now} came into force at revision {step.revision} without being written")
            last = now
        elif new := sorted(number for number, one in written.items() if one.created == one.revision):
            found.append(f"configurations {new} were written without coming into force")
    return found
