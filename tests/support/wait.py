"""Waiting for something to become true, with a deadline."""

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

SLOWNESS = float(os.environ.get("TRAEFIKEE_TEST_SLOWNESS", "1"))
"""Every deadline is multiplied by this, so that a busy machine fails no test."""


class DeadlineError(AssertionError):
    """Something did not become true in time."""


def wait_for(condition: Callable[[], T | None], what: str, deadline: float = 10, every: float = 0.05) -> T:
    """Call `condition` until its value is true, and return that value.

    An exception of the condition counts as "not yet". On expiry the failure says `what` was waited for and what was
    seen last.
    """
    seconds = deadline * SLOWNESS
    end = time.monotonic() + seconds
    while True:
        error: Exception | None = None
        value: T | None = None
        try:
            value = condition()
        except Exception as caught:  # noqa: BLE001 - whatever it is, it is what is reported at the deadline
            error = caught
        if error is None and value:
            return value
        if time.monotonic() >= end:
            last = repr(error) if error else f"value {value!r}"
            raise DeadlineError(f"not within {seconds:g} s: {what} (last seen: {last})") from error
        time.sleep(every)
