"""Carrying faults out on the machines of a cluster, and taking them back."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos import operators
from tests.chaos.history import Struck
from tests.chaos.schedule import CONSUL, ROLES, Fault, Kind
from tests.cluster.nodes import Node
from tests.support.machine import Machine
from tests.support.wait import wait_for

if TYPE_CHECKING:
    from tests.chaos.world import World

STOPPING = 20.0
"""Seconds that an agent may take to end by itself before it is killed, as a service manager does."""

REPLACING = 50.0
"""Seconds that the others may take to let a node go: what keeps them from it ends with the run."""
STATE = "/var/lib/traefikee_state"

Undo = Callable[[], None]


def clock_library() -> str:
    """The library that gives a process another clock.

    :raises RuntimeError: if it is not installed.
    """
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        raise RuntimeError("libfaketime was not found; next step: make setup")
    return str(found[0])


def processes(machine: Machine) -> dict[str, list[int]]:
    """The process ids, as seen from here, of a node's `agent`, `etcd` and `engine`."""
    namespace = (machine.root.parent / "ns/pid").readlink()
    found: dict[str, list[int]] = {"agent": [], "etcd": [], "engine": []}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if (folder / "ns/pid").readlink() != namespace:
                continue
            words = (folder / "cmdline").read_bytes().split(b"\0")
            program = words[0].rpartition(b"/")[2]
            if program == b"traefikee-engine":
                found["engine"].append(int(folder.name))
            elif program == b"etcd":
                found["etcd"].append(int(folder.name))
            elif b"start-control-node" in words or b"start-data-node" in words:
                found["agent"].append(int(folder.name))
    return found


def signal_all(pids: list[int], number: signal.Signals) -> None:
    """Send a signal to all that are still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


class Injector:
    """Begins and ends faults; each node by one thread at a time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._locks = {node.name: threading.Lock() for node in world.nodes} | {CONSUL: threading.Lock()}
        self._roles: dict[int, dict[str, str]] = {}
        self._choosing = threading.Lock()
        self._undos: dict[Fault, tuple[str, float, Undo | None]] = {}

    def begin(self, fault: Fault) -> str:
        """Carry a fault out; returns a sentence that says on whom."""
        name = self._resolve(fault)
        with self._locks[name]:
            at = self._world.now()
            undo = self._strike(fault, name)
            self._undos[fault] = (name, at, undo)
        amount = f" {fault.amount}" if fault.amount else ""
        role = f" ({fault.target})" if fault.target != name else ""
        return f"{fault.kind}{amount} on {name}{role}"

    def end(self, fault: Fault) -> str:
        """Take it back; returns a sentence, or an empty text where there is nothing to take back."""
        name, at, undo = self._undos.pop(fault)
        with self._locks[name]:
            if undo is not None:
                undo()
        end = self._world.now() if undo is not None else at
        self._world.recorder.add(Struck(fault.kind, name, at, end, fault.amount))
        return f"end of {fault.kind} on {name}" if undo is not None else ""

    def _resolve(self, fault: Fault) -> str:
        if fault.target not in ROLES:
            return fault.target
        with self._choosing:
            if fault.episode not in self._roles:
                names = sorted(self._world.cluster.control)
                leader = self._world.store.leader() or names[0]
                order = [leader, *(name for name in names if name != leader)]
                self._roles[fault.episode] = dict(zip(ROLES, order, strict=True))
            return self._roles[fault.episode][fault.target]

    def _strike(self, fault: Fault, name: str) -> Undo | None:
        if fault.kind is Kind.CONSUL_DOWN:
            return self._consul_down()
        if fault.kind is Kind.CONSUL_PAUSED:
            self._world.consul.pause()
            return self._world.consul.resume
        node = self._world.cluster.node(name)
        machine = self._world.machine(name)
        match fault.kind:
            case Kind.KILL_ETCD | Kind.KILL_ENGINE:
                signal_all(processes(machine)[fault.kind.removeprefix("kill-")], signal.SIGKILL)
                return None
            case Kind.KILL_AGENT:
                return self._kill(node, ["agent"])
            case Kind.KILL_NODE:
                return self._kill(node, ["agent", "etcd", "engine"])
            case Kind.STOP:
                return self._stop(node)
            case Kind.UPGRADE:
                machine.install_engine_again()
                signal_all(processes(machine)["agent"], signal.SIGUSR2)
                return None
            case Kind.REPLACE:
                return self._replace(node)
            case Kind.CLOCK:
                return self._clock(node, fault.amount)
            case Kind.PAUSE_AGENT | Kind.PAUSE_ETCD:
                return pause(processes(machine)[fault.kind.removeprefix("pause-")])
            case Kind.PAUSE_NODE:
                return pause([pid for pids in processes(machine).values() for pid in pids])
            case Kind.LINK_DOWN:
                machine.kill_link()
                return machine.restore_link
            case Kind.LINK_IN:
                return drop(machine, "drop", incoming=True, outgoing=False)
            case Kind.LINK_OUT:
                return drop(machine, "drop", incoming=False, outgoing=True)
            case Kind.LOSSY:
                verdict = f"numgen random mod 100 < {fault.amount} drop"
                return drop(machine, verdict, incoming=True, outgoing=True)
            case Kind.BLACK_HOLE:
                return drop(machine, f"meta length > {fault.amount} drop", incoming=True, outgoing=False)
            case Kind.SLOW:
                return slow(machine, fault.amount)
            case Kind.DISK_FULL:
                return fill(machine)
            case Kind.DRAIN:
                return self._drain(node)
            case _:
                raise AssertionError(fault.kind)

    def _consul_down(self) -> Undo:
        consul = self._world.consul
        assert consul.process is not None
        consul.process.kill9()
        consul.process.cleanup()
        return consul.start

    def _kill(self, node: Node, kinds: list[str]) -> Undo:
        world = self._world
        world.meant_to_be_down.add(node.name)
        found = processes(world.machine(node.name))
        signal_all([pid for kind in kinds for pid in found[kind]], signal.SIGKILL)
        return lambda: world.start(node)

    def _stop(self, node: Node) -> Undo:
        world = self._world
        world.meant_to_be_down.add(node.name)
        signal_all(processes(world.machine(node.name))["agent"], signal.SIGTERM)

        def undo() -> None:
            with contextlib.suppress(AssertionError):
                node.process.wait(STOPPING)
            world.kill(node)
            world.start(node)

        return undo

    def _replace(self, node: Node) -> Undo:
        world = self._world
        lose(world, node)
        others = [one for one in world.cluster.control.values() if one is not node]

        def undo() -> None:
            wait_for(lambda: operators.remove(others, node.name), f"{node.name} is removed", REPLACING, every=0.3)
            world.start(node)

        return undo

    def _drain(self, node: Node) -> Undo:
        world = self._world
        operators.drain(world, node.name, undo=False)

        def undo() -> None:
            wait_for(lambda: operators.drain(world, node.name, undo=True), f"{node.name} is brought back", 30, 0.3)

        return undo

    def _clock(self, node: Node, offset: int) -> Undo:
        world = self._world
        world.meant_to_be_down.add(node.name)
        world.kill(node)
        world.start(node, clock=offset)

        def undo() -> None:
            world.meant_to_be_down.add(node.name)
            world.kill(node)
            world.start(node)

        return undo


def lose(world: World, node: Node) -> None:
    """Have a machine end with its disk: nobody but the others knows of it any more."""
    world.meant_to_be_down.add(node.name)
    world.kill(node)
    node.process.wait(5)
    world.machine(node.name).check(f"find {STATE} -mindepth 1 -delete")


def pause(pids: list[int]) -> Undo:
    """Stop processes, until the undo."""
    signal_all(pids, signal.SIGSTOP)
    return lambda: signal_all(pids, signal.SIGCONT)


def drop(machine: Machine, rule: str, *, incoming: bool, outgoing: bool) -> Undo:
    """Drop packets on their way in, where the machine receives them or where the switch does: nobody is told."""

    def lines(device: str) -> str:
        chain = "{ type filter hook ingress device " + f'"{device}"' + " priority 0; }"
        name = f"chaos-{device}"
        return (
            f"nft add table netdev {name} && nft 'add chain netdev {name} in {chain}'"
            f" && nft 'add rule netdev {name} in {rule}'"
        )

    if incoming:
        machine.check(lines("eth0"))
    if outgoing:
        machine.network.switch(lines(machine.port))

    def undo() -> None:
        if incoming:
            machine.check("nft delete table netdev chaos-eth0")
        if outgoing:
            machine.network.switch(f"nft delete table netdev chaos-{machine.port}")

    return undo


def slow(machine: Machine, kilobits: int) -> Undo:
    """Let a machine send and receive so many kbit/s, and no more."""
    limit = f"root tbf rate {kilobits}kbit burst 16kb limit 64kb"
    machine.check(f"tc qdisc add dev eth0 {limit}")
    machine.network.switch(f"tc qdisc add dev {machine.port} {limit}")

    def undo() -> None:
        machine.check("tc qdisc del dev eth0 root")
        machine.network.switch(f"tc qdisc del dev {machine.port} root")

    return undo


def fill(machine: Machine) -> Undo:
    """Leave no byte free where state directories are."""
    machine.run("dd if=/dev/zero of=/var/lib/filler bs=64k; dd if=/dev/zero bs=512 >>/var/lib/filler")

    def undo() -> None:
        machine.check("rm -f /var/lib/filler")

    return undo
