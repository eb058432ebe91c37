"""A cluster that is struck, and with what: disks, etcd's space, changes of what is routed."""

import contextlib
import json
import os
import re
from collections.abc import Iterator

from tests.cluster.nodes import Node
from tests.cluster.places import routes
from tests.cluster.test_failover import World
from tests.support.machine import Machine, Network
from tests.support.wait import wait_for

STATE = "/var/lib/traefikee_state"
ETCD = f"curl -s --unix-socket {STATE}/etcd/client:0 http://etcd"


class Faulty(World):
    """The cluster, with what the tests do to it."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        make = self.cluster._place

        def place(name: str) -> Machine:
            machine = make(name)
            assert isinstance(machine, Machine)
            machine.env["TRAEFIKEE_STOREQUOTA"] = "16MiB"
            return machine

        self.cluster._place = place

    @property
    def line(self) -> str:
        """A deployment."""
        points = "--entryPoints='Name:http Address::80' --entryPoints='Name:https Address::443 TLS'"
        return f"deploy {points} --defaultEntryPoints=http,https --consul.endpoint={self.consul.endpoint}"

    def follower(self) -> Node:
        """A control node that does not lead."""
        return self.cluster.any_control(self.cluster.leader().name)

    def warnings(self, node: Node) -> list[str]:
        """What `list-nodes` warns of there."""
        done = node.place.run("traefikee list-nodes")
        assert done.returncode == 0, done.stderr
        return [line.removeprefix("Warning: ") for line in done.stderr.splitlines()]

    def warned(self, node: Node, pattern: str, deadline: float = 20) -> str:
        """Wait until it warns of something."""

        def found() -> str | None:
            return next((one for one in self.warnings(node) if re.search(pattern, one)), None)

        return wait_for(found, f"{node.name} warns of /{pattern}/", deadline, every=0.3)

    def calm(self, deadline: float = 30) -> None:
        """Wait until all are READY and nobody warns of anything."""
        self.wait_until_whole(deadline)
        for node in self.cluster.control.values():
            wait_for(lambda node=node: not self.warnings(node), f"{node.name} warns of nothing", deadline, every=0.3)  # type: ignore[misc]

    def pids(self, node: Node, program: str) -> list[int]:
        """The processes of a program on a node's machine, as the machine numbers them."""
        done = node.place.run(f"pgrep -x {program}")
        return [int(pid) for pid in done.stdout.split()]


@contextlib.contextmanager
def full_disk(node: Node) -> Iterator[None]:
    """No room in the file system of the state directory."""
    node.place.check("mount -o remount,size=$(df --output=used -B1 /var/lib | tail -1) /var/lib")
    try:
        yield
    finally:
        node.place.check("mount -o remount,size=512m /var/lib")


@contextlib.contextmanager
def read_only(node: Node, folder: str = STATE) -> Iterator[None]:
    """A file system that the kernel has made read-only after an error."""
    node.place.check(f"mount --bind {folder} {folder} && mount -o remount,bind,ro {folder}")
    try:
        yield
    finally:
        node.place.check(f"umount {folder}")


def fill(node: Node, megabytes: int) -> str:
    """Write so much into the store past the product, over and over into the same keys; what etcd says last."""
    script = (
        "head -c 250000 /dev/urandom | base64 -w0 >/tmp/value; said=''\n"
        f"for n in $(seq {megabytes * 3}); do\n"
        "  key=$(printf '/fill/%d' $((n % 4)) | base64 -w0)\n"
        '  printf \'{"key":"%s","value":"%s"}\' $key $(cat /tmp/value) >/tmp/body\n'
        f"  said=$({ETCD}/v3/kv/put -m 5 -d @/tmp/body)\n"
        'done; echo "$said"'
    )
    return node.place.run(script).stdout


def unfill(node: Node) -> None:
    """Take it out again."""
    node.place.check(f'{ETCD}/v3/kv/deleterange -m 5 -d \'{{"key":"L2ZpbGwv","range_end":"L2ZpbGww"}}\'')


def forget(node: Node) -> None:
    """Compact the store up to now."""
    revision = json.loads(node.place.check(f"{ETCD}/v3/maintenance/status -d '{{}}'"))["header"]["revision"]
    node.place.check(f'{ETCD}/v3/kv/compaction -m 10 -d \'{{"revision":"{revision}","physical":true}}\'')


def many(world: World, count: int) -> None:
    """Change a lot in Consul: what no half-filled block of a file takes."""
    keys: dict[str, str] = {}
    for number in range(count):
        keys |= routes(f"many-{number}", f"Host:{os.urandom(20).hex()}.example", world.origin)
    world.consul.put_all({f"traefik/{key}": value for key, value in keys.items()})


def term(node: Node) -> int:
    """etcd's election term."""
    return int(json.loads(node.place.check(f"{ETCD}/v3/maintenance/status -d '{{}}'"))["raftTerm"])
