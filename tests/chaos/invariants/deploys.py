"""Each acknowledged deployment is stored, once, under the number that was acknowledged, and in order.

One whose outcome is unknown may be there or not, but not twice; one that failed is not. "In order" is linearizability
for a register of numbers: what began after another was acknowledged has a higher number.
"""

from __future__ import annotations

from tests.chaos.history import History, Outcome
from tests.chaos.store_log import config_number, deployed_number


def check(history: History) -> list[str]:
    """Return what does not hold."""
    places: dict[int, list[int]] = {}
    for one in history.stored:
        stored = config_number(one.key)
        if stored is not None and one.value is not None and one.created == one.revision:
            number = deployed_number(one)
            if number is not None:
                places.setdefault(number, []).append(stored)
    found = []
    for deploy in history.deploys:
        at = places.get(deploy.number, [])
        if len(at) > 1:
            found.append(f"deploy {deploy.number} ({deploy.outcome}) is stored {len(at)} times: as {at}")
        if deploy.outcome is Outcome.OK and deploy.stored not in at:
            found.append(
                f"deploy {deploy.number} was acknowledged as configuration {deploy.stored} and is "
                + (f"stored as {at}" if at else "not in the store")
            )
        if deploy.outcome is Outcome.FAIL and at:
            found.append(f"deploy {deploy.number} failed ({deploy.detail}) and is stored as {at}")
    acknowledged = [one for one in history.deploys if one.outcome is Outcome.OK]
    for later in history.deploys:
        for stored in places.get(later.number, []):
            found += [
                f"deploy {later.number} began after deploy {one.number} was acknowledged as {one.stored}, "
                f"and is stored as {stored}"
                for one in acknowledged
                if one.end < later.begin and one.stored >= stored
            ]
    return found
