"""Data nodes without an engine and without a disk, many in one process, for `measure-nodes`.

Everything that a data node says to control nodes and hears from them is the product's own code
(:class:`traefikee.node.data.DataNode`): joins with the token, a TLS client of its own with its own certificate, the
stream, the changes fetched and followed, reports with counters that grow. Only what is told to the engine and written
to the disk goes nowhere.

Each line on standard output is a JSON list: what happened, the node's number, the monotonic time in seconds, and for
``taken`` the snapshot's revision in a report that a control node has taken.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from traefikee import formats, log
from traefikee.cluster import joining
from traefikee.cluster.messages import DataReport
from traefikee.cluster.peers import Peer
from traefikee.cluster.roles import Role
from traefikee.compile.changes import State
from traefikee.node.carried import Carried
from traefikee.node.data import DataNode, DataOptions
from traefikee.node.statedir import Identity

AT_ONCE = 10
"""Joins that one process has under way at a time."""


class Nowhere:
    """A state directory that keeps nothing."""

    path = Path("/nonexistent")
    engine_socket = path / "engine.sock"

    def load_peers(self) -> list[str]:
        """Nothing is remembered."""
        return []

    def save_peers(self, peers: list[str]) -> None:
        """Nothing is kept."""

    def load_generation(self) -> int:
        """Nothing is remembered."""
        return 0

    def save_generation(self, generation: int) -> None:
        """Nothing is kept."""

    def read(self, _name: str) -> bytes | None:
        """Nothing is remembered."""
        return None

    def write(self, name: str, content: bytes) -> None:
        """Nothing is kept."""

    def save_identity(self, identity: Identity) -> None:
        """Nothing is kept."""


class NoJournal:
    """A journal that keeps nothing."""

    def hear(self, frames: Sequence[bytes]) -> None:
        """Nothing is kept."""

    def save(self, state: State) -> None:
        """Nothing is kept."""


class NoEngine:
    """An engine that counts requests which nobody sent."""

    version = "simulated"
    documents = (formats.DOCUMENTS[formats.OLDEST], formats.DOCUMENTS[formats.NEWEST])
    found_revision = None
    drained = False

    def __init__(self) -> None:
        self._requests = 0

    @property
    def client(self) -> NoEngine:
        """Itself."""
        return self

    async def counters(self) -> dict[str, Any]:
        """Totals that have grown since they were read last."""
        self._requests += random.randint(1, 1000)
        requests = {
            "by_status": {"200": self._requests, "404": self._requests // 10},
            "duration_seconds_total": self._requests * 0.01,
            "response_bytes_total": self._requests * 1000,
        }
        return {"requests": requests, "services": {}}


def tell(what: str, number: int, *more: Any) -> None:
    """Write a line."""
    sys.stdout.write(json.dumps([what, number, time.monotonic(), *more]) + "\n")


class SimulatedNode(DataNode):
    """A data node that tells when it is connected and when its reports are taken."""

    def __init__(self, number: int, identity: Identity, peers: list[str]) -> None:
        self._number = number
        self._held: Peer | None = None
        self._told: int | None = None
        nowhere: Any = Nowhere()
        super().__init__(nowhere, identity, DataOptions(None, Path("/nonexistent"), "text"), peers)
        engine: Any = NoEngine()
        journal: Any = NoJournal()
        self._engine, self._journal = engine, journal
        self._carried = Carried(engine, self._changed.set)

    @property
    def _connection(self) -> Peer | None:  # type: ignore[override]
        return self._held

    @_connection.setter
    def _connection(self, peer: Peer | None) -> None:
        if peer is not None:
            self._told = None
        if (peer is None) != (self._held is None):
            tell("lost" if peer is None else "connected", self._number, peer.address if peer else "")
        self._held = peer

    async def _send_now(self, report: DataReport) -> bool:
        taken = await super()._send_now(report)
        revision = report.report.revision
        if taken and revision != self._told:
            self._told = revision
            tell("taken", self._number, revision)
        return taken

    async def _tell_engine(self, wanted: State) -> None:
        """There is none."""

    async def live(self) -> None:
        """Do what a data node does, but for its engine."""
        await asyncio.gather(self._follow(), self._report_changes(), self._carried.run())


async def join_and_live(number: int, token: str, peers: list[str], joins: asyncio.Semaphore) -> None:
    """Be one node, for ever."""
    async with joins:
        shuffled = random.sample(peers, len(peers))
        identity = await joining.obtain_identity(token, shuffled, Role.DATA, f"simulated-{number:04}", "", 300)
    tell("joined", number)
    await SimulatedNode(number, identity, peers).live()


async def main() -> None:
    """Run the nodes until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--first", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--peers", required=True)
    parser.add_argument("--token", required=True)
    asked = parser.parse_args()
    log.configure(level="error")
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    gc.set_threshold(50_000, 50, 50)
    joins = asyncio.Semaphore(AT_ONCE)
    peers = asked.peers.split(",")
    async with asyncio.TaskGroup() as tasks:
        for number in range(asked.first, asked.first + asked.count):
            tasks.create_task(join_and_live(number, asked.token, peers, joins))


if __name__ == "__main__":
    asyncio.run(main())
