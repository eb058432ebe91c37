"""What an operator asks of a running cluster: its configuration, its frontends, and where a request goes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.nodes import Cluster
from tests.cluster.places import Local, routes
from tests.support.consul import Consul
from tests.support.http1 import get
from tests.support.origin import Origin
from tests.support.wait import wait_for

PREFIX = "shown"
DEPLOY = (
    "deploy --entryPoints='Name:http Address::8000' --entryPoints='Name:inside Address::8001 Redirect.EntryPoint:http'"
    f" --defaultentrypoints=http --api --consul.prefix={PREFIX} --consul.username=me --consul.password=secretword"
)


class Shown:
    """A control node, a data node and keys: two servers, of which one is down."""

    def __init__(self, folder: Path) -> None:
        self.cluster = Cluster(Local)
        self.consul = Consul(folder)
        self.up, self.down = Origin("up"), Origin("down")
        self.down.statuses["/health"] = 500

    def start(self) -> str:
        """Start it; returns what the deployment printed."""
        self.consul.start()
        self.cluster.form(control=1, data=1)
        keys = {
            **routes("app", "Host:a.example;PathPrefixStrip:/api", self.up.url, self.down.url),
            "backends/app/healthcheck/path": "/health",
            "backends/app/healthcheck/interval": "1s",
            "frontends/app/whitelist/sourcerange": "127.0.0.0/8",
            **routes("all", "PathPrefix:/", self.up.url),
            **routes("put", "Host:a.example;Method:PUT", self.up.url),
            **routes("wrong", "Hots:a.example", self.up.url),
        }
        self.consul.put_all({f"{PREFIX}/{key}": value for key, value in keys.items()})
        done = self.place.run(f"traefikee {DEPLOY} --consul.endpoint={self.consul.endpoint}")
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    @property
    def place(self) -> Local:
        """Where the control node runs."""
        place = self.cluster.control["control-node-1"].place
        assert isinstance(place, Local)
        return place

    def json(self, line: str, command: str = "traefikee") -> Any:
        """What a command prints as JSON."""
        return json.loads(self.place.check(f"{command} {line} -o json"))

    def cleanup(self) -> None:
        """End all of it."""
        self.cluster.destroy()
        self.consul.cleanup()
        self.up.close()
        self.down.close()


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """One for all tests of this file."""
    made = Shown(tmp_path_factory.mktemp("consul"))
    try:
        printed = made.start()
        assert f"[{PREFIX}/frontends/wrong/routes/main/rule]" in printed, "deploy names the key that causes an error"
        yield made
    finally:
        made.cleanup()


def test_frontends_with_the_health_of_their_servers(shown: Shown) -> None:
    def rows() -> Any:
        found = {row["name"]: row for row in shown.json("routes")}
        return found if found["consul/app"]["servers"]["up"] == 1 else None

    found = wait_for(rows, "the data node has reported that a server is down", 30)
    assert list(found) == ["consul/all", "consul/app", "consul/put", "consul/wrong"]
    assert found["consul/app"]["servers"] == {"total": 2, "up": 1}
    assert found["consul/all"]["servers"] == {"total": 1, "up": None}
    assert (found["consul/app"]["middlewares"], found["consul/app"]["entryPoints"]) == (["whiteList"], ["http"])
    printed = shown.place.check("traefikee routes --errors").splitlines()
    assert [line.split()[0] for line in printed[2:]] == ["consul/wrong", "error:"]
    assert printed[3].startswith('error: consul/wrong: route "main": unknown matcher "Hots"')
    assert printed[3].endswith(f"[{PREFIX}/frontends/wrong/routes/main/rule]")
    objects = httpx.get(f"http://{shown.place.address}:8080/api/errors", trust_env=False).json()["objects"]
    assert [one["key"] for one in objects] == [f"{PREFIX}/frontends/wrong/routes/main/rule"]


def test_the_configuration_and_where_it_comes_from(shown: Shown) -> None:
    printed = shown.place.check("traefikee config show")
    assert "secretword" not in printed
    found = shown.json("config show")
    assert found["static"]["number"] == 1
    assert "--consul.password=***" in found["static"]["command"]
    assert found["static"]["configuration"]["consul"]["prefix"] == PREFIX
    frontends = found["dynamic"]["consul"]["frontends"]
    assert {name: (one["from"], one["state"]) for name, one in frontends.items()} == {
        name: (f"{PREFIX}/frontends/{name}", "error" if name == "wrong" else "ok")
        for name in ("all", "app", "put", "wrong")
    }
    assert list(found["merged"]["frontends"]) == ["consul/all", "consul/app", "consul/put"]


@pytest.mark.parametrize("command", ["traefikee", "traefikeectl"])
def test_where_a_request_goes_is_where_it_is_served(shown: Shown, command: str) -> None:
    if command == "traefikeectl":
        api = f"{shown.place.address}:55055"
        shown.place.check(f"traefikeectl connect --onpremise.mtlscertsdir=.traefikee --onpremise.apiaddress={api}")
    data = shown.cluster.data["data-node-1"].address
    url = "http://a.example:8000"
    app = shown.json(f"explain GET {url}/api/x", command)
    assert app["frontend"]["name"] == "consul/app"
    assert [one["name"] for one in app["lost"]] == ["consul/all"]
    assert [(one["name"], one["matcher"]) for one in app["missing"]] == [("consul/put", "Method:PUT")]
    assert [one["name"] for one in app["leftOut"]] == ["consul/wrong"]
    assert get(data, 8000, "/api/x", "a.example").header("X-Origin") == "up"
    assert shown.up.last().path == app["targetAtServer"] == "/x"

    refused = shown.json(f"explain GET {url}/api/x --client-ip 192.0.2.1", command)
    assert (refused["outcome"], refused["status"]) == ("middleware", 403)

    sent = shown.json(f"explain GET {url.replace('8000', '8001')}/y", command)
    answer = get(data, 8001, "/y", "a.example:8001")
    assert (sent["status"], sent["location"]) == (answer.status, answer.header("Location"))
    assert answer.status == 302

    inside = shown.json("explain GET http://a.example/api/x --entry-point inside", command)
    assert inside["elsewhere"] == [{"entryPoint": "http", "name": "consul/app"}]

    printed = shown.place.check(f"{command} explain PUT {url}/y -H 'X-A: 1'")
    assert 'goes through frontend "consul/put" to backend "consul/put"' in printed


def test_an_entry_point_that_is_not_there(shown: Shown) -> None:
    done = shown.place.run("traefikee explain GET http://a.example/ --entry-point nowhere")
    assert done.returncode == 1
    assert done.stderr == 'Error: there is no entry point "nowhere" (there are: http, inside)\n'
