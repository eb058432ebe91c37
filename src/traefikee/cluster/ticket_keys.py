"""The keys of TLS session tickets, which all data nodes share: made and changed by the leader, sealed in the store."""

from __future__ import annotations

import base64
import os

from pydantic import BaseModel, ConfigDict, Field

KEY_BYTES = 48
"""A name of 16 bytes and a key of 32 (docs/internals/snapshot.md)."""
ROTATION = 12 * 3600.0
"""Seconds for which a key encrypts new tickets; for as long again it decrypts."""
KEPT = 2
"""The current key and the one before."""


class TicketKeys(BaseModel):
    """The keys, the current one first, in base64.

    :ivar since: when the current one was made (seconds since 1970).
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    keys: tuple[str, ...] = Field(repr=False)
    since: float


def rotated(known: TicketKeys | None, now: float) -> TicketKeys | None:
    """Return what has to take the place of the keys, or None if they are still good.

    A clock that was set back by more than a rotation counts as old keys too: else they would stay for long.
    """
    if known is not None and known.keys and abs(now - known.since) < ROTATION:
        return None
    before = known.keys if known is not None else ()
    fresh = base64.b64encode(os.urandom(KEY_BYTES)).decode()
    return TicketKeys(keys=(fresh, *before)[:KEPT], since=now)
