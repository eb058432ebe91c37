"""No process has met an error that nobody had expected: no traceback, no panic, in no log."""

from __future__ import annotations

import re

from tests.chaos.history import History

_SIGNS = re.compile(
    r"^(?P<trace>Traceback \(most recent call last\)|Exception ignored|.*exception was never)"
    r"|panicked at|a duty of the leader failed",
    re.MULTILINE,
)


def found_in(name: str, output: str) -> list[str]:
    """Return what a process's output says of such errors: the line, and the error at the end of its traceback."""
    found = []
    for match in _SIGNS.finditer(output):
        line = output[match.start() :].partition("\n")[0]
        rest = output[match.end() :].split("\n")[1:60]
        error = next((one for one in rest if one and not one.startswith((" ", "│", "╭", "╰"))), "")
        found.append(f"{name}: {line[:200]}" + (f" ... {error[:200]}" if match["trace"] else ""))
    return found


def check(history: History) -> list[str]:
    """Return what does not hold."""
    return list(history.final.crashes) if history.final is not None else []
