"""The command line: `python -m tests.chaos --seed 1 --time 60`; `make chaos` and `make chaos-prove` call it.

Exit codes: 0 everything holds, 1 an invariant is violated, 2 the command line cannot be meant, 3 the harness failed.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.chaos import prove, report, schedule
from tests.chaos.prove import KNOWN, Known
from tests.chaos.run import judge_again, run


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def seeds(text: str) -> list[int]:
    """Read `7`, `1-100` or `1,5,9-12`."""
    found: list[int] = []
    for word in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", word.strip())
        if match is None:
            raise argparse.ArgumentTypeError(f"{text!r} is not a seed, nor seeds such as 1-100 or 1,5,9-12")
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    return found


def kinds(text: str) -> list[schedule.Kind]:
    """Read kinds of faults, with commas between them."""
    try:
        return [schedule.Kind(word) for word in text.split(",") if word]
    except ValueError:
        known = ", ".join(schedule.Kind)
        raise argparse.ArgumentTypeError(f"{text!r} is not among the faults: {known}") from None


def known_faults(text: str) -> list[Known]:
    """Read names of known faults, with commas between them; none means all."""
    names = [word for word in text.split(",") if word]
    unknown = set(names) - {one.name for one in KNOWN}
    if unknown:
        known = ", ".join(one.name for one in KNOWN)
        raise argparse.ArgumentTypeError(f"{min(unknown)!r} is not among the known faults: {known}")
    return [one for one in KNOWN if one.name in names or not names]


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("python -m tests.chaos", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", "--seeds", type=seeds, default=[1], metavar="N", help="7, 1-100 or 1,5,9-12")
    parser.add_argument("--time", type=float, default=60, metavar="S", help="seconds under faults (60)")
    parser.add_argument("--only", type=kinds, default=[], metavar="KINDS", help="faults of nodes of these kinds alone")
    parser.add_argument("--plan", action="store_true", help="print what would happen, and do nothing")
    parser.add_argument(
        "--judge", type=Path, metavar="FOLDER", help="judge a kept history again, by today's invariants"
    )
    parser.add_argument("--replay", type=Path, metavar="FOLDER", help="run the schedule that is kept there again")
    parser.add_argument("--prove", action="store_true", help="show that known faults are caught")
    parser.add_argument("--known", type=known_faults, default=KNOWN, metavar="NAMES", help="only these of them")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep histories there (a folder for each run)")
    parser.add_argument("--table", type=Path, metavar="FILE", help="append a row for each run to this file")
    given = parser.parse_args(arguments)
    if given.time < schedule.SHORTEST:
        parser.error(f"--time: a run takes at least {schedule.SHORTEST:g} s")
    return given


def main(arguments: Sequence[str]) -> int:
    """Run; returns the exit code."""
    given = options(arguments)
    if given.plan:
        for seed in given.seed:
            for line in schedule.make(seed, given.time, given.only).lines():
                say(line)
        return 0
    if given.judge:
        try:
            result = judge_again(given.judge)
        except (OSError, ValueError) as error:
            say(f"{given.judge} cannot be judged: {error}")
            return 3
        report.tell(result, say)
        return result.exit_code
    keep = given.keep or Path(tempfile.gettempdir()) / "traefikee-chaos"
    keep = keep / time.strftime("%Y%m%d-%H%M%S")
    if given.prove:
        return prove.prove(given.known, given.seed[0], given.time, keep, say)
    table = given.table or (keep.parent / "table.md" if len(given.seed) > 1 else None)
    worst = 0
    planned = [schedule.make(seed, given.time, given.only) for seed in given.seed]
    if given.replay:
        planned = [report.kept_schedule(given.replay)]
    for one in planned:
        result = run(one, keep / f"seed-{one.seed}", say)
        report.tell(result, say)
        if table:
            report.append_row(result, table)
        if result.exit_code == 0 and not given.keep:
            report.remove(result)
        worst = 1 if 1 in (worst, result.exit_code) else max(worst, result.exit_code)
    if table:
        say(f"one row a run: {table}")
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
