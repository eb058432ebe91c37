"""What goes wrong at the command line: one line that says what and what to do next, and an exit code that is not 0.

Most tests share one control node and one data node on loopback addresses, and leave them as they were.
"""

import os
import re
import shlex
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.nodes import Cluster, Node, error_line
from tests.cluster.places import Local
from tests.support import BIN
from tests.support.http1 import get
from tests.support.ports import HeldPort, loopback_address
from tests.support.wait import wait_for

Place = Callable[[str], Local]

HTTP = "--entryPoints='Name:http Address::8000'"


@pytest.fixture(scope="module")
def lonely() -> Iterator[Cluster]:
    """A control node without data nodes; `small` gives it one."""
    cluster = Cluster(Local)
    try:
        cluster.form(control=1, data=0)
        yield cluster
    finally:
        cluster.destroy()


@pytest.fixture(scope="module")
def small(lonely: Cluster) -> Cluster:
    """A control node and a data node."""
    data = lonely.start_data("data-node-1")
    control = lonely.any_control()
    wait_for(lambda: control.status() == {"control-node-1": "READY", data.name: "READY"}, "the data node is READY", 20)
    return lonely


@pytest.fixture
def control(small: Cluster) -> Iterator[Node]:
    """The control node, whose list a failure must not change."""
    node = small.any_control()
    before = {one["id"] for one in node.nodes().values()}
    yield node
    assert node.process.running
    assert small.data["data-node-1"].process.running
    new = [name for name, one in node.nodes().items() if one["id"] not in before]
    assert not new, "the failure has left something in the list"


@pytest.fixture
def place(places: list[Local]) -> Place:
    """Makes places for nodes that are to fail."""

    def make(name: str) -> Local:
        made = Local(name)
        places.append(made)
        return made

    return make


def fails(done: "subprocess.CompletedProcess[str]", expected: str, code: int = 1) -> None:
    """Check what a failed command has left on the screen. `expected`: the pattern of the whole line after "Error: "."""
    assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
    line = error_line(done.stderr)
    assert re.fullmatch(f"Error: {expected}", line), done.stderr
    assert done.stderr.rstrip("\n").endswith(line), f"the reason is not the last line:\n{done.stderr}"
    assert done.stdout == ""


def join(cluster: Cluster, role: str, place: Local, token: str, options: str = "") -> str:
    """The line with which a newcomer joins, with the token of that name or that text."""
    own = f"--listen={place.address}:4242" if role == "control" else ""
    token = cluster.tokens.get(token, token)
    peers = "" if "peeraddresses" in options else f"--peeraddresses={cluster.peers}"
    return f"traefikee start-{role}-node {peers} {own} --token={token} {options}"


# --- without a data node ---


def test_a_deployment_without_data_nodes_succeeds_and_says_so(lonely: Cluster) -> None:
    assert not lonely.data, "this test relies on being the first"
    printed = lonely.any_control().traefikee(f"deploy {HTTP}")
    assert printed.splitlines()[-1] == "✔ No data node is running: those that start will apply it."


# --- tokens ---


def other_digest(token: str) -> str:
    form, version, digest, secret = token.split("-")
    return "-".join([form, version, digest[::-1], secret])


def other_secret(token: str) -> str:
    return token[:-8] + "00000000"


@pytest.mark.parametrize("role", ["control", "data"])
@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (other_secret, "the cluster does not know this token; take a current one from `traefikee env` .*"),
        (
            other_digest,
            r"the token is for another cluster than the one at \S+, or for its authority before `rotate-ca`; take .*",
        ),
        (lambda token: token[:-1], "the token is malformed: .*; copy it whole from .*"),
        (lambda token: "hello", "the token is malformed: .*; copy it whole from .*"),
        (lambda token: "", "no token is given; take one from `traefikee env` .* --token"),
    ],
    ids=["wrong", "foreign", "truncated", "malformed", "none"],
)
def test_token(
    small: Cluster, control: Node, place: Place, role: str, spoil: Callable[[str], str], expected: str
) -> None:
    newcomer = place("newcomer")
    token = spoil(small.tokens[f"{role}_node_token"])
    done = newcomer.run(join(small, role, newcomer, token), deadline=20)
    fails(done, expected)
    assert len(token) < 10 or token not in done.stderr
    assert not (newcomer.statedir / "identity.json").exists()


@pytest.mark.parametrize(("role", "other"), [("control", "data"), ("data", "control")])
def test_the_token_of_the_other_role(small: Cluster, control: Node, place: Place, role: str, other: str) -> None:
    newcomer = place("newcomer")
    done = newcomer.run(join(small, role, newcomer, f"{other}_node_token"), deadline=20)
    fails(done, f"this is the token for {other} nodes, and a {role} node joins; use {role.upper()}_NODE_TOKEN .*")


def test_a_token_file_that_is_not_there(small: Cluster, place: Place) -> None:
    newcomer = place("newcomer")
    done = newcomer.run(f"traefikee start-data-node --peeraddresses={small.peers} --token-file=nowhere")
    fails(done, "--token-file: nowhere cannot be read: No such file or directory.*", code=2)


# --- names and addresses ---


@pytest.mark.parametrize("role", ["control", "data"])
@pytest.mark.parametrize("holder", ["control", "data"])
def test_a_taken_name(small: Cluster, control: Node, place: Place, role: str, holder: str) -> None:
    newcomer = place(f"{holder}-node-1")
    done = newcomer.run(join(small, role, newcomer, f"{role}_node_token"), deadline=20)
    fails(done, f"the name '{newcomer.name}' belongs to another {holder} node, which is READY; .*--name")


def test_a_taken_address(small: Cluster, control: Node, place: Place) -> None:
    newcomer = place("newcomer")
    done = newcomer.run(
        join(small, "control", newcomer, "control_node_token", f"--advertise={control.address}:4242"), deadline=20
    )
    fails(done, f"the address {control.address}:4242 belongs to the control node 'control-node-1'.*; .*--advertise")


@pytest.mark.parametrize(
    ("role", "name"),
    [("control", "no name"), ("data", "no name"), ("data", "-x"), ("data", "a/b"), ("data", "x" * 300)],
    ids=["control", "blank", "dash", "slash", "long"],
)
def test_a_name_that_cannot_be_one(small: Cluster, control: Node, place: Place, role: str, name: str) -> None:
    newcomer = place("newcomer")
    done = newcomer.run(join(small, role, newcomer, f"{role}_node_token", f"--name='{name}'"), deadline=20)
    fails(done, f"(?=.*{name})(?=.*--name).+", code=done.returncode or 1)


def test_a_new_cluster_of_a_node_whose_name_cannot_be_one(place: Place) -> None:
    newcomer = place("newcomer")
    process = newcomer.start(f"traefikee bootstrap --licensekey=x --listen={newcomer.address}:4242 --name='no name'")
    assert process.wait(10) in {1, 2}
    assert re.fullmatch("Error: (?=.*no name)(?=.*--name).+", error_line(process.output))


# --- peers ---


@pytest.mark.parametrize("role", ["control", "data"])
def test_nobody_at_the_peer_addresses(small: Cluster, place: Place, role: str) -> None:
    newcomer, nowhere = place("newcomer"), loopback_address()
    line = join(small, role, newcomer, f"{role}_node_token", f"--peeraddresses={nowhere}:4242 --timeout=2")
    done = newcomer.run(line, deadline=15)
    fails(done, f"no control node answers after 2 s: {nowhere}:4242 .*; check --peeraddresses.*")


def test_somebody_else_at_the_peer_addresses(small: Cluster, place: Place) -> None:
    newcomer = place("newcomer")
    with HeldPort(loopback_address()) as silent:
        silent.listen()
        line = join(small, "data", newcomer, "data_node_token", f"--peeraddresses={silent} --timeout=1")
        done = newcomer.run(line, deadline=15)
    fails(done, f"no control node answers after 1 s: {silent} .*; check --peeraddresses.*")


def test_one_peer_that_answers_is_enough(small: Cluster, place: Place) -> None:
    newcomer, nowhere = place("data-node-x"), loopback_address()
    peers = f"--peeraddresses={nowhere}:4242,{small.peers}"
    process = newcomer.start(join(small, "data", newcomer, "data_node_token", peers))
    process.wait_for_output("connected to the control plane", 20)
    assert process.terminate() == 0
    asked = small.any_control()
    wait_for(lambda: asked.status()["data-node-x"] == "DOWN", "a node that ends says so", 3)


@pytest.mark.parametrize("role", ["control", "data"])
def test_no_peer_addresses(place: Place, role: str) -> None:
    newcomer = place("newcomer")
    done = newcomer.run(f"traefikee start-{role}-node --token=x", deadline=20)
    fails(done, ".*--peeraddresses.*; .*host:port.*", code=2)


# --- ports and sockets ---


def holding(address: str, port: int) -> socket.socket:
    return socket.create_server((address, port))


def test_the_port_of_a_new_cluster_is_in_use(place: Place) -> None:
    newcomer = place("newcomer")
    line = f"traefikee bootstrap --licensekey=x --listen={newcomer.address}:4242"
    with holding(newcomer.address, 4242):
        done = newcomer.run(line, deadline=20)
    fails(done, rf"this node cannot listen: .*{newcomer.address}:4242.*; .*--listen.*")
    assert not list((newcomer.folder / ".traefikee").iterdir())
    process = newcomer.start(line)
    process.wait_for_output("control node ready", 20)


def test_a_control_node_whose_port_was_in_use_joins_once_it_is_free(loopback_cluster: Cluster, place: Place) -> None:
    cluster, newcomer = loopback_cluster, place("late-node")
    bootstrap = cluster.bootstrap = cluster.start_bootstrap("bootstrap-node", "--controlNodes=3")
    line = join(cluster, "control", newcomer, "control_node_token")
    with holding(newcomer.address, 4242):
        done = newcomer.run(line, deadline=20)
    fails(done, rf"this node cannot listen: .*{newcomer.address}:4242.*; .*--listen.*")
    process = newcomer.start(line)
    process.wait_for_output("control node ready|^Error: ", 30)
    assert "control node ready" in process.output, process.output
    wait_for(lambda: bootstrap.status()["late-node"] == "READY", "it is READY", 5)


@pytest.mark.parametrize("role", ["control", "data"])
def test_a_socket_that_is_in_use(small: Cluster, place: Place, role: str) -> None:
    newcomer = place(f"socket-{role}")
    held = small.any_control().socket if role == "data" else small.data["data-node-1"].socket
    if role == "control":
        line = f"traefikee bootstrap --licensekey=x --listen={newcomer.address}:4242"
    else:
        line = join(small, "data", newcomer, "data_node_token")
    process = newcomer.start(f"{line} --traefikeesocket={held}")
    assert process.wait(20) == 1
    line = error_line(process.output)
    assert re.fullmatch(f"Error: another process answers on the socket {held}; .*--traefikeesocket", line)
    assert small.any_control().traefikee("list-nodes"), "the holder still answers"
    wait_for(lambda: not newcomer.processes(), "nothing of the failed node goes on running", 5)


def test_a_socket_that_a_killed_node_has_left_is_replaced(small: Cluster, place: Place) -> None:
    newcomer = place("data-node-y")
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(newcomer.socket))
    stale.close()
    process = newcomer.start(join(small, "data", newcomer, "data_node_token"))
    process.wait_for_output("connected to the control plane", 20)
    assert "data-node-y" in newcomer.check("traefikee version --details")
    assert process.terminate() == 0


# --- state directories ---

BOOTSTRAP = "traefikee bootstrap --licensekey=x"


def test_a_state_directory_of_a_running_node(small: Cluster, place: Place) -> None:
    newcomer = place("newcomer")
    for node in (small.any_control(), small.data["data-node-1"]):
        done = newcomer.run(f"{BOOTSTRAP} --statedir={node.statedir}", deadline=20)
        fails(done, f"another node runs with the state directory {node.statedir}; .*--statedir")
        assert node.process.running


def test_a_state_directory_that_cannot_be_written(place: Place) -> None:
    newcomer = place("newcomer")
    newcomer.statedir.mkdir()
    newcomer.statedir.chmod(0o555)
    if os.geteuid() == 0:
        os.chown(newcomer.statedir, 65534, 65534)
    # Root without the right to overlook permissions is like any other user.
    without = "setpriv --bounding-set=-dac_override,-dac_read_search,-fowner " if os.geteuid() == 0 else ""
    done = newcomer.run(without + BOOTSTRAP, deadline=20)
    fails(done, f"the state directory {newcomer.statedir} cannot be written: .*; .*--statedir")


def test_a_state_directory_that_is_a_file(place: Place) -> None:
    newcomer = place("newcomer")
    newcomer.statedir.write_text("")
    done = newcomer.run(BOOTSTRAP, deadline=20)
    assert done.returncode in {1, 2}
    fails(done, f".*{newcomer.statedir}.*; .+", code=done.returncode)


def test_a_state_directory_whose_path_is_too_long_for_sockets(place: Place) -> None:
    newcomer = place("newcomer")
    long = newcomer.folder / ("x" * 100)
    done = newcomer.run(f"{BOOTSTRAP} --statedir={long}", deadline=20)
    fails(done, f"the state directory's path is too long .*{long}; choose one of at most \\d+ bytes with --statedir")
    assert not long.exists()


@pytest.mark.parametrize(
    ("role", "line"),
    [
        ("control", "traefikee start-data-node --peeraddresses=127.0.0.1:4242 --token=x"),
        ("data", "traefikee start-control-node --peeraddresses=127.0.0.1:4242 --token=x"),
        ("data", BOOTSTRAP),
    ],
)
def test_a_state_directory_of_another_role(small: Cluster, place: Place, role: str, line: str) -> None:
    newcomer = place("newcomer")
    newcomer.statedir.mkdir()
    owner = small.any_control() if role == "control" else small.data["data-node-1"]
    shutil.copy(owner.statedir / "identity.json", newcomer.statedir)
    done = newcomer.run(line, deadline=20)
    fails(done, f"the state directory {newcomer.statedir} belongs to the {role} node '{owner.name}'; .*--statedir")


def test_a_damaged_identity(place: Place) -> None:
    newcomer = place("newcomer")
    newcomer.statedir.mkdir()
    (newcomer.statedir / "identity.json").write_text('{"id": 3')
    done = newcomer.run("traefikee start-data-node", deadline=20)
    fails(done, f"the identity in {newcomer.statedir}/identity.json cannot be read: .+; .+")


# --- programs ---


@pytest.mark.parametrize("command", ["bootstrap", "start-control-node"])
def test_without_etcd(small: Cluster, place: Place, command: str) -> None:
    newcomer = place("newcomer")
    options = "--licensekey=x" if command == "bootstrap" else f"--peeraddresses={small.peers} --token=x"
    line = f"PATH={BIN} traefikee {command} --listen={newcomer.address}:4242 {options}"
    done = newcomer.run(line, deadline=20)
    fails(done, "etcd is not installed: .*; install it .*etcd-server.*")
    assert not (newcomer.statedir / "identity.json").exists()


def test_without_the_engine(small: Cluster, place: Place) -> None:
    newcomer = place("newcomer")
    # The same virtual environment seen from elsewhere: the engine is not beside its interpreter.
    bin_folder = newcomer.folder / "venv/bin"
    bin_folder.mkdir(parents=True)
    for name in ("lib", "pyvenv.cfg"):
        (newcomer.folder / "venv" / name).symlink_to(BIN.parent / name)
    (bin_folder / "python").symlink_to((BIN / "python").resolve())
    call = "import sys; from traefikee.cli.main import traefikee; sys.argv[0] = 'traefikee'; traefikee()"
    line = join(small, "data", newcomer, "data_node_token").removeprefix("traefikee ")
    done = newcomer.run(f"PATH=/usr/bin:/bin {bin_folder}/python -c {shlex.quote(call)} {line}", deadline=20)
    fails(done, "traefikee-engine is not installed beside traefikee; .+")
    assert not (newcomer.statedir / "identity.json").exists()


# --- deploying ---


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--consul.endpiont=x:8500", r'unknown option --consul\.endpiont; did you mean "?--consul\.endpoint"?\?'),
        ("--docker", r"--docker .*not.*"),
        ("--docker.endpoint=unix:///var/run/docker.sock", r"--docker\.endpoint .*not.*"),
        ("--entryPoints='Name:http'", r"--entryPoints.*[Aa]ddress.*|entryPoints\.http.*[Aa]ddress.*"),
        ("--entryPoints='Name:http Address:80'", r"entryPoints\.http.*: .*80.*"),
        ("--entryPoints='Name:http Address::80 Adress::81'", r"entryPoints.*Adress.*Address.*"),
        (
            "--entryPoints='Name:https Address::443 TLS:nowhere.pem,nowhere.key'",
            r"entryPoints\.https\.TLS.*nowhere\.pem.*",
        ),
        ("--providersThrottleDuration=often", r"--providersThrottleDuration: .*often.*"),
        ("", "nothing to deploy: no option is given; .*"),
    ],
)
def test_a_deployment_that_cannot_be_meant(control: Node, options: str, expected: str) -> None:
    before = control.engine()["revision"]
    done = control.place.run(f"traefikee deploy {options}", deadline=20)
    assert done.returncode == 2, done.stderr
    assert re.search(f"^Error: (?:{expected})$", done.stderr, re.MULTILINE), done.stderr
    assert "Traceback" not in done.stderr
    assert control.engine()["revision"] == before


def test_all_problems_of_a_deployment_are_told_at_once(control: Node) -> None:
    done = control.place.run(
        "traefikee deploy --entryPoints='Name:http Address:80' --logLevel=LOUD --tracing", deadline=20
    )
    assert done.returncode == 2
    for word in ("entryPoints.http", "LOUD", "--tracing"):
        assert word in done.stderr, done.stderr


def test_a_deployment_that_a_data_node_refuses(small: Cluster, control: Node) -> None:
    data = small.data["data-node-1"]
    control.traefikee(f"deploy {HTTP}")
    assert get(data.address, 8000).status == 404
    both = f"{HTTP} --entryPoints='Name:other Address::8001'"
    with holding(data.address, 8001):
        done = control.place.run(f"traefikee deploy {both}", deadline=40)
        assert done.returncode == 1
        assert re.search(r"^ *✗ data-node-1: refused: .*8001.*", done.stdout + done.stderr, re.MULTILINE), done.stderr
        assert "Refused by data-node-1." in done.stderr
        assert get(data.address, 8000).status == 404, "what was in force stays"
        assert "8001" in control.nodes()["data-node-1"]["refusal"]
    # The reason is removed; the same line again is what a user tries next.
    done = control.place.run(f"traefikee deploy {both}", deadline=40)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    assert get(data.address, 8001).status == 404
    assert control.nodes()["data-node-1"]["refusal"] == ""


def test_a_deployment_replaces_the_one_before_as_a_whole(small: Cluster, control: Node) -> None:
    data = small.data["data-node-1"]
    control.traefikee(f"deploy {HTTP} --entryPoints='Name:other Address::8002'")
    assert get(data.address, 8002).status == 404
    control.traefikee(f"deploy {HTTP}")
    with pytest.raises(ConnectionRefusedError):
        get(data.address, 8002)
    assert get(data.address, 8000).status == 404


# --- commands ---


@pytest.mark.parametrize("words", ["list-nodes", "env", f"deploy {HTTP}", "healthcheck-node", "version --details"])
def test_a_command_where_no_node_runs(place: Place, words: str) -> None:
    nowhere = place("nowhere")
    done = nowhere.run(f"traefikee {words}", deadline=20)
    fails(done, f".*{nowhere.socket}.*; start a node on this machine, .*--traefikeesocket")


@pytest.mark.parametrize("words", ["list-nodes", "env", f"deploy {HTTP}"])
def test_a_command_for_control_nodes_on_a_data_node(small: Cluster, words: str) -> None:
    done = small.data["data-node-1"].place.run(f"traefikee {words}", deadline=20)
    fails(done, "'data-node-1' is a data node: it does not know the cluster; run this command on a control node")


def test_commands_that_a_data_node_answers(small: Cluster) -> None:
    data = small.data["data-node-1"]
    assert "data-node-1 (data node, version " in data.traefikee("version --details")
    assert data.traefikee("healthcheck-node").startswith("OK: ")


def test_an_unknown_command(place: Place) -> None:
    done = place("nowhere").run("traefikee list-node", deadline=20)
    fails(done, ".*list-node.*; .+", code=2)


# --- traefikeectl ---


def credentials(small: Cluster, place: Local) -> Path:
    control = small.any_control().place
    assert isinstance(control, Local)
    return Path(shutil.copytree(control.folder / ".traefikee", place.folder / "credentials"))


def test_traefikeectl_without_a_connection(place: Place) -> None:
    done = place("remote").run("traefikeectl list-nodes", deadline=20)
    fails(done, 'there is no connection to a cluster "traefikee"; make one with traefikeectl connect .*')


def connect(folder: Path, address: str) -> str:
    return f"traefikeectl connect --onpremise.mtlscertsdir={folder} --onpremise.apiaddress={address}"


def connecting_fails(done: "subprocess.CompletedProcess[str]", expected: str) -> None:
    assert done.stdout == "Retrieving TraefikEE Control credentials...failed\n"
    assert done.returncode == 1
    assert re.fullmatch(f"Error: {expected}\n", done.stderr), done.stderr


def test_connecting_without_credentials(small: Cluster, place: Place) -> None:
    remote = place("remote")
    done = remote.run(connect(remote.folder / "nowhere", f"{small.any_control().address}:55055"), deadline=20)
    connecting_fails(done, "the credentials in .*nowhere cannot be read: ca.pem: No such file or directory; .+")


def test_connecting_to_nobody_keeps_the_credentials(small: Cluster, place: Place) -> None:
    remote, nowhere = place("remote"), loopback_address()
    folder = credentials(small, remote)
    done = remote.run(connect(folder, f"{nowhere}:55055"), deadline=20)
    connecting_fails(done, f"no control node answers on {nowhere}:55055: .*; check .*55055.*")
    assert (folder / "key.pem").exists()
    assert remote.run("traefikeectl list-nodes").returncode == 1


def test_connecting_to_another_cluster(small: Cluster, loopback_cluster: Cluster, place: Place) -> None:
    remote = place("remote")
    folder = credentials(small, remote)
    loopback_cluster.form(control=1, data=0)
    done = remote.run(connect(folder, f"{loopback_cluster.any_control().address}:55055"), deadline=20)
    connecting_fails(done, ".+; .+")
    assert (folder / "key.pem").exists()


def test_an_api_address_without_a_port(place: Place) -> None:
    done = place("remote").run(connect(Path("x"), "127.0.0.1"), deadline=20)
    fails(done, "--onpremise.apiaddress: .+", code=2)
