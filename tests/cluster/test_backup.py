"""A cluster that loses all its control nodes, or its quorum, comes back; its data nodes serve all the while.

The tests of this file share one cluster and go on from each other.
"""

import json
import re
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.cluster.nodes import Cluster, Node, error_line
from tests.cluster.places import NetworkTransport, start_origin
from tests.cluster.traffic import Traffic
from tests.support.machine import Machine, Network
from tests.support.wait import wait_for

pytestmark = pytest.mark.timeout(600)

ADDRESSES = {
    "bootstrap-node": "10.10.0.1",
    "control-node-1": "10.10.0.2",
    "control-node-2": "10.10.0.3",
    "control-node-3": "10.10.0.4",
    "data-node-1": "10.10.0.5",
    "data-node-2": "10.10.0.6",
    "restored-bootstrap": "10.10.0.11",
    "restored-1": "10.10.0.12",
    "restored-2": "10.10.0.13",
    "restored-3": "10.10.0.14",
}
PASSPHRASE = "correct horse battery"
HOST = "app.example"
ENTRY_POINT = "--entryPoints='Name:http Address::80'"


class World:
    """A cluster of three control nodes and two data nodes, an origin, and the machine of an operator."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.cluster = Cluster(lambda name: network.machine(name, ADDRESSES[name]))
        self.origin = start_origin(network.machine("origins", "10.10.0.20"), "origin")
        self.operator = network.client()
        self.http = httpx.Client(transport=NetworkTransport(self.operator), timeout=10)
        self.backup = ""
        """The archive, on the operator's machine."""
        self.newest = 0
        """The highest revision of the snapshot that a data node ever had."""

    def traffic(self) -> Traffic:
        """Requests to both data nodes."""
        return Traffic(self.operator, [node.address for node in self.cluster.data.values()], HOST)

    def deploy(self, node: Node, *hosts: str) -> None:
        """Deploy frontends for these hosts, besides the one that traffic goes to."""
        tables = [f"[backends.app.servers.one]\nurl = '{self.origin}'"]
        for number, host in enumerate((HOST, *hosts)):
            tables.append(
                f"[frontends.f{number}]\nbackend = 'app'\n[frontends.f{number}.routes.r]\nrule = 'Host:{host}'"
            )
        rules = "\n".join(tables)
        node.place.check(f"printf %s {shlex.quote(rules)} > rules.toml")
        node.traefikee(f"deploy {ENTRY_POINT} --file.filename=rules.toml")

    def status(self, node: Node, host: str) -> int:
        """What a data node answers for a host name."""
        return self.http.get(f"http://{node.address}/", headers={"Host": host}).status_code

    def routes(self, host: str, status: int = 200, deadline: float = 30) -> None:
        """Wait until both data nodes answer so for a host."""
        for node in self.cluster.data.values():
            wait_for(lambda node=node: self.status(node, host) == status, f"{node.name}: {host} is {status}", deadline)  # type: ignore[misc]

    def wait_for_ready(self, asked: Node, *names: str) -> None:
        """Wait until a control node lists these nodes and the data nodes as READY."""
        wanted = dict.fromkeys((*names, *self.cluster.data), "READY")

        def all_ready() -> bool:
            seen = asked.status()
            assert {name: seen.get(name) for name in wanted} == wanted, seen
            return True

        wait_for(all_ready, f"{', '.join(wanted)} are READY", 60)

    def revisions_grew(self, asked: Node) -> None:
        """Check that no data node's revision is below what one ever had, and remember the newest."""

        def all_above() -> bool:
            found = [one["snapshot_revision"] for one in asked.nodes().values() if one["role"] == "data"]
            assert len(found) == len(self.cluster.data)
            assert min(found) > self.newest, f"{found} after {self.newest}"
            self.newest = max(found)
            return True

        wait_for(all_above, "the data nodes report newer revisions", 15)

    def kept(self, node: Node, why: str) -> list[Path]:
        """What a node keeps of stores that it had before."""
        return list((node.statedir / "etcd").glob(f"data.{why}-*"))


@pytest.fixture(scope="module")
def world(shared_network: Network) -> Iterator[World]:
    """The cluster with a deployment, and an operator who is connected to it."""
    made = World(shared_network)
    try:
        made.cluster.form(control=3, data=2)
        bootstrap = made.cluster.bootstrap
        assert bootstrap is not None
        made.deploy(made.cluster.any_control(), "before.example")
        credentials = bootstrap.place.check("tar c .traefikee | base64 -w0")
        made.operator.check(f"echo {credentials} | base64 -d | tar x")
        address = f"{ADDRESSES['control-node-2']}:55055"
        made.operator.check(
            f"traefikeectl connect --onpremise.mtlscertsdir=.traefikee --onpremise.apiaddress={address}"
        )
        yield made
    finally:
        made.http.close()


def test_backups_are_taken_while_traffic_runs(world: World) -> None:
    node = world.cluster.control["control-node-1"]
    secret = {"TRAEFIKEE_PASSPHRASE": PASSPHRASE}
    with world.traffic():
        said = node.traefikee("backup")
        match = re.fullmatch(
            r"Successfully generated backup archive at: (\d{4}-\d\d-\d\dT\d{6}_traefikee-backup\.tar)\n", said
        )
        assert match, said
        assert node.place.check(f"stat -c %a {match[1]}") == "600\n"
        node.place.check(f"mkdir x && tar xf {match[1]} -C x && cd x && sha256sum -c SHA256SUMS")
        said = world.operator.check("traefikeectl backup --archivetype=zip", env=secret)
        match = re.fullmatch(r"Successfully generated backup archive at: (\S+_traefikee-backup\.zip)\n", said)
        assert match, said
        world.backup = match[1]
    again = world.operator.run(f"traefikeectl backup --archivetype=zip --archivepath={world.backup}", env=secret)
    assert again.returncode == 1
    assert "is there already" in error_line(again.stderr)
    raw = (world.operator.root / "tmp/home" / world.backup).read_bytes()
    assert raw.startswith(b"PK")
    assert world.cluster.tokens["data_node_token"].rpartition("-")[2].encode() not in raw
    actions = [one["action"] for one in audit(node)]
    assert actions.count("backup") == 2
    # What is deployed later is not in it.
    world.deploy(node, "later.example")
    world.routes("later.example")
    world.revisions_grew(node)


def audit(node: Node) -> list[dict[str, str]]:
    from tests.cluster.nodes import ask

    entries: list[dict[str, str]] = ask(node.socket, "/v1/audit")["entries"]
    return entries


def restore_line(world: World, address: str, more: str = "") -> str:
    own = f"--advertise={address}:4242 --listen={address}:4242"
    return f"traefikee bootstrap {own} --archivepath={world.backup} {more}"


def test_an_archive_that_cannot_be_used_touches_nothing(world: World) -> None:
    assert world.backup, "this test relies on the one before"
    operator = world.operator
    operator.check(f"head -c 3000 {world.backup} > cut.zip; printf 'no archive' > foreign.tar")
    for file, passphrase, reason in (
        ("cut.zip", PASSPHRASE, "damaged"),
        ("foreign.tar", PASSPHRASE, "not a backup of traefikee"),
        ("nowhere.tar", PASSPHRASE, "No such file"),
        (world.backup, "wrong horse", "the passphrase is wrong"),
    ):
        line = f"traefikee bootstrap --advertise=10.10.0.100:4242 --archivepath={file} --statedir=/tmp/home/untouched"
        done = operator.run(line, env={"TRAEFIKEE_PASSPHRASE": passphrase})
        assert done.returncode == 1, done
        assert reason in error_line(done.stderr)
    done = operator.run(line)
    assert "--passphrase-file" in error_line(done.stderr)
    assert operator.run("ls -d untouched .traefikee/key.pem").stdout == ""


def test_a_cluster_whose_control_nodes_are_all_lost_comes_back_elsewhere(world: World) -> None:
    assert world.newest, "this test relies on those before"
    before = world.cluster
    tokens = before.tokens
    archive = (world.operator.root / "tmp/home" / world.backup).read_bytes()
    with world.traffic():
        for node in before.control.values():
            assert isinstance(node.place, Machine)
            node.place.destroy()
        after = Cluster(lambda name: world.network.machine(name, ADDRESSES[name]))
        after.tokens, after.data = tokens, before.data
        bootstrap = Node(world.network.machine("restored-bootstrap", ADDRESSES["restored-bootstrap"]))
        (bootstrap.place.root / "tmp/home" / world.backup).write_bytes(archive)  # type: ignore[attr-defined]
        bootstrap.place.check(f"printf '%s\\n' {shlex.quote(PASSPHRASE)} > passphrase")
        bootstrap.start(
            restore_line(world, bootstrap.address, "--controlNodes=3 --timeout=120 --passphrase-file=passphrase")
        )
        bootstrap.process.wait_for_output("cluster restored", 30)
        after.bootstrap = bootstrap
        for number in (1, 2, 3):
            after.start_control(f"restored-{number}")
        assert bootstrap.process.wait(90) == 0, bootstrap.process.tail()
        # Data nodes know none of the new addresses: they are told, while their engines serve.
        for node in before.data.values():
            engine = node.engine()["pid"]
            node.process.kill9()
            node.start(f"traefikee start-data-node --peeraddresses={after.peers}")
            node.process.wait_for_output("connected to the control plane", 30)
            assert node.engine()["pid"] == engine
        world.cluster = after
        asked = after.any_control()
        world.wait_for_ready(asked, "restored-1", "restored-2", "restored-3")
        world.routes("before.example")
        world.routes("later.example", 404)
        world.revisions_grew(asked)
    assert json.loads(asked.traefikee("env -o json")) == tokens
    number = json.loads(asked.traefikee("config show static -o json"))["static"]["number"]
    world.deploy(asked, "again.example")
    assert json.loads(asked.traefikee("config show static -o json"))["static"]["number"] == number + 1
    world.routes("again.example")
    world.revisions_grew(asked)
    actions = [one["action"] for one in audit(asked) if one["action"] in ("bootstrap", "deploy", "backup")]
    assert actions[:4] == ["bootstrap", "deploy", "backup", "bootstrap"], "the audit log came along"


def test_traefikeectl_goes_on_working_where_the_cluster_is_now(world: World) -> None:
    saved = world.operator.root / "tmp/home/.config/traefikee/traefikee"
    connection = json.loads(saved.read_text())
    saved.write_text(json.dumps(connection | {"address": f"{ADDRESSES['restored-2']}:55055"}))
    assert "restored-1" in world.operator.check("traefikeectl list-nodes")


# --- the quorum is lost for good ---


def test_recover_is_refused_where_it_is_not_due(world: World) -> None:
    one = world.cluster.control["restored-1"]
    done = one.place.run("traefikee recover --yes")
    assert done.returncode == 1
    assert "another node runs with the state directory" in error_line(done.stderr)
    done = world.cluster.data["data-node-1"].place.run("traefikee recover --yes --statedir=/nowhere")
    assert "there is no state directory" in error_line(done.stderr)
    one.process.signal(signal.SIGTERM)
    assert one.process.wait() == 0
    done = one.place.run("traefikee recover --yes")
    assert done.returncode == 1
    assert "the cluster has a quorum" in error_line(done.stderr)
    done = one.place.run("traefikee recover")
    assert done.returncode == 2
    assert "--yes" in error_line(done.stderr)
    assert not world.kept(one, "before-recovery")
    world.cluster.restart(one.name)
    world.wait_for_ready(one, *world.cluster.control)


def test_one_survivor_of_three_carries_on(world: World) -> None:
    survivor, *lost = world.cluster.control.values()
    with world.traffic():
        for node in lost:
            node.kill_everything()
        refused = survivor.place.run("traefikee backup --archivepath=/tmp/refused.tar")
        assert refused.returncode == 1
        assert "take what this one knows, which may be old, with --force" in refused.stderr
        assert survivor.place.run("ls /tmp/refused.tar").returncode
        forced = survivor.place.run("traefikee backup --force --archivepath=/tmp/forced.tar")
        assert forced.returncode == 0, forced.stderr
        assert f"{survivor.name} has no quorum; the newest changes may be missing in this backup" in forced.stderr
        survivor.process.kill9()
        done = survivor.place.check("traefikee recover --yes")
        assert "does not answer" in done
        assert "is recovered" in done
        assert len(world.kept(survivor, "before-recovery")) == 1
        world.cluster.restart(survivor.name)
        world.wait_for_ready(survivor, survivor.name)
        world.revisions_grew(survivor)
        world.deploy(survivor, "alone.example")
        world.routes("alone.example")
        world.routes("again.example", 404)
    assert json.loads(survivor.traefikee("env -o json")) == world.cluster.tokens
    told = [(one["action"], one["who"]) for one in audit(survivor) if one["action"] in ("recover", "deploy")]
    assert told[-2:] == [("recover", "user root"), ("deploy", "user root")]


def test_those_that_were_left_behind_join_afresh(world: World) -> None:
    """Two of three of the old store are a quorum of it: together they could go on as if nothing had happened."""
    survivor, *lost = world.cluster.control.values()
    machine = world.network.machines[survivor.name]
    with world.traffic():
        machine.kill_link()
        try:
            for node in lost:
                world.cluster.restart(node.name)
            lost[0].process.wait_for_output("control node ready", 60)
            assert lost[0].status()[survivor.name] in ("DOWN", "READY")
            world.routes("alone.example")
        finally:
            machine.restore_link()
        world.wait_for_ready(survivor, *world.cluster.control)
        for node in lost:
            assert len(world.kept(node, "left-behind")) == 1
        world.wait_for_ready(lost[1], *world.cluster.control)
        world.deploy(lost[1], "together.example")
        world.routes("together.example")
        world.routes("alone.example", 404)
    world.revisions_grew(survivor)
