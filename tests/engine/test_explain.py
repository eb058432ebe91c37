"""What is explained is what is served: the same engine is asked, and is sent the request."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import Router
from tests.support.engine import EngineProcess
from tests.support.http1 import get
from tests.support.snapshots import entry_point, route, service, snapshot
from tests.support.views import file_view, view
from traefikee.api.explaining import ExplainRequest, choose_entry_point, explained, question
from traefikee.api.view import View
from traefikee.cli.show import request_of
from traefikee.errors import RefusedError
from traefikee.node.engine import Engine, SnapshotRefusedError

Json = dict[str, Any]


def host(name: str) -> Json:
    return {"type": "host", "hosts": [name]}


def prefix(text: str) -> Json:
    return {"type": "path_prefix", "prefixes": [{"exact": text}]}


ROUTES = (
    route([host("a.example"), prefix("/api")], id="p/api", modifiers=[{"type": "strip_prefix", "prefixes": ["/api"]}]),
    route([host("a.example"), {"type": "method", "methods": ["PUT"]}], id="p/put"),
    route([host("a.example"), {"type": "headers", "pairs": [["X-A", "1"]]}], id="p/header"),
    route([{"type": "path", "paths": [{"exact": "/x/"}], "redirect_slash": True}], id="p/slash"),
    route(
        [{"type": "host_regexp", "patterns": [r"(?i)^[^.]+\.b\.example$"]}],
        id="p/pattern",
        modifiers=[{"type": "replace_path", "path": "/replaced"}],
    ),
    route([host("a.example")], id="p/last"),
)


@pytest.mark.parametrize(
    ("method", "name", "target", "headers", "winner"),
    [
        ("GET", "a.example", "/api/y?q=1", [], "p/api"),
        ("GET", "A.EXAMPLE:80", "/apix", [], "p/api"),
        ("PUT", "a.example", "/y", [], "p/put"),
        ("GET", "a.example", "/y%2Fz", ["X-A: 1"], "p/header"),
        ("GET", "a.example", "/x/", [], "p/slash"),
        ("GET", "c.example", "/x?q", [], "p/slash"),
        ("GET", "x.b.example", "/y", [], "p/pattern"),
        ("GET", "a.example", "/", [], "p/last"),
        ("GET", "x.y.b.example", "/y", [], None),
        ("GET", "c.example", "/%zz", [], None),
    ],
)
def test_a_request_is_served_as_it_is_explained(
    router: Router, method: str, name: str, target: str, headers: list[str], winner: str | None
) -> None:
    made = snapshot(
        [entry_point(f"{router.address}:{router.port}")], list(ROUTES), [service(router.origin.url)], revision=2
    )
    router.engine.apply(made)
    request = {
        "entry_point": "http", "method": method, "target": target, "host": name,
        "headers": [header.split(": ") for header in headers], "client_ip": "127.0.0.1", "tls": False,
    }  # fmt: skip
    explanations = [
        router.engine.control.post("/explain", json={"request": request, "snapshot": own}).raise_for_status().json()
        for own in (None, made)
    ]
    assert explanations[0] == explanations[1]
    (told, _) = explanations
    assert (told["route"]["id"] if told["route"] else None) == winner
    answer = get(router.address, router.port, target, name, method, *headers)
    if told["outcome"] == "forward":
        assert answer.status == 200
        (seen,) = router.origin.requests
        assert seen.path == told["target"]
        assert [seen.header(field) for field, _ in told["fields"]] == [value for _, value in told["fields"]]
    else:
        assert (answer.status, answer.header("Location")) == (told["status"], told.get("location"))


def ask(folder: Path, asked: ExplainRequest, keys: dict[str, str]) -> Json:
    """What a control node tells about keys, asking the engine of this folder."""
    return ask_of(folder, asked, view(keys))


def ask_of(folder: Path, asked: ExplainRequest, seen: View) -> Json:
    """What a control node tells about what it has published, asking the engine of this folder."""

    async def run() -> Json:
        engine = Engine(folder / "control.sock")
        try:
            answer = await engine.explain(question(seen, asked, choose_entry_point(seen, asked)))
        finally:
            await engine.close()
        return explained(seen, asked, answer)

    return asyncio.run(run())


KEYS = {
    "backends/app/servers/one/url": "http://10.0.0.7:8080",
    "frontends/web/backend": "app",
    "frontends/web/routes/a/rule": "Host:a.example;PathPrefixStrip:/api",
    "frontends/web/whitelist/sourcerange": "10.0.0.0/8",
    "frontends/web/ratelimit/extractorfunc": "client.ip",
    "frontends/web/ratelimit/rateset/r/period": "1",
    "frontends/web/ratelimit/rateset/r/average": "10",
    "frontends/web/ratelimit/rateset/r/burst": "20",
    "frontends/any/backend": "app",
    "frontends/any/routes/a/rule": "HostRegexp:{sub:[a-z]+}.example;PathPrefix:/",
    "frontends/post/backend": "app",
    "frontends/post/routes/a/rule": "Host:a.example;Method:POST;Path:/{id:[0-9]+}",
}


def asked(url: str, method: str = "GET", **more: Any) -> ExplainRequest:
    return ExplainRequest.model_validate(request_of(method, url) | more)


def test_what_is_published_is_explained_without_being_in_force(engine: EngineProcess, tmp_path: Path) -> None:
    told = ask(tmp_path, asked("https://a.example/api/x", client_ip="10.1.2.3"), KEYS)
    assert told["sentence"] == 'goes through frontend "consul/any" to backend "consul/app", if auth.basic lets it'
    assert [(one["name"], one["reason"]) for one in told["lost"]] == [
        ("consul/web", "its priority is lower: 35 against 44")
    ]
    assert [(one["name"], one["matcher"]) for one in told["missing"]] == [("consul/post", "Method:POST")]
    assert told["request"]["entry_point"] == "https"
    assert engine.status()["revision"] is None


def test_middlewares_answer_before_and_after_the_route_is_found(engine: EngineProcess, tmp_path: Path) -> None:
    keys = KEYS | {"frontends/web/priority": "99"}
    assert ask(tmp_path, asked("http://a.example/api/x"), keys)["sentence"] == (
        'answered 302 by redirect of entry point "http", to https://a.example:443/api/x'
    )
    assert ask(tmp_path, asked("https://a.example/api/x", client_ip="192.0.2.1"), keys)["sentence"] == (
        'answered 403 by whiteList of frontend "consul/web"'
    )
    inside = ask(tmp_path, asked("https://a.example/api/x", client_ip="10.1.2.3"), keys)
    assert inside["sentence"] == (
        'goes through frontend "consul/web" to backend "consul/app", if auth.basic and ratelimit let it'
    )
    assert inside["targetAtServer"] == "/x"


ROUTERS = """\
http:
  routers:
    either:
      rule: Host(`a.example`) && (PathPrefix(`/api`) || Header(`X-A`, `1`)) && !Path(`/api/no`)
      service: web
      priority: 99
      entryPoints: [https]
    near:
      rule: ClientIP(`10.0.0.0/8`)
      service: web
      entryPoints: [https]
  services:
    web: {loadBalancer: {servers: [{url: "http://10.0.0.7"}]}}
"""

HEADER, NOT = ("file/either#2", "Headers:X-A,1"), "not Path:/api/no"


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    ("path", "headers", "client", "names", "missing"),
    [
        ("/api/x", [], "10.1.2.3", ["file/either", "file/near"], [HEADER]),
        ("/", [["X-A", "1"]], "10.1.2.3", ["file/either#2", "file/near"], [("file/either", "PathPrefix:/api")]),
        ("/api/x", [], "192.0.2.1", ["file/either"], [HEADER, ("file/near", "ClientIP:10.0.0.0/8")]),
        ("/api/no", [["X-A", "1"]], "10.1.2.3", ["file/near"], [("file/either", NOT), ("file/either#2", NOT)]),
    ],
)
def test_routers_are_explained_alternative_by_alternative(
    tmp_path: Path, path: str, headers: list[list[str]], client: str, names: list[str], missing: list[tuple[str, str]]
) -> None:
    question = asked(f"https://a.example{path}", headers=headers, client_ip=client)
    told = ask_of(tmp_path, question, file_view(ROUTERS))
    assert [told["frontend"]["name"], *(one["name"] for one in told["lost"])] == names
    assert [(one["name"], one["matcher"]) for one in told["missing"]] == missing


def test_a_question_that_cannot_be_asked(engine: EngineProcess, tmp_path: Path) -> None:
    del engine

    async def run(body: bytes) -> None:
        client = Engine(tmp_path / "control.sock")
        try:
            await client.explain(body)
        finally:
            await client.close()

    with pytest.raises(RefusedError, match="the body is no question"):
        asyncio.run(run(b"{}"))
    body = question(view(KEYS), asked("https://a/"), "https").replace(b'"service":"consul/app"', b'"service":"gone"')
    with pytest.raises(SnapshotRefusedError, match="there is no service gone"):
        asyncio.run(run(body))
