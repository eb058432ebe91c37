"""Whether a provider comes and goes: then it is told once, and not with every turn."""

from __future__ import annotations

from collections import deque

WINDOW = 60.0
"""Seconds that are looked at."""
FLAPS = 3
"""Failures within them that are more than bad luck."""


class Steadiness:
    """The failures of one provider in the last minute, by a monotonic clock in seconds."""

    def __init__(self) -> None:
        self._failures: deque[float] = deque(maxlen=FLAPS)

    def failed(self, now: float) -> None:
        """Take note of a failure."""
        self._failures.append(now)

    def steady_in(self, now: float) -> float:
        """Return after how many seconds it counts as steady if it does not fail meanwhile; 0 if it does now."""
        return max(0.0, self._failures[0] + WINDOW - now) if len(self._failures) == FLAPS else 0.0
