"""Whether a data node is in service, or drained by an operator: its engine follows, and how far it is is reported.

The mark is kept on disk, so that a node that starts without a control plane stays drained.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from pydantic import ValidationError

from traefikee import log
from traefikee.cluster.records import Emptying, Mark
from traefikee.errors import TraefikeeError, UnreachableError
from traefikee.node.data_engine import DataEngine
from traefikee.node.statedir import StateDir

FILE = "drained"
LOOK_EVERY = 1.0
"""Seconds between two looks at a drained engine: what is open, or whether it is another one that accepts."""

_log = log.get("data")


class Service:
    """A data node's part of ``drain-node``.

    :param changed: called when there is something new to report.
    :ivar mark: who drained the node; None while it is in service.
    :ivar emptying: how far it is, as long as it is drained or its engine does not accept yet.
    :ivar problem: why its engine cannot accept again.
    """

    def __init__(self, statedir: StateDir, engine: DataEngine, changed: Callable[[], None]) -> None:
        self._statedir = statedir
        self._engine = engine
        self._changed = changed
        self._wake = asyncio.Event()
        self.mark = _load(statedir)
        self.emptying = Emptying(mark=self.mark.at) if self.mark else None
        self.problem = ""
        engine.drained = self.mark is not None
        if self.mark is not None:
            _log.warning("this node is drained: it accepts no requests", by=self.mark.by, at=self.mark.at)

    def hear(self, stored: str) -> None:
        """Take what a control node says: a :class:`Mark` as it is stored, or an empty text."""
        try:
            mark = Mark.model_validate_json(stored) if stored else None
        except ValidationError as error:
            _log.error("what the control node says of draining cannot be read", reason=str(error.errors()[0]["msg"]))
            return
        if mark == self.mark:
            return
        self.mark = mark
        self._engine.drained = mark is not None
        if mark is not None:
            self.emptying, self.problem = Emptying(mark=mark.at), ""
            _log.warning("this node is being drained: it accepts no more requests", by=mark.by)
        try:
            if mark is None:
                self._statedir.remove(FILE)
            else:
                self._statedir.write(FILE, mark.stored())
        except TraefikeeError as error:
            _log.error("a restart without a control plane would not know whether it is drained", reason=str(error))
        self._wake.set()

    async def run(self) -> None:
        """Have the engine do what is wanted, for ever."""
        while True:
            with contextlib.suppress(UnreachableError):
                await self._see_to_it()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY if self.emptying else None):
                    await self._wake.wait()
            self._wake.clear()

    async def _see_to_it(self) -> None:
        mark = self.mark
        if mark is not None:
            # An engine that is drained does not mind; one that was started meanwhile, by anybody, is drained so.
            await self._engine.drain()
            accepting, connections, requests = await self._engine.open()
            if self.mark != mark:
                return
            before, done = self.emptying, not accepting and not connections
            self.emptying = Emptying(
                mark=mark.at, done=done, accepting=accepting, connections=connections, requests=requests
            )
            if self.emptying != before:
                if done:
                    _log.info("this node is drained")
                self._changed()
        elif self.emptying is not None:
            problem = ""
            try:
                await self._engine.client.undrain()
            except UnreachableError:
                raise
            except TraefikeeError as error:
                problem = error.cause
            if self.mark is None and not problem:
                self.emptying = None
                _log.info("this node is in service again")
                self._changed()
            if self.mark is None and problem != self.problem:
                self.problem = problem
                if problem:
                    _log.error("this node cannot accept requests again; it goes on trying", reason=problem)
                self._changed()


def _load(statedir: StateDir) -> Mark | None:
    try:
        stored = statedir.read(FILE)
        return None if stored is None else Mark.model_validate_json(stored)
    except (OSError, ValidationError) as error:
        _log.error("whether this node is drained cannot be read; a control node has to tell", reason=str(error))
        return None
