"""Nothing is left once the cluster is gone: no process, no machine, no socket."""

from __future__ import annotations

from tests.chaos.history import History


def check(history: History) -> list[str]:
    """Return what does not hold."""
    return list(history.final.left) if history.final is not None else []
