"""Made-up histories for the tests of the invariants: a small cluster in which all went well, to be spoilt."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from tests.chaos.history import (
    Aftermath,
    Backup,
    Deploy,
    EngineSeen,
    Event,
    Final,
    History,
    ListSeen,
    Outcome,
    Request,
    Rotated,
    Stored,
    Struck,
    Trust,
    Write,
)
from tests.chaos.invariants.agreement import REVISION
from traefikee.cluster import state

TERM = 5
NODE = "data-node-1"
TRUST = Trust({"control": "c", "data": "d"}, ["a1"])


def config(number: int, deploy: int, revision: int, rollback_of: int | None = None) -> list[Stored]:
    """The changes that a deployment makes."""
    value = json.dumps({"number": number, "command": f"chaos {deploy}", "rollback_of": rollback_of})
    return [
        Stored(revision, f"{state.CONFIGS}{number}", revision, value),
        Stored(revision, state.CURRENT, 6, str(number)),
    ]


def pointer(revision: int, at: int, config_number: int, term: int = TERM, name: str = "") -> Stored:
    """The change that publishing makes."""
    value = {
        "revision": revision,
        "config": config_number,
        "term": term,
        "snapshot": [{"name": name or f"n{revision}"}],
    }
    return Stored(at, state.SNAPSHOT, 7, json.dumps(value))


def leader(at: int, identity: str | None = "a", created: int | None = None) -> Stored:
    """Somebody becomes the leader; None: nobody leads any more."""
    return Stored(at, state.LEADER, created or at, identity)


GOOD: tuple[Event, ...] = (
    leader(TERM),
    *config(1, 0, 6),
    pointer(1, 7, 1),
    *config(2, 1, 8),
    pointer(2, 9, 2),
    leader(10, None, TERM),
    leader(11, "b"),
    *config(3, 3, 12),
    pointer(3, 13, 3, term=11),
    Deploy(0, "control-node-1", -5, -4, Outcome.OK, 1),
    Deploy(1, "control-node-1", 1, 2, Outcome.OK, 2),
    Deploy(2, "control-node-2", 3, 3, Outcome.FAIL, detail="refused"),
    Deploy(3, "control-node-2", 4, 6, Outcome.UNKNOWN),
    Deploy(4, "control-node-3", 5, 7, Outcome.UNKNOWN),
    Write(1, 1, 2, Outcome.OK),
    Write(2, 3, 4, Outcome.UNKNOWN),
    Backup(1, "control-node-1", 3, 3.5, Outcome.OK, [[1, 0], [2, 1]], 2),
    Backup(2, "control-node-2", 4, 5, Outcome.UNKNOWN, detail="no quorum"),
    Rotated("tokens", 1, "control-node-1", 1, 2, Outcome.OK),
    Rotated("tokens", 2, "control-node-2", 4, 6, Outcome.UNKNOWN),
    Rotated("authority", 1, "control-node-1", 3, 4, Outcome.OK),
    Request(NODE, kept=False, begin=1, end=1.1, mark=0),
    Request(NODE, kept=True, begin=1, end=1.1, mark=0),
    Request(NODE, kept=False, begin=3, end=3.1, mark=1),
    Request(NODE, kept=True, begin=5, end=5.1, mark=2),
    EngineSeen(NODE, 1, 100, 1),
    EngineSeen(NODE, 5, 100, 2),
    EngineSeen(NODE, 9, 100, 3),
    ListSeen("control-node-1", 1, {NODE: 1}, "control-node-1"),
    ListSeen("control-node-1", 9, {NODE: 3}, "control-node-2"),
    Struck("pause-agent", "control-node-1", 2, 4),
    Aftermath(
        "restore", 20, 30, 60, ports=[{NODE: [3]}, {NODE: [3]}], trust=[TRUST, TRUST], next=9, served={NODE: [9]}
    ),
    Final(
        healed=10,
        converged=11,
        limit=10,
        consul=2,
        served={NODE: 2},
        ports={NODE: [3]},
        kept=[[1, 0], [2, 1], [3, 3]],
        trust=dict.fromkeys(("control-node-1", "control-node-2"), TRUST),
        audited={"deploy": 3, "rotate-tokens": 1, "rotate-ca": 4},
        stores={
            "control-node-1": {
                REVISION: 13,
                state.LEADER: 11,
                state.CURRENT: 12,
                state.SNAPSHOT: 13,
                **{f"{state.CONFIGS}{number}": at for number, at in ((1, 6), (2, 8), (3, 12))},
            }
        },
    ),
)
"""Nothing is wrong with it: an unknown deployment is there, another one is not, and the leader has changed."""


def aftermath(**changed: Any) -> Aftermath:
    """The good history's, changed."""
    (found,) = [one for one in GOOD if isinstance(one, Aftermath)]
    return replace(found, **changed)


def spoilt(*more: Event, without: type[Any] | None = None, **final: Any) -> History:
    """The good history with more events, without those of a type, or with another end."""
    events = [replace(one, **final) if isinstance(one, Final) else one for one in GOOD if type(one) is not without]
    stored = sorted(
        (one for one in (*events, *more) if isinstance(one, Stored)), key=lambda one: (one.revision, one.key)
    )
    return History([*stored, *(one for one in (*events, *more) if not isinstance(one, Stored))])
