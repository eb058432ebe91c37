"""Nodes are taken out of service and back, and removed for good, while somebody uses the cluster.

The tests share one cluster of three control and three data nodes and run in their order: first nodes are drained and
brought back, then one after the other is removed.
"""

import contextlib
import http.client
import json
import select
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.cluster.nodes import Cluster, Node, ask, error_line
from tests.cluster.places import Local, start_origin
from tests.support.process import Process
from tests.support.wait import wait_for

HOST = "app.example"
PAUSE = 0.01
LOOK_EVERY = 0.05


class World:
    """The cluster, an origin, and a deployment with pings and short times."""

    def __init__(self) -> None:
        self.cluster = Cluster(Local)
        self._origin = Local("origin")
        self.cluster.form(control=3, data=3)
        origin = start_origin(self._origin, "origin")
        self.rules = self._origin.folder / "rules.toml"
        self.rules.write_text(
            f'[backends.app.servers.one]\nurl = "{origin}"\n'
            f'[frontends.app]\nbackend = "app"\n[frontends.app.routes.main]\nrule = "Host:{HOST}"\n'
        )
        self.deploy()

    def deploy(self, more: str = "") -> None:
        """Deploy; every live data node has applied it afterwards."""
        self.control().traefikee(
            "deploy --entryPoints='Name:http Address::80' --ping.entryPoint=http "
            "--lifeCycle.requestAcceptGraceTimeout=700ms --lifeCycle.graceTimeOut=1s "
            f"--file.filename={self.rules} {more}"
        )

    def control(self) -> Node:
        """A control node that runs."""
        return self.cluster.any_control()

    def run(self, words: str) -> tuple[int, str, str]:
        """A command on a control node: exit code, output, errors."""
        done = self.control().place.run(f"traefikee {words}")
        return done.returncode, done.stdout, done.stderr

    def begin(self, words: str) -> Process:
        """A command in the background."""
        return self.control().place.start(f"traefikee {words}")

    def listed(self, name: str) -> dict[str, Any]:
        """What the list shows of a node."""
        shown: dict[str, Any] = self.control().nodes()[name]
        return shown

    def close(self) -> None:
        """End everything."""
        self.cluster.destroy()
        self._origin.destroy()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World()
    try:
        yield made
    finally:
        made.close()


def pings(node: Node) -> int:
    """What a node answers to /ping on a fresh connection; 0 if it refuses it."""
    connection = http.client.HTTPConnection(node.address, 80, timeout=10)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status
    except ConnectionRefusedError:
        return 0
    finally:
        connection.close()


def refuses(node: Node) -> bool:
    return pings(node) == 0


def tunnel(node: Node) -> ClientConnection:
    """A websocket through a node."""
    return connect(f"ws://{HOST}/", sock=socket.create_connection((node.address, 80), timeout=10), proxy=None)


class Balancer:
    """Clients behind a load balancer: it asks each node's /ping, and keeps connections to those that answer 200.

    It tries another node only where nothing was sent: if a connection is refused, or one that was idle has been closed.
    Anything else that goes wrong is a failure.
    """

    def __init__(self, nodes: list[Node]) -> None:
        self._healthy = {node.address: True for node in nodes}
        self._nodes = nodes
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._look)]
        self._threads += [threading.Thread(target=self._work, args=(number,)) for number in range(4)]
        self.failures: list[str] = []
        self.served = dict.fromkeys(self._healthy, 0)

    def _look(self) -> None:
        while not self._ended.wait(LOOK_EVERY):
            for node in self._nodes:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    self._healthy[node.address] = pings(node) == 200

    def _work(self, number: int) -> None:
        kept: dict[str, http.client.HTTPConnection] = {}
        turn = number
        while not self._ended.wait(PAUSE):
            healthy = [address for address, good in self._healthy.items() if good]
            if not healthy:
                continue
            turn += 1
            address = healthy[turn % len(healthy)]
            connection = kept.setdefault(address, http.client.HTTPConnection(address, 80, timeout=10))
            if connection.sock is not None and select.select([connection.sock], [], [], 0)[0]:
                # Nothing is awaited: the node has closed it.
                connection.close()
            try:
                if connection.sock is None:
                    connection.connect()
            except ConnectionRefusedError:
                continue
            try:
                connection.request("GET", "/", headers={"Host": HOST})
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    self.failures.append(f"{address}: {answer.status}")
                self.served[address] += 1
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"{address}: {error!r}")
                connection.close()
        for connection in kept.values():
            connection.close()

    def more(self, *nodes: Node, count: int = 30) -> None:
        """Wait until each of these nodes has served so many more."""
        before = dict(self.served)
        wait_for(
            lambda: self.failures or all(self.served[one.address] >= before[one.address] + count for one in nodes),
            f"{count} more requests of {nodes}",
            30,
        )
        assert not self.failures, self.failures[:10]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.more(*self._nodes)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        if error is None:
            assert not self.failures, self.failures[:10]


# --- drained, and back ---


def test_draining_and_undoing_cost_no_request(world: World) -> None:
    one, *others = world.cluster.data.values()
    with Balancer(list(world.cluster.data.values())) as balancer:
        with tunnel(one) as websocket:
            command = world.begin(f"drain-node {one.name}")
            wait_for(lambda: pings(one) == 503, "pings say so first")
            command.wait_for_output(f"{one.name}: 1 connection and 1 request left.")
            assert refuses(one)
            shown = world.listed(one.name)
            assert (shown["availability"], shown["status"]) == ("DRAIN", "READY")
            assert (shown["drained"]["connections"], shown["drained"]["done"]) == (1, False)
            websocket.send("as before")
            assert websocket.recv() == "as before"
            assert command.running
        assert command.wait() == 0
        assert f"✔ {one.name} is drained." in command.output
        details = world.control().traefikee("list-nodes --details").splitlines()
        assert [line.split()[4] for line in details if one.name in line] == ["DRAIN"]
        assert f"{one.name}     DATA NODE (DRAIN)" in world.control().traefikee("list-nodes")
        balancer.more(*others)

        code, out, _ = world.run(f"drain-node {one.name} --undo")
        assert (code, out.splitlines()[-1]) == (0, f"✔ {one.name} accepts requests again.")
        assert world.listed(one.name)["availability"] == "ACTIVE"
        balancer.more(one, *others)


def test_it_holds_whatever_restarts(world: World) -> None:
    node = world.cluster.data["data-node-2"]
    code, out, _ = world.run(f"drain-node {node.name} {node.name} -o json")
    assert code == 0
    assert [(one["name"], one["ok"]) for one in json.loads(out)] == [(node.name, True)]

    done = node.place.run("traefikee healthcheck-node")
    assert done.returncode == 1
    assert "data-node-2 was drained by user root at " in done.stderr

    engine = node.engine()["pid"]
    node.process.kill9()
    world.deploy("--retry")
    world.cluster.restart(node.name)
    wait_for(lambda: world.listed(node.name)["status"] == "READY", "it is back")
    world.deploy()
    assert refuses(node), "what is deployed is applied, and nothing is listened on"
    assert node.engine()["pid"] == engine

    node.place.run(f"kill -9 {engine}")
    wait_for(lambda: node.engine()["pid"] != engine and node.engine()["state"] == "drained", "another engine, drained")
    assert refuses(node)

    node.process.signal(signal.SIGTERM)
    assert node.process.wait() == 0
    peers = node.statedir / "peers.json"
    remembered = peers.read_text()
    peers.write_text('["127.0.0.1:1"]')
    world.cluster.restart(node.name)
    wait_for(lambda: node.engine()["revision"] is not None, "it has its snapshot, without a control plane")
    assert node.engine()["state"] == "drained"
    assert refuses(node)
    node.process.signal(signal.SIGTERM)
    node.process.wait()
    peers.write_text(remembered)
    world.cluster.restart(node.name)

    leader = world.cluster.leader()
    leader.process.kill9()
    world.cluster.restart(leader.name)
    wait_for(lambda: world.listed(node.name)["status"] == "READY", "the cluster goes on")
    assert world.listed(node.name)["availability"] == "DRAIN"
    assert refuses(node)


def test_a_port_that_was_taken_meanwhile_is_told(world: World) -> None:
    node = world.cluster.data["data-node-2"]
    with socket.create_server((node.address, 80)):
        code, _, err = world.run(f"drain-node {node.name} --undo")
        assert code == 1
        assert "data-node-2 cannot accept requests again" in err
        assert "address already in use" in err
    wait_for(lambda: pings(node) == 200, "then it goes on by itself")
    wait_for(lambda: world.listed(node.name)["availability"] == "ACTIVE", "and is shown so")


def test_what_is_not_meant_is_refused(world: World) -> None:
    for words, reason in (
        ("drain-node data-node-1 data-nod-2", 'there is no node "data-nod-2"; did you mean "data-node-2"?'),
        ("drain-node data-node-1 data-node-2 data-node-3", "no data node would accept requests any more"),
        ("drain-node control-node-1 control-node-2 control-node-3 --force", "no other control node could lead"),
        ("rm-node data-node-1", "data-node-1 is READY and carries traffic"),
        ("rm-node --force data-node-1 x", 'there is no node "x"'),
        ("rm-node --force control-node-1 control-node-2 control-node-3", "no control node would be left"),
    ):
        done, out, err = world.run(words)
        assert (done, out) == (1, ""), (words, err)
        assert reason in error_line(err), words
    assert {node["availability"] for node in world.control().nodes().values()} == {"ACTIVE"}
    assert len(world.control().nodes()) >= 6


def test_at_the_timeout_it_stays_drained(world: World) -> None:
    node = world.cluster.data["data-node-3"]
    with tunnel(node) as websocket:
        code, _, err = world.run(f"drain-node {node.name} --timeout=4")
        assert code == 1
        assert "1 connection and 1 request left: not waited for any longer" in err
        websocket.send("still here")
        assert websocket.recv() == "still here"
        assert refuses(node)
    code, out, _ = world.run(f"drain-node {node.name}")
    assert (code, out.splitlines()[-1]) == (0, "✔ data-node-3 is drained.")
    assert world.run(f"drain-node {node.name} --undo")[0] == 0


def test_a_control_node_that_is_drained_does_not_lead(world: World) -> None:
    leader = world.cluster.leader()
    code, out, _ = world.run(f"drain-node {leader.name}")
    assert code == 0, out
    assert f"{leader.name} is drained" in out
    after = world.cluster.leader()
    assert after is not leader
    assert world.listed(leader.name)["status"] == "READY"
    assert leader.traefikee("list-nodes"), "its API goes on"
    assert world.run(f"drain-node {leader.name} --undo")[0] == 0


# --- removed ---


def test_a_node_that_is_down_is_removed_and_does_not_come_back(world: World) -> None:
    node = world.cluster.data["data-node-3"]
    node.process.terminate()
    wait_for(lambda: world.listed(node.name)["status"] == "DOWN", "it is DOWN")
    code, out, _ = world.run(f"rm-node {node.name}")
    assert (code, out) == (0, "✔ data-node-3 was removed; it was DOWN.\n")
    assert node.name not in world.control().nodes()

    for _ in range(2):
        world.cluster.restart(node.name)
        assert node.process.wait(30) == 1
        line = error_line(node.process.output)
        assert "the data node 'data-node-3' was removed from its cluster by user root at 20" in line
        assert f"remove its state directory {node.statedir} and join with a token" in line
    assert node.name not in world.control().nodes()
    assert world.run(f"rm-node {node.name}")[2].startswith(
        'Error: there is no node "data-node-3" any more: the data node'
    )

    shutil.rmtree(node.statedir)
    node.start(
        f"traefikee start-data-node --peeraddresses={world.cluster.peers} "
        f"--token={world.cluster.tokens['data_node_token']}"
    )
    wait_for(lambda: world.listed(node.name)["status"] == "READY", "with a token it joins afresh")


def test_a_data_node_that_runs_is_told_and_ends(world: World) -> None:
    one, two, three = world.cluster.data.values()
    with Balancer([one, two]) as balancer:
        code, out, _ = world.run(f"rm-node --force {three.name}")
        assert (code, out) == (0, "✔ data-node-3 was removed; it is told to stop serving, and ends.\n")
        assert three.process.wait(30) == 1
        assert refuses(three)
        last = three.process.output.splitlines()[-1]
        assert last.startswith("Error: the data node 'data-node-3' was removed from its cluster by user root")
        assert three.name not in world.control().nodes()
        balancer.more(one, two)


def test_a_leader_is_removed_and_the_cluster_goes_on(world: World) -> None:
    leader = world.cluster.leader()
    one, two, _ = world.cluster.data.values()
    with Balancer([one, two]):
        other = world.cluster.any_control(leader.name)
        done = other.place.run(f"traefikee rm-node --force {leader.name}")
        assert done.returncode == 0, done.stderr
        assert f"✔ {leader.name} was removed and has left the store's membership." in done.stdout
        assert leader.process.wait(30) == 1
        assert f"the control node '{leader.name}' was removed" in error_line(leader.process.output)
        wait_for(lambda: world.cluster.leader() is not leader, "another one leads", 20)
        assert leader.name not in world.control().nodes()
        world.deploy("--retry")
    world.cluster.restart(leader.name)
    assert leader.process.wait(30) == 1
    assert "was removed" in error_line(leader.process.output)


def test_a_name_is_free_at_once_and_the_quorum_is_kept(world: World) -> None:
    gone = next(node for node in world.cluster.control.values() if not node.running)
    shutil.rmtree(gone.statedir)
    gone.start(world.cluster.join_line(gone))
    wait_for(lambda: world.listed(gone.name)["status"] == "READY", "a new control node of that name is in", 60)

    asked = world.control()
    others = [node.name for node in world.cluster.control.values() if node is not asked]
    done = asked.place.run(f"traefikee rm-node --force {others[0]} {asked.name}", deadline=120)
    assert done.returncode == 0, done.stderr
    assert f"{asked.name}, which was asked, leaves now and ends" in done.stdout
    for name in (others[0], asked.name):
        assert world.cluster.node(name).process.wait(30) == 1
    last = world.cluster.node(others[1])
    wait_for(lambda: last.leader() == last.name, "the one that is left leads", 30)
    world.deploy()
    code, _, err = world.run(f"rm-node --force {last.name}")
    assert code == 1
    assert "with the last one the cluster would be lost" in err


def test_everything_was_written_down(world: World) -> None:
    entries = ask(world.control().socket, "/v1/audit")["entries"]
    told = [(one["action"], one["who"], one["detail"].split(" (")[0]) for one in entries]
    assert ("drain-node", "user root", "drained the data node data-node-1") in told
    assert ("drain-node", "user root", "brought back the data node data-node-1") in told
    assert ("rm-node", "user root", "removed the data node data-node-3") in told
    assert sum(action == "rm-node" for action, _, _ in told) == 5
