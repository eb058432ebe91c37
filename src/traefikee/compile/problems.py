"""What is wrong with one object, collected while it is compiled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from traefikee.config.runtime import Severity, spelt

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that is wrong; ``path`` and ``message`` as an object's error has them."""

    path: str
    message: str
    severity: Severity


@dataclass
class Problems:
    """Everything that is wrong with one object.

    :ivar provider: whose spelling keys are named in.
    """

    provider: str
    found: list[Found] = field(default_factory=list)
    failed: bool = False
    """Whether there is an error, so that the object cannot be served."""

    def error(self, path: str, message: str, *names: str) -> None:
        """Add an error; ``path`` as :func:`spelt` takes it."""
        self.failed = True
        self._add("error", path, message, names)

    def warning(self, path: str, message: str, *names: str) -> None:
        """Add a warning: the object is served, but not all of it."""
        self._add("warning", path, message, names)

    def add(self, found: Found) -> None:
        """Add what was found elsewhere."""
        self.failed = self.failed or found.severity == "error"
        self.found.append(found)

    def _add(self, severity: Severity, path: str, message: str, names: tuple[str, ...]) -> None:
        key = spelt(self.provider, path, *names)
        self.found.append(Found(key, f"{key}: {message}", severity))

    def attempt(self, path: str, action: Callable[[], T], *names: str) -> T | None:
        """Return what the action returns, or None if it raises a ValueError, which becomes an error."""
        try:
            return action()
        except ValueError as error:
            self.error(path, str(error), *names)
            return None
