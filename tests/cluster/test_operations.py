"""What an operator does to a running cluster, and reads of it: history, audit, licence, logs.

The tests share three control nodes and a data node, and run in their order.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from tests.cluster.nodes import Cluster, Node, _Unix, error_line
from tests.cluster.places import Local
from tests.support.certificates import authority
from tests.support.http1 import get
from tests.support.licence_server import ForwardProxy, LicenceServer
from tests.support.origin import Origin
from tests.support.wait import SLOWNESS, wait_for

HTTP = "--entryPoints='Name:http Address::8000'"
RULES = """\
[backends.app.servers.one]
url = "{url}"
[frontends.app]
backend = "app"
[frontends.app.auth.basic]
users = ["u:{{SHA}}{password}"]
[frontends.app.routes.main]
rule = "Host:{host}"
"""
PASSWORDS = ("b29vb29vb29vb29vb29vb29vb28=", "bm5ubm5ubm5ubm5ubm5ubm5ubm4=")
NEW_KEY = "key-that-nobody-may-see"
NAME = "licence.test"


class Operated:
    """The cluster, with a licence server that is reached through a proxy alone."""

    def __init__(self, folder: Path) -> None:
        made = authority()
        self.ca = made.write(folder, "ca")[0]
        self.server = LicenceServer(made, folder)
        self.server.verdicts = {
            "test": {"accepted": True},
            NEW_KEY: {"accepted": True},
            "old": {"accepted": False, "reason": "it expired in May"},
        }
        self.proxy = ForwardProxy()
        self.endpoint = f"https://{NAME}:{self.server.port}/check"
        self.cluster = Cluster(self.place)
        self.origin = Origin("app")

    def place(self, name: str) -> Local:
        """A place whose way to the outside is the proxy."""
        place = Local(name)
        place.env |= {"SSL_CERT_FILE": str(self.ca), "HTTPS_PROXY": self.proxy.url}
        return place

    def form(self) -> None:
        """Start it."""
        cluster = self.cluster
        cluster.bootstrap = cluster.start_bootstrap(
            "bootstrap-node", f"--controlNodes=3 --timeout=120 --license.endpoint={self.endpoint}"
        )
        for number in (1, 2, 3):
            cluster.start_control(f"control-node-{number}")
        data = cluster.start_data("data-node-1")
        assert cluster.bootstrap.process.wait(60) == 0, cluster.bootstrap.process.tail()
        ready = dict.fromkeys((*cluster.control, data.name), "READY")
        control = cluster.control["control-node-1"]
        wait_for(lambda: ready.items() <= control.status().items(), "all nodes are READY", 30)

    @property
    def control(self) -> Node:
        """The control node that is mostly asked."""
        return self.cluster.control["control-node-1"]

    @property
    def folder(self) -> Path:
        """Where its commands run."""
        assert isinstance(self.control.place, Local)
        return self.control.place.folder

    def json(self, words: str) -> Any:
        """What a command prints as JSON."""
        return json.loads(self.control.traefikee(f"{words} -o json"))

    def fails(self, words: str, code: int = 1) -> str:
        """The error of a command that has to fail."""
        done = self.control.place.run(f"traefikee {words}")
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return error_line(done.stderr)

    def cleanup(self) -> None:
        """End all of it."""
        self.cluster.destroy()
        self.origin.close()
        self.proxy.__exit__(None, None, None)
        self.server.__exit__(None, None, None)


@pytest.fixture(scope="module")
def operated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    """One for all tests of this file."""
    made = Operated(tmp_path_factory.mktemp("licence"))
    try:
        made.form()
        yield made
    finally:
        made.cleanup()


def host_of(operated: Operated, host: str) -> int:
    """The status with which the data node answers for a host."""
    data = operated.cluster.data["data-node-1"]
    return get(data.address, 8000, "/", host).status


def write_rules(operated: Operated, host: str, password: str) -> None:
    text = RULES.format(url=operated.origin.url, host=host, password=password)
    (operated.folder / "rules.toml").write_text(text)


def test_a_refused_licence_key_makes_no_cluster(operated: Operated) -> None:
    place = operated.place("refused")
    try:
        done = place.run(
            f"traefikee bootstrap --advertise={place.address}:4242 --listen={place.address}:4242 --licensekey=old"
            f" --license.endpoint={operated.endpoint}"
        )
        assert done.returncode == 1
        assert error_line(done.stderr).startswith(
            f"Error: the licence key is refused by {operated.endpoint}: it expired in May; "
        )
        assert not list(place.statedir.glob("etcd/member"))
        assert not (place.folder / ".traefikee/key.pem").exists()
    finally:
        place.destroy()


def test_the_key_was_judged_through_the_proxy(operated: Operated) -> None:
    assert operated.proxy.targets[0] == f"{NAME}:{operated.server.port}"
    told = operated.control.traefikee("version --details")
    assert "Licence key:  test" in told
    assert f"accepted by {operated.endpoint} at 20" in told


def test_deployments_are_kept_with_their_files(operated: Operated) -> None:
    control = operated.control
    control.traefikee(f"deploy {HTTP}")
    write_rules(operated, "one.example", PASSWORDS[0])
    control.traefikee(f"deploy {HTTP} --file.filename=rules.toml")
    write_rules(operated, "two.example", PASSWORDS[1])
    control.traefikee(f"deploy {HTTP} --file.filename=rules.toml --retry.attempts=2")
    (operated.folder / "rules.toml").unlink()
    found = operated.json("history")
    assert [(one["number"], one["current"], one["how"], one["who"]) for one in found] == [
        (3, True, "deploy", "user root"),
        (2, False, "deploy", "user root"),
        (1, False, "deploy", "user root"),
    ]
    assert found[0]["command"].endswith("--file.filename=rules.toml --retry.attempts=2")
    assert [one["number"] for one in operated.json("history -n 1")] == [3]
    printed = control.traefikee("history").splitlines()
    assert printed[0].split() == ["Number", "When", "Who", "How", "Command"]
    assert printed[2].startswith("3 *     20")
    assert [host_of(operated, f"{one}.example") for one in ("one", "two")] == [404, 401]


def test_what_has_changed_between_them(operated: Operated) -> None:
    printed = operated.control.traefikee("diff 2").splitlines()
    assert printed[0] == "+ retry.attempts: 2"
    assert printed[1].startswith("~ file.content: content with SHA-256 ")
    assert printed[2] == "~ frontends.app.routes.main.rule: Host:one.example -> Host:two.example [rules.toml:8]"
    assert printed[3] == "~ frontends.app.auth.basic.users: *** -> *** [rules.toml:6]"
    assert printed[4:] == ["4 differences from configuration 2 to configuration 3."]
    changes = operated.json("diff 3 1")["changes"]
    assert {(one["path"], one["change"]) for one in changes} >= {
        ("retry.attempts", "removed"),
        ("frontends.app", "removed"),
    }
    assert operated.fails("diff 9 1") == "Error: there is no configuration 9: kept are 1 to 3; see `history`"


def test_an_earlier_one_is_deployed_again(operated: Operated) -> None:
    plan = operated.control.traefikee("rollback 2 --dry-run")
    assert "- retry.attempts: 2" in plan
    assert "Nothing was deployed: this was a dry run." in plan
    assert host_of(operated, "one.example") == 404
    printed = operated.control.traefikee("rollback 2")
    assert "Configuration 4 stored." in printed
    assert "✔ data-node-1: applied" in printed
    assert [host_of(operated, f"{one}.example") for one in ("one", "two")] == [401, 404]
    assert operated.json("history -n 1")[0]["how"] == "rollback of 2"
    assert operated.json("diff 2 4")["changes"] == []
    assert operated.fails("rollback 4").startswith("Error: configuration 4 is in force: there is nothing to roll back")


def test_only_if_a_certain_one_is_in_force(operated: Operated) -> None:
    refused = operated.fails(f"deploy {HTTP} --if-revision=3", code=3)
    assert refused.startswith(
        "Error: configuration 4 is in force, not 3; deployed meanwhile: 4 (rollback of 2) by root@"
    )
    assert "--if-revision=4" in refused
    assert operated.fails("rollback 1 --if-revision=2", code=3).startswith("Error: configuration 4 is in force, not 2")
    assert operated.json("history -n 1")[0]["number"] == 4, "nothing was deployed"
    operated.control.traefikee("rollback 3 --if-revision=4")
    assert host_of(operated, "two.example") == 401


def test_who_did_what(operated: Operated) -> None:
    bootstrap = operated.cluster.bootstrap
    assert bootstrap is not None
    assert isinstance(bootstrap.place, Local)
    certificate = (bootstrap.place.folder / ".traefikee/cert.pem").read_bytes()
    serial = f"{x509.load_pem_x509_certificate(certificate).serial_number:x}"
    place = operated.control.place
    api = f"{operated.control.address}:55055"
    place.check(
        f"traefikeectl connect --onpremise.mtlscertsdir={bootstrap.place.folder}/.traefikee"
        f" --onpremise.apiaddress={api}"
    )
    place.check("traefikeectl rollback 1")
    entries = operated.json("audit --limit 1000")
    joined = {one["detail"]: one["who"] for one in entries if one["action"] == "join"}
    assert joined == {
        f"{role} node {name} admitted with a token": "cluster"
        for role, name in [("data", "data-node-1"), *(("control", f"control-node-{n}") for n in (1, 2, 3))]
    }
    changes = [(one["action"], one["detail"]) for one in entries if one["through"] != "cluster"]
    assert changes == [
        *(("deploy", f"configuration {number} deployed") for number in (1, 2, 3)),
        ("rollback", "configuration 4 deployed, a rollback of 2"),
        ("rollback", "configuration 5 deployed, a rollback of 3"),
        ("rollback", "configuration 6 deployed, a rollback of 1"),
    ]
    last = entries[-1]
    assert (last["who"], last["through"]) == (f"certificate traefikeectl (serial {serial})", "api")
    assert last["says"].startswith("root@")
    assert [one["detail"] for one in operated.json("audit -n 2 --action deploy")] == [
        "configuration 2 deployed",
        "configuration 3 deployed",
    ]
    assert operated.json("audit --since 2099-01-01") == []
    assert "neither a time" in operated.fails("audit --since yesterday", code=2)


def test_another_licence_key(operated: Operated) -> None:
    refused = operated.fails("update-license --licensekey=old")
    assert refused.endswith("it expired in May; the key before stays")
    assert "does not answer: it answered with status 500" in operated.fails("update-license --licensekey=unknown")
    assert "Licence key:  test" in operated.control.traefikee("version --details")
    operated.fails("update-license", code=2)
    printed = operated.control.place.check("traefikee update-license", env={"TRAEFIKEE_LICENSEKEY": NEW_KEY})
    assert printed == f"✔ Licence key changed, and accepted by {operated.endpoint}.\n"
    other = operated.cluster.control["control-node-2"]
    assert f"Licence key:  {NEW_KEY}" in other.traefikee("version --details")
    (entry,) = operated.json("audit --action update-license")
    assert entry["detail"] == "licence key changed"
    told = operated.control.traefikee("audit") + operated.control.traefikee("history")
    logs = "".join(node.process.output for node in operated.cluster.nodes)
    assert NEW_KEY not in told + logs


def test_a_licence_server_that_is_gone_stops_nothing(operated: Operated) -> None:
    other = f"https://{NAME}:1/gone"
    operated.control.traefikee(f"deploy {HTTP} --license.endpoint={other}")

    def told() -> bool:
        return f"{other} did not answer at 20" in operated.control.traefikee("version --details")

    wait_for(told, "the leader has asked the server of the deployed configuration", 30)
    refused = operated.fails("update-license --licensekey=x")
    assert "nothing was changed" in refused
    operated.control.traefikee("rollback 3")
    assert host_of(operated, "two.example") == 401


def shown(printed: str) -> set[str]:
    """The nodes of which lines were printed."""
    return {line.split()[1] for line in printed.splitlines()}


def test_logs_of_all_nodes(operated: Operated) -> None:
    every = {*operated.cluster.control, "data-node-1"}
    for control in operated.cluster.control.values():
        # The data node is connected to one of them: the others are told by that one.
        done = control.place.run("traefikee logs --tail 1000 --since 10m")
        assert done.returncode == 0
        assert shown(done.stdout) == every
        times = [line.split()[0] for line in done.stdout.splitlines()]
        assert times == sorted(times)
        assert "data-node-1 info    engine: engine started" in done.stdout
        assert "data-node-1 info    data: snapshot applied revision=1" in done.stdout
    rows = [json.loads(line) for line in operated.control.traefikee("logs --node data-node-1 -o json").splitlines()]
    assert {one["node"] for one in rows} == {"data-node-1"}
    assert operated.control.traefikee("logs --node data-node-1 --node control-node-2 --tail 3").count("\n") == 3
    assert operated.control.traefikee("logs --level error --since 1s") == ""
    assert operated.fails("logs --node data-node-2").startswith('Error: there is no node "data-node-2"; did you mean')
    assert NEW_KEY not in operated.control.traefikee("logs --since 1h")
    remote = operated.control.place.check("traefikeectl logs --tail 1000")
    assert shown(remote) == every


class Follower:
    """A reader of `POST /v1/logs` on a control node's socket."""

    def __init__(self, node: Node, **body: Any) -> None:
        self.connection = _Unix(node.socket)
        text = json.dumps({"follow": True, "tail": 0, **body})
        self.connection.request("POST", "/v1/logs", text, {"Content-Type": "application/json"})
        self.answer = self.connection.getresponse()
        self.first = json.loads(self.answer.readline())

    def until(self, message: str, node: str = "") -> Any:
        """The next event with that message."""
        deadline = time.monotonic() + 15 * SLOWNESS
        while time.monotonic() < deadline:
            event = json.loads(self.answer.readline())
            if message in event.get("message", "") and node in ("", event.get("node")):
                return event
        raise AssertionError(f"nothing about {message!r}")

    def close(self) -> None:
        """Leave."""
        self.answer.close()
        self.connection.close()


def test_followers_are_bounded_and_forgotten(operated: Operated) -> None:
    node = operated.control
    with contextlib.ExitStack() as stack:
        followers = []
        for _ in range(17):
            followers.append(Follower(node))
            stack.callback(followers[-1].close)
        assert [one.first.get("error", "") for one in followers if "error" in one.first] == [
            "16 readers of logs are served already"
        ]

    def one_more() -> bool:
        follower = Follower(node)
        follower.close()
        return "error" not in follower.first

    wait_for(one_more, "those that have left are forgotten", 10)


def test_a_follower_hears_of_nodes_that_go(operated: Operated) -> None:
    """Ends a control node and the data node."""
    follower = Follower(operated.control)
    try:
        operated.control.traefikee(f"deploy {HTTP}")
        number = operated.json("history -n 1")[0]["number"]
        heard = follower.until("snapshot applied", "data-node-1")
        assert heard["component"] == "data"
        gone = operated.cluster.control["control-node-3"]
        gone.process.kill9()
        assert follower.until("", gone.name)
        data = operated.cluster.data["data-node-1"]
        # By now it may have looked for another control node: it is heard of through that one.
        operated.control.traefikee(f"rollback {number - 1}")
        follower.until("snapshot applied", data.name)
        data.process.terminate()
        data.process.wait()
        wait_for(lambda: operated.control.status()[data.name] == "DOWN", "the data node is DOWN", 20)
        done = operated.control.place.run("traefikee logs --tail 3")
        assert done.returncode == 0
        assert done.stdout.count("\n") == 3
        assert f"{data.name}: it is DOWN" in done.stderr
        assert "no lines of data-node-1" in operated.fails("logs --node data-node-1").splitlines()[-1]
    finally:
        follower.close()
