"""The real thing: a cluster of nodes on machines of their own, Consul, an origin, clients, and what is seen of them."""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable

from tests.chaos import injection, operators
from tests.chaos.asking import ask
from tests.chaos.clients import FIRST_PORT, RULE_KEY, rule, send
from tests.chaos.history import Final, Recorder, Trust
from tests.chaos.invariants.agreement import REVISION
from tests.chaos.schedule import FIRST_AFTER, Schedule
from tests.chaos.store_log import content_of, kept_deployments
from tests.chaos.store_watch import StoreWatch, read_range
from tests.cluster.nodes import Cluster, Node
from tests.cluster.places import MachineConsul, in_network, routes, start_origin
from tests.support import process as child_processes
from tests.support.machine import Machine, Network
from tests.support.wait import SLOWNESS, wait_for
from traefikee.cluster import state
from traefikee.cluster.audit import AUDIT
from traefikee.cluster.history import HISTORY

ADDRESSES = {
    "bootstrap-node": "10.10.0.1",
    "control-node-1": "10.10.0.2",
    "control-node-2": "10.10.0.3",
    "control-node-3": "10.10.0.4",
    "data-node-1": "10.10.0.5",
    "data-node-2": "10.10.0.6",
    "data-node-3": "10.10.0.7",
}
DISK = "256m"
"""The size of a machine's file systems: little, so that they are full soon. etcd alone sets 128 MB aside."""
CONVERGENCE = 10.0
"""Seconds that the cluster has to come to rest once everything is healed, on a machine with time for it."""
RETIRING = 40.0
"""Seconds in which every node, and etcd on each control node, gives an old authority up."""
BUILDING = 300.0
"""Seconds, more than building takes: what is recorded meanwhile has a negative time."""
RESTART_EVERY = 1.0
"""How often a node that has ended by itself is started again, in seconds: what a service manager does."""


class World:
    """One run's machines and processes."""

    def __init__(self, schedule: Schedule, recorder: Recorder, say: Callable[[str], None], test_fault: str) -> None:
        self.schedule = schedule
        self.recorder = recorder
        self.say = say
        self.problems: list[str] = []
        """What went wrong in the harness itself."""
        self.meant_to_be_down: set[str] = set()
        self.consul_writing = threading.Lock()
        self.consul_written = 0
        """The number of the last write that was tried; only who holds the lock may look."""
        self._test_fault = test_fault
        self._began = time.monotonic() + BUILDING
        self._ended = threading.Event()
        self._starting = threading.Lock()
        self._keeper = threading.Thread(target=self._keep_running, daemon=True, name="service manager")
        self.network = Network()
        self.cluster = Cluster(self._make_machine)

    def _make_machine(self, name: str) -> Machine:
        machine = self.network.machine(name, ADDRESSES[name], disk=DISK)
        if self._test_fault:
            machine.env["TRAEFIKEE_TEST_FAULT"] = self._test_fault
        return machine

    def build(self) -> None:
        """Form the cluster, deploy, and wait until requests are routed by what Consul says."""
        self.consul = MachineConsul(self.network.machine("consul", "10.10.0.10"))
        self.consul.start()
        self.origin = start_origin(self.network.machine("origins", "10.10.0.20"), "origin")
        self.client = self.network.client()
        self.consul.put_all({f"traefik/{key}": one for key, one in routes("app", rule(0), self.origin).items()})
        self.cluster.form(control=len(self.schedule.control_names), data=self.schedule.data)
        self.nodes = [*self.cluster.control.values(), *self.cluster.data.values()]
        self.store = StoreWatch(list(self.cluster.control.values()), self.recorder.add)
        self.injector = injection.Injector(self)
        self.store.start()
        operators.deploy(self, operators.first_deployment(self.cluster.any_control().name))
        wait_for(lambda: set(self._served().values()) == {0}, "every data node routes by Consul", 30)
        whole = dict.fromkeys((node.name for node in self.nodes), "READY")
        # The bootstrap node's machine is gone; its row is cleaned from the list in time.
        wait_for(lambda: whole.items() <= self.cluster.any_control().status().items(), "all nodes are READY", 30)
        self._keeper.start()

    def start_clock(self) -> None:
        """Begin to count the run's seconds."""
        self._began = time.monotonic()

    def now(self) -> float:
        """Seconds since the run's start."""
        return round(time.monotonic() - self._began, 4)

    def machine(self, name: str) -> Machine:
        """A node's machine."""
        return self.network.machines[name]

    # --- nodes that end and start ---

    def kill(self, node: Node) -> None:
        """End all processes of a node at once."""
        found = injection.processes(self.machine(node.name))
        injection.signal_all([pid for pids in found.values() for pid in pids], signal.SIGKILL)

    def start(self, node: Node, clock: int = 0) -> None:
        """Start a node with its state directory, and with a clock that is so many seconds off.

        From here on it is started again whenever it ends by itself.
        """
        with self._starting:
            self._start(node, clock)
            self.meant_to_be_down.discard(node.name)

    def _start(self, node: Node, clock: int = 0) -> None:
        if injection.processes(self.machine(node.name))["agent"]:
            return
        node.process.wait(5)
        line = self._line(node)
        if line is None:
            return
        off = f"env LD_PRELOAD={injection.clock_library()} FAKETIME={clock:+d}s FAKETIME_DONT_FAKE_MONOTONIC=1 "
        node.start(f"{off if clock else ''}{line}")

    def _line(self, node: Node) -> str | None:
        """How a node is started: with its state directory alone, or with a token that somebody knows; None: nobody."""
        role, own = ("data", "") if node.name in self.cluster.data else ("control", node.own_addresses())
        if (node.statedir / "identity.json").exists():
            return f"traefikee start-{role}-node {own}"
        others = [one for one in self.cluster.control.values() if one is not node]
        token = operators.tokens(others).get(role)
        peers = ",".join(f"{one.address}:4242" for one in others)
        return f"traefikee start-{role}-node {own} --peeraddresses={peers} --token={token}" if token else None

    def _keep_running(self) -> None:
        while not self._ended.wait(RESTART_EVERY):
            for node in self.nodes:
                try:
                    with self._starting:
                        if node.name in self.meant_to_be_down or node.running:
                            continue
                        last = node.process.output.strip().rpartition("\n")[2]
                        self.say(f"{node.name} ended by itself ({node.process.exit_code}): {last[:200]}")
                        self._start(node)
                except Exception as error:  # noqa: BLE001 - whatever it is, the run says nothing then
                    self.problems.append(f"{node.name} could not be started again: {error!r}")

    # --- the end ---

    def heal(self) -> None:
        """Take back whatever may still be in force."""
        for node in self.nodes:
            found = injection.processes(self.machine(node.name))
            injection.signal_all([pid for pids in found.values() for pid in pids], signal.SIGCONT)

    def observe(self) -> Final:
        """Wait until all nodes agree, or for as long as they may take; then look at everything."""
        healed = self.now()
        limit = CONVERGENCE * max(1.0, SLOWNESS)
        converged, disagreement = self.come_to_rest(limit)
        stores = self._stores() if converged is not None else {}
        return Final(
            healed=healed,
            converged=converged,
            limit=limit,
            disagreement=disagreement,
            consul=self._in_consul(),
            served=self._served(),
            ports=self.ports(),
            kept=self._kept() if converged is not None else None,
            stores=stores,
            trust=self.trust() if converged is not None else None,
            audited=self._audited() if converged is not None else {},
        )

    def finish_rotation(self) -> bool:
        """Have the old authority retired if the authority is being replaced; tell whether it was."""
        nodes = list(self.cluster.control.values())
        if all(ask(node.socket, "/v1/authorities")["rotation"] is None for node in nodes):
            return False
        wait_for(lambda: operators.finish_rotation(nodes), "the old authority is retired", RETIRING, every=0.3)
        return True

    def come_to_rest(self, limit: float) -> tuple[float | None, str]:
        """Wait until all nodes agree, at most so many seconds; return when they did, or None, and what about not."""
        begin = self.now()
        while True:
            disagreement = self._disagreement()
            late = self.now() > begin + limit
            # Whether Consul is followed is another invariant's question; here it is only waited for.
            if not disagreement and (late or self._consul_is_followed()):
                return self.now(), ""
            if late:
                return None, disagreement
            time.sleep(0.1)

    def ports(self) -> dict[str, list[int]]:
        """The deployments whose entry point each data node listens on."""
        return {name: self._listens(node) for name, node in self.cluster.data.items()}

    def _disagreement(self) -> str:
        """Say what the nodes do not agree about, or nothing."""
        expected = {node.name: "READY" for node in self.nodes}
        try:
            leaders = set()
            for node in self.cluster.control.values():
                nodes = {one["name"]: one for one in ask(node.socket, "/v1/nodes")["nodes"]}
                nodes.pop("bootstrap-node", None)
                drained = [name for name, one in nodes.items() if one["availability"] != "ACTIVE"]
                if drained:
                    return f"{node.name} lists {', '.join(drained)} as drained"
                status = {name: one["status"] for name, one in nodes.items()}
                if status != expected:
                    return f"{node.name} lists {status}"
                leaders |= {name for name, one in nodes.items() if one["leader"]}
            if len(leaders) != 1:
                return f"the leader is {' or '.join(sorted(leaders)) or 'nobody'}"
            _, keys = read_range(self.cluster.any_control())
            pointer = content_of(keys[state.SNAPSHOT][1])
            current = int(keys[state.CURRENT][1])
            if pointer["config"] != current:
                return f"configuration {current} is deployed, and {pointer['config']} published"
            for name, node in self.cluster.data.items():
                revision = ask(node.statedir / "run/engine.sock", "/status").get("revision")
                if revision != pointer["revision"]:
                    return f"{name} has snapshot {revision} in force, and {pointer['revision']} is published"
                told = nodes[name]["snapshot_revision"]
                if told != revision:
                    return f"{name} has snapshot {revision} in force, and the list says {told}"
        except (OSError, KeyError, AssertionError, StopIteration) as error:
            return f"not everybody answers: {error!r}"
        return ""

    def _consul_is_followed(self) -> bool:
        return set(self._served().values()) == {self._in_consul()}

    def _kept(self) -> list[list[int]]:
        """The deployments in the cluster's history."""
        _, keys = read_range(self.cluster.any_control(), below=HISTORY)
        return sorted([number, deployed] for number, deployed in kept_deployments(v for _, v in keys.values()).items())

    def _stores(self) -> dict[str, dict[str, int]]:
        """What each control node's own store holds, as of one revision."""
        revision, _ = read_range(self.cluster.any_control())

        def read(node: Node) -> dict[str, int]:
            _, keys = read_range(node, revision)
            return {REVISION: revision, **{key: changed for key, (changed, _) in keys.items()}}

        found = {
            name: wait_for(lambda node=node: read(node), f"the store of {name} is read", 10)  # type: ignore[misc]
            for name, node in self.cluster.control.items()
        }
        wait_for(lambda: self.store.revision >= revision, "the whole history of the store is read", 10)
        return found

    def trust(self) -> dict[str, Trust]:
        def told(node: Node) -> Trust:
            authorities, found = ask(node.socket, "/v1/authorities"), ask(node.socket, "/v1/certificates")
            rows = [one for one in found["certificates"] if one["kind"] == "node"]
            foreign = [one["name"] for one in rows if one["state"] not in ("current", "DOWN")]
            return Trust(operators.tokens([node]), list(authorities["trusted"]), foreign)

        return {
            name: wait_for(lambda node=node: told(node), f"{name} says whom it trusts", 10)  # type: ignore[misc]
            for name, node in self.cluster.control.items()
        }

    def _audited(self) -> dict[str, int]:
        _, keys = read_range(self.cluster.any_control(), below=AUDIT)
        return dict(Counter(str(content_of(value)["action"]) for _, value in keys.values()))

    def _in_consul(self) -> int:
        with contextlib.suppress(Exception):
            return int((self.consul.get(RULE_KEY) or "").rpartition("/k")[2])
        return -1

    def _served(self) -> dict[str, int]:
        def asked(node: Node) -> int:
            connection = http.client.HTTPConnection(node.address, 80, timeout=2)
            failure, mark = send(connection)
            connection.close()
            return -1 if failure else mark

        return in_network(self.client, lambda: {name: asked(node) for name, node in self.cluster.data.items()})

    def _listens(self, node: Node) -> list[int]:
        numbers = [0, *(one.number for one in self.schedule.operations if one.kind == "deploy")]
        numbers += range(FIRST_AFTER, FIRST_AFTER + 2)

        def is_open(number: int) -> bool:
            with contextlib.suppress(OSError), socket.create_connection((node.address, FIRST_PORT + number), 1):
                return True
            return False

        return in_network(self.client, lambda: [number for number in numbers if is_open(number)])

    def outputs(self) -> dict[str, str]:
        """What all processes have printed."""
        return {
            f"{machine.name} {name}": text
            for machine in self.network.machines.values()
            for name, text in machine.outputs().items()
        }

    def stop_keeping(self) -> None:
        """No longer start nodes again."""
        self._ended.set()
        if self._keeper.is_alive():
            self._keeper.join(10)

    def destroy(self) -> list[str]:
        """End everything; returns what was left nevertheless."""
        folders = {name: machine.root.parent for name, machine in self.network.machines.items()}
        self.network.destroy()
        with contextlib.suppress(AssertionError):
            wait_for(lambda: not child_processes.left_over(), "all processes have ended", 3)
        left = [f"process {pid}: {line}" for pid, line in child_processes.kill_left_over().items()]
        return left + [f"machine {name}: {folder} is there" for name, folder in folders.items() if folder.exists()]
