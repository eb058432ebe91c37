"""What must hold whatever happened: one invariant a module, each a pure function over a run's history.

`check(history)` returns a sentence for each way in which it does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.chaos.history import History
from tests.chaos.invariants import (
    aftermath,
    agreement,
    backups,
    consul,
    convergence,
    crashes,
    deploys,
    leftovers,
    numbers,
    revisions,
    served,
    traffic,
    trust,
    writers,
)

MOST_TOLD = 20
"""Violations of one invariant that are told one by one."""

ALL: dict[str, Callable[[History], list[str]]] = {
    "deploys": deploys.check,
    "numbers": numbers.check,
    "revisions": revisions.check,
    "writers": writers.check,
    "agreement": agreement.check,
    "convergence": convergence.check,
    "served": served.check,
    "consul": consul.check,
    "backups": backups.check,
    "trust": trust.check,
    "traffic": traffic.check,
    "crashes": crashes.check,
    "aftermath": aftermath.check,
    "leftovers": leftovers.check,
}


@dataclass(frozen=True)
class Verdict:
    """What became of one invariant."""

    name: str
    violations: Sequence[str]

    @property
    def holds(self) -> bool:
        """Whether there was nothing."""
        return not self.violations


def judge(history: History) -> list[Verdict]:
    """Return the verdict of every invariant, in their order."""
    return [Verdict(name, check(history)) for name, check in ALL.items()]


def missing(history: History) -> list[str]:
    """Return why a history proves nothing, if so: that is a failure of the harness, not a finding."""
    found = []
    if history.final is None:
        found.append("nothing was observed at the end")
    if not any(one.outcome == "ok" for one in history.deploys):
        found.append("no deployment was acknowledged")
    if not any(one.outcome == "ok" for one in history.writes):
        found.append("Consul took no write")
    if not any(not one.failure for one in history.requests):
        found.append("no request was answered")
    if not history.stored:
        found.append("nothing of the store's history was seen")
    return found
