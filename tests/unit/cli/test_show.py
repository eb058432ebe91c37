"""`config show`, `routes` and `explain`: what is asked of a control node, and what is printed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click
import pytest
import yaml
from tests.support.views import view

from traefikee.api.explaining import ExplainRequest, explained
from traefikee.api.shown_configuration import configuration_document
from traefikee.api.shown_routes import routes_document
from traefikee.cli import client as clients
from traefikee.cli import remote
from traefikee.cli.main import traefikee
from traefikee.cli.remote import traefikeectl

Run = Callable[..., tuple[int, str, str]]

KEYS = {
    "backends/app/servers/one/url": "http://10.0.0.7:8080",
    "frontends/web/backend": "app",
    "frontends/web/routes/a/rule": "Host:a.example",
    "frontends/wrong/backend": "app",
    "frontends/wrong/routes/a/rule": "Hots:a.example",
}
NO_ROUTE = {
    "outcome": "no_route", "status": 404, "revision": 7, "route": None, "middlewares": [],
    "request": {"entry_point": "http", "scheme": "http", "method": "GET", "host": "x", "path": "/", "query": None},
    "matching": {"routes": [], "more": 0}, "missing": {"routes": [], "more": 0},
    "elsewhere": [],
}  # fmt: skip


class Answering:
    """Stands for a control node with some keys; keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def get(self, path: str) -> Any:
        self.asked.append(path)
        if path == "/v1/routes":
            return routes_document(view(KEYS))
        return configuration_document(view(KEYS), path.partition("part=")[2])

    def post(self, path: str, body: dict[str, Any]) -> Any:
        self.asked.append((path, body))
        return explained(view(KEYS), ExplainRequest.model_validate_json(json.dumps(body)), NO_ROUTE)


@pytest.fixture
def control(monkeypatch: pytest.MonkeyPatch) -> Answering:
    """The control node that both commands reach."""
    answering = Answering()
    monkeypatch.setattr(clients, "local", lambda _socket: answering)
    monkeypatch.setattr(remote, "saved_client", lambda _name: answering)
    return answering


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line; returns exit code, standard output and standard error."""

    def call(*words: str, command: click.Group = traefikee) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            command.main(list(words), prog_name=command.name)
        streams = capsys.readouterr()
        return int(ended.value.code or 0), streams.out, streams.err

    return call


@pytest.mark.parametrize("command", [traefikee, traefikeectl])
def test_the_configuration_is_yaml_to_read_and_json_to_process(
    run: Run, control: Answering, command: click.Group
) -> None:
    code, out, err = run("config", "show", command=command)
    assert (code, err) == (0, "")
    assert list(yaml.safe_load(out)) == ["static", "dynamic", "merged"]
    code, out, err = run("config", "show", "dynamic", "-o", "json", command=command)
    assert list(json.loads(out)) == ["dynamic"]
    assert control.asked == ["/v1/config?part=", "/v1/config?part=dynamic"]


def test_a_part_that_there_is_not(run: Run, control: Answering) -> None:
    code, out, err = run("config", "show", "dynamics")
    assert (code, out, control.asked) == (2, "", [])
    assert "'static', 'dynamic', 'merged'" in err


@pytest.mark.parametrize("command", [traefikee, traefikeectl])
@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], ["consul/web", "consul/wrong"]),
        (["--errors"], ["consul/wrong"]),
        (["--provider", "consul"], ["consul/web", "consul/wrong"]),
        (["--provider=file"], []),
    ],
)
def test_frontends_are_chosen(
    run: Run, control: Answering, command: click.Group, words: list[str], names: list[str]
) -> None:
    code, out, err = run("routes", *words, "-o", "json", command=command)
    assert (code, err, control.asked) == (0, "", ["/v1/routes"])
    assert [row["name"] for row in json.loads(out)] == names
    printed = run("routes", *words, command=command)[1]
    assert [name for name in ("consul/web", "consul/wrong") if f"\n{name} " in printed] == names
    assert ("[traefik/frontends/wrong/routes/a/rule]" in printed) == ("consul/wrong" in names)


@pytest.mark.parametrize("command", [traefikee, traefikeectl])
def test_a_request_is_explained(run: Run, control: Answering, command: click.Group) -> None:
    words = ["get", "http://x/y?z", "-H", "X-A: 1", "--header=X-B:2", "--entry-point", "http", "--client-ip=10.0.0.1"]
    code, out, err = run("explain", *words, command=command)
    assert (code, err) == (0, "")
    assert out.startswith(
        'GET http://x/y?z on entry point "http", by snapshot 7:\n  answered 404: no frontend matches\n'
    )
    assert control.asked == [
        (
            "/v1/explain",
            {
                "method": "GET", "scheme": "http", "host": "x", "port": 80, "target": "/y?z",
                "headers": [("X-A", "1"), ("X-B", "2")], "entry_point": "http", "client_ip": "10.0.0.1",
            },
        )
    ]  # fmt: skip
    assert json.loads(run("explain", *words, "-o", "json", command=command)[1])["status"] == 404


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["GET"], "missing argument"),
        (["GET", "x"], '"x" is not a URL of a request; write for example http://www.example.com/path'),
        (["GET", "http://x/", "-H", "nothing"], "is not a header"),
        (["GET", "http://x/", "--client-ip=x"], '--client-ip: "x" is not an IP address'),
        (["GET", "http://x/", "--entrypoint=http"], "unknown option --entrypoint; did you mean --entry-point?"),
    ],
)
def test_what_cannot_be_explained(run: Run, control: Answering, words: list[str], error: str) -> None:
    code, out, err = run("explain", *words)
    assert (code, out, control.asked) == (2, "", [])
    assert error in err
