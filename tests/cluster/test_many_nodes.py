"""More data nodes than one looks at one by one: simulated ones, with the product's own code for all that they say."""

import asyncio
import shlex
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.cluster.nodes import Cluster, Node
from tests.cluster.places import Local
from tests.support import BIN, ROOT
from tests.support.process import Process
from tests.support.wait import SLOWNESS, wait_for
from traefikee.cluster import etcd
from traefikee.cluster.store import Store

COUNT = 40
SIMULATED = ROOT / "scripts" / "simulated_nodes.py"


class Many:
    """A control node and many data nodes."""

    def __init__(self) -> None:
        self.cluster = Cluster(Local)
        self.simulated: Process | None = None

    def start(self) -> None:
        """Start them, and wait until all are READY."""
        self.cluster.form(control=1, data=0)
        place, token = self.control.place, self.cluster.tokens["data_node_token"]
        options = f"--first=0 --count={COUNT} --peers={self.cluster.peers} --token={token}"
        words = f"{shlex.quote(str(BIN / 'python'))} {shlex.quote(str(SIMULATED))} {options}"
        self.simulated = place.start(words, name="simulated data nodes")
        wait_for(lambda: self.count("READY") == COUNT, "all data nodes are READY", 30)

    @property
    def control(self) -> Node:
        """The control node."""
        return self.cluster.control["control-node-1"]

    def count(self, status: str) -> int:
        """How many data nodes have this status."""
        nodes = self.control.nodes().values()
        return sum(node["role"] == "data" and node["status"] == status for node in nodes)

    def revision(self) -> int:
        """The store's revision: how many writes it has seen."""

        async def ask() -> int:
            async with Store(self.control.statedir / "etcd" / etcd.CLIENT_SOCKET) as store:
                return int((await store.status())["header"]["revision"])

        return asyncio.run(ask())


@pytest.fixture(scope="module")
def many() -> Iterator[Many]:
    """One for all tests of this file, which run in their order."""
    made = Many()
    try:
        made.start()
        yield made
    finally:
        made.cluster.destroy()


def test_a_deployment_is_told_in_a_few_lines(many: Many) -> None:
    printed = many.control.traefikee("deploy --entryPoints='Name:http Address::80'").splitlines()
    assert printed[-1] == f"✔ Applied by {COUNT} data nodes."
    assert not [line for line in printed if "simulated-" in line]
    revisions = {node["snapshot_revision"] for node in many.control.nodes().values() if node["role"] == "data"}
    assert len(revisions) == 1


def test_what_they_carry_costs_few_writes_and_is_summed_up(many: Many) -> None:
    def total() -> int:
        health = httpx.get(f"http://{many.control.address}:8080/health", trust_env=False).json()
        assert set(health["total_status_code_count"]) == {"200", "404"}
        assert health["average_response_size"] > 0
        return int(health["total_count"])

    first = wait_for(total, "the data nodes have told what they carry", 20)
    before, started = many.revision(), time.monotonic()
    wait_for(lambda: total() > first, "it grows", 15)
    wait_for(lambda: time.monotonic() - started > 6, "every node has reported twice", 10)
    assert many.revision() - before < COUNT / 4


def test_none_is_down_because_its_control_node_was(many: Many) -> None:
    many.control.process.kill9()
    many.cluster.restart("control-node-1")
    wait_for(lambda: many.count("READY") == COUNT, "the list is whole again", 30)
    # Longer than the lease of the control node that ended: every node was heard by the new one.
    until = time.monotonic() + 16
    while time.monotonic() < until:
        assert many.count("READY") == COUNT
        time.sleep(0.5)


def test_those_that_go_silent_are_down_soon(many: Many) -> None:
    assert many.simulated is not None
    many.simulated.kill9()
    killed = time.monotonic()
    wait_for(lambda: many.count("DOWN") == COUNT, "all are DOWN", 15)
    assert time.monotonic() - killed < 10 * SLOWNESS
