"""Tokens, certificates and the authority of a cluster change while it carries traffic.

The tests share one cluster of three control and two data nodes, whose certificates are valid for a minute or so: they
are renewed several times meanwhile. They run in their order: `data-node-2` is switched off at the beginning, and comes
back in the middle of the rotation, with a certificate that has ended and is from the authority of before.
"""

import json
import os
import shutil
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.nodes import Cluster, Json, Node, error_line
from tests.cluster.places import NetworkTransport, in_network, start_origin
from tests.cluster.traffic import Traffic
from tests.support.machine import Network
from tests.support.wait import SLOWNESS, wait_for
from traefikee.cluster import x509_fields
from traefikee.cluster.authorities import digests, issuer_digest

VALID = 50 + 15 * SLOWNESS
"""Seconds: certificates have to outlive a join, on a slow machine too."""
ADDRESSES = {
    "bootstrap-node": "10.10.0.1",
    "control-node-1": "10.10.0.2",
    "control-node-2": "10.10.0.3",
    "control-node-3": "10.10.0.4",
    "data-node-1": "10.10.0.5",
    "data-node-2": "10.10.0.6",
    "data-node-3": "10.10.0.7",
    "data-node-4": "10.10.0.8",
    "data-node-5": "10.10.0.9",
    "data-node-6": "10.10.0.11",
}
HOST = "app.example"
CONFIGURATION = """\
[entryPoints.http]
address = ":80"
[file]
[backends.app.servers.one]
url = "{url}"
[frontends.app]
backend = "app"
[frontends.app.routes.main]
rule = "Host:{host}"
"""
HOME = "tmp/home"


class World:
    """The cluster, an origin behind it, and a client that has traefikeectl."""

    def __init__(self, network: Network) -> None:
        self.cluster = Cluster(lambda name: network.machine(name, ADDRESSES[name]))
        self.origin = start_origin(network.machine("origins", "10.10.0.20"), "origin")
        self.client = network.client()
        self.http = httpx.Client(transport=NetworkTransport(self.client), timeout=10)

    @property
    def connection(self) -> Path:
        """The saved connection of traefikeectl on the client, as the tests see it."""
        return self.client.root / HOME / ".config/traefikee/traefikee"

    def any(self) -> Node:
        """A control node to ask."""
        return self.cluster.any_control()

    def traffic(self) -> Traffic:
        """Requests to the data node that stays."""
        return Traffic(self.client, [self.cluster.data["data-node-1"].address], HOST)

    def tokens(self, words: str) -> dict[str, str]:
        """What `env` prints with these options, by the names in the JSON form."""
        answer: dict[str, str] = json.loads(self.any().traefikee(f"env {words} -o json"))
        return answer

    def join(self, name: str, token: str) -> Node:
        """Begin a join of a data node."""
        node = self.cluster.data[name] = Node(self.place(name))
        node.start(f"traefikee start-data-node --peeraddresses={self.cluster.peers} --token={token}")
        return node

    def place(self, name: str) -> Any:
        """A machine, whether it is there already or not."""
        known = self.client.network.machines.get(name)
        return known or self.client.network.machine(name, ADDRESSES[name])

    def refusal(self, name: str, token: str) -> str:
        """Why a data node cannot join with a token."""
        node = self.join(name, token)
        try:
            assert node.process.wait(30) == 1
            return error_line(node.process.output)
        finally:
            del self.cluster.data[name]

    def forget(self, name: str) -> None:
        """Switch a machine off that is not needed any more."""
        self.cluster.data.pop(name)
        self.client.network.machines[name].destroy()

    def certificates(self) -> dict[str, Json]:
        """What `list-certificates` says, by name."""
        rows = json.loads(self.any().traefikee("list-certificates -o json"))
        return {row["name"]: row for row in rows}

    def shown_by(self, node: Node) -> str:
        """The certificate that a control node shows on its port, in PEM."""
        return in_network(self.client, lambda: ssl.get_server_certificate((node.address, 4242)))


@pytest.fixture(scope="module")
def world(shared_network: Network) -> Iterator[World]:
    """The cluster with a deployment, and a connection of traefikeectl."""
    os.environ["TRAEFIKEE_TEST_CERTIFICATE_SECONDS"] = str(VALID)
    try:
        made = World(shared_network)
        made.cluster.form(control=3, data=2)
        first = made.any()
        assert made.cluster.bootstrap is not None
        home = made.cluster.bootstrap.place.root / HOME  # type: ignore[attr-defined]
        shutil.copytree(home / ".traefikee", made.client.root / HOME / "credentials")
        made.client.check(
            "traefikeectl connect --onpremise.mtlscertsdir=credentials "
            f"--onpremise.apiaddress={made.cluster.control['control-node-1'].address}:55055"
        )
        text = CONFIGURATION.format(url=made.origin, host=HOST)
        (first.place.root / HOME / "traefik.toml").write_text(text)  # type: ignore[attr-defined]
        first.traefikee("deploy -c traefik.toml")
        yield made
        made.http.close()
    finally:
        del os.environ["TRAEFIKEE_TEST_CERTIFICATE_SECONDS"]


def test_a_data_node_goes_away(world: World) -> None:
    world.cluster.data["data-node-2"].kill_everything()


# --- tokens ---


def test_a_token_for_one_join_lets_one_of_two_in(world: World) -> None:
    token = world.tokens("--once --role=data")["data_node_token"]
    two = [world.join(name, token) for name in ("data-node-3", "data-node-4")]
    wait_for(lambda: any(not node.running for node in two), "one of them was refused", 30)
    (refused,) = [node for node in two if not node.running]
    (admitted,) = [node for node in two if node.running]
    wait_for(lambda: world.any().status()[admitted.name] == "READY", "the other one is READY", 20)
    line = error_line(refused.process.output)
    assert f"this token was good for one join, and the node '{admitted.name}' used it on" in line
    assert "make another with `traefikee env --once`" in line
    assert refused.name not in world.any().status()
    world.forget(refused.name)


def test_tokens_until_a_time_are_listed_revoked_and_end(world: World) -> None:
    timed = world.tokens("--ttl=1s --role=data")
    assert "control_node_token" not in timed
    kept = world.tokens("--ttl=1h")
    listed = {one["id"]: one for one in json.loads(world.any().traefikee("env --list -o json"))}
    (mine,) = [one for one in kept["tokens"] if one["role"] == "data"]  # type: ignore[index]
    assert listed[mine["id"]]["kind"] == "ttl"  # type: ignore[index]
    assert kept["data_node_token"][-40:] not in json.dumps(listed)
    world.any().traefikee(f"env --revoke={mine['id']}")  # type: ignore[index]
    assert "expired on" in world.refusal("data-node-6", timed["data_node_token"])
    assert "revoked on" in world.refusal("data-node-6", kept["data_node_token"])
    assert "this is the token for control nodes" in world.refusal("data-node-6", kept["control_node_token"])


def test_rotated_tokens_are_refused_with_who_and_when(world: World) -> None:
    before = world.tokens("")
    world.any().traefikee("rotate-tokens --role=data")
    after = world.tokens("")
    assert after["control_node_token"] == before["control_node_token"]
    assert after["data_node_token"] != before["data_node_token"]
    line = world.refusal("data-node-6", before["data_node_token"])
    assert "this token was replaced on" in line
    assert "by user root; take the current one from `traefikee env` on a control node" in line
    world.any().traefikee("rotate-tokens --grace=1h")
    node = world.join("data-node-6", after["data_node_token"])
    wait_for(lambda: world.any().status()[node.name] == "READY", "it is let in within the grace", 20)
    world.forget(node.name)


# --- certificates ---


def test_certificates_are_renewed_while_traffic_and_connections_go_on(world: World) -> None:
    nodes = [*world.cluster.control.values(), world.cluster.data["data-node-1"]]
    engines = {node.name: node.engine()["pid"] for node in nodes}
    said = {node.name: len(node.process.output) for node in nodes}
    before = world.certificates()
    shown = {node.name: world.shown_by(node) for node in world.cluster.control.values()}
    leader = world.cluster.leader().name
    with world.traffic():

        def renewed() -> bool:
            now = world.certificates()
            assert all(now[name]["not_after"] > before[name]["not_after"] for name in engines), now
            return True

        wait_for(renewed, "every node has another certificate", VALID / SLOWNESS, every=0.5)
    same = [node.name for node in world.cluster.control.values() if world.shown_by(node) == shown[node.name]]
    assert same == []
    assert world.cluster.leader().name == leader
    assert {node.name: node.engine()["pid"] for node in nodes} == engines
    for node in nodes:
        told = node.process.output[said[node.name] :]
        assert "the connection to the control plane ended" not in told
        assert "this node was DOWN" not in told
        assert "certificate renewed" in told


def test_traefikeectl_renews_what_it_has_saved(world: World) -> None:
    first = json.loads(world.connection.read_bytes())["certificate_pem"]
    fields = x509_fields.read(first)
    left = (fields.not_after - datetime.now(UTC)).total_seconds()
    if left > 0:
        world.client.check("traefikeectl list-nodes")
        wait_for(lambda: renewed_by_use(world, first), "it is renewed when it is used", VALID / SLOWNESS, every=1)
        assert oct(world.connection.stat().st_mode & 0o777) == "0o600"
    else:
        again(world)


def renewed_by_use(world: World, first: str) -> bool:
    world.client.check("traefikeectl list-nodes")
    return bool(json.loads(world.connection.read_bytes())["certificate_pem"] != first)


def again(world: World) -> None:
    """Connect again, with credentials made on a control node."""
    refused = world.client.run("traefikeectl list-nodes")
    assert refused.returncode == 1
    assert "traefikee new-credentials" in error_line(refused.stderr)
    node = world.cluster.control["control-node-1"]
    node.place.check("rm -rf fresh && traefikee new-credentials --name=ops --mtlscertsoutputdir=fresh")
    target = world.client.root / HOME / "fresh"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(node.place.root / HOME / "fresh", target)  # type: ignore[attr-defined]
    world.connection.unlink()
    world.client.check(
        f"traefikeectl connect --onpremise.mtlscertsdir=fresh --onpremise.apiaddress={node.address}:55055"
    )


# --- the authority ---


def test_the_authority_is_replaced_while_its_leader_dies(world: World) -> None:
    again(world) if world.client.run("traefikeectl list-nodes").returncode else None
    old = digests(json.loads(world.connection.read_bytes())["ca_pem"])[0]
    token = world.tokens("")["data_node_token"]
    leader = world.cluster.leader()
    asked = world.cluster.any_control(leader.name)
    with world.traffic():
        running = asked.place.start("traefikee rotate-ca --grace=1h")
        wait_for(lambda: status(asked)["rotation"] is not None, "the rotation has begun", 10)
        leader.process.kill9()
        wait_for(lambda: asked.leader() != leader.name, "another node leads", 15)
        world.cluster.restart(leader.name)
        assert running.wait(90) == 0, running.output
        assert "Every live node has a certificate of the new authority" in running.output
    new = status(asked)["signing"]
    assert new != old
    for node in world.cluster.control.values():
        assert "etcd is restarted" in node.process.output or node is leader
    rows = world.certificates()
    assert rows["old authority"]["state"] == "trusted"
    for node in [*world.cluster.control.values(), world.cluster.data["data-node-1"]]:
        assert rows[node.name]["issuer"] == new
    # Whoever was away meanwhile follows by himself: traefikeectl, a newcomer with a token of before, a data node.
    if (x509_fields.read(json.loads(world.connection.read_bytes())["certificate_pem"]).not_after) > datetime.now(UTC):
        world.client.check("traefikeectl list-nodes")
        saved = json.loads(world.connection.read_bytes())
        assert issuer_digest(saved["certificate_pem"], saved["ca_pem"]) == new
    node = world.join("data-node-5", token)
    wait_for(lambda: world.any().status()[node.name] == "READY", "a newcomer whose token pins the old authority", 20)


def status(node: Node) -> Json:
    """What `rotate-ca --status` says."""
    answer: Json = json.loads(node.traefikee("rotate-ca --status -o json"))
    return answer


def test_a_data_node_comes_back_whose_certificate_has_ended_and_is_of_the_old_authority(world: World) -> None:
    node = world.cluster.data["data-node-2"]
    kept = json.loads((node.statedir / "identity.json").read_bytes())
    ended = x509_fields.read(kept["certificate_pem"]).not_after
    time.sleep(max(0.0, (ended - datetime.now(UTC)).total_seconds() + 1))
    world.cluster.restart(node.name)
    wait_for(lambda: world.any().status()[node.name] == "READY", "it is READY, without a token", 20)
    assert "certificate renewed" in node.process.output
    assert world.any().nodes()[node.name]["id"] == kept["id"]
    wait_for(lambda: world.certificates()[node.name]["state"] == "current", "its certificate is of the new one", 10)
    world.http.get(f"http://{node.address}/", headers={"Host": HOST}).raise_for_status()


def test_the_old_authority_is_retired_and_who_stayed_away_is_told(world: World) -> None:
    # One that knows only the old authority, as if it had been away all the while.
    away = world.cluster.data["data-node-5"]
    away.process.kill9()
    path = away.statedir / "identity.json"
    kept = json.loads(path.read_bytes())
    trusted = x509_fields.split(kept["ca_pem"])
    assert len(trusted) == 2
    leader = world.cluster.leader()
    with world.traffic():
        done = leader.traefikee("rotate-ca --finish", 120)
        assert "nobody trusts the old one" in done
    told = status(leader)
    assert len(told["trusted"]) == 1
    for node in world.cluster.control.values():
        assert issuer_digest(world.shown_by(node), "".join(trusted)) == told["signing"]
        assert (node.statedir / "etcd/ca.pem").read_text().count("BEGIN CERTIFICATE") == 1
    path.write_text(json.dumps({**kept, "ca_pem": trusted[1]}))
    world.cluster.restart(away.name)
    wait_for(lambda: "the cluster's was replaced while this node was away" in away.process.output, "it is told", 20)
    assert "remove the node's state directory, and join again with a token" in away.process.output
    world.http.get(f"http://{away.address}/", headers={"Host": HOST}).raise_for_status()
    log = [entry["action"] for entry in audit(leader)]
    assert {"rotate-ca", "rotate-tokens", "env"} <= set(log)


def audit(node: Node) -> list[Json]:
    from tests.cluster.nodes import ask

    entries: list[Json] = ask(node.socket, "/v1/audit")["entries"]
    return entries


def test_control_nodes_come_back_whose_certificates_have_ended(world: World) -> None:
    nodes = list(world.cluster.control.values())
    with world.traffic():
        for node in nodes:
            node.process.kill9()
        for node in nodes:
            kept = json.loads((node.statedir / "identity.json").read_bytes())
            ended = x509_fields.read(kept["certificate_pem"]).not_after
            time.sleep(max(0.0, (ended - datetime.now(UTC)).total_seconds() + 1))
        for node in nodes:
            world.cluster.restart(node.name)
        data = world.cluster.data["data-node-1"].name
        wait_for(lambda: world.any().status()[data] == "READY", "the data node is READY again", 60)
        world.any().wait_for_nodes({**world.any().status()}, 1)
    for node in nodes:
        assert "certificate renewed at the start" in node.process.output
