"""What was done and seen in a run: one JSON object a line, appended as it happens, in seconds since the run's start.

An operation whose answer was lost is *unknown*: it may have taken effect, or may still.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias, get_args


class Outcome(StrEnum):
    """How an operation ended."""

    OK = "ok"
    FAIL = "fail"
    """It has certainly not taken effect, and never will."""
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Deploy:
    """A deployment, acknowledged as soon as the control node says under which number it is stored."""

    number: int
    through: str
    begin: float
    end: float
    outcome: Outcome
    stored: int = 0
    """The configuration's number, as it was acknowledged."""
    detail: str = ""


@dataclass(frozen=True)
class Write:
    """A write of `number` into Consul."""

    number: int
    begin: float
    end: float
    outcome: Outcome
    detail: str = ""


@dataclass(frozen=True)
class Backup:
    """A backup that was taken.

    :ivar configurations: the configurations in it, each with the number of its deployment.
    :ivar current: the number of the configuration that it has in force.
    :ivar damage: what is wrong with a backup that was sent to its end.
    """

    number: int
    through: str
    begin: float
    end: float
    outcome: Outcome
    configurations: list[list[int]] = field(default_factory=list)
    current: int = 0
    damage: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Rotated:
    """What an operator has replaced: the `tokens`, or the `authority` (only that it has begun is acknowledged)."""

    what: str
    number: int
    through: str
    begin: float
    end: float
    outcome: Outcome
    detail: str = ""


@dataclass(frozen=True)
class Request:
    """A request to a data node; it has failed unless it was answered 200."""

    node: str
    kept: bool
    """Whether it was sent on a connection that had carried others."""
    begin: float
    end: float
    failure: str = ""
    mark: int = 0
    """The number of Consul's write by which it was routed."""


@dataclass(frozen=True)
class EngineSeen:
    """What a data node's engine said of itself."""

    node: str
    at: float
    pid: int
    revision: int


@dataclass(frozen=True)
class ListSeen:
    """What a control node said of the data nodes: the revision that each has in force."""

    node: str
    at: float
    revisions: dict[str, int]
    leader: str = ""


@dataclass(frozen=True)
class Struck:
    """A fault: what was done to whom, and from when until when it lasted."""

    kind: str
    node: str
    begin: float
    end: float
    amount: int = 0


@dataclass(frozen=True)
class Stored:
    """One change of a key in the store, in the order of its revisions."""

    revision: int
    key: str
    created: int
    """The revision at which the key was created."""
    value: str | None
    """None where it was deleted."""


@dataclass(frozen=True)
class Trust:
    """What a control node says of tokens and authorities.

    :ivar tokens: the join tokens, by role.
    :ivar trusted: the digests of the authorities that are trusted, the one that signs first.
    :ivar foreign: nodes whose certificate is not of the one that signs.
    """

    tokens: dict[str, str]
    trusted: list[str]
    foreign: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Aftermath:
    """How the loss of control nodes with their disks was overcome, after everything else.

    :ivar what: `restore` or `recover`.
    :ivar whole: when all nodes agreed again, or None: `disagreement` says about what they did not.
    :ivar ports: the deployments whose entry point each data node listens on: before it, and after it.
    :ivar trust: what the first control node says of tokens and authorities: before it, and after it.
    :ivar next: the number of a deployment after it, and `served` who then listened for it and nothing else.
    """

    what: str
    begin: float
    whole: float | None
    limit: float
    disagreement: str = ""
    ports: list[dict[str, list[int]]] = field(default_factory=list)
    trust: list[Trust] = field(default_factory=list)
    next: int = 0
    served: dict[str, list[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Final:
    """What was seen once everything was healed.

    :ivar healed: when the last fault had been taken back.
    :ivar converged: when all nodes agreed, or None: `disagreement` says about what they did not.
    :ivar limit: seconds that they had for it.
    :ivar consul: the number that Consul holds.
    :ivar served: the number by which each data node routes.
    :ivar ports: the deployments whose entry point each data node listens on.
    :ivar kept: the deployments in the cluster's history, by the number of their configuration; None: not looked at.
    :ivar trust: for each control node, what it says of tokens and authorities; None: not looked at.
    :ivar audited: how often each action is in the audit log.
    :ivar stores: for each control node, the keys of its store with the revision of their last change.
    :ivar crashes: what the processes' output says of errors that nobody has expected.
    :ivar left: what was still there after the end.
    """

    healed: float
    converged: float | None
    limit: float
    disagreement: str = ""
    consul: int = 0
    served: dict[str, int] = field(default_factory=dict)
    ports: dict[str, list[int]] = field(default_factory=dict)
    kept: list[list[int]] | None = None
    trust: dict[str, Trust] | None = None
    audited: dict[str, int] = field(default_factory=dict)
    stores: dict[str, dict[str, int]] = field(default_factory=dict)
    crashes: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


Event: TypeAlias = (
    Deploy | Write | Backup | Rotated | Request | EngineSeen | ListSeen | Struck | Stored | Aftermath | Final
)

_TYPES: dict[str, Any] = {one.__name__: one for one in get_args(Event)}


class History:
    """All events of a run, each kind in the order in which it was recorded."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.deploys: list[Deploy] = []
        self.writes: list[Write] = []
        self.backups: list[Backup] = []
        self.rotations: list[Rotated] = []
        self.requests: list[Request] = []
        self.engines: list[EngineSeen] = []
        self.lists: list[ListSeen] = []
        self.faults: list[Struck] = []
        self.stored: list[Stored] = []
        self.aftermath: Aftermath | None = None
        self.final: Final | None = None
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        """Append an event."""
        match event:
            case Deploy():
                self.deploys.append(event)
            case Write():
                self.writes.append(event)
            case Backup():
                self.backups.append(event)
            case Rotated():
                self.rotations.append(event)
            case Request():
                self.requests.append(event)
            case EngineSeen():
                self.engines.append(event)
            case ListSeen():
                self.lists.append(event)
            case Struck():
                self.faults.append(event)
            case Stored():
                self.stored.append(event)
            case Aftermath():
                self.aftermath = event
            case Final():
                self.final = event

    def faults_of(self, node: str) -> list[Struck]:
        """The faults that a node had."""
        return [one for one in self.faults if one.node == node]


class Recorder:
    """Writes events into a file and keeps them; for many threads."""

    def __init__(self, path: Path) -> None:
        self.history = History()
        self._file = path.open("a")
        self._lock = threading.Lock()

    def add(self, event: Event) -> None:
        """Record an event; after `close` nothing is recorded any more."""
        line = dumps(event)
        with self._lock:
            if not self._file.closed:
                self.history.add(event)
                self._file.write(line + "\n")

    def close(self) -> None:
        """Write everything that is to be written."""
        with self._lock:
            self._file.close()


def dumps(event: Event) -> str:
    """An event's line."""
    return json.dumps({"type": type(event).__name__, **asdict(event)})


def loads(line: str) -> Event:
    """Read an event's line.

    :raises ValueError: if it is none.
    """
    raw = json.loads(line)
    try:
        kind = _TYPES[raw.pop("type")]
        if "outcome" in raw:
            raw["outcome"] = Outcome(raw["outcome"])
        match raw.get("trust"):
            case dict() as told:
                raw["trust"] = {name: Trust(**one) for name, one in told.items()}
            case list() as told:
                raw["trust"] = [Trust(**one) for one in told]
        event: Event = kind(**raw)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an event: {line[:200]}") from error
    return event


def read(path: Path) -> History:
    """Read a run's history.

    :raises ValueError: if a line cannot be read.
    """
    with path.open() as lines:
        return History(loads(line) for line in lines)
