"""The roles of certificates, and the name that control nodes serve under."""

from __future__ import annotations

from enum import StrEnum

SERVER_NAME = "control.traefikee.internal"
"""The DNS name that every control node's certificate carries and every client of a control node verifies."""


class Role(StrEnum):
    """What the bearer of a certificate may do."""

    CONTROL = "control"
    DATA = "data"
    API = "api"
