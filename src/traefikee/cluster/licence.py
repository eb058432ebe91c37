"""The licence: its key, who judges it, and what was said last. Pure but for the model's form.

The key is part of ``ClusterInfo``; beside it::

    /traefikee/state/cluster/licence       LicenceStatus

Any key that is not empty is accepted unless an endpoint is named: at bootstrap, or in the deployed configuration, which
counts more.
"""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import ValidationError

from traefikee import log
from traefikee.cluster import state
from traefikee.cluster.records import Stored
from traefikee.cluster.state import ClusterState

LICENCE = state.STATE + "cluster/licence"
LONGEST_KEY = 16 * 1024
"""Characters of a key."""
CHECK_EVERY = 3600.0
"""Seconds between two questions to a server that answers."""
CHECK_AGAIN = 300.0
"""Seconds until a server that did not answer is asked again."""

State = Literal["unchecked", "accepted", "refused", "unreachable"]

_log = log.get("licence")


class LicenceStatus(Stored):
    """What is known of the licence.

    :ivar endpoint: the server that bootstrap was given, or an empty text.
    :ivar state: what the server said when it was asked last.
    :ivar message: its reason, or why it did not answer.
    :ivar at: when that was (ISO 8601, UTC).
    :ivar asked: the server that said it; ``of`` is the digest of the key.
    """

    endpoint: str = ""
    state: State = "unchecked"
    message: str = ""
    at: str = ""
    asked: str = ""
    of: str = ""


def key_digest(key: str) -> str:
    """Return what tells a key from others."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def status_of(seen: ClusterState) -> LicenceStatus:
    """Return what is known of the licence."""
    found = seen.keys.get(LICENCE)
    if found is None:
        return LicenceStatus()
    try:
        return LicenceStatus.model_validate_json(found.value)
    except ValidationError:
        _log.error("what was said of the licence cannot be read")
        return LicenceStatus()


def endpoint_of(seen: ClusterState) -> str:
    """Return the server that judges the key: the deployed configuration's, or else bootstrap's; empty: none."""
    deployed = seen.deployment.configuration.license_endpoint if seen.deployment else ""
    return deployed or status_of(seen).endpoint


def is_known(seen: ClusterState) -> bool:
    """Whether the present server has been asked for the present key, whatever it said."""
    status = status_of(seen)
    key = seen.info.licence if seen.info else ""
    return status.asked == endpoint_of(seen) and status.of == key_digest(key)


def sentence(seen: ClusterState) -> str:
    """Tell how the licence stands."""
    endpoint = endpoint_of(seen)
    if not endpoint:
        return "accepted (no --license.endpoint is named: any key is)"
    status = status_of(seen)
    if not is_known(seen) or status.state == "unchecked":
        return f"{endpoint} has not been asked yet"
    match status.state:
        case "accepted":
            return f"accepted by {endpoint} at {status.at}"
        case "refused":
            return f"refused by {endpoint} at {status.at}: {status.message}; change it with update-license"
        case _:
            return f"{endpoint} did not answer at {status.at}: {status.message}"
