"""How a control node that runs finds out that its cluster was restored or recovered without it.

It asks every control node that it has ever heard of, and that is not one of those alive beside it, for the cluster's
generation. Only a control node of the same authority can answer; what data nodes say is no more than where to ask.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable

from traefikee import log
from traefikee.cluster import joining
from traefikee.cluster.messages import Standing
from traefikee.cluster.mirror import Mirror
from traefikee.errors import RefusedError
from traefikee.node.statedir import Identity

EVERY = 15.0
"""Seconds between two rounds."""
MOST = 64
"""Addresses that are kept in mind."""

_log = log.get("node")


class Lookout:
    """Looks for a later generation of the cluster.

    :param identity: who this node is, with the certificate that it has by then.
    :param known: the highest generation that this node knows.
    """

    def __init__(self, identity: Callable[[], Identity], mirror: Mirror, known: Callable[[], int]) -> None:
        self._identity = identity
        self._mirror = mirror
        self._known = known
        self._addresses: dict[str, None] = {}
        self._hint = asyncio.Event()

    def hear(self, addresses: Iterable[str]) -> None:
        """Keep addresses in mind where control nodes are or were."""
        for address in addresses:
            if address and address != self._identity().advertise and len(self._addresses) < MOST:
                self._addresses[address] = None

    def hear_of_later(self, addresses: Iterable[str]) -> None:
        """Look now: somebody has seen a later generation, maybe at one of these addresses."""
        self.hear(addresses)
        self._hint.set()

    async def run(self) -> tuple[Standing, str]:
        """Return what a control node of a later generation says, and its address, when one was found."""
        while True:
            beside = {node.record.advertise for node in self._mirror.state.nodes if node.ready}
            asked = [address for address in self._addresses if address not in beside]
            found = None
            # Machines that belong to another cluster by now say nothing of this one.
            with contextlib.suppress(RefusedError):
                found = await joining.ask_standing(self._identity(), asked, self._known() + 1)
            if found is not None:
                _log.warning("the cluster was restored or recovered without this node", told_by=found[1])
                return found
            self._hint.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY):
                    await self._hint.wait()
                    # Whoever gives hints without end is not to have this node ask without end.
                    await asyncio.sleep(EVERY / 10)
