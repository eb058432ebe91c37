"""Once everything is healed, all nodes are READY and have the same snapshot in force within the time that they have."""

from __future__ import annotations

from tests.chaos.history import History


def check(history: History) -> list[str]:
    """Return what does not hold."""
    final = history.final
    if final is None or final.converged is not None:
        return []
    return [f"not within {final.limit:g} s after everything was healed: {final.disagreement}"]
