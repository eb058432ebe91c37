"""The faults of docs/operations/faults.md, each on a cluster that is in use: what is told, what goes on, how it heals.

The tests share one cluster of three control and two data nodes, a machine each. Each finds a whole cluster and leaves
one. The store's quota is small, so that it can be filled.
"""

import contextlib
import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.injection import drop
from tests.cluster.faulty import ETCD, STATE, Faulty, fill, forget, full_disk, many, read_only, term, unfill
from tests.cluster.nodes import Node, _Unix
from tests.cluster.places import enter_network, routes, start_origin
from tests.cluster.test_failover import HOST, World, leaders, published
from tests.support.machine import Machine, Network
from tests.support.wait import SLOWNESS, wait_for
from traefikee.config.build import build_static

DEATHS = 6
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")


@pytest.fixture(scope="module")
def world(shared_network: Network) -> Iterator[Faulty]:
    made = Faulty(shared_network)
    try:
        made.consul.start()
        made.cluster.form(control=3, data=2)
        node = made.cluster.any_control()
        # Its row would be there for 45 s.
        wait_for(lambda: node.place.run("traefikee rm-node bootstrap-node").returncode == 0, "it is removed", 15)
        keys = routes("app", f"Host:{HOST}", made.origin)
        made.consul.put_all({f"traefik/{key}": value for key, value in keys.items()})
        made.cluster.any_control().traefikee(made.line)
        made.calm()
        yield made
    finally:
        made.http.close()
        made.consul.cleanup()


# --- disks ---


def test_a_full_disk_on_a_control_node(world: Faulty) -> None:
    node = world.follower()
    asked = world.cluster.any_control(node.name)
    with world.traffic():
        with full_disk(node):
            told = f"{node.name}: etcd cannot write: the disk of the state directory is full; free space on that disk"
            wait_for(lambda: fill(asked, 4) and told in world.warnings(node), f"{told!r} is told", 60, every=0.1)
            wait_for(lambda: asked.status()[node.name] == "DOWN", "the others show it as DOWN", 20)
            world.follows_changes()
        unfill(asked)
        world.calm()
        world.follows_changes()


def test_a_full_disk_on_a_data_node(world: Faulty) -> None:
    node, asked = world.cluster.data["data-node-1"], world.cluster.any_control()
    saved = node.statedir / "snapshot"
    with world.traffic():
        with full_disk(node):
            before = saved.stat().st_mtime_ns
            many(world, 200)
            world.follows_changes()
            world.warned(asked, f"{node.name}: .*/snapshot cannot be written: No space left on device, and a restart "
                                "would begin with an older configuration; free space on that disk")  # fmt: skip
        # By itself, without another change.
        world.calm()
        assert saved.stat().st_mtime_ns > before


def test_a_state_directory_that_becomes_read_only(world: Faulty) -> None:
    node, asked = world.cluster.data["data-node-2"], world.cluster.any_control()
    node.place.check("mkdir -p /var/lib/other")
    with world.traffic():
        with read_only(node):
            many(world, 50)
            world.follows_changes()
            world.warned(asked, f"{node.name}: .*/snapshot cannot be written: Read-only file system, .*; see in the")
        world.calm()
    with read_only(node, "/var/lib/other"):
        done = node.place.run("traefikee start-data-node --peeraddresses=x:1 --token=y --statedir=/var/lib/other")
    assert done.returncode == 1
    assert "Error: the state directory /var/lib/other cannot be written: Read-only file system; " in done.stderr


def test_a_slow_disk_on_every_control_node(world: Faulty) -> None:
    """Half a second for each write: slow, told, and nobody loses the lead."""
    nodes = list(world.cluster.control.values())
    before = leaders(world), world.cluster.leader().name
    terms = [term(node) for node in nodes]
    slow = "strace -f -qq -o /dev/null -e trace=fdatasync,fsync -e inject=fdatasync,fsync:delay_enter=500000 -p {}"
    tracers = [node.place.start(slow.format(world.pids(node, "etcd")[0]), name="slow disk") for node in nodes]
    try:
        with world.traffic():
            began = time.monotonic()
            for number in range(3):
                world.cluster.any_control().traefikee(
                    f"{world.line} --respondingTimeouts.idleTimeout={100 + number}",
                    deadline=30,
                )
            assert time.monotonic() - began > 3, "the disk is slow"
            newest = json.loads(world.cluster.any_control().traefikee("history -n 1 -o json", deadline=30))[0]
            assert newest["command"].endswith("idleTimeout=102")
            world.follows_changes()
            told = world.warned(
                nodes[0], "the disk of the state directory is slow: a write of the store takes more than"
            )
            assert "; move it to a faster disk" in told
            assert (leaders(world), world.cluster.leader().name) == before
            assert [term(node) for node in nodes] == terms, "etcd has elected nobody else"
    finally:
        for tracer in tracers:
            tracer.signal(signal.SIGTERM)
            tracer.wait(20)
    world.calm(60)


def test_a_store_that_is_full(world: Faulty) -> None:
    """Its quota is used up within seconds, before the upkeep has looked."""
    asked = world.cluster.any_control()
    line = world.line
    with world.traffic():

        def full() -> bool:
            return "database space exceeded" in fill(asked, 12)

        wait_for(full, "etcd raises the alarm", 60, every=0.01)
        done = asked.place.run(f"traefikee {line}")
        if done.returncode:
            # Unless the upkeep was as quick; a member that is being defragmented does not answer.
            full_error = "the store refuses the deployment: the store is full and takes no changes; it is cleaned up"
            assert re.search(f"^Error: ({full_error}|etcd does not answer)", done.stderr, re.MULTILINE), done.stderr
        wait_for(
            lambda: asked.place.run(f"traefikee {line}").returncode == 0, "it takes deployments again", 40, every=1
        )
        unfill(asked)
        world.calm()
        world.follows_changes()
    log = "".join(node.process.output for node in world.cluster.control.values())
    for words in (
        "the store's history was compacted",
        "the store's file was defragmented",
        "the store takes changes again",
    ):
        assert words in log


# --- damaged files ---


def test_damaged_files_of_a_data_node(world: Faulty) -> None:
    node = world.cluster.data["data-node-1"]
    node.kill_everything()
    snapshot = node.statedir / "snapshot"
    content = bytearray(snapshot.read_bytes())
    content[len(content) // 2] ^= 0xFF
    snapshot.write_bytes(content)
    (node.statedir / "peers.json").write_text('["10.10')
    process = node.start(f"traefikee start-data-node --peeraddresses={world.cluster.peers}")
    process.wait_for_output("the saved snapshot cannot be read; a control node has to send it again", 20)
    wait_for(lambda: world.status(node, HOST) == 200, "it serves what a control node has sent", 20)
    world.calm()


def test_damaged_data_of_a_control_nodes_etcd(world: Faulty) -> None:
    """It joins anew, and carries out more than its quota of what the others have had and forgotten."""
    node = world.follower()
    for _ in range(4):
        fill(world.cluster.leader(), 12)
        forget(world.cluster.leader())
    unfill(world.cluster.leader())
    world.calm()
    with world.traffic():
        node.kill_everything()
        node.place.check(f"cd {STATE}/etcd/data/member && for f in snap/db wal/*.wal; do "
                         "dd if=/dev/urandom of=$f bs=4096 count=64 conv=notrunc status=none; done")  # fmt: skip
        world.cluster.restart(node.name)
        told = node.process.wait_for_output(r"etcd does not start \(.*\); (.*)", 30)[1]
        assert f"stop this node, move {STATE}/etcd/data away and start it again" in told
        world.follows_changes()
        # The step that it names.
        assert node.process.terminate() == 0
        node.place.check(f"mv {STATE}/etcd/data {STATE}/damaged")
        world.cluster.restart(node.name)
        world.calm(60)
        node.place.check(f"rm -r {STATE}/damaged")


# --- clocks ---


def test_clocks_that_are_two_hours_off(world: Faulty) -> None:
    """Two of three control nodes, one of which leads, and a data node."""
    leader, data = world.cluster.leader(), world.cluster.data["data-node-1"]
    right = world.follower()
    left = world.cluster.any_control(leader.name, right.name)
    offsets = {left.name: 7200, leader.name: -7200, data.name: 7200}
    for name, offset in offsets.items():
        node = world.cluster.node(name)
        assert isinstance(node.place, Machine)
        faked = {"LD_PRELOAD": str(FAKETIME), "FAKETIME": f"{offset:+d}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        node.kill_everything()
        node.place.env.update(faked)
        world.cluster.restart(name)
        world.wait_until_whole()
        hours = [time.strftime("%Y-%m-%dT%H", time.gmtime(time.time() + offset - back)) for back in (0, 60)]
        shown = node.process
        wait_for(
            lambda shown=shown, hours=hours: any(hour in shown.output for hour in hours),  # type: ignore[misc]
            "its clock is off",
            20,
        )
    if world.cluster.leader() is right:
        right.process.signal(signal.SIGTERM)
        right.process.wait()
        world.another_leads(right, 15)
        world.cluster.restart(right.name)
        world.wait_until_whole()
    assert world.cluster.leader().name in offsets
    # The list shows it as READY for some seconds after it was killed.
    data.process.wait_for_output("serving the saved snapshot", 20)
    with world.traffic():
        world.follows_changes()
        right.traefikee(world.line)
        longer_than_a_lease = time.monotonic() + 9
        while time.monotonic() < longer_than_a_lease:
            assert set(right.status().values()) == {"READY"}
            time.sleep(0.3)
    for name in offsets:
        node = world.cluster.node(name)
        assert isinstance(node.place, Machine)
        for variable in ("LD_PRELOAD", "FAKETIME", "FAKETIME_DONT_FAKE_MONOTONIC"):
            del node.place.env[variable]
        node.kill_everything()
        world.cluster.restart(name)
        world.wait_until_whole()
    data.process.wait_for_output("serving the saved snapshot", 20)
    world.calm()


# --- connections, and processes that hang or crash ---


def test_a_data_node_that_vanishes_without_a_word(world: Faulty) -> None:
    """Its connections are half open on both sides: nobody has said goodbye."""
    node, asked = world.cluster.data["data-node-2"], world.cluster.any_control()
    machine = world.client.network.machines[node.name]
    began = time.monotonic()
    machine.kill_link()
    try:
        wait_for(lambda: asked.status()[node.name] == "DOWN", "its lease ends", 15)
        node.process.wait_for_output("the connection to the control plane ended; another is looked for", 15)
        assert time.monotonic() - began < 15 * SLOWNESS
    finally:
        machine.restore_link()
    world.calm()
    world.follows_changes()


def test_a_leader_that_sleeps_together_with_its_etcd(world: Faulty) -> None:
    leader = world.cluster.leader()
    (etcd,) = world.pids(leader, "etcd")
    with world.traffic():
        leader.place.check(f"kill -STOP {etcd}")
        leader.process.pause()
        try:
            new = world.another_leads(leader, 15)
            world.follows_changes(20)
            revision = published(new)
        finally:
            leader.place.check(f"kill -CONT {etcd}")
            leader.process.resume()
        world.wait_until_whole()
        assert world.one_leader() != leader.name
        assert published(new) >= revision
        assert all(count == 1 for count in leaders(world).values()), leaders(world)
        world.follows_changes()
    world.calm()


def follow_in_etcd(node: Node) -> None:
    """Make another member etcd's leader than this node's."""

    def follows() -> bool:
        status = json.loads(node.place.check(f"{ETCD}/v3/maintenance/status -m 5 -d '{{}}'"))
        own = status["header"]["member_id"]
        if status["leader"] == own:
            members = json.loads(node.place.check(f"{ETCD}/v3/cluster/member/list -m 5 -d '{{}}'"))["members"]
            target = next(one["ID"] for one in members if one["ID"] != own)
            node.place.run(f'{ETCD}/v3/maintenance/transfer-leadership -m 5 -d \'{{"targetID":"{target}"}}\'')
        return status["leader"] not in (own, "0")

    wait_for(follows, f"the etcd of {node.name} follows", 10)


def test_a_leader_that_large_packets_do_not_reach(world: Faulty) -> None:
    leader, other = world.cluster.leader(), world.follower()
    follow_in_etcd(leader)
    with world.traffic():
        undo = drop(world.client.network.machines[leader.name], "meta length > 900 drop", incoming=True, outgoing=False)
        try:
            # What is deployed is large, so that the leader's store hears of nothing from here on.
            wait_for(lambda: other.place.run(f"traefikee {world.line}").returncode == 0, "a deployment", 40, every=0.3)
            world.another_leads(leader, 30)
            world.follows_changes(20)
            leader.process.wait_for_output("nothing was read from the store for 6 s: this node lets its lease end", 1)
        finally:
            undo()
    world.calm()


def test_an_etcd_that_crashes(world: Faulty) -> None:
    node = world.follower()
    asked = world.cluster.any_control(node.name)
    with world.traffic():
        (etcd,) = world.pids(node, "etcd")
        ends = node.process.output.count("ended unexpectedly")
        node.place.check(f"kill -9 {etcd}")
        wait_for(lambda: world.pids(node, "etcd") not in ([], [etcd]), "it is started again", 5, every=0.05)
        world.wait_until_whole()
        assert not world.warnings(node), "once is not worth a warning"
        looping = node.place.start("while true; do pkill -9 -x etcd; sleep 0.1; done", name="killer")
        try:
            world.warned(node, f"{node.name}: etcd ends again and again .*; its last lines in this node's log say why")
            wait_for(lambda: asked.status()[node.name] == "DOWN", "the others show it as DOWN", 20)
            world.follows_changes()
            assert node.process.output.count("ended unexpectedly") - ends < 15, "with pauses that grow"
        finally:
            looping.cleanup()
        world.calm(40)


def test_a_control_nodes_engine_that_crashes(world: Faulty) -> None:
    """Its ports are back within a second."""
    leader = world.cluster.leader()
    refused: list[float] = []
    ended = threading.Event()

    def knock() -> None:
        enter_network(world.client)
        while not ended.wait(0.01):
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex((leader.address, 4242)):
                    refused.append(time.monotonic())

    thread = threading.Thread(target=knock)
    thread.start()
    try:
        with world.traffic():
            leader.place.check(f"kill -9 {leader.engine()['pid']}")
            wait_for(lambda: refused and time.monotonic() - refused[-1] > 1, "it listens again", 10)
            world.follows_changes()
    finally:
        ended.set()
        thread.join()
    assert refused[-1] - refused[0] < 1 * SLOWNESS
    world.calm()


COMES_AND_GOES = "error: it comes and goes; what it said last is in force"


def test_a_consul_that_comes_and_goes(world: Faulty) -> None:
    asked = world.cluster.leader()
    world.follows_changes()
    revision, lines = served(world), len(asked.process.output.splitlines())
    with world.traffic():
        for _ in range(5):
            assert world.consul.process is not None
            world.consul.process.kill9()
            wait_for(lambda: provider(world, asked).startswith("error"), "it is noticed", 10)
            world.consul.start()
            wait_for(lambda: provider(world, asked).startswith(("ok", COMES_AND_GOES)), "it is read again", 30)
        assert published(asked) == served(world) == revision, "no snapshot was published"
        assert provider(world, asked).startswith(COMES_AND_GOES)
        world.follows_changes()
    told = asked.process.output.splitlines()[lines:]
    assert sum("component=consul" in line for line in told) < 10, told


def served(world: World) -> int:
    """The newest revision that a data node has in force."""
    return max(int(node.engine()["revision"]) for node in world.cluster.data.values())


def provider(world: World, node: Node) -> str:
    """What the API says of Consul."""
    told = world.http.get(f"http://{node.address}:8080/api/errors").json()["providers"]["consul"]
    return f"{told['state']}: {told['message']}"


def test_data_nodes_under_a_dead_control_plane(world: Faulty) -> None:
    """Their engine crashes, their agent restarts, servers come and go, TLS is served."""
    node, other = world.cluster.data.values()
    origins = world.client.network.machines["origins"]
    second = start_origin(origins, "second", 81)
    keys = routes("checked", "Host:checked.example", world.origin, second)
    keys |= {"backends/checked/healthcheck/path": "/", "backends/checked/healthcheck/interval": "1s"}
    world.consul.put_all({f"traefik/{key}": value for key, value in keys.items()})
    world.followed("checked.example")
    for control in world.cluster.control.values():
        control.process.kill9()
    with world.traffic(other):
        engine = node.engine()["pid"]
        node.place.check(f"kill -9 {engine}")
        wait_for(lambda: world.status(node, HOST) == 200 and node.engine()["pid"] != engine, "it serves again", 10)
        engine = node.engine()["pid"]
        node.process.kill9()
        world.cluster.restart(node.name)
        origins.check("pkill -9 -f 'listen 10.10.0.20:81'")
        wait_for(lambda: all(world.status(node, "checked.example") == 200 for _ in range(10)), "only one is asked", 15)
        said = world.client.check(f"curl -sk -o /dev/null -w '%{{http_code}}' -H Host:{HOST} https://{node.address}/")
        assert said == "200"
        assert node.engine()["pid"] == engine, "the agent has found its engine and kept it"
    for name in world.cluster.control:
        world.cluster.restart(name)
    world.calm(60)
    world.follows_changes()


# --- what was promised ---


def test_an_acknowledged_deployment_outlives_the_death_of_every_etcd(world: Faulty) -> None:
    """Again and again: all are killed at the moment at which the answer has arrived."""
    nodes = list(world.cluster.control.values())
    for number in range(DEATHS):
        stored = deploy_and_kill(world, nodes, number)

        def there(stored: int = stored, number: int = number) -> bool:
            shown = json.loads(nodes[(number + 1) % 3].traefikee("config show static -o json"))
            shown = shown.get("static", shown)
            assert (shown["number"], shown["command"]) == (stored, f"test {number}"), shown
            return True

        wait_for(there, f"configuration {stored} is there", 30, every=0.2)
    world.calm(60)


def deploy_and_kill(world: Faulty, nodes: list[Node], number: int) -> int:
    """Deploy, and kill -9 every etcd when its being stored is told; the configuration's number."""
    pids = [(node, pid) for node in nodes for pid in wait_for(lambda node=node: world.pids(node, "etcd"), "etcd", 10)]  # type: ignore[misc]
    real = [real_pid(node, pid) for node, pid in pids]

    def store() -> int:
        connection = _Unix(nodes[number % 3].socket)
        connection.timeout = 30
        body = {"configuration": configuration(world, 200 + number), "by": "test", "command": f"test {number}"}
        connection.request("POST", "/v1/deploy", json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        try:
            while line := answer.readline():
                step = json.loads(line)
                if step.get("event") == "stored":
                    for pid in real:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
                    return int(step["number"])
                assert "error" not in step, step
        finally:
            connection.close()
        raise AssertionError("it was not stored")

    return wait_for(store, "a deployment is stored", 30, every=0.3)


def real_pid(node: Node, pid: int) -> int:
    """A process of a machine as this machine numbers it."""
    assert isinstance(node.place, Machine)
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and (folder / "ns/pid").readlink() == namespace(node.place):
                numbers = re.search(r"^NSpid:\s+(.*)$", (folder / "status").read_text(), re.MULTILINE)
                if numbers and numbers[1].split()[-1] == str(pid):
                    return int(folder.name)
    raise AssertionError(f"{node.name} has no process {pid}")


def namespace(machine: Machine) -> Path:
    return (machine.root.parent / "ns/pid").readlink()


def configuration(world: World, seconds: int) -> dict[str, object]:
    """A static configuration as the commands send it, told apart by one timeout."""
    options = [
        ("entryPoints", "Name:http Address::80"),
        ("entryPoints", "Name:https Address::443 TLS"),
        ("defaultEntryPoints", "http,https"),
        ("consul.endpoint", world.consul.endpoint),
        ("respondingTimeouts.idleTimeout", str(seconds)),
    ]
    return dict(build_static(options, lambda path: Path(path).read_bytes()).model_dump(mode="json"))


def test_nodes_of_one_cluster_do_not_join_another(world: Faulty) -> None:
    """A second bootstrap on a machine that made the first, while that one lives."""
    machine = world.client.network.machines["bootstrap-node"]
    done = machine.run("traefikee bootstrap --licensekey=x --advertise=10.10.0.1:4242")
    assert done.returncode == 1
    assert f"Error: this bootstrap node has left its cluster for good; to use this machine again, remove {STATE}" in (
        done.stderr
    )
    machine.check(f"rm -r {STATE} ~/.traefikee")
    second = machine.start("traefikee bootstrap --licensekey=x --advertise=10.10.0.1:4242 --listen=10.10.0.1:4242")
    second.wait_for_output("control node ready", 30)
    tokens = json.loads(machine.check("traefikee env -o json"))
    node = world.cluster.data["data-node-1"]
    control = world.follower()
    newcomer = "traefikee start-data-node --statedir=/tmp/s --traefikeesocket=/tmp/t --name=x --timeout=1"
    with world.traffic(world.cluster.data["data-node-2"]):
        # A token of one, an address of the other.
        for peer, token in (("10.10.0.1", world.cluster.tokens), (world.cluster.any_control().address, tokens)):
            done = node.place.run(f"{newcomer} --peeraddresses={peer}:4242 --token={token['data_node_token']}")
            assert done.returncode == 1
            assert f"Error: the token is for another cluster than the one at {peer}:4242, or for its" in done.stderr
        # Nodes of the first with the second's token and address come back to the first.
        for one, role in ((node, "data"), (control, "control")):
            one.process.signal(signal.SIGTERM)
            one.process.wait()
            own = "" if role == "data" else one.own_addresses()
            token = tokens[f"{role}_node_token"]
            one.start(f"traefikee start-{role}-node {own} --peeraddresses=10.10.0.1:4242 --token={token}")
            world.wait_until_whole()
        world.follows_changes()
        listed = json.loads(machine.check("traefikee list-nodes -o json"))
        assert [one["name"] for one in listed] == ["bootstrap-node"]
    assert second.terminate() == 0
    world.calm()
