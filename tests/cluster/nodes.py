"""Nodes and clusters of them: started by the product's own commands, and looked at through its own sockets."""

import http.client
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cluster.places import Local, Place, files
from tests.support.machine import Machine
from tests.support.process import Process
from tests.support.wait import wait_for

Json = dict[str, Any]

FORMING = 60.0
"""Seconds that a cluster may take to form, on two busy cores."""
CLEANING = 60.0
"""Seconds in which the list is to be clean of a node that is gone."""


KILL_LINE = "ps -ef | grep traefikee | awk '{print $2}' | xargs kill -9"
"""How the install guide ends a node."""


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(path: Path, target: str) -> Any:
    """GET from a unix socket; the JSON answer, which must be a 200."""
    connection = _Unix(path)
    try:
        connection.request("GET", target)
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content
        return json.loads(content)
    finally:
        connection.close()


def error_line(output: str) -> str:
    """The one line in which a command or node says why it failed; nothing like a traceback may be there."""
    lines = output.splitlines()
    assert "Traceback" not in output, output
    found = [line for line in lines if line.startswith("Error: ")]
    assert len(found) == 1, f"{len(found)} error lines:\n{output}"
    return found[0]


class Node:
    """One node at its place."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.name = place.name
        self.address = place.address
        self.statedir, self.socket = files(place)
        self._process: Process | None = None

    def __repr__(self) -> str:
        return f"<node {self.name}, {self._process}>"

    @property
    def process(self) -> Process:
        """Its agent."""
        assert self._process is not None, f"{self.name} was not started"
        return self._process

    @property
    def running(self) -> bool:
        """Whether its agent runs."""
        return self._process is not None and self._process.running

    def start(self, line: str) -> Process:
        """Start its agent with a whole command line."""
        self._process = self.place.start(line)
        return self._process

    def own_addresses(self) -> str:
        """What a control node is told about its own address."""
        return f"--advertise={self.address}:4242 --listen={self.address}:4242"

    def traefikee(self, words: str, deadline: float = 60) -> str:
        """Run a command on it that must succeed; returns what it prints."""
        return self.place.check(f"traefikee {words}", deadline=deadline)

    def nodes(self) -> dict[str, Json]:
        """The list that this control node shows, by name."""
        return {node["name"]: node for node in ask(self.socket, "/v1/nodes")["nodes"]}

    def status(self) -> dict[str, str]:
        """The list's names with their status."""
        return {name: node["status"] for name, node in self.nodes().items()}

    def engine(self) -> Json:
        """What the engine says of itself (`GET /status`)."""
        status: Json = ask(self.statedir / "run/engine.sock", "/status")
        return status

    def wait_for_nodes(self, wanted: dict[str, str], deadline: float = 30) -> None:
        """Wait until this control node lists exactly these names with that status."""
        wait_for(lambda: self._shows(wanted), f"{self.name} lists {wanted}", deadline, every=0.1)

    def _shows(self, wanted: dict[str, str]) -> bool:
        seen = self.status()
        assert seen == wanted
        return True

    def leader(self) -> str:
        """The name of the leader that this control node sees; fails while there is none."""
        (name,) = [name for name, node in self.nodes().items() if node["leader"]]
        return name

    def kill_everything(self) -> None:
        """What happens to a machine that loses its power: agent and children die, the disk stays."""
        assert isinstance(self.place, Machine), "on the loopback the guide's line would kill every node"
        self.place.run(KILL_LINE)
        self.process.wait()


class Cluster:
    """A cluster, its nodes made by `place`."""

    def __init__(self, place: Callable[[str], Place]) -> None:
        self._place = place
        self.bootstrap: Node | None = None
        self.control: dict[str, Node] = {}
        self.data: dict[str, Node] = {}
        self.tokens: dict[str, str] = {}

    @property
    def nodes(self) -> list[Node]:
        """All that were started, the bootstrap node last."""
        return [*self.control.values(), *self.data.values(), *([self.bootstrap] if self.bootstrap else [])]

    def node(self, name: str) -> Node:
        """One of them."""
        return next(node for node in self.nodes if node.name == name)

    @property
    def peers(self) -> str:
        """`--peeraddresses` of all control nodes, the bootstrap node among them."""
        control = [*([self.bootstrap] if self.bootstrap else []), *self.control.values()]
        return ",".join(f"{node.address}:4242" for node in control)

    def any_control(self, *without: str) -> Node:
        """A control node that runs."""
        return next(node for node in self.control.values() if node.running and node.name not in without)

    def leader(self, *without: str) -> Node:
        """The control node that leads, as the running ones see it; those in `without` are not asked."""
        return self.control[self.any_control(*without).leader()]

    def start_bootstrap(self, name: str, options: str = "") -> Node:
        """Start `traefikee bootstrap` and wait until it tells its tokens."""
        node = Node(self._place(name))
        node.start(f"traefikee bootstrap {node.own_addresses()} --licensekey=test --api {options}")

        def tokens() -> Json:
            assert node.running, node.process.tail()
            answer: Json = ask(node.socket, "/v1/tokens")
            return answer

        self.tokens = wait_for(tokens, f"{name} tells its tokens", 30)
        return node

    def join_line(self, node: Node) -> str:
        """The line with which a control node joins."""
        line = f"traefikee start-control-node --peeraddresses={self.peers} {node.own_addresses()}"
        return f"{line} --token={self.tokens['control_node_token']}"

    def start_control(self, name: str) -> Node:
        """Start `traefikee start-control-node` with the token."""
        node = self.control[name] = Node(self._place(name))
        node.start(self.join_line(node))
        return node

    def start_data(self, name: str) -> Node:
        """Start `traefikee start-data-node` with the token."""
        node = self.data[name] = Node(self._place(name))
        token = self.tokens["data_node_token"]
        node.start(f"traefikee start-data-node --peeraddresses={self.peers} --token={token}")
        return node

    def form(self, control: int, data: int) -> None:
        """Make the cluster, all nodes joining at the same moment; wait until all are READY."""
        if control == 1:
            node = self.start_bootstrap("control-node-1")
            self.control[node.name] = node
        else:
            self.bootstrap = self.start_bootstrap("bootstrap-node", f"--controlNodes={control} --timeout=120")
            for number in range(1, control + 1):
                self.start_control(f"control-node-{number}")
        for number in range(1, data + 1):
            self.start_data(f"data-node-{number}")
        if self.bootstrap is not None:
            assert self.bootstrap.process.wait(FORMING) == 0, self.bootstrap.process.tail()
        wanted = dict.fromkeys((*self.control, *self.data), "READY")

        def all_ready() -> bool:
            seen = self.any_control().status()
            assert {name: seen.get(name) for name in wanted} == wanted
            return True

        wait_for(all_ready, "all nodes are READY", 30)

    def restart(self, name: str) -> Node:
        """Start a node again with its state directory alone: without a token, without peers."""
        node = self.node(name)
        assert not node.running
        role, own = ("data", "") if name in self.data else ("control", node.own_addresses())
        node.start(f"traefikee start-{role}-node {own}")
        return node

    def destroy(self) -> None:
        """End what runs on the loopback. Machines end with their network."""
        for node in self.nodes:
            if isinstance(node.place, Local):
                node.place.destroy()
            else:
                assert isinstance(node.place, Machine)
