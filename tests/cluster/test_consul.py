"""A real Consul behind a real cluster: what it says is followed, what it gets wrong is told, and it may go away.

The tests share a cluster of one control node and one data node. Each uses a prefix and a deployment of its own. What
becomes of a change of leaders while Consul is away is in `test_failover.py`.
"""

import json
import re
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.nodes import Cluster, Node
from tests.cluster.places import Local, routes
from tests.conftest import StartOrigin
from tests.support.certificates import Certificate, authority
from tests.support.consul import Consul
from tests.support.http1 import Connection, get
from tests.support.origin import Origin
from tests.support.wait import wait_for

ENTRY_POINTS = (
    "--entryPoints='Name:http Address::8000' --entryPoints='Name:https Address::8443 TLS'"
    " --defaultentrypoints=http,https"
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A control node and a data node."""
    made = Cluster(Local)
    try:
        made.form(control=1, data=1)
        yield made
    finally:
        made.destroy()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consul]:
    """A Consul that all tests share, with its data on disk."""
    server = Consul(tmp_path_factory.mktemp("consul"))
    try:
        server.start()
        yield server
    finally:
        server.cleanup()


@pytest.fixture
def data(cluster: Cluster) -> Node:
    """The data node."""
    return cluster.data["data-node-1"]


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """A prefix of the test's own."""
    return re.sub(r"\W+", "-", request.node.name)


@pytest.fixture
def deploy(cluster: Cluster, store: Consul, prefix: str) -> Callable[[], str]:
    """Deploy the store with the test's prefix; returns what was printed."""

    def run() -> str:
        return cluster.any_control().traefikee(
            f"deploy {ENTRY_POINTS} --consul.endpoint={store.endpoint} --consul.prefix={prefix}"
        )

    return run


def put(store: Consul, prefix: str, keys: dict[str, str]) -> None:
    """Write keys below a prefix."""
    store.put_all({f"{prefix}/{key}": value for key, value in keys.items()})


def served_by(data: Node, host: str) -> str | None:
    """The origin that answers for a host name, or None where there is no route."""
    answer = get(data.address, 8000, host=host)
    assert answer.status in {200, 404}
    return answer.header("X-Origin") if answer.status == 200 else None


def wait_for_origin(data: Node, host: str, name: str | None, deadline: float = 10) -> None:
    """Wait until the origin of that name answers for a host name."""
    wait_for(lambda: [served_by(data, host)] == [name] and [name], f"{host} is served by {name}", deadline, every=0.02)


def errors(cluster: Cluster) -> dict[str, Any]:
    """`/api/errors` of a control node's dashboard."""
    answer = httpx.get(f"http://{cluster.any_control().address}:8080/api/errors", trust_env=False)
    content: dict[str, Any] = answer.raise_for_status().json()
    return content


def test_changes_are_followed(
    cluster: Cluster, store: Consul, data: Node, prefix: str, deploy: Callable[[], str], start_origin: StartOrigin
) -> None:
    one, two = start_origin("one"), start_origin("two")
    put(store, prefix, routes("app", "Host:app.example", one.url))
    printed = deploy()
    assert "consul: 1 frontend, 1 backend." in printed
    assert served_by(data, "app.example") == "one", "deploy returns when the data nodes have it"
    put(store, prefix, {"frontends/app/routes/main/rule": "Host:other.example"})
    wait_for_origin(data, "other.example", "one")
    assert served_by(data, "app.example") is None
    put(store, prefix, {"backends/app/servers/s0/url": two.url})
    wait_for_origin(data, "other.example", "two")
    store.delete(f"{prefix}/frontends/app/", tree=True)
    wait_for_origin(data, "other.example", None)


def test_a_bad_frontend_is_named_and_disturbs_no_other(
    cluster: Cluster, store: Consul, data: Node, prefix: str, deploy: Callable[[], str], origin: Origin
) -> None:
    put(store, prefix, routes("good", "Host:good.example", origin.url))
    put(store, prefix, {"frontends/bad/backend": "good", "frontends/bad/routes/main/rule": "Hots:bad.example"})
    put(store, prefix, {"frontends/lost/backend": "nowhere", "frontends/lost/routes/main/rule": "Host:lost.example"})
    put(store, prefix, routes("url", "Host:url.example", "nonsense://x"))
    done = cluster.any_control().place.run(
        f"traefikee deploy {ENTRY_POINTS} --consul.endpoint={store.endpoint} --consul.prefix={prefix}"
    )
    assert done.returncode == 0, "one frontend's mistake is no reason to refuse the others"
    said = done.stdout + done.stderr
    assert re.search(
        r'^error: frontend "consul/bad": route "main": unknown matcher "Hots"; did you mean "Host"', said, re.MULTILINE
    )
    assert re.search(r'^error: .*"consul/lost".*nowhere', said, re.MULTILINE), said
    assert re.search(r"^error: .*consul/url.*nonsense", said, re.MULTILINE), said
    assert served_by(data, "good.example") == origin.name
    for host in ("bad.example", "lost.example"):
        assert served_by(data, host) is None

    objects = errors(cluster)["objects"]
    told = [one["sentence"] for one in objects]
    assert any("consul/bad" in sentence and "Hots" in sentence for sentence in told), told
    assert any("consul/lost" in sentence for sentence in told), told

    put(store, prefix, {"frontends/bad/routes/main/rule": "Host:bad.example"})
    wait_for_origin(data, "bad.example", origin.name)
    wait_for(
        lambda: not [one for one in errors(cluster)["objects"] if "consul/bad" in one["sentence"]],
        "what is mended is no longer an error",
        5,
    )
    put(store, prefix, {"frontends/good/routes/main/rule": "Path:"})
    wait_for_origin(data, "good.example", None)
    assert served_by(data, "bad.example") == origin.name


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("auth/basic/users/0", "u"),
        ("auth/basic/usersfile", "/no/such/file"),
        ("auth/basik/users", "u:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="),
        ("whitelist/sourcerange", "10.0.0.300"),
        ("ratelimit/extractorfunc", "client"),
        ("redirect/regex", "1"),
        ("passtlscert", "true"),
        ("headers/stsseconds", "-1"),
    ],
)
def test_an_option_that_cannot_be_meant_leaves_the_frontend_out(
    cluster: Cluster,
    store: Consul,
    data: Node,
    prefix: str,
    deploy: Callable[[], str],
    origin: Origin,
    key: str,
    value: str,
) -> None:
    put(store, prefix, routes("open", "Host:open.example", origin.url))
    put(store, prefix, routes("guarded", "Host:guarded.example", origin.url))
    put(store, prefix, {f"frontends/guarded/{key}": value})
    deploy()
    assert served_by(data, "open.example") == origin.name
    assert served_by(data, "guarded.example") is None, "served without what was to guard it"
    told = [one["sentence"] for one in errors(cluster)["objects"]]
    assert [sentence for sentence in told if "consul/guarded" in sentence and key.split("/")[0] in sentence], told


def test_an_alias_switches_everything_at_once(
    cluster: Cluster, store: Consul, data: Node, prefix: str, deploy: Callable[[], str], start_origin: StartOrigin
) -> None:
    blue, green = start_origin("blue"), start_origin("green")
    for number, one in ((1, blue), (2, green)):
        put(store, f"{prefix}_configurations/{number}", routes("app", "Host:app.example", one.url))
    put(store, f"{prefix}_configurations/2", routes("new", "Host:new.example", green.url))
    store.put(f"{prefix}/alias", f"{prefix}_configurations/1")
    deploy()
    assert served_by(data, "app.example") == "blue"
    assert served_by(data, "new.example") is None
    for number, name in ((2, "green"), (1, "blue"), (2, "green")):
        store.put(f"{prefix}/alias", f"{prefix}_configurations/{number}")
        wait_for_origin(data, "app.example", name)
        assert (served_by(data, "new.example") is not None) == (number == 2)
    # What the alias points to is followed as well.
    put(store, f"{prefix}_configurations/2", {"frontends/new/routes/main/rule": "Host:newer.example"})
    wait_for_origin(data, "newer.example", "green")


# --- TLS ---


def presented(data: Node, server_name: str) -> bytes:
    """The certificate that the data node shows to who asks for a name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with Connection(data.address, 8443, context, server_name) as connection:
        assert isinstance(connection.socket, ssl.SSLSocket)
        return connection.socket.getpeercert(binary_form=True) or b""


def tls_keys(name: str, certificate: Certificate) -> dict[str, str]:
    """The keys of a certificate for the https entry point."""
    return {
        f"tls/{name}/entrypoints": "https",
        f"tls/{name}/certificate/certfile": certificate.chain_pem,
        f"tls/{name}/certificate/keyfile": certificate.key_pem,
    }


def test_certificates_are_served_by_name(
    cluster: Cluster, store: Consul, data: Node, prefix: str, deploy: Callable[[], str], origin: Origin, tmp_path: Path
) -> None:
    ca = authority()
    first, second = ca.issue("one.example"), ca.issue("*.wild.example")
    put(store, prefix, routes("one", "Host:one.example,x.wild.example", origin.url))
    deploy()
    default = presented(data, "one.example")
    assert default == presented(data, "another.example") == presented(data, "")

    put(store, prefix, tls_keys("first", first) | tls_keys("second", second))
    wait_for(lambda: presented(data, "one.example") == first.der, "the certificate is served", 10)
    assert presented(data, "x.wild.example") == second.der
    assert presented(data, "another.example") == presented(data, "") == default

    bundle = tmp_path / "ca.pem"
    bundle.write_text(ca.chain_pem)
    answer = data.place.check(
        f"curl -sSf --cacert {bundle} --resolve one.example:8443:{data.address} https://one.example:8443/"
    )
    assert json.loads(answer)["name"] == origin.name

    renewed = ca.issue("one.example")
    put(store, prefix, tls_keys("first", renewed))
    wait_for(lambda: presented(data, "one.example") == renewed.der, "a renewed certificate takes over", 10)
    put(store, prefix, {"tls/first/certificate/keyfile": "no key"})
    wait_for(lambda: [one for one in errors(cluster)["objects"] if "first" in one["sentence"]], "it is told", 10)
    assert presented(data, "x.wild.example") == second.der
    assert get(data.address, 8000, host="one.example").status == 200


# --- a Consul that is away ---


def test_a_consul_that_goes_away_loses_nothing_and_is_followed_when_it_is_back(
    cluster: Cluster, store: Consul, data: Node, prefix: str, deploy: Callable[[], str], origin: Origin
) -> None:
    put(store, prefix, routes("app", "Host:app.example", origin.url))
    deploy()
    before = errors(cluster)["providers"]["consul"]
    assert (before["state"], before["frontends"]) == ("ok", 1)
    store.stop()
    wait_for(lambda: errors(cluster)["providers"]["consul"]["state"] == "error", "/api/errors tells", 15)
    away = errors(cluster)["providers"]["consul"]
    assert store.endpoint in away["message"]
    assert away["frontends"] == 1
    assert served_by(data, "app.example") == origin.name
    done = cluster.any_control().place.run(
        f"traefikee deploy {ENTRY_POINTS} --entryPoints='Name:more Address::8001'"
        f" --consul.endpoint={store.endpoint} --consul.prefix={prefix}"
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert re.search(r"^consul cannot be read: .*it is tried again", said, re.MULTILINE), said
    assert served_by(data, "app.example") == origin.name, "a new deployment keeps what the provider had said"

    store.start()
    put(store, prefix, {"frontends/app/routes/main/rule": "Host:changed.example"})
    wait_for_origin(data, "changed.example", origin.name, 20)
    wait_for(lambda: errors(cluster)["providers"]["consul"]["state"] == "ok", "/api/errors tells", 5)
    # A deployment of its own leaves no listener of this test's behind.
    deploy()
    assert served_by(data, "changed.example") == origin.name


def test_a_consul_that_hangs_does_not_stop_traffic(
    cluster: Cluster, store: Consul, data: Node, prefix: str, deploy: Callable[[], str], origin: Origin
) -> None:
    put(store, prefix, routes("app", "Host:app.example", origin.url))
    deploy()
    store.pause()
    try:
        for _ in range(20):
            assert served_by(data, "app.example") == origin.name
    finally:
        store.resume()
    put(store, prefix, {"frontends/app/routes/main/rule": "Host:changed.example"})
    wait_for_origin(data, "changed.example", origin.name, 20)


def test_a_control_node_that_restarts_keeps_what_a_consul_had_said_that_is_away(
    cluster: Cluster, store: Consul, data: Node, prefix: str, deploy: Callable[[], str], origin: Origin
) -> None:
    put(store, prefix, routes("app", "Host:app.example", origin.url))
    deploy()
    control = cluster.any_control()
    store.stop()
    control.process.kill9()
    cluster.restart(control.name)
    wait_for(lambda: control.leader() == control.name, "it leads again", 20)
    wait_for(lambda: errors(cluster)["providers"]["consul"]["state"] == "error", "it has tried", 15)
    assert errors(cluster)["providers"]["consul"]["frontends"] == 1
    assert served_by(data, "app.example") == origin.name
    store.start()
    put(store, prefix, {"frontends/app/routes/main/rule": "Host:changed.example"})
    wait_for_origin(data, "changed.example", origin.name, 20)


def test_a_deployment_while_consul_is_unreachable(
    cluster: Cluster, store: Consul, data: Node, prefix: str, deploy: Callable[[], str], origin: Origin
) -> None:
    put(store, prefix, routes("app", "Host:app.example", origin.url))
    store.stop()
    done = cluster.any_control().place.run(
        f"traefikee deploy {ENTRY_POINTS} --consul.endpoint={store.endpoint} --consul.prefix={prefix}"
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^consul (cannot be read|has not answered)", done.stdout + done.stderr, re.MULTILINE)
    store.start()
    wait_for_origin(data, "app.example", origin.name, 20)
