"""Showing that the harness finds what it is there for: known faults, one at a time, each until it is caught."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import schedule
from tests.chaos.run import run
from tests.chaos.schedule import Kind

MOST_TRIES = 12
"""Runs within which a fault has to be caught."""


@dataclass(frozen=True)
class Known:
    """A known fault.

    :ivar name: how `TRAEFIKEE_TEST_FAULT` calls it.
    :ivar caught_by: the invariants that may find it; another one that is violated does not count.
    :ivar only: the faults of nodes that bring it to light.
    :ivar seconds: how long a run has to be at least, for what happens seldom.
    """

    name: str
    what: str
    caught_by: frozenset[str]
    only: tuple[Kind, ...] = ()
    seconds: float = 0


KNOWN = (
    Known(
        "no-fencing",
        "the leader's writes are compared neither with its term nor with what it has read",
        # A write that is carried out late is of a term that has ended, or of the same one and undoes what followed it.
        frozenset({"writers", "revisions"}),
        (Kind.PAUSE_ETCD,),
        120,
    ),
    Known(
        "ack-before-commit",
        "a deployment is acknowledged before the store has taken it",
        frozenset({"deploys"}),
    ),
    Known(
        "apply-without-swap",
        "an engine says that a snapshot is in force and goes on with the one before",
        frozenset({"served", "consul", "traffic"}),
    ),
    Known(
        "lost-write-retried",
        "a deployment whose write has got no answer is written again",
        frozenset({"deploys"}),
        (Kind.BLACK_HOLE,),
    ),
    Known(
        "old-journal",
        "a data node keeps the first snapshot for its next start, and none after it",
        frozenset({"revisions", "consul"}),
        (Kind.KILL_NODE,),
    ),
)


def prove(faults: Sequence[Known], first: int, seconds: float, keep: Path, say: Callable[[str], None]) -> int:
    """Run with each known fault until it is caught; returns 0 if all were, 1 if not, 3 if the harness failed."""
    rows = ["| known fault | what it is | caught by | seed | runs | seconds |", "|---|---|---|---|---|---|"]
    missed = failed = False
    for known in faults:
        began, caught = time.monotonic(), ""
        runs = 0
        for seed in range(first, first + MOST_TRIES):
            runs += 1
            say(f"--- {known.name}, seed {seed}")
            plan = schedule.make(seed, max(seconds, known.seconds), known.only)
            result = run(plan, keep / f"{known.name}-{seed}", say, test_fault=known.name)
            for problem in result.problems:
                failed = True
                say(f"the harness failed: {problem}")
            found = [one for one in result.verdicts if not one.holds]
            for one in found:
                say(f"✗ {one.name}: {one.violations[0]}")
            if by := [one.name for one in found if one.name in known.caught_by]:
                caught = ", ".join(by)
                break
        missed = missed or not caught
        took = f"{time.monotonic() - began:.0f}"
        row = (f"`{known.name}`", known.what, caught or "**not caught**", str(seed) if caught else "", str(runs), took)
        rows.append(f"| {' | '.join(row)} |")
    say("")
    for line in rows:
        say(line)
    return 1 if missed else 3 if failed else 0
