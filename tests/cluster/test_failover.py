"""Nodes that die, hang, lose their network and come back, while somebody uses the cluster.

The tests share one cluster of three control and two data nodes, a machine each, and run in their order: the first six
begin what the seventh waits for (a clean list), and the eighth ends with a whole cluster again. Each of the others
finds a whole cluster and leaves one.
"""

import itertools
import re
import signal
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.cluster.nodes import CLEANING, Cluster, Node
from tests.cluster.places import MachineConsul, NetworkTransport, routes, start_origin
from tests.cluster.traffic import Traffic
from tests.support.machine import Machine, Network
from tests.support.wait import SLOWNESS, wait_for

ADDRESSES = {
    "bootstrap-node": "10.10.0.1",
    "control-node-1": "10.10.0.2",
    "control-node-2": "10.10.0.3",
    "control-node-3": "10.10.0.4",
    "data-node-1": "10.10.0.5",
    "data-node-2": "10.10.0.6",
}
WHOLE = {name: "READY" for name in ADDRESSES if name != "bootstrap-node"}
HOST = "app.example"


class World:
    """The cluster, a Consul with one frontend, its origin, and a client."""

    def __init__(self, network: Network) -> None:
        self.cluster = Cluster(lambda name: network.machine(name, ADDRESSES[name]))
        self.consul = MachineConsul(network.machine("consul", "10.10.0.10"))
        self.origin = start_origin(network.machine("origins", "10.10.0.20"), "origin")
        self.client = network.client()
        self.http = httpx.Client(transport=NetworkTransport(self.client), timeout=10)
        self.killed_at: dict[str, float] = {}
        self._numbers = itertools.count(1)

    @property
    def data(self) -> list[Node]:
        """The data nodes whose agents run."""
        return [node for node in self.cluster.data.values() if node.running]

    def traffic(self, *nodes: Node, told: bool = False) -> Traffic:
        """Requests to these data nodes, or to all."""
        return Traffic(self.client, [node.address for node in nodes or self.data], HOST, told=told)

    def status(self, node: Node, host: str) -> int:
        """What a data node answers for a host name."""
        return self.http.get(f"http://{node.address}/", headers={"Host": host}).status_code

    def change(self) -> str:
        """Write another frontend into Consul; returns its host name."""
        name = f"change-{next(self._numbers)}"
        self.consul.put_all(
            {f"traefik/{key}": value for key, value in routes(name, f"Host:{name}", self.origin).items()}
        )
        return name

    def followed(self, host: str, deadline: float = 15) -> None:
        """Wait until every data node routes by it."""
        for node in self.data:
            wait_for(lambda node=node: self.status(node, host) == 200, f"{node.name} routes {host}", deadline)  # type: ignore[misc]

    def follows_changes(self, deadline: float = 15) -> None:
        """Change something in Consul, and wait until every data node routes by it."""
        self.followed(self.change(), deadline)

    def wait_until_whole(self, deadline: float = 30) -> None:
        """Wait until every running control node lists every node as READY, and agrees with the others who leads."""
        for node in self.cluster.control.values():
            node.wait_for_nodes(WHOLE, deadline)
        wait_for(lambda: self.one_leader(), "one leader", 10)

    def one_leader(self) -> str:
        """The leader that all control nodes see."""
        (leader,) = {node.leader() for node in self.cluster.control.values() if node.running}
        return leader

    def another_leads(self, old: Node, deadline: float) -> Node:
        """Wait until the others follow another leader."""

        def another() -> Node | None:
            leader = self.cluster.leader(old.name)
            return leader if leader is not old else None

        return wait_for(another, f"another control node than {old.name} leads", deadline)


@pytest.fixture(scope="module")
def world(shared_network: Network) -> Iterator[World]:
    """The cluster with a deployment; the bootstrap node's machine is switched off."""
    made = World(shared_network)
    try:
        made.consul.start()
        made.cluster.form(control=3, data=2)
        assert made.cluster.bootstrap is not None
        keys = routes("app", f"Host:{HOST}", made.origin)
        made.consul.put_all({f"traefik/{key}": value for key, value in keys.items()})
        made.cluster.any_control().traefikee(
            f"deploy --entryPoints='Name:http Address::80' --consul.endpoint={made.consul.endpoint}"
        )
        yield made
    finally:
        made.http.close()
        made.consul.cleanup()


# --- two nodes die, and are cleaned from the list ---


def test_kill_of_the_leader_while_traffic_runs(world: World) -> None:
    leader = world.cluster.leader()
    with world.traffic():
        leader.process.kill9()
        world.killed_at[leader.name] = time.monotonic()
        changed = world.change()
        new = world.another_leads(leader, 10)
        world.followed(changed)
        wait_for(lambda: new.status()[leader.name] == "DOWN", "it shows as DOWN", 10)
    assert re.search(rf"^\w{{25}} +{leader.name} +ACCEPTED +DOWN ", new.traefikee("list-nodes --details"), re.MULTILINE)


def test_kill_of_a_data_nodes_agent_disturbs_no_request(world: World) -> None:
    data = world.cluster.data["data-node-1"]
    engine = data.engine()["pid"]
    with world.traffic(data):
        data.process.kill9()
        wait_for(lambda: world.cluster.any_control().status()[data.name] == "DOWN", "it shows as DOWN", 15)
        assert data.engine()["pid"] == engine
        world.cluster.restart(data.name)
        wait_for(lambda: world.cluster.any_control().status()[data.name] == "READY", "it is READY again", 10)
        assert data.engine()["pid"] == engine, "the agent has found its engine and kept it"
        world.follows_changes()
    assert data.engine()["pid"] == engine


@pytest.mark.parametrize("how", ["told", "killed"])
def test_an_upgrade_of_a_data_node_disturbs_no_request(world: World, how: str) -> None:
    data = world.cluster.data["data-node-1"]
    before = data.engine()
    with world.traffic(data, told=True):
        assert isinstance(data.place, Machine)
        data.place.install_engine_again()
        if how == "told":
            agent = data.process.pid
            data.process.signal(signal.SIGUSR2)
        else:
            data.process.kill9()
            world.cluster.restart(data.name)
        wait_for(lambda: data.engine()["pid"] != before["pid"], "the installed engine has taken over", 15)
        if how == "told":
            assert data.process.running
            assert data.process.pid == agent
        assert data.engine()["revision"] == before["revision"]
        wait_for(lambda: world.cluster.any_control().status()[data.name] == "READY", "it is READY", 10)
        world.follows_changes()
    wait_for(lambda: not (data.statedir / "run/engine.old").exists(), "the old engine has ended", 20)
    assert "the installed engine has taken over" in data.process.output
    data.place.check(f"! ps -o stat= -p {before['pid']}")


def test_an_engine_that_is_killed_is_started_again(world: World) -> None:
    data = world.cluster.data["data-node-1"]
    engine = data.engine()["pid"]
    data.place.check(f"kill -9 {engine}")
    wait_for(lambda: world.status(data, HOST) == 200, "it serves again", 5)
    assert data.engine()["pid"] != engine
    world.follows_changes()
    assert world.cluster.any_control().status()[data.name] == "READY"


def test_a_data_node_that_is_gone_shows_as_down(world: World) -> None:
    data, asked = world.cluster.data["data-node-2"], world.cluster.any_control()
    data.kill_everything()
    world.killed_at[data.name] = time.monotonic()
    wait_for(lambda: asked.status()[data.name] == "DOWN", "it shows as DOWN", 15)
    assert re.search(r"^\w{25} +data-node-2 +ACCEPTED +DOWN ", asked.traefikee("list-nodes --details"), re.MULTILINE)
    with pytest.raises(httpx.ConnectError):
        world.status(data, HOST)


def test_the_list_is_clean_a_minute_after_each_death(world: World) -> None:
    assert len(world.killed_at) == 2, "this test relies on those before"
    asked = world.cluster.any_control()
    for name, killed_at in world.killed_at.items():
        left = killed_at + CLEANING * SLOWNESS - time.monotonic()
        wait_for(lambda name=name: name not in asked.status(), f"{name} is cleaned", left / SLOWNESS, every=0.1)  # type: ignore[misc]
    remaining = {name: status for name, status in WHOLE.items() if name not in world.killed_at}
    asked.wait_for_nodes(remaining, 1)


def test_nodes_that_were_cleaned_come_back_without_a_token(world: World) -> None:
    assert len(world.killed_at) == 2, "this test relies on those before"
    with world.traffic():
        for name in world.killed_at:
            world.cluster.restart(name)
        world.wait_until_whole()
        world.follows_changes()
    assert world.status(world.cluster.data["data-node-2"], HOST) == 200


# --- a control node ends, and comes back ---


def test_a_killed_leader_comes_back_before_it_was_cleaned(world: World) -> None:
    leader = world.cluster.leader()
    before = {name: node["id"] for name, node in leader.nodes().items()}
    with world.traffic():
        leader.process.kill9()
        world.another_leads(leader, 10)
        world.cluster.restart(leader.name)
        world.wait_until_whole()
        world.follows_changes()
    assert {name: node["id"] for name, node in leader.nodes().items()} == before


def test_a_leader_that_is_stopped_hands_over_at_once(world: World) -> None:
    leader = world.cluster.leader()
    with world.traffic():
        leader.process.signal(signal.SIGTERM)
        began = time.monotonic()
        new = world.another_leads(leader, 3)
        wait_for(lambda: new.status()[leader.name] == "DOWN", "it shows as DOWN at once", 2)
        world.follows_changes(5)
        assert leader.process.wait() == 0
        assert time.monotonic() - began < 12 * SLOWNESS
        world.cluster.restart(leader.name)
        world.wait_until_whole()


def test_another_leader_keeps_what_a_consul_had_said_that_is_away(world: World) -> None:
    leader = world.cluster.leader()
    with world.traffic():
        world.consul.stop()
        leader.process.kill9()
        new = world.another_leads(leader, 10)

        def away() -> bool:
            told = world.http.get(f"http://{new.address}:8080/api/errors").json()["providers"]["consul"]
            return bool(told["state"] == "error" and told["frontends"] >= 1)

        wait_for(away, "the new leader tells that Consul is away and that it keeps the frontends", 15)
        world.consul.start()
        world.follows_changes()
        world.cluster.restart(leader.name)
        world.wait_until_whole()


# --- a leader hangs ---


@pytest.mark.parametrize("what", ["agent", "machine"])
def test_a_leader_that_hangs_is_replaced_and_overwrites_nothing_when_it_wakes_up(world: World, what: str) -> None:
    leader = world.cluster.leader()
    send = "ps -ef | grep -E 'traefikee|etcd' | grep -v grep | awk '{print $2}' | xargs kill -%s"
    with world.traffic():
        # In the middle of its work: it is about to publish a change.
        first = world.change()
        if what == "agent":
            leader.process.pause()
        else:
            leader.place.check(send % "STOP")
        try:
            new = world.another_leads(leader, 12)
            world.followed(first)
            second = world.change()
            world.followed(second)
            revision = published(new)
        finally:
            if what == "agent":
                leader.process.resume()
            else:
                leader.place.check(send % "CONT")
        with Traffic(world.client, [node.address for node in world.data], second) as routed:
            world.wait_until_whole()
            assert world.one_leader() != leader.name
            routed.more(50)
        assert published(new) >= revision
        assert all(count == 1 for count in leaders(world).values()), leaders(world)
        world.follows_changes()


def published(node: Node) -> int:
    """The newest revision of the snapshot that a data node has, as the list says."""
    return max(int(one["snapshot_revision"]) for one in node.nodes().values() if one["role"] == "data")


def leaders(world: World) -> dict[str, int]:
    """How many leaders each control node sees."""
    return {node.name: sum(one["leader"] for one in node.nodes().values()) for node in world.cluster.control.values()}


# --- the network of a control node ---


@pytest.mark.parametrize("who", ["leader", "follower"])
def test_a_control_node_without_its_network(world: World, who: str) -> None:
    leader = world.cluster.leader()
    cut = leader if who == "leader" else world.cluster.any_control(leader.name)
    machine = world.client.network.machines[cut.name]
    with world.traffic():
        machine.kill_link()
        try:
            world.another_leads(cut, 15)
            world.follows_changes(20)
            asked = world.cluster.leader(cut.name)
            wait_for(lambda: asked.status()[cut.name] == "DOWN", "it shows as DOWN", 15)

            def warned() -> bool:
                done = cut.place.run("traefikee list-nodes")
                return "no quorum" in done.stderr and done.returncode == 0

            wait_for(warned, "the one that is alone says that its list may be old", 15, every=0.5)
        finally:
            machine.restore_link()
        world.wait_until_whole()
        world.follows_changes()
    assert "no quorum" not in cut.place.run("traefikee list-nodes").stderr


# --- no control plane at all ---


def test_data_nodes_serve_without_any_control_node_and_restart_from_their_disks(world: World) -> None:
    one, two = world.cluster.data.values()
    with world.traffic(one):
        for node in world.cluster.control.values():
            node.process.kill9()
        assert world.status(two, HOST) == 200
        two.kill_everything()
        with pytest.raises(httpx.ConnectError):
            world.status(two, HOST)
        world.cluster.restart(two.name)
        wait_for(lambda: world.status(two, HOST) == 200, "it serves from its disk", 10)
        changed = world.change()
        for name in world.cluster.control:
            world.cluster.restart(name)
        world.wait_until_whole()
        world.followed(changed)
        world.follows_changes()
