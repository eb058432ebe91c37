"""Errors as values: who failed, what to do next, and how a command ends.

Everything that a user can cause or meet is a :class:`TraefikeeError`. One place (:func:`traefikee.cli.common.fail`)
turns it into a line on standard error and an exit code, and one (:mod:`traefikee.api.answers`) into an HTTP status.
"""

from __future__ import annotations

from enum import Enum


class Source(Enum):
    """Who failed: it decides the HTTP status and the exit code."""

    CLIENT = "client"
    """The request or the command line: asking again without a change fails again."""
    PEER = "peer"
    """Another node, a provider or a child process: asking again later may succeed."""
    US = "us"
    """This machine or this program."""


class TraefikeeError(Exception):
    """A failure that is reported, never a traceback.

    :ivar cause: one sentence without a final full stop: what failed and why.
    :ivar next_step: what the reader can do about it, or an empty string.
    :ivar source: who failed.
    :ivar kind: a short stable word for scripts and for mapping to an HTTP status.
    :ivar retriable: whether the same request may succeed later.
    """

    def __init__(
        self,
        cause: str,
        next_step: str = "",
        *,
        source: Source = Source.US,
        kind: str = "error",
        retriable: bool = False,
    ) -> None:
        super().__init__(cause)
        self.cause = cause
        self.next_step = next_step
        self.source = source
        self.kind = kind
        self.retriable = retriable

    def __str__(self) -> str:
        return f"{self.cause}; {self.next_step}" if self.next_step else self.cause

    @property
    def exit_code(self) -> int:
        """2 for a command line that cannot be meant, 3 where something else than asked for is in force, else 1."""
        return {"usage": 2, "precondition": 3}.get(self.kind, 1)


class UsageError(TraefikeeError):
    """The command line cannot be meant as it stands: exit code 2."""

    def __init__(self, cause: str, next_step: str = "") -> None:
        super().__init__(cause, next_step, source=Source.CLIENT, kind="usage")


class RefusedError(TraefikeeError):
    """A request that this cluster refuses: a wrong token, a taken name, a missing right."""

    def __init__(self, cause: str, next_step: str = "", *, kind: str = "refused") -> None:
        super().__init__(cause, next_step, source=Source.CLIENT, kind=kind)


class UnreachableError(TraefikeeError):
    """A peer, a provider or the store does not answer (now)."""

    def __init__(self, cause: str, next_step: str = "", *, kind: str = "unreachable") -> None:
        super().__init__(cause, next_step, source=Source.PEER, kind=kind, retriable=True)


class ClusterAbortedError(TraefikeeError):
    """The cluster was given up while it formed: its nodes end and forget it."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause, "run traefikee bootstrap again", kind="aborted")
