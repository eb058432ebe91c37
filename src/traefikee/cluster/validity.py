"""For how long certificates are valid, and when they are renewed: decisions without I/O.

Each certificate of the cluster's authority begins to be valid :data:`CLOCK_SKEW` before it is made, so that machines
with different clocks can talk at once; its life is counted from when it was made.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta

CLOCK_SKEW = timedelta(days=1)
AUTHORITY = timedelta(days=3650)
"""The authority itself, which `rotate-ca` replaces, and the default certificate of TLS entry points."""
OPERATOR = timedelta(days=365)
"""API credentials: renewed only when they are used."""
SOON = timedelta(days=14)
"""Who looks is warned of what ends within this time: it should have been renewed long before."""
ENDED_AT_MOST = timedelta(days=365)
"""How long ago a node's certificate may have ended for it to come back without a token."""

JOIN_AGAIN = "remove the node's state directory, and join again with a token from `traefikee env`"
"""The next step for a node whose certificate is worth nothing any more."""

_NODE = timedelta(days=90)
_SECONDS = "TRAEFIKEE_TEST_CERTIFICATE_SECONDS"
"""For tests only: the seconds for which certificates of nodes and operators are valid."""

_SHARE, _JITTER = 2 / 3, 1 / 12


def node() -> timedelta:
    """Return for how long a node's certificate is valid."""
    return _tested() or _NODE


def operator() -> timedelta:
    """Return for how long API credentials are valid."""
    return _tested() or OPERATOR


def _tested() -> timedelta | None:
    text = os.environ.get(_SECONDS, "")
    return timedelta(seconds=float(text)) if text else None


def life(not_before: datetime, not_after: datetime) -> timedelta:
    """Return for how long a certificate was valid when it was made."""
    return not_after - (not_before + CLOCK_SKEW)


def renew_at(not_before: datetime, not_after: datetime, spread: float = 0.0) -> datetime:
    """Return when a certificate is to be renewed: at two thirds of its life.

    :param spread: from 0 to 1: how much of a twelfth of its life earlier, so that nodes do not renew all at once.
    """
    return not_before + CLOCK_SKEW + life(not_before, not_after) * (_SHARE - spread * _JITTER)


def too_long(not_before: datetime, not_after: datetime, usual: timedelta) -> bool:
    """Tell whether a certificate is valid for far longer than is usual now: it is of a version before."""
    return life(not_before, not_after) > 2 * usual


def pause(not_before: datetime, not_after: datetime) -> float:
    """Return the seconds between two looks at a certificate, or two tries to renew it."""
    return min(60.0, max(0.5, life(not_before, not_after).total_seconds() / 60))


def ends_soon(not_after: datetime, now: datetime) -> bool:
    """Tell whether a certificate ends so soon, or has ended, that somebody should look why it was not renewed."""
    return not_after - now < min(SOON, node() / 6)
