"""Problems of a static configuration: all of them at once, each with the option it belongs to."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from traefikee.errors import Source, TraefikeeError

MOST_NAMES = 1000
"""Number of known names among which a similar one is looked for: comparing takes long."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a static configuration.

    :ivar path: the option as the user writes it (``--consul.endpoint``; ``consul.endpoint`` in a file) or the part of
        an entry point (``entryPoints.https.TLS.MinVersion``); empty for a file as a whole.
    :ivar message: what is wrong with it, and what is allowed. Never contains a secret.
    :ivar where: file and line (``traefik.toml:12``), or empty for a command line.
    """

    path: str
    message: str
    where: str = ""

    def __str__(self) -> str:
        names_itself = not self.path or self.message.startswith((f"{self.path} ", f"unknown option {self.path}"))
        sentence = self.message if names_itself else f"{self.path}: {self.message}"
        return f"{self.where}: {sentence}" if self.where else sentence


class ConfigurationError(TraefikeeError):
    """A static configuration that cannot be meant as it stands; its text has one line for each problem.

    :ivar problems: all problems, in the order of the command line.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems), source=Source.CLIENT, kind="usage")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that a misspelt one was most likely meant to be, ignoring case, or None."""
    by_folded = {candidate.lower(): candidate for candidate in known}
    if len(by_folded) > MOST_NAMES:
        return None
    near = difflib.get_close_matches(name.lower(), by_folded, n=1, cutoff=0.6)
    return by_folded[near[0]] if near else None


def did_you_mean(name: str, known: Iterable[str], *, mark: str = '"') -> str:
    """Return ``; did you mean "x"?`` for the nearest known name, or an empty text if none is near."""
    near = nearest(name, known)
    return f"; did you mean {mark}{near}{mark}?" if near else ""
