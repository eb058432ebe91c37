"""Durations as Traefik 1.7 reads them on its command line."""

from __future__ import annotations

import re

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_DIGITS = re.compile(r"[0-9]+")
_LONGEST = (2**63 - 1) / 1e9


def parse_duration(text: str) -> float:
    """Return a duration in seconds: digits alone are seconds, else Go's form (``1m30s``, ``500ms``, ``1.5h``).

    :raises ValueError: neither of the two, negative, or longer than Go's 292 years. The text says what is allowed.
    """
    if text.startswith("-"):
        raise ValueError(f'"{text}" is negative')
    body = text.removeprefix("+")
    if _DIGITS.fullmatch(body):
        seconds = float(body) if len(body) < 20 else float("inf")
    else:
        parts = list(_PART.finditer(body))
        if not parts or "".join(part.group() for part in parts) != body:
            raise ValueError(f'"{text}" is not a duration; write seconds (90) or units (1m30s, 500ms)')
        seconds = sum(float(part[1]) * _UNITS[part[2]] for part in parts)
    if seconds > _LONGEST:
        raise ValueError(f'"{text}" is longer than 292 years')
    return seconds


def milliseconds(seconds: float) -> int:
    """Return whole milliseconds, rounded; anything above 0 is at least 1, since 0 stands for "none"."""
    return max(1, round(seconds * 1000)) if seconds > 0 else 0
