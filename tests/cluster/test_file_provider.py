"""Frontends from files behind a real cluster: read where `deploy` runs, and followed where that is asked for.

The tests share a cluster of one control node and one data node, and run in their order. The files are in the control
node's folder, where its own copy of them is watched.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.nodes import Cluster, Node
from tests.cluster.places import Local
from tests.support.http1 import get
from tests.support.origin import Origin
from tests.support.wait import wait_for

StartOrigin = Callable[[str], Origin]

ENTRY_POINTS = "--entryPoints='Name:http Address::8000'"
WITHIN = 3.0
"""Seconds in which a change of a watched file is in force."""

RULES = """\
[backends.app.servers.one]
url = "{url}"
[frontends.app]
backend = "app"
[frontends.app.routes.main]
rule = "Host:{host}"
"""

ROUTERS = """\
http:
  routers:
    api:
      rule: (Host(`api.example`) || Host(`www.example`)) && PathPrefix(`/v1`) && !Header(`X-Old`, `1`)
      service: new
      middlewares: [strip, told]
    rest:
      rule: HostRegexp(`^(api|www)\\.example$`)
      service: old@file
  services:
    new: {{loadBalancer: {{servers: [{{url: "{new}"}}]}}}}
    old: {{loadBalancer: {{servers: [{{url: "{old}"}}]}}}}
  middlewares:
    strip: {{stripPrefix: {{prefixes: [/v1]}}}}
    told: {{headers: {{customResponseHeaders: {{X-Told: "yes"}}}}}}
"""


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
def origin() -> Iterator[StartOrigin]:
    """Starts origins that stay until the last test."""
    made: list[Origin] = []

    def start(name: str) -> Origin:
        made.append(Origin(name))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.fixture
def data(cluster: Cluster) -> Node:
    """The data node."""
    return cluster.data["data-node-1"]


@pytest.fixture
def folder(cluster: Cluster) -> Path:
    """Where `deploy` runs."""
    place = cluster.any_control().place
    assert isinstance(place, Local)
    return place.folder


def deploy(cluster: Cluster, options: str) -> str:
    """Deploy, which has to succeed; everything that is printed."""
    return cluster.any_control().traefikee(f"deploy {ENTRY_POINTS} {options} 2>&1")


def served_by(data: Node, host: str, target: str = "/", *headers: str) -> str | None:
    """The origin that answers, or None where there is no route."""
    answer = get(data.address, 8000, target, host, "GET", *headers)
    assert answer.status in {200, 404}
    return answer.header("X-Origin") if answer.status == 200 else None


def errors(cluster: Cluster) -> dict[str, Any]:
    """`/api/errors` of the control node's dashboard."""
    answer = httpx.get(f"http://{cluster.any_control().address}:8080/api/errors", trust_env=False)
    content: dict[str, Any] = answer.raise_for_status().json()
    return content


def test_frontends_of_a_file_are_served(cluster: Cluster, data: Node, folder: Path, origin: StartOrigin) -> None:
    rules = folder / "rules.toml"
    rules.write_text(RULES.format(url=origin("one").url, host="a.example") + '[frontends.bad]\nbackend = "ap"\n')
    printed = deploy(cluster, "--file.filename=rules.toml")
    assert "file: 1 frontend, 1 backend." in printed
    assert 'error: rules.toml:8: frontend "file/bad": backend "ap" is not defined; did you mean "app"?' in printed
    assert served_by(data, "a.example") == "one", "deploy returns when the data nodes have it"
    (told,) = errors(cluster)["objects"]
    assert (told["where"], told["name"], told["severity"]) == ("rules.toml:8", "bad", "error")
    # Nobody needs the file any more.
    rules.unlink()


def test_the_next_leader_has_what_was_deployed(cluster: Cluster, data: Node) -> None:
    """Relies on the test before: the file is gone, and the error in it is told again with its line."""
    control = cluster.any_control()
    before = errors(cluster)["providers"]["file"]["since"]
    control.process.kill9()
    control.process.wait()
    cluster.restart(control.name)

    def told() -> bool:
        content = errors(cluster)
        (found,), status = content["objects"], content["providers"]["file"]
        return bool(status["since"] > before and status["state"] == "ok" and found["where"] == "rules.toml:8")

    wait_for(told, "the leader has read the deployed files", 60)
    assert served_by(data, "a.example") == "one"


def test_what_cannot_be_read_changes_nothing(cluster: Cluster, data: Node, folder: Path) -> None:
    """Relies on the test before."""
    (folder / "rules.toml").write_text("[backends.app\n")
    for options, code, wanted in (
        ("--file.filename=rules.toml", 2, "rules.toml:1: is not TOML"),
        ("--file.filename=missing.toml", 2, "missing.toml: there is no such file or directory"),
        ("--file.directory=missing", 2, "missing: there is no such file or directory"),
    ):
        done = cluster.any_control().place.run(f"traefikee deploy {ENTRY_POINTS} {options}")
        assert (done.returncode, done.stdout) == (code, "")
        assert wanted in done.stderr
    assert served_by(data, "a.example") == "one"


def test_a_watched_file_is_followed(cluster: Cluster, data: Node, folder: Path, origin: StartOrigin) -> None:
    """Relies on the tests before."""
    one, two = origin("first"), origin("second")
    rules = folder / "rules.toml"
    rules.write_text(RULES.format(url=one.url, host="w.example"))
    deploy(cluster, "--file.filename=rules.toml --file.watch")
    assert served_by(data, "w.example") == "first"
    rules.write_text(RULES.format(url=two.url, host="w.example"))
    wait_for(lambda: served_by(data, "w.example") == "second", "the change is in force", WITHIN)
    rules.write_text("[backends.app\n")

    def told() -> bool:
        status = errors(cluster)["providers"]["file"]
        return status["state"] == "error" and "rules.toml:1: is not TOML" in status["message"]

    wait_for(told, "the broken file is told", WITHIN)
    assert served_by(data, "w.example") == "second", "the last good configuration stays"
    rules.write_text(RULES.format(url=one.url, host="w2.example"))
    wait_for(lambda: served_by(data, "w2.example") == "first", "the mended file is in force", WITHIN)
    assert errors(cluster)["providers"]["file"]["state"] == "ok"
    rules.unlink()
    wait_for(lambda: errors(cluster)["providers"]["file"]["state"] == "error", "the missing file is told", WITHIN)
    assert served_by(data, "w2.example") == "first"


def test_routers_of_a_directory_are_served(cluster: Cluster, data: Node, folder: Path, origin: StartOrigin) -> None:
    """Relies on the tests before: what a file said that is not deployed any more is gone."""
    new, old = origin("new"), origin("old")
    (folder / "conf/sub").mkdir(parents=True)
    (folder / "conf/a.toml").write_text(RULES.format(url=old.url, host="plain.example"))
    (folder / "conf/sub/b.yaml").write_text(ROUTERS.format(new=new.url, old=old.url))
    printed = deploy(cluster, "--file.directory=conf")
    assert "file: 1 frontend, 3 backends, 2 routers." in printed
    assert served_by(data, "w2.example") is None
    assert served_by(data, "plain.example") == "old"
    for host in ("api.example", "www.example"):
        assert served_by(data, host, "/v1/x") == "new"
        assert served_by(data, host, "/v1/x", "X-Old: 1") == "old"
        assert served_by(data, host, "/other") == "old"
    assert new.requests[-1].path == "/x"
    assert get(data.address, 8000, "/v1/x", "api.example").header("X-Told") == "yes"


def test_tables_of_the_configuration_file_itself(
    cluster: Cluster, data: Node, folder: Path, origin: StartOrigin
) -> None:
    """Relies on the tests before."""
    static = '[entryPoints.http]\naddress = ":8000"\n[file]\n'
    (folder / "traefik.toml").write_text(static + RULES.format(url=origin("own").url, host="own.example"))
    control = cluster.any_control()
    plan = control.traefikee("deploy -c traefik.toml --dry-run")
    assert "~ file.content: content with SHA-256" in plan
    assert served_by(data, "own.example") is None
    control.traefikee("deploy -c traefik.toml")
    assert served_by(data, "own.example") == "own"
    assert control.traefikee("deploy -c traefik.toml --dry-run").startswith("No change against")


def test_files_of_another_machine(cluster: Cluster, data: Node, places: list[Local], origin: StartOrigin) -> None:
    """Relies on the tests before: the files are read where `traefikeectl` runs."""
    control = cluster.any_control()
    assert isinstance(control.place, Local)
    remote = Local("remote")
    places.append(remote)
    connect = (
        f"--onpremise.mtlscertsdir={control.place.folder}/.traefikee --onpremise.apiaddress={control.address}:55055"
    )
    remote.check(f"traefikeectl connect {connect}")
    (remote.folder / "remote.toml").write_text(RULES.format(url=origin("far").url, host="far.example"))
    remote.check(f"traefikeectl deploy {ENTRY_POINTS} --file.filename=remote.toml")
    assert served_by(data, "far.example") == "far"
