"""A node's own lines: its agent's, and those of an engine that outlives the agent, merged by time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from traefikee.errors import UnreachableError
from traefikee.log_lines import RING, Batch, Line, Query, Ring, line_of
from traefikee.node.engine import Engine

POLL = 0.3
"""Seconds between two looks for new lines."""


class Reader:
    """Reads the lines of one node.

    :param engine: an engine whose lines do not pass through this agent, or None.
    """

    def __init__(self, engine: Engine | None = None, ring: Ring = RING) -> None:
        self._engine = engine
        self._ring = ring

    async def read(self, query: Query) -> AsyncGenerator[Batch, None]:
        """Yield what there is, and if that is wanted what comes, for ever; batches may be empty."""
        place = _Place()
        lines, _ = await self._after(place)
        yield Batch(lines=tuple(query.select(lines)), initial=True, caught_up=True)
        while query.follow:
            await asyncio.sleep(POLL)
            lines, lost = await self._after(place)
            wanted = sorted((line for line in lines if query.takes(line)), key=lambda line: line.at)
            yield Batch(lines=tuple(wanted), lost=lost)

    async def _after(self, place: _Place) -> tuple[list[Line], int]:
        lines, place.agent, lost = self._ring.after(place.agent)
        if self._engine is not None:
            try:
                more, gone = await self._engine_lines(self._engine, place)
            except UnreachableError:
                # The agent's own lines tell that.
                return lines, lost
            lines, lost = lines + more, lost + gone
        return lines, lost

    async def _engine_lines(self, engine: Engine, place: _Place) -> tuple[list[Line], int]:
        answer = await engine.logs(place.engine)
        run = str(answer.get("run", ""))
        if run != place.run:
            # Another engine, whose numbers are its own.
            if place.engine:
                answer = await engine.logs(0)
            place.run = str(answer.get("run", ""))
        raw = answer.get("lines")
        last = answer.get("last")
        if not isinstance(raw, list) or not isinstance(last, int):
            # One of before it kept lines.
            return [], 0
        place.engine = last
        lost = answer.get("lost", 0)
        found = [line_of({"component": "engine", **one}) for one in raw if isinstance(one, dict)]
        return found, lost if isinstance(lost, int) and lost >= 0 else 0


class _Place:
    """How far somebody has read."""

    def __init__(self) -> None:
        self.agent = 0
        self.engine = 0
        self.run = ""
