"""How clusters begin, how they do not, and what is left then."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.cluster.nodes import CLEANING, FORMING, KILL_LINE, Cluster, Node, error_line
from tests.cluster.places import Local, routes
from tests.support.consul import Consul
from tests.support.http1 import get
from tests.support.machine import Network
from tests.support.origin import Origin
from tests.support.wait import SLOWNESS, wait_for

ADDRESSES = {
    "bootstrap-node": "10.10.0.1",
    "control-node-1": "10.10.0.2",
    "control-node-2": "10.10.0.3",
    "control-node-3": "10.10.0.4",
    "data-node-1": "10.10.0.5",
}


# --- killed at the worst moment ---


@dataclass
class Orphaned:
    """A cluster whose bootstrap node was killed, and when that was."""

    cluster: Cluster
    killed_at: float


@pytest.fixture(scope="module")
def orphaned(shared_network: Network) -> Orphaned:
    """Three control nodes whose bootstrap node is killed with -9 as soon as the third is there, before it has left."""
    cluster = Cluster(lambda name: shared_network.machine(name, ADDRESSES[name]))
    bootstrap = cluster.bootstrap = cluster.start_bootstrap("bootstrap-node", "--controlNodes=3 --timeout=120")
    for number in (1, 2, 3):
        cluster.start_control(f"control-node-{number}")

    def all_there() -> bool:
        return [bootstrap.status().get(name) for name in cluster.control] == ["READY"] * 3

    wait_for(all_there, "the third control node is READY", FORMING, every=0.001)
    bootstrap.place.run(KILL_LINE)
    assert bootstrap.process.wait() != 0, "it had left before it could be killed"
    return Orphaned(cluster, time.monotonic())


def test_a_bootstrap_node_that_is_killed_when_all_have_joined_leaves_a_working_cluster(orphaned: Orphaned) -> None:
    cluster = orphaned.cluster
    data = cluster.start_data("data-node-1")
    asked = cluster.any_control()
    wait_for(lambda: asked.status()["data-node-1"] == "READY", "a data node joins", 30)
    assert "✔ data-node-1: applied" in asked.traefikee("deploy --entryPoints='Name:http Address::80'")
    client = data.place.check("curl -sS http://10.10.0.5/")
    assert client == "404 page not found\n"
    assert cluster.leader().name in cluster.control


# --- one control node ---


@pytest.fixture(scope="module")
def single() -> Iterator[Cluster]:
    """What `traefikee bootstrap` makes by default, with a data node."""
    cluster = Cluster(Local)
    try:
        cluster.form(control=1, data=1)
        yield cluster
    finally:
        cluster.destroy()


def serves(node: Node, host: str, origin: Origin) -> bool:
    answer = get(node.address, 8000, host=host)
    return answer.status == 200 and answer.header("X-Origin") == origin.name


def test_by_default_the_bootstrap_node_is_the_only_control_node_and_stays(
    single: Cluster, consul: Consul, origin: Origin
) -> None:
    control, data = single.control["control-node-1"], single.data["data-node-1"]
    assert control.status() == {"control-node-1": "READY", "data-node-1": "READY"}
    assert control.leader() == "control-node-1"
    consul.put_all({f"traefik/{key}": value for key, value in routes("app", "Host:app.example", origin.url).items()})
    control.traefikee(f"deploy --entryPoints='Name:http Address::8000' --consul.endpoint={consul.endpoint}")
    assert serves(data, "app.example", origin), "what deploy has reported as applied is served"

    tokens = control.traefikee("env")
    assert control.process.terminate() == 0
    assert serves(data, "app.example", origin), "the data node goes on without any control node"
    # The same line again, as a service manager runs it.
    control.start(f"traefikee bootstrap {control.own_addresses()} --licensekey=test --api")
    wait_for(lambda: control.status() == {"control-node-1": "READY", "data-node-1": "READY"}, "both are back", 30)
    assert control.traefikee("env") == tokens
    consul.put("traefik/frontends/app/routes/main/rule", "Host:changed.example")
    wait_for(lambda: serves(data, "changed.example", origin), "changes are followed again", 15)


def test_a_data_node_remembers_the_control_nodes_that_it_was_started_with(single: Cluster) -> None:
    """Relies on the test before: it has joined through the only control node that there is."""
    node = single.data["data-node-1"]
    assert node.process.terminate() == 0, node.process.tail()
    single.control["control-node-1"].wait_for_nodes({"control-node-1": "READY", "data-node-1": "DOWN"})
    single.restart("data-node-1")
    single.control["control-node-1"].wait_for_nodes({"control-node-1": "READY", "data-node-1": "READY"})


def test_the_only_control_node_comes_back_after_a_kill_too(single: Cluster) -> None:
    control = single.control["control-node-1"]
    before = control.nodes()
    control.process.kill9()
    control.start(f"traefikee start-control-node {control.own_addresses()}")
    wait_for(lambda: control.status() == {"control-node-1": "READY", "data-node-1": "READY"}, "both are back", 30)
    assert {name: node["id"] for name, node in control.nodes().items()} == {
        name: node["id"] for name, node in before.items()
    }


# --- interrupted ---


def test_a_bootstrap_node_that_is_killed_while_the_cluster_forms_goes_on_when_it_is_started_again(
    loopback_cluster: Cluster,
) -> None:
    cluster = loopback_cluster
    bootstrap = cluster.bootstrap = cluster.start_bootstrap("bootstrap-node", "--controlNodes=3 --timeout=120")
    first = cluster.start_control("control-node-1")
    wait_for(lambda: bootstrap.status().get("control-node-1") == "READY", "the first control node is READY", 30)
    bootstrap.process.kill9()
    bootstrap.start(f"traefikee bootstrap {bootstrap.own_addresses()} --licensekey=test --controlNodes=3 --timeout=120")
    for number in (2, 3):
        cluster.start_control(f"control-node-{number}")
    assert bootstrap.process.wait(FORMING) == 0, bootstrap.process.tail()
    wanted = dict.fromkeys(cluster.control, "READY")
    wait_for(lambda: wanted.items() <= first.status().items(), "all control nodes are READY", 20)


@pytest.mark.parametrize("moment", ["added to the store as a learner", "joined the store"])
def test_a_control_node_that_is_killed_while_it_joins_joins_when_it_is_started_again(
    loopback_cluster: Cluster, moment: str
) -> None:
    cluster = loopback_cluster
    bootstrap = cluster.bootstrap = cluster.start_bootstrap("bootstrap-node", "--controlNodes=3 --timeout=120")
    node = cluster.start_control("control-node-1")
    # The newcomer logs the first one, the node that lets it in the second: from then on its vote counts.
    logs = (bootstrap.process, node.process)
    wait_for(lambda: any(moment in log.output for log in logs), moment, 20, every=0.001)
    node.process.kill9()
    process = node.start(cluster.join_line(node))
    process.wait_for_output("control node ready|^Error: ", 30)
    assert "control node ready" in process.output, process.output
    wait_for(lambda: bootstrap.status().get("control-node-1") == "READY", "it is READY", 5)


# --- no cluster ---


def test_at_the_timeout_no_cluster_is_left(loopback_cluster: Cluster) -> None:
    cluster = loopback_cluster
    began = time.monotonic()
    bootstrap = cluster.bootstrap = cluster.start_bootstrap("bootstrap-node", "--controlNodes=3 --timeout=5")
    control, data = cluster.start_control("control-node-1"), cluster.start_data("data-node-1")
    wait_for(lambda: (control.statedir / "identity.json").exists(), "a control node has joined")
    assert bootstrap.process.wait(20) == 1
    assert time.monotonic() - began > 5
    line = error_line(bootstrap.process.output)
    reason = r"no cluster was made: after 5 s only 1 of 3 control nodes have joined \(control-node-1\)"
    assert re.fullmatch(f"Error: {reason}; .*--timeout.*", line)
    for node in (control, data):
        assert node.process.wait(20) == 1, node.process.output
        assert "the cluster was given up before all control nodes had joined; " in error_line(node.process.output)
    assert isinstance(bootstrap.place, Local)
    assert not list((bootstrap.place.folder / ".traefikee").iterdir()), "the credentials are gone"
    for node in cluster.nodes:
        assert not (node.statedir / "identity.json").exists()
        assert not node.socket.exists() or node.place.run("traefikee list-nodes").returncode == 1

    # Nothing stands in the way of a new try in the same place.
    bootstrap.start(f"traefikee bootstrap {bootstrap.own_addresses()} --licensekey=test")
    wait_for(lambda: bootstrap.status() == {"bootstrap-node": "READY"}, "a new cluster is made in the same place", 20)


def test_credentials_are_never_overwritten(places: list[Local]) -> None:
    place = Local("bootstrap-node")
    places.append(place)
    folder = place.folder / ".traefikee"
    folder.mkdir()
    (folder / "key.pem").write_text("of another cluster")
    done = place.run(f"traefikee bootstrap --licensekey=test --listen={place.address}:4242")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"Error: .*already holds API credentials \(key\.pem\).*; .*--mtlscertsoutputdir\n", done.stderr)
    assert (folder / "key.pem").read_text() == "of another cluster"
    assert not (place.statedir / "identity.json").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", r"Error: --licensekey is missing; .+"),
        ("--licensekey=", r"Error: --licensekey is missing; .+"),
        ("--licensekey=x --controlNodes=2", r"Error: --controlNodes=2 is even.*; use 1 or 3"),
        ("--licensekey=x --controlNodes=0", r"Error: .*--controlnodes.*; .+"),
        ("--licensekey=x --controlNodes=three", r"Error: .*three.*; .+"),
        ("--licensekey=x --timeout=soon", r"Error: .*soon.*; .+"),
        ("--licensekey=x --listen=4242", r"Error: --listen: .+"),
        ("--licensekey=x --advertise=:4242", r"Error: --advertise: .+; .+"),
        ("--licensekey=x --controlNode=3", r"Error: unknown option --controlNode; did you mean --controlNodes\?; .+"),
    ],
)
def test_a_command_line_that_cannot_be_meant(places: list[Local], options: str, expected: str) -> None:
    place = Local("bootstrap-node")
    places.append(place)
    done = place.run(f"traefikee bootstrap {options}", deadline=10)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert re.fullmatch(expected, done.stderr.rstrip("\n"), re.IGNORECASE), done.stderr
    assert not place.statedir.exists() or not (place.statedir / "identity.json").exists()
    assert not (place.folder / ".traefikee").exists()


# --- last, because it waits for what the first test has begun ---


def test_the_list_is_cleaned_of_the_killed_bootstrap_node_within_a_minute(orphaned: Orphaned) -> None:
    left = orphaned.killed_at + CLEANING * SLOWNESS - time.monotonic()
    asked = orphaned.cluster.any_control()
    wanted = dict.fromkeys((*orphaned.cluster.control, *orphaned.cluster.data), "READY")
    asked.wait_for_nodes(wanted, left / SLOWNESS)
