"""Lines of the log as values: the newest are kept for `logs`, within bounds, and without secrets."""

from __future__ import annotations

import datetime
import json
import re
import threading
from collections import deque
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

MOST_LINES = 2000
MOST_BYTES = 1 << 20
"""What a ring keeps at most, counted in characters of its lines."""
LONGEST = 8 * 1024
"""Characters of a message, and of a field's value."""
MASK = "***"

LEVELS = ("debug", "info", "warning", "error")
_ALIASES = {"warn": "warning", "trace": "debug", "critical": "error", "exception": "error"}
_SECRET = re.compile(r"token|secret|password|passphrase|licen[cs]e_?key|authorization|key_pem$", re.IGNORECASE)
_ARMOUR = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*-----|$)", re.DOTALL)


class Line(BaseModel):
    """One line.

    :ivar at: when (ISO 8601, UTC, microseconds, ``Z``): texts sort by time.
    :ivar level: one of :data:`LEVELS`.
    :ivar component: which part of the node: ``leader``, ``engine``, ``etcd`` ...
    """

    model_config = ConfigDict(frozen=True)

    at: str = Field(max_length=40)
    level: str
    component: str = Field(default="", max_length=100)
    message: str = Field(max_length=LONGEST)
    fields: dict[str, str] = Field(default_factory=dict)

    @property
    def size(self) -> int:
        """About how many characters it takes."""
        return 100 + len(self.message) + sum(len(name) + len(value) for name, value in self.fields.items())


class Query(BaseModel):
    """Which lines are wanted.

    :ivar since: only those after this time, as :class:`Line` has it; an empty text: all.
    :ivar level: those of this level and above.
    :ivar tail: so many of them at most, the newest.
    :ivar follow: and those to come.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    since: str = Field(default="", max_length=40)
    level: str = "debug"
    tail: int = Field(default=MOST_LINES, ge=0, le=10_000)
    follow: bool = False

    @field_validator("level")
    @classmethod
    def _is_level(cls, value: str) -> str:
        value = level_of(value)
        if value not in LEVELS:
            raise ValueError("is none of debug, info, warn, error")
        return value

    def takes(self, line: Line) -> bool:
        """Whether a line is wanted."""
        rank = LEVELS.index(line.level) if line.level in LEVELS else 1
        return line.at > self.since and rank >= LEVELS.index(self.level)

    def select(self, lines: Iterable[Line]) -> list[Line]:
        """Return the lines that are wanted of those that there are, in the order of their times."""
        found = sorted((line for line in lines if self.takes(line)), key=lambda line: line.at)
        return found[len(found) - min(self.tail, len(found)) :]


class Batch(BaseModel):
    """Some lines of one node.

    :ivar initial: whether its lines were there when they were asked for; those that come later are not.
    :ivar caught_up: whether all lines that there were have been sent with it.
    :ivar lost: lines that were wanted and are kept no more.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    lines: tuple[Line, ...] = ()
    initial: bool = False
    caught_up: bool = False
    lost: int = Field(default=0, ge=0)


def level_of(text: str) -> str:
    """Return a level as lines have it."""
    text = text.lower()
    return _ALIASES.get(text, text)


def now() -> str:
    """Return the time as lines have it."""
    return time_of(datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds"))


def time_of(text: str) -> str:
    """Return a time of a log line in the form in which times sort as texts."""
    text = text.removesuffix("+00:00").removesuffix("Z")
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction[:6]:0<6}Z"


def without_secrets(name: str, value: Any) -> Any:
    """Return a field's value, or a mask in the place of what its name or its form tells to be a secret."""
    if _SECRET.search(name):
        return MASK
    if isinstance(value, str) and "PRIVATE KEY-----" in value:
        return _ARMOUR.sub(MASK, value)
    return value


def masking(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Mask what looks like a secret in an event: no line should hold one, and should one do so, it stays here."""
    for name, value in event.items():
        event[name] = without_secrets(name, value)
    return event


def line_of(event: Mapping[str, Any]) -> Line:
    """Return the line of a structlog event with ``timestamp`` and ``level``, or of one of the engine's in JSON."""
    rest = dict(event)
    at, level = str(rest.pop("timestamp", "")), level_of(str(rest.pop("level", "info")))
    message = str(rest.pop("event", "") or rest.pop("message", ""))
    component = str(rest.pop("component", ""))
    rest.pop("target", None)
    fields = {str(name)[:100]: _text(without_secrets(str(name), value)) for name, value in rest.items()}
    return Line(
        at=time_of(at),
        level=level if level in LEVELS else "info",
        component=component[:100],
        message=message[:LONGEST],
        fields=fields,
    )


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text[:LONGEST]


class Ring:
    """The newest lines; any thread may add some. Numbers count the lines since it was made, from 1."""

    def __init__(self, most_lines: int = MOST_LINES, most_bytes: int = MOST_BYTES) -> None:
        self._most = (most_lines, most_bytes)
        self._lock = threading.Lock()
        self._lines: deque[Line] = deque()
        self._bytes = 0
        self._last = 0

    def push(self, line: Line) -> None:
        """Add a line; the oldest make room."""
        most_lines, most_bytes = self._most
        with self._lock:
            self._lines.append(line)
            self._last += 1
            self._bytes += line.size
            while len(self._lines) > most_lines or (self._bytes > most_bytes and len(self._lines) > 1):
                self._bytes -= self._lines.popleft().size

    def after(self, number: int) -> tuple[list[Line], int, int]:
        """Return the kept lines after a number, the number of the last one, and how many of them are kept no more."""
        with self._lock:
            first = self._last - len(self._lines) + 1
            lost = max(0, first - number - 1)
            skipped = max(0, number + 1 - first)
            return list(self._lines)[skipped:], self._last, lost

    def keep(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Add an event's line: a processor of structlog."""
        self.push(line_of(event))
        return event


RING = Ring()
"""The lines of this process."""
