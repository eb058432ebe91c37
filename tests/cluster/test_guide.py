"""The install guide from its first line to its last, on six machines of its addresses and names.

The tests of this file run in their order on one cluster, each from where the one before has left it, as a reader of the
guide does. The lines are the guide's own; what it shows is compared with what is printed, blanks collapsed.
"""

import json
import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.nodes import CLEANING, FORMING, KILL_LINE
from tests.cluster.places import MachineConsul, routes, start_origin
from tests.support.machine import Machine, Network
from tests.support.process import Process
from tests.support.wait import wait_for

ADDRESSES = {
    "bootstrap-node": "10.10.0.1",
    "control-node-1": "10.10.0.2",
    "control-node-2": "10.10.0.3",
    "control-node-3": "10.10.0.4",
    "data-node-1": "10.10.0.5",
    "data-node-2": "10.10.0.6",
}

BOOTSTRAP = r"""traefikee bootstrap \
    --advertise=10.10.0.1:4242 \
    --listen=10.10.0.1:4242 \
    --licensekey=fakeLicense \
    --api \
    --controlNodes=3 \
    --timeout=300"""

START_CONTROL = {
    "control-node-1": r"""traefikee start-control-node \
    --peeraddresses=10.10.0.1:4242,10.10.0.3:4242,10.10.0.4:4242 \
    --advertise=10.10.0.2:4242 \
    --listen=10.10.0.2:4242 \
    --token=${CONTROL_NODE_TOKEN}""",
    # In the guide there is no blank before these two backslashes.
    "control-node-2": r"""traefikee start-control-node \
    --peeraddresses=10.10.0.1:4242,10.10.0.2:4242,10.10.0.4:4242\
    --advertise=10.10.0.3:4242 \
    --listen=10.10.0.3:4242 \
    --token=${CONTROL_NODE_TOKEN}""",
    "control-node-3": r"""traefikee start-control-node \
    --peeraddresses=10.10.0.1:4242,10.10.0.2:4242,10.10.0.3:4242\
    --advertise=10.10.0.4:4242 \
    --listen=10.10.0.4:4242 \
    --token=${CONTROL_NODE_TOKEN}""",
}

START_DATA = r"""traefikee start-data-node \
    --peeraddresses=10.10.0.1:4242,10.10.0.2:4242,10.10.0.3:4242,10.10.0.4:4242 \
    --token=${DATA_NODE_TOKEN}"""

DEPLOY = r"""traefikee deploy --entryPoints='Name:http Address::80' \
    --entryPoints='Name:https Address::443 TLS' \
    --defaultentrypoints=http,https \
    --consul.endpoint=10.10.0.10:8500 \
    --consul.watch \
    --consul.prefix=traefik"""

USAGE = """\
Usage: traefikee [flags] <command> [<arguments>]

Use "traefikee <command> --help" for help on any command.
"""

ONLY_BOOTSTRAP = """\
Name           Role
----           --------------
bootstrap-node CONTROL NODE (Current Leader)
"""

FOUR_CONTROL_NODES = """\
ID                         Name            Membership  Status  Availability  Role
--                         ----            ----------  ------  ------------  ----
ge4ssbnjmsjw3h5bftrkkv5xv  control-node-3  ACCEPTED    READY   ACTIVE        CONTROL NODE
o92ldyepge8379vbo0ktaixi4  control-node-1  ACCEPTED    READY   ACTIVE        CONTROL NODE
v9m7zaq16ipo0ihhstovjo96r  bootstrap-node  ACCEPTED    DOWN    ACTIVE        CONTROL NODE
wnlqy33k9knic4eb44o4an0ve  control-node-2  ACCEPTED    READY   ACTIVE        CONTROL NODE (Current Leader)
"""

THREE_CONTROL_NODES = """\
Name            Role
----            --------------
control-node-1  CONTROL NODE (Current Leader)
control-node-3  CONTROL NODE
control-node-2  CONTROL NODE
"""

FIVE_NODES = """\
Name                        Role
----                        --------------
control-node-3              CONTROL NODE
control-node-1              CONTROL NODE (Current Leader)
control-node-2              CONTROL NODE
data-node-1                 DATA NODE
data-node-2                 DATA NODE
"""

FIVE_NODES_FROM_AFAR = """\
Name                        Role              Leader
----                        ----              ------
control-node-3              Control Node
control-node-1              Control Node      YES
control-node-2              Control Node
data-node-1                 Data Node
data-node-2                 Data Node
"""

CONNECTED = """\
Retrieving TraefikEE Control credentials...ok
Removing cluster credentials from platform...ok
Credentials saved in "$HOME/.config/traefikee/traefikee", please make sure to keep them safe as \
they can never be retrieved again.
✔ Successfuly gained access to the cluster. You can now use other traefikeectl commands.
"""


class Guide:
    """The machines, and what its reader keeps from one step to the next."""

    def __init__(self, network: Network) -> None:
        self.machines = {name: network.machine(name, address) for name, address in ADDRESSES.items()}
        self.remote = network.client()
        self.consul = MachineConsul(network.machine("consul", "10.10.0.10"))
        self.origins = network.machine("origins", "10.10.0.20")
        self.env: dict[str, str] = {}
        self.nodes: dict[str, Process] = {}

    def __getitem__(self, name: str) -> Machine:
        return self.machines[name]

    def start(self, name: str, line: str) -> None:
        """Type a line that starts a node."""
        self.nodes[name] = self[name].start(line, env=self.env)


@pytest.fixture(scope="module")
def guide(shared_network: Network) -> Iterator[Guide]:
    """The guide's machines with nothing on them, a Consul and two origins beside them."""
    made = Guide(shared_network)
    try:
        made.consul.start()
        yield made
    finally:
        made.consul.cleanup()


def rows(table: str) -> tuple[list[list[str]], set[tuple[str, ...]]]:
    """The heads of a table with the line below, and its rows in any order, without who leads; ids by their form."""
    lines = [re.split(r"\s{2,}", line.strip()) for line in table.rstrip("\n").splitlines()]
    heads = [re.split(r"\s+", " ".join(line)) for line in lines[:2]]
    cleaned = {
        tuple("<id>" if re.fullmatch("[a-z0-9]{25}", word) else word for word in re.split(r"\s+", " ".join(line)))
        for line in lines[2:]
    }
    assert len(cleaned) == len(lines) - 2, f"a row is there twice:\n{table}"
    marks = {("(Current", "Leader)"), ("YES",)}
    return heads, {next((row[: -len(mark)] for mark in marks if row[-len(mark) :] == mark), row) for row in cleaned}


def same_table(printed: str, shown: str) -> bool:
    """Whether a command printed what the guide shows; the order of nodes and who of them leads are its own affair."""
    assert rows(printed) == rows(shown), f"printed:\n{printed}\nthe guide shows:\n{shown}"
    leaders = len(re.findall(r"\(Current Leader\)$|YES$", printed, re.MULTILINE))
    assert leaders == 1, f"{leaders} leaders:\n{printed}"
    return True


def test_traefikee_is_in_the_path_and_tells_its_usage(guide: Guide) -> None:
    for machine in guide.machines.values():
        assert machine.check("command -v traefikee").strip().endswith("/traefikee")
    assert guide["bootstrap-node"].check("traefikee").startswith(USAGE)
    usage = guide.remote.check("traefikeectl")
    assert usage.startswith(USAGE.replace("traefikee", "traefikeectl"))


def test_initialise_the_bootstrap_node(guide: Guide) -> None:
    guide.start("bootstrap-node", BOOTSTRAP)

    def listed() -> bool:
        return same_table(guide["bootstrap-node"].check("traefikee list-nodes"), ONLY_BOOTSTRAP)

    wait_for(listed, "the bootstrap node lists itself", 30)


def test_get_tokens(guide: Guide) -> None:
    control = guide["bootstrap-node"].check("traefikee env | grep 'CONTROL_NODE_TOKEN' | cut -d '\"' -f2")
    data = guide["bootstrap-node"].check("traefikee env | grep 'DATA_NODE_TOKEN' | cut -d '\"' -f2")
    for token in (control, data):
        assert re.fullmatch(r"\S{40,}\n", token), token
    assert control != data
    guide.env = {"CONTROL_NODE_TOKEN": control.strip(), "DATA_NODE_TOKEN": data.strip()}


def test_create_the_control_nodes_at_the_same_moment(guide: Guide) -> None:
    for name, line in START_CONTROL.items():
        guide.start(name, line)

    def four_listed() -> bool:
        return same_table(guide["control-node-1"].check("traefikee list-nodes --details"), FOUR_CONTROL_NODES)

    wait_for(four_listed, "three control nodes are READY and the bootstrap node is DOWN", FORMING, every=0.5)
    assert guide.nodes["bootstrap-node"].wait() == 0, "having handed over, the bootstrap node ends well"
    for name in ("control-node-2", "control-node-3"):
        assert same_table(guide[name].check("traefikee list-nodes --details"), FOUR_CONTROL_NODES)


def test_remove_the_bootstrap_node(guide: Guide) -> None:
    machine = guide["bootstrap-node"]
    machine.run(KILL_LINE)
    assert not [command for command in machine.processes() if "traefikee" in command or "etcd" in command]

    def three_listed() -> bool:
        return same_table(guide["control-node-1"].check("traefikee list-nodes"), THREE_CONTROL_NODES)

    wait_for(three_listed, "the list is clean after a minute", CLEANING, every=1)


def test_create_data_nodes(guide: Guide) -> None:
    for name in ("data-node-1", "data-node-2"):
        guide.start(name, START_DATA)

    def five_listed() -> bool:
        return same_table(guide["control-node-1"].check("traefikee list-nodes"), FIVE_NODES)

    wait_for(five_listed, "both data nodes are listed", 20, every=0.3)


def test_nothing_but_the_clusters_ports_is_open_before_a_deployment(guide: Guide) -> None:
    ports = {name: listening(machine) for name, machine in guide.machines.items()}
    assert ports["bootstrap-node"] == set()
    for name in ("control-node-1", "control-node-2", "control-node-3"):
        assert ports[name] == {4242, 55055, 8080}
    for name in ("data-node-1", "data-node-2"):
        assert ports[name] == set()


def listening(machine: Machine) -> set[int]:
    """The TCP ports that something on the machine listens on, beyond its own loopback."""
    lines = machine.check("cat /proc/net/tcp /proc/net/tcp6").splitlines()
    fields = [line.split() for line in lines]
    return {int(field[1].rpartition(":")[2], 16) for field in fields if field[3] == "0A" and field[1][:8] != "0100007F"}


def test_deploy_a_configuration(guide: Guide) -> None:
    printed = guide["control-node-1"].check(DEPLOY)
    assert re.search(r"^ *✔ data-node-1: applied$", printed, re.MULTILINE), printed
    assert re.search(r"^ *✔ data-node-2: applied$", printed, re.MULTILINE), printed
    for name in ("data-node-1", "data-node-2"):
        assert listening(guide[name]) == {80, 443}
    for name in ("data-node-1", "data-node-2"):
        answer = guide.remote.check(f"curl -sS -w ' %{{http_code}}' http://{ADDRESSES[name]}/")
        assert answer == "404 page not found\n 404"


def fetch(guide: Guide, address: str, url: str) -> dict[str, Any]:
    """What an origin tells about the request of a client of one data node, as if its name led there."""
    line = f"curl -sSfk --resolve '*:80:{address}' --resolve '*:443:{address}' {url}"
    answer: dict[str, Any] = json.loads(guide.remote.check(line))
    answer["headers"] = {name.lower(): value for name, value in answer["headers"]}
    return answer


def test_frontends_of_consul_are_served_by_every_data_node(guide: Guide) -> None:
    urls = [start_origin(guide.origins, f"origin-{number}", 8000 + number) for number in (1, 2)]
    keys = routes("app", "Host:app.example", *urls) | {
        "frontends/api/backend": "app",
        "frontends/api/routes/main/rule": "Host:app.example;PathPrefixStrip:/api",
    }
    guide.consul.put_all({f"traefik/{key}": value for key, value in keys.items()})
    for name in ("data-node-1", "data-node-2"):
        address = ADDRESSES[name]
        wait_for(lambda at=address: fetch(guide, at, "http://app.example/"), f"{name} serves it", 10)  # type: ignore[misc]
        seen = [fetch(guide, address, "http://app.example/") for _ in range(4)]
        assert {one["name"] for one in seen} == {"origin-1", "origin-2"}, "it balances"
        one = fetch(guide, address, "http://app.example/api/users?id=7")
        assert one["path"] == "/users?id=7"
        assert one["headers"]["x-forwarded-for"] == guide.remote.address
        assert one["headers"]["x-forwarded-proto"] == "http"
        assert one["headers"]["x-forwarded-server"] == name
        one = fetch(guide, address, "https://app.example/")
        assert one["headers"]["x-forwarded-proto"] == "https"
        assert one["headers"]["host"] == "app.example"
        code = guide.remote.check(f"curl -sS -o /dev/null -w '%{{http_code}}' -H 'Host: x.example' http://{address}/")
        assert code == "404"


def test_the_dashboard_on_every_control_node(guide: Guide) -> None:
    for name in ("control-node-1", "control-node-2", "control-node-3"):
        base = f"http://{ADDRESSES[name]}:8080"
        providers = json.loads(guide.remote.check(f"curl -sSf {base}/api/providers"))
        assert set(providers["consul"]["frontends"]) == {"app", "api"}
        assert providers["consul"]["frontends"]["app"]["routes"]["main"]["rule"] == "Host:app.example"
        assert {server["url"] for server in providers["consul"]["backends"]["app"]["servers"].values()} == {
            "http://10.10.0.20:8001",
            "http://10.10.0.20:8002",
        }
        assert guide.remote.check(f"curl -sSf {base}/ping") == "OK"
        page = guide.remote.check(f"curl -sSfL {base}/")
        assert page == guide.remote.check(f"curl -sSf {base}/dashboard/")
        assert "<html" in page.lower()

        def counted(base: str = base) -> bool:
            health = json.loads(guide.remote.check(f"curl -sSf {base}/health"))
            return bool(health["total_status_code_count"].get("200", 0) >= 14)

        wait_for(counted, "/health counts the requests of both data nodes", 15, every=0.5)


def test_connect_traefikeectl_from_another_machine(guide: Guide) -> None:
    source, target = (machine.root / "tmp/home" for machine in (guide["bootstrap-node"], guide.remote))
    # As `scp -r` does it.
    shutil.copytree(source / ".traefikee", target / "credentials")
    line = 'traefikeectl connect --onpremise.mtlscertsdir="credentials" --onpremise.apiaddress="10.10.0.3:55055"'
    done = guide.remote.run(line)
    assert (done.returncode, done.stdout, done.stderr) == (0, CONNECTED, "")
    saved = target / ".config/traefikee/traefikee"
    assert saved.stat().st_mode & 0o777 == 0o600
    assert not (target / "credentials/key.pem").exists(), "the credentials are used up"

    again = guide.remote.run(line)
    assert again.returncode == 1
    assert re.fullmatch(r"Error: .*already holds a connection.*; .*--clustername.*\n", again.stderr), again.stderr
    another = guide.remote.run(f"{line} --clustername=another")
    assert another.returncode == 1
    last = another.stderr.splitlines()[-1]
    assert re.fullmatch(r"Error: .*key\.pem.*used up by an earlier connect; .+", last), another.stderr
    assert not (target / ".config/traefikee/another").exists()


def test_validate_the_connection(guide: Guide) -> None:
    assert same_table(guide.remote.check("traefikeectl list-nodes"), FIVE_NODES_FROM_AFAR)
    assert guide.remote.check("traefikeectl env") == guide["control-node-1"].check("traefikee env")
    version = guide.remote.check("traefikeectl version --details")
    assert "control-node-2" in version
    assert "fakeLicense" in version
    assert (
        guide.remote.check("traefikeectl version").split()[1]
        == guide["data-node-1"].check("traefikee version").split()[1]
    )


def test_deploy_from_afar_replaces_the_configuration(guide: Guide) -> None:
    line = DEPLOY.replace("traefikee deploy", "traefikeectl deploy") + " --ping --ping.entrypoint=http"
    assert "✔ data-node-2: applied" in guide.remote.check(line)
    for name in ("data-node-1", "data-node-2"):
        assert guide.remote.check(f"curl -sSf http://{ADDRESSES[name]}/ping") == "OK"
        assert guide.remote.check(f"curl -sSf -H 'Host: app.example' http://{ADDRESSES[name]}/") != ""


def test_healthcheck_asks_the_ping_entry_point_that_was_just_deployed(guide: Guide) -> None:
    for name in ("data-node-1", "data-node-2"):
        assert guide[name].check("traefikee healthcheck-node") == "OK: http://127.0.0.1:80/ping\n"


def test_without_credentials_nobody_gets_in(guide: Guide) -> None:
    line = "curl -sSk -o /dev/null -w '%{http_code}' https://10.10.0.2"
    # No client certificate: refused in the handshake, or by the API.
    done = guide.remote.run(f"{line}:55055/v1/tokens")
    assert done.returncode != 0 or done.stdout in {"401", "403"}, done.stdout
    for path in ("/v1/snapshots", "/members", "/raft", "/v1/self"):
        done = guide.remote.run(f"{line}:4242{path}")
        assert done.returncode != 0 or done.stdout in {"401", "403", "404"}, f"{path}: {done.stdout}"


def test_nobody_has_logged_an_error_or_a_token(guide: Guide) -> None:
    for name, node in guide.nodes.items():
        errors = [line for line in node.output.splitlines() if re.search(r"\[error|\bERROR\b|Traceback", line)]
        assert not errors, f"{name} logged on a way on which nothing went wrong: {errors}"
        for token in guide.env.values():
            assert token.rpartition("-")[2] not in node.output
