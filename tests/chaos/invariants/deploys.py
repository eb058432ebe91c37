"""Each acknowledged deployment is stored, once, under the number that was acknowledged, in order, and kept.

One whose outcome is unknown may be there or not, but not twice; one that failed is not. "In order" is linearizability
for a register of numbers: what began after another was acknowledged has a higher number.
"""

from __future__ import annotations

from tests.chaos.history import History, Outcome
from tests.chaos.store_log import config_number, deployed_number
from traefikee.cluster.history import KEPT


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
    return found + _lost(history)


def _lost(history: History) -> list[str]:
    """The acknowledged deployments that the cluster's own history does not tell of in the end."""
    if history.final is None or history.final.kept is None:
        return []
    kept = {one[0]: one[1] for one in history.final.kept}
    oldest = max(kept, default=0) - KEPT
    return [
        f"deploy {one.number} was acknowledged as configuration {one.stored}, of which the history says "
        + (f"that it was deploy {kept[one.stored]}" if one.stored in kept else "nothing")
        for one in history.deploys
        if one.outcome is Outcome.OK and one.stored > oldest and kept.get(one.stored) != one.number
    ]
