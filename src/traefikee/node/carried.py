"""What a data node's engine has carried, and which servers it finds down: read now and then, for the node's report."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping

from traefikee.cluster.records import Counters
from traefikee.errors import UnreachableError
from traefikee.node.data_engine import DataEngine

EVERY = 5.0
"""Seconds between two readings of the engine's counters."""
MOST_DOWN = 500
"""Services with servers that are down, of which a report tells."""
MOST_URLS = 5000
"""Servers of all of them together: a report is one key of the store."""


def listed(down: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Return the services with servers that are down that a report tells of, each with all of them."""
    found, urls = {}, 0
    for name, servers in sorted(down.items())[:MOST_DOWN]:
        urls += len(servers)
        if urls > MOST_URLS:
            break
        found[name] = servers
    return found


class Carried:
    """What was read last.

    :param on_change: called when other servers are down than before.
    :ivar counters: totals since the engine was started.
    :ivar down: the servers that are down, by service.
    """

    def __init__(self, engine: DataEngine, on_change: Callable[[], None]) -> None:
        self._engine = engine
        self._on_change = on_change
        self.counters = Counters()
        self.down: Mapping[str, tuple[str, ...]] = {}

    async def run(self) -> None:
        """Read for ever; an engine that does not answer is asked again the next time."""
        while True:
            await asyncio.sleep(EVERY)
            with contextlib.suppress(UnreachableError, ValueError, KeyError, TypeError):
                read = await self._engine.client.counters()
                requests, services = read["requests"], read["services"]
                self.counters = Counters(
                    by_status=requests["by_status"],
                    duration_seconds_total=round(float(requests["duration_seconds_total"]), 3),
                    response_bytes_total=int(requests["response_bytes_total"]),
                )
                down = {name: tuple(sorted(one["down"])) for name, one in services.items() if one["down"]}
                if down != self.down:
                    self.down = down
                    self._on_change()
