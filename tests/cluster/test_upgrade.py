"""A rolling upgrade: a cluster of two builds, one format apart, while traffic runs; and what a service manager hears.

The tests share one cluster and run in their order: each goes on where the one before has left it. The newer builds are
made of the tree by the evolution that is declared here: new fields in values, messages, frames and configurations, a
raised version, a raised format.
"""

import asyncio
import json
import os
import re
import signal
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.nodes import Cluster, Json, Node, ask, error_line
from tests.cluster.places import Local
from tests.cluster.traffic import Traffic
from tests.support.builds import Build, Evolution, Installation, after, evolved, present
from tests.support.manager import ServiceManager
from tests.support.origin import Origin
from tests.support.wait import wait_for
from traefikee.cluster import state
from traefikee.cluster.store import Store
from traefikee.compile import changes

PORT = 8000
HOST = "app.example"
WATCHDOG = 2.0
"""Seconds after which a service manager takes a silent node for hung."""

NEXT: Evolution = {
    "formats.py": [("NEWEST = 1\n", "NEWEST = 2\n"), ("{1: 1}\n", "{1: 1, 2: 1}\n")],
    "cluster/records.py": [
        after('    advertise: str = ""\n    certificate_serial: str\n', '    zone: str = "north"\n'),
        after("    agent_version: str\n", '    mood: str = "fine"\n'),
        after("    parts: int\n", "    checked: bool = True\n"),
    ],
    "cluster/messages.py": [
        after('    advertise: str = ""\n    request_pem: str\n', '    zone: str = "north"\n'),
        after("    leaving: bool = False\n", "    hue: int = 7\n"),
        after("    started: bool\n", "    hue: int = 7\n"),
    ],
    "cluster/upgrade.py": [
        after('    told = ""\n', '    await term.transact([], [Put(state.STATE + "gizmos/1", b"\\xff")])\n'),
    ],
    "compile/changes.py": [
        after("from __future__ import annotations\n", "from typing import Annotated\n"),
        after("    format: int = 1\n    base: str\n", '    maker: Annotated[str, formats.Since(2)] = "b"\n'),
    ],
    "config/static.py": [
        after("from __future__ import annotations\n", "from typing import Annotated\n"),
        after("from traefikee.config.model import Model\n", "from traefikee.formats import Since\n"),
        after("    debug: bool = False\n", '    motto: Annotated[str, Since(2)] = ""\n'),
    ],
    "node/statedir.py": [after("    cluster_id: str\n", '    zone: str = "north"\n')],
}
"""What comes after the tree."""

AFTER_NEXT: Evolution = {
    "formats.py": [
        ("OLDEST = 1\n", "OLDEST = 2\n"), ("NEWEST = 1\n", "NEWEST = 3\n"), ("{1: 1}\n", "{2: 1, 3: 1}\n")
    ],
}  # fmt: skip
"""And after that."""

RULES = """\
[backends.app.servers.one]
url = "{url}"
[frontends.app]
backend = "app"
[frontends.app.routes.main]
rule = "Host:{hosts}"
"""


class Machine(Local):
    """A place with an installation and a service manager of its own."""

    def __init__(self, name: str, build: Build) -> None:
        super().__init__(name)
        self.manager = ServiceManager(self.folder / "notify", WATCHDOG)
        self.env |= self.manager.environment
        self.installation = Installation(self.folder / "opt", build)
        self.env["PATH"] = f"{self.installation.bin}:/usr/sbin:/usr/bin:/sbin:/bin"

    def destroy(self) -> None:
        """End its processes, and remove its files."""
        self.manager.close()
        super().destroy()


class World:
    """The cluster, its origin, and the three builds."""

    def __init__(self, folder: Path) -> None:
        self.old = present(folder / "old")
        self.new = evolved(folder / "new", "0.2.0", NEXT)
        self.newest = evolved(folder / "newest", "0.3.0", AFTER_NEXT)
        self.build = self.old
        """What is installed on new machines."""
        self.cluster = Cluster(lambda name: Machine(name, self.build))
        self.origin = Origin("origin")
        self.client = Local("client")
        self._hosts = [HOST]

    def destroy(self) -> None:
        self.cluster.destroy()
        self.client.destroy()
        self.origin.close()

    def traffic(self) -> Traffic:
        """Requests to every data node."""
        addresses = [node.address for node in self.cluster.data.values()]
        return Traffic(self.client, addresses, HOST, told=True, port=PORT)

    def install(self, node: Node, build: Build) -> None:
        """Install a build on a machine; what runs there goes on."""
        machine(node).installation.install(build)

    def roll(self, name: str, build: Build) -> None:
        """End a control node, install a build, start it again, and wait until all see it READY."""
        node = self.cluster.control[name]
        self.install(node, build)
        assert node.process.terminate() == 0, node.process.tail()
        self.cluster.restart(name)
        for other in self.cluster.control.values():
            self.wait_until_runs(other, name, build)

    def wait_until_runs(self, asked: Node, name: str, build: Build) -> None:
        """Wait until a node is READY, as a control node sees it, and of a build."""
        wait_for(lambda: self.runs(asked, name, build), f"{asked.name} sees {name} of {build.version}", 20)

    def take_over(self, node: Node, build: Build) -> None:
        """Install a build on a data node, tell it, and wait until it and its engine are of that build."""
        before = node.engine()["pid"]
        self.install(node, build)
        node.process.signal(signal.SIGUSR2)
        wait_for(lambda: node.engine()["pid"] != before, f"the new engine of {node.name} has taken over", 20)
        self.wait_until_runs(self.cluster.any_control(), node.name, build)
        told = machine(node).manager
        wait_for(lambda: told.order("RELOADING", "READY")[-2:] == ["RELOADING", "READY"], f"{node.name} says so", 5)

    @staticmethod
    def runs(asked: Node, name: str, build: Build) -> bool:
        """Whether a node is READY, as a control node sees it, and of a build."""
        seen = asked.nodes()[name]
        return bool(seen["status"] == "READY" and seen["agent_version"] == build.version)

    def deploy(self, node: Node) -> None:
        """Deploy another host name through a node; all data nodes have to apply it, and route by it."""
        host = f"host-{len(self._hosts)}.example"
        self._hosts.append(host)
        rules = RULES.format(url=self.origin.url, hosts=",".join(self._hosts))
        (machine(node).folder / "rules.toml").write_text(rules)
        line = f"deploy --entryPoints='Name:http Address::{PORT}' --file.filename=rules.toml"
        told = node.traefikee(line)
        count = len(self.cluster.data)
        assert f"Applied by {count} data node{'s' * (count > 1)}." in told, told
        for data in self.cluster.data.values():
            answer = httpx.get(f"http://{data.address}:{PORT}/", headers={"Host": host})
            assert answer.status_code == 200, f"{data.name}: {answer.status_code}"

    def stored(self, key: str) -> Json:
        """A value of the store."""

        async def read() -> Json:
            node = self.cluster.any_control()
            async with Store(node.statedir / "etcd/client:0") as store:
                found = await store.get(key)
            assert found is not None, key
            value: Json = json.loads(found.value)
            return value

        return wait_for(lambda: asyncio.run(read()), f"{key} can be read", 5)

    def format(self) -> int:
        """The format in force."""
        answer: Json = ask(self.cluster.any_control().socket, "/v1/nodes")
        return int(answer["format"])

    def warnings(self, node: Node) -> str:
        """What `list-nodes` warns of."""
        return node.place.run("traefikee list-nodes").stderr


def machine(node: Node) -> Machine:
    """Where a node runs."""
    assert isinstance(node.place, Machine)
    return node.place


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Three control nodes and one data node, all of the old build."""
    with tempfile.TemporaryDirectory(prefix="tkee-builds-") as folder:
        made = World(Path(folder))
        try:
            made.cluster.form(control=3, data=1)
            made.deploy(made.cluster.any_control())
            yield made
        finally:
            made.destroy()


def followers_first(world: World) -> list[str]:
    """The control nodes in the order in which they are upgraded."""
    leader = world.cluster.leader().name
    return [*(name for name in world.cluster.control if name != leader), leader]


def test_a_service_manager_hears_when_nodes_are_ready_and_how_they_are(world: World) -> None:
    assert world.cluster.bootstrap is not None
    bootstrap = machine(world.cluster.bootstrap).manager
    assert bootstrap.order("READY", "STOPPING") == ["READY", "STOPPING"]
    leader = world.cluster.leader().name
    for node in (*world.cluster.control.values(), *world.cluster.data.values()):
        told = machine(node).manager
        assert told.order("READY", "STOPPING") == ["READY"], f"{node.name}, once"
        assert told.count("WATCHDOG"), node.name
        follows = "data node: serves snapshot 1; follows 127." if node.name in world.cluster.data else (
            "control node, leader: snapshot 1, 3 control and 1 data nodes READY" if node.name == leader
            else f"control node, follower of {leader}: snapshot 1, 3 control and 1 data nodes READY"
        )  # fmt: skip
        wait_for(lambda told=told, follows=follows: told.status().startswith(follows), f"{node.name}: {follows}", 5)  # type: ignore[misc]


def test_signs_of_life_end_when_an_agent_hangs_or_a_control_nodes_engine_does(world: World) -> None:
    data, control = world.cluster.data["data-node-1"], world.cluster.control[followers_first(world)[0]]
    engine = control.engine()["pid"]
    data.process.pause()
    os.kill(engine, signal.SIGSTOP)
    try:
        for node in (data, control):
            wait_for(machine(node).manager.is_silent, f"{node.name} gives no sign of life", 10)
    finally:
        os.kill(engine, signal.SIGCONT)
        data.process.resume()
    for node in (data, control):
        before = machine(node).manager.count("WATCHDOG")
        wait_for(lambda node=node, before=before: machine(node).manager.count("WATCHDOG") > before, "it is back", 10)  # type: ignore[misc]
        world.wait_until_runs(world.cluster.leader(), node.name, world.old)


def test_control_nodes_are_upgraded_one_by_one_and_whoever_leads_works_with_all(world: World) -> None:
    first, second, leader = followers_first(world)
    nodes = world.cluster.control
    with world.traffic():
        world.roll(first, world.new)
        assert world.cluster.leader().name == leader, "of the old build"
        told = nodes[first].place.run("traefikee list-nodes --details")
        assert f"; 0.2.0: {first}): finish the upgrade" in told.stderr
        assert re.search(rf"^\w{{25}} +{first} +ACCEPTED +READY .* 0\.2\.0, engine 0\.1\.0$", told.stdout, re.MULTILINE)
        world.deploy(nodes[first])
        # A data node of the new build, let in and led by the old one.
        world.build = world.new
        world.cluster.start_data("data-node-2")
        world.wait_until_runs(nodes[leader], "data-node-2", world.new)
        world.deploy(nodes[second])
        world.roll(second, world.new)
        world.roll(leader, world.new)
        leading = wait_for(world.cluster.leader, "there is a leader", 10)
        world.deploy(leading)
    assert world.format() == 1, "a data node of the old build is there"
    assert "format 2 is put in force once every node understands it: data-node-1 (version 0.1.0)" in world.warnings(
        leading
    )


def test_a_data_node_of_the_old_build_joins_control_nodes_of_the_new_one(world: World) -> None:
    world.build = world.old
    world.cluster.start_data("data-node-3")
    world.wait_until_runs(world.cluster.any_control(), "data-node-3", world.old)
    world.deploy(world.cluster.any_control())


def test_one_step_back_loses_nothing_that_the_newer_nodes_have_stored(world: World) -> None:
    name = followers_first(world)[0]
    report = state.ALIVE + world.cluster.any_control().nodes()["data-node-2"]["id"]
    assert world.stored(report)["mood"] == "fine", "what only the new build reports is kept"
    with world.traffic():
        world.roll(name, world.old)
        leader = world.cluster.leader()
        assert leader.process.terminate() == 0
        # Of the two that are left one is of the old build; both can lead.
        world.deploy(world.cluster.control[name])
        world.cluster.restart(leader.name)
        world.wait_until_runs(world.cluster.control[name], leader.name, world.new)
        assert world.stored(report)["mood"] == "fine"
        world.roll(name, world.new)
        world.deploy(world.cluster.control[name])


def deploy_motto(node: Node) -> httpx.Response:
    """Deploy an option that came with format 2, by the API."""
    configuration: dict[str, Any] = {
        "entry_points": [{"name": "http", "address": f":{PORT}"}],
        "motto": "onward",
        "file": None,
    }
    body = {"configuration": configuration, "by": "test", "command": "test"}
    with httpx.Client(
        transport=httpx.HTTPTransport(uds=str(node.socket)), base_url="http://node", timeout=60
    ) as client:
        return client.post("http://node/v1/deploy", json=body, headers={"traefikee-version": "0.2.0"})


def test_an_option_that_not_all_understand_is_refused_by_name(world: World) -> None:
    answer = deploy_motto(world.cluster.any_control())
    told = answer.json()
    assert "motto needs format 2, and the cluster is at format 1: data-node-1 (version 0.1.0)" in told["error"]
    assert "upgrade all nodes to version 0.2.0 first" in told["next_step"]
    for node in world.cluster.data.values():
        assert httpx.get(f"http://{node.address}:{PORT}/", headers={"Host": HOST}).status_code == 200


@pytest.mark.parametrize("role", ["control", "data"])
def test_two_versions_apart_is_refused_with_both_versions_and_the_next_step(world: World, role: str) -> None:
    place = Machine(f"far-{role}", world.newest)
    try:
        node = Node(place)
        own = node.own_addresses() if role == "control" else ""
        token = world.cluster.tokens[f"{role}_node_token"]
        node.start(f"traefikee start-{role}-node --peeraddresses={world.cluster.peers} --token={token} {own}")
        assert node.process.wait(20) == 1
        assert error_line(node.process.output) == (
            "Error: this node is of version 0.3.0, which understands formats 2 and 3, and the cluster is at format 1 "
            "since version 0.1.0 was everywhere; upgrade the nodes of the cluster to the version before 0.3.0, then "
            "start this node again"
        )
        assert f"far-{role}" not in world.cluster.any_control().nodes()
        assert place.manager.count("READY") == 0
    finally:
        place.destroy()


def test_data_nodes_are_upgraded_in_place_and_then_the_format_is_raised(world: World) -> None:
    with world.traffic():
        for name in ("data-node-1", "data-node-3"):
            node = world.cluster.data[name]
            assert world.format() == 1
            world.take_over(node, world.new)
        wait_for(lambda: world.format() == 2, "format 2 is in force", 10)
        leader = world.cluster.leader()
        wait_for(lambda: not world.warnings(leader), "nothing is left to do", 10)
        world.deploy(leader)
        link = world.stored(state.SNAPSHOT)["snapshot"][-1]
        assert (link["format"], link["checked"]) == (2, True)
    assert deploy_motto(leader).status_code == 200
    assert world.stored(state.CURRENT) == world.stored(f"{state.CONFIGS}{world.stored(state.CURRENT)}")["number"]
    world.deploy(leader)
    kept = (world.cluster.data["data-node-1"].statedir / "snapshot").read_bytes()
    assert b"maker" in zlib.decompress(changes.split(kept)[0][-1][4:]).partition(b"\n")[0]


def test_after_that_there_is_no_way_back_and_nobody_is_harmed_who_tries(world: World) -> None:
    data, control = world.cluster.data["data-node-1"], world.cluster.control[followers_first(world)[0]]
    refusal = "this node is of version 0.1.0, which understands format 1, and the cluster is at format 2"
    with world.traffic():
        world.install(data, world.old)
        data.process.signal(signal.SIGUSR2)

        def refuses() -> bool:
            told = world.cluster.any_control().nodes()["data-node-1"]["refusal"]
            return "written in format 2, and version 0.1.0 of this node understands format 1: upgrade" in told

        wait_for(refuses, "data-node-1 says why it refuses the snapshot", 20)
        assert "Warning: data-node-1 refuses snapshot" in world.warnings(control)
        world.install(control, world.old)
        control.process.terminate()
        world.cluster.restart(control.name)
        assert control.process.wait(20) == 1
        assert error_line(control.process.output).startswith(f"Error: {refusal} since version 0.2.0 was everywhere; ")
        world.install(control, world.new)
        world.cluster.restart(control.name)
        world.install(data, world.new)
        data.process.signal(signal.SIGUSR2)
        world.wait_until_runs(world.cluster.any_control(), control.name, world.new)
        world.wait_until_runs(world.cluster.any_control(), "data-node-1", world.new)
        world.deploy(control)
