"""What a person reads of a run: verdicts, counts, where everything is kept; and a row for the table of all runs."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.chaos.invariants import MOST_TOLD
from tests.chaos.run import Result
from tests.chaos.schedule import Schedule

WORDS = {0: "holds", 1: "VIOLATION", 3: "no result"}
COLUMNS = (
    "when",
    "seed",
    "s",
    "faults",
    "deploys ok / unknown / failed",
    "Consul's writes",
    "requests (of which failed)",
    "at rest after",
    "result",
)


def tell(result: Result, say: Callable[[str], None]) -> None:
    """Print the verdicts."""
    if result.problems:
        for problem in result.problems:
            say(f"the harness failed, which says nothing of the cluster: {problem}")
    else:
        say("")
        for verdict in result.verdicts:
            say(f"{'✔' if verdict.holds else '✗'} {verdict.name}")
            for sentence in verdict.violations[:MOST_TOLD]:
                say(f"    {sentence}")
            if len(verdict.violations) > MOST_TOLD:
                say(f"    ... and {len(verdict.violations) - MOST_TOLD} more")
        say("")
        say(counts(result))
    say(f"seed {result.schedule.seed}: {WORDS[result.exit_code]}")
    if result.exit_code:
        say(f"history, timeline and logs: {result.folder}")
        say(f"judge it again: python -m tests.chaos --judge {result.folder}")
        say(f"once more:      make chaos SEED={result.schedule.seed} TIME={result.schedule.seconds:g}")


def counts(result: Result) -> str:
    """How much was done, in a sentence."""
    history = result.history
    deploys = Counter(str(one.outcome) for one in history.deploys)
    failed = sum(bool(one.failure) for one in history.requests)
    return (
        f"{len(history.faults)} faults; deploys: {deploys['ok']} ok, {deploys['unknown']} unknown, {deploys['fail']} "
        f"failed; {len(history.writes)} writes into Consul; {len(history.requests)} requests, {failed} of them failed; "
        f"at rest {_rest(result)} after the last fault's end"
    )


def _rest(result: Result) -> str:
    final = result.history.final
    if final is None or final.converged is None:
        return "never"
    return f"{final.converged - final.healed:.1f} s"


def append_row(result: Result, table: Path) -> None:
    """Add a run to a table (Markdown), which is begun if there is none."""
    history = result.history
    deploys = Counter(str(one.outcome) for one in history.deploys)
    failed = sum(bool(one.failure) for one in history.requests)
    broken = ", ".join(one.name for one in result.verdicts if not one.holds)
    row = [
        time.strftime("%Y-%m-%d %H:%M"),
        str(result.schedule.seed),
        f"{result.schedule.seconds:g}",
        str(len(history.faults)),
        f"{deploys['ok']} / {deploys['unknown']} / {deploys['fail']}",
        str(len(history.writes)),
        f"{len(history.requests)} ({failed})",
        _rest(result),
        f"{WORDS[result.exit_code]}{': ' + broken if broken else ''}",
    ]
    if not table.exists():
        table.write_text(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|\n")
    with table.open("a") as file:
        file.write(f"| {' | '.join(row)} |\n")


def kept_schedule(folder: Path) -> Schedule:
    """The schedule of a run that was kept."""
    return Schedule.from_json(json.loads((folder / "schedule.json").read_text()))


def remove(result: Result) -> None:
    """Remove what was kept of a run in which everything held."""
    shutil.rmtree(result.folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        result.folder.parent.rmdir()
