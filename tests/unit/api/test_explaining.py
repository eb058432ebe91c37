"""Where a request goes, in an operator's words. What the engine says is taken as given; the real one is asked in
tests/engine/test_explain.py."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support.views import view

from traefikee.api.explaining import ExplainRequest, choose_entry_point, explained, matcher_text, question
from traefikee.api.view import View
from traefikee.cli.show import explanation, request_of
from traefikee.errors import RefusedError, UsageError

KEYS = {
    "backends/app/servers/one/url": "http://10.0.0.7:8080",
    "backends/app/servers/two/url": "http://10.0.0.8:8080",
    "backends/app/healthcheck/path": "/health",
    "backends/empty/healthcheck/path": "/health",
    "frontends/web/backend": "app",
    "frontends/web/routes/a/rule": "Host:a.example;PathPrefixStrip:/api",
    "frontends/web/auth/basic/users": "test:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
    "frontends/all/backend": "app",
    "frontends/all/routes/a/rule": "PathPrefix:/",
    "frontends/put/backend": "app",
    "frontends/put/routes/a/rule": "Host:a.example;Method:PUT",
    "frontends/wrong/backend": "app",
    "frontends/wrong/routes/a/rule": "Hots:a.example",
}
NOTHING: dict[str, Any] = {"routes": [], "more": 0}


def asked(url: str, method: str = "GET", **more: Any) -> ExplainRequest:
    return ExplainRequest.model_validate(request_of(method, url) | more)


def answer(outcome: str, **fields: Any) -> dict[str, Any]:
    """An answer of the engine."""
    request = {
        "entry_point": "http",
        "scheme": "http",
        "method": "GET",
        "host": "a.example",
        "path": "/api/x",
        "query": None,
    }
    return {
        "outcome": outcome, "revision": 7, "request": request, "route": None, "middlewares": [],
        "matching": NOTHING, "missing": NOTHING, "elsewhere": [], **fields,
    }  # fmt: skip


def route(name: str = "web", backend: str = "app", priority: int = 35) -> dict[str, Any]:
    return {
        "id": f"consul/{name}",
        "service": f"consul/{backend}",
        "priority": priority,
        "servers": [],
        "pass_host_header": True,
    }


FORWARD = answer(
    "forward",
    route=route(),
    target="/x",
    fields=[["X-Forwarded-Prefix", "/api"]],
    middlewares=[
        {"at": "entry_point", "type": "compress", "result": "passes"},
        {"at": "route", "type": "basic_auth", "result": "not_asked"},
    ],
    matching={
        "routes": [
            {"id": "consul/web", "priority": 35, "redirect_slash": False},
            {"id": "consul/webb", "priority": 35, "redirect_slash": False},
            {"id": "consul/all", "priority": 12, "redirect_slash": False},
        ],
        "more": 4,
    },
    missing={
        "routes": [
            {"id": "consul/put", "priority": 25, "index": 1, "matcher": {"type": "method", "methods": ["PUT"]}},
        ],
        "more": 0,
    },
)


def test_what_is_printed() -> None:
    seen = view(KEYS, down={"consul/app": {"http://10.0.0.8:8080": ("data-1", "data-2")}})
    url = "http://a.example/api/x"
    lines = explanation("GET", url, explained(seen, asked(url), FORWARD))
    assert (
        "\n".join(lines)
        == """\
GET http://a.example/api/x on entry point "http", by snapshot 7:
  goes through frontend "consul/web" to backend "consul/app", if auth.basic lets it

Frontend consul/web
  from        traefik/frontends/web
  rule        Host:a.example;PathPrefixStrip:/api (priority 35)
  middleware  compress of the entry point: lets it pass
  middleware  auth.basic: not asked
  path        /api/x becomes /x; X-Forwarded-Prefix: /api
  backend     consul/app
  server      http://10.0.0.7:8080 (weight 1), up
  server      http://10.0.0.8:8080 (weight 1), down on data-1, data-2

Matching too
  consul/webb  of the same priority, 35, and its name comes after "consul/web"
  consul/all   its priority is lower: 12 against 35                             PathPrefix:/
  and 4 more

Not matching, though the host does
  consul/put  Method:PUT: the method is GET  Host:a.example;Method:PUT

Left out for an error, and perhaps meant
  consul/wrong: route "a": unknown matcher "Hots"; did you mean "Host"? [traefik/frontends/wrong/routes/a/rule]"""
    )


def test_a_frontend_on_another_entry_point_is_told_if_none_takes_the_request() -> None:
    said = answer("no_route", status=404, elsewhere=[{"entry_point": "https", "id": "consul/web"}])
    url = "http://a.example/api/x"
    found = explained(view(KEYS), asked(url), said)
    assert found["elsewhere"] == [{"entryPoint": "https", "name": "consul/web"}]
    lines = explanation("GET", url, found)
    where = lines.index("On other entry points it would be taken by")
    assert lines[where + 1] == "  consul/web on https"


def test_a_frontend_that_the_request_does_not_reach_is_told_as_such() -> None:
    redirect = {"at": "entry_point", "type": "redirect_entry_point", "result": "answers", "status": 302}
    said = answer("middleware", status=302, location="https://a/", route=route(), middlewares=[redirect])
    url = "http://a.example/api/x"
    lines = explanation("GET", url, explained(view(KEYS), asked(url), said))
    assert "Frontend consul/web, which the request does not reach" in lines
    assert "  middleware  redirect of the entry point: answers 302" in lines


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (answer("no_route", status=404), "answered 404: no frontend matches"),
        (
            answer("no_route", status=404, route=route()),
            'answered 404: frontend "consul/web" takes it, but the path does not begin with what its rule strips',
        ),
        (
            answer("redirect_slash", status=301, location="/x/", route=route()),
            'redirected (301) to /x/: frontend "consul/web" has this path with its last slash the other way',
        ),
        (answer("ping", status=200), "answered by the data node itself: /ping"),
        (answer("refused", status=400, reason="no Host", request=None), "answered 400: no Host"),
        (
            answer(
                "middleware",
                status=302,
                location="https://a.example/",
                middlewares=[{"at": "entry_point", "type": "redirect_entry_point", "result": "answers", "status": 302}],
            ),
            'answered 302 by redirect of entry point "http", to https://a.example/',
        ),
        (
            answer(
                "middleware",
                status=403,
                route=route(),
                middlewares=[{"at": "route", "type": "white_list", "result": "answers", "status": 403}],
            ),
            'answered 403 by whiteList of frontend "consul/web"',
        ),
        (
            answer("forward", route=route("web", "gone")),
            'answered 503: frontend "consul/web" takes it, but backend "consul/gone" has no server',
        ),
    ],
)
def test_sentences(said: dict[str, Any], sentence: str) -> None:
    found = explained(view(KEYS), asked("http://a.example/"), said)
    assert found["sentence"] == sentence
    # It can be printed whatever it is.
    assert sentence in "\n".join(explanation("GET", "http://a.example/", found))


def test_a_backend_that_is_down_everywhere() -> None:
    down = {"consul/app": {f"http://10.0.0.{number}:8080": ("data-1",) for number in (7, 8)}}
    found = explained(view(KEYS, down=down), asked("http://a.example/"), FORWARD)
    assert (
        found["sentence"]
        == 'answered 503: frontend "consul/web" takes it, but every server of backend "consul/app" is down'
    )


@pytest.mark.parametrize(
    ("url", "more", "expected"),
    [
        ("http://a.example/", {}, "http"),
        ("https://a.example/", {}, "https"),
        ("http://a.example:443/", {}, "https"),
        ("https://a.example:8443/", {}, "https"),
        ("https://a.example/", {"entry_point": "http"}, "http"),
    ],
)
def test_the_entry_point(url: str, more: dict[str, str], expected: str) -> None:
    assert choose_entry_point(view(KEYS), asked(url, **more)) == expected


def test_an_entry_point_that_cannot_be_told() -> None:
    static = (("entryPoints", "Name:a Address::81"), ("entryPoints", "Name:b Address::82"))
    with pytest.raises(RefusedError, match="name it with --entry-point: a, b"):
        choose_entry_point(view({}, static), asked("http://x/"))
    with pytest.raises(RefusedError, match=r'no entry point "c" \(there are: a, b\)'):
        choose_entry_point(view({}, static), asked("http://x/", entry_point="c"))
    with pytest.raises(RefusedError, match="nothing is in force yet"):
        choose_entry_point(View(), asked("http://x/"))


def test_the_question_has_the_request_and_the_snapshot_without_certificates() -> None:
    url = "https://A.example:8443/x y/%2f?q=ä"
    made = json.loads(question(view(KEYS), asked(url, headers=[["X-A", "1"], ["host", "b.example"]]), "https"))
    assert made["request"] == {
        "entry_point": "https", "method": "GET", "target": "/x%20y/%2f?q=%C3%A4", "host": "b.example",
        "headers": [["X-A", "1"]], "client_ip": "127.0.0.1", "tls": True,
    }  # fmt: skip
    snapshot = made["snapshot"]
    assert (snapshot["revision"], snapshot["certificates"], snapshot["settings"]["ticket_keys"]) == (7, [], [])
    assert [point["tls"] for point in snapshot["entry_points"]] == [None, None]
    assert [one["id"] for one in snapshot["routes"]] == ["consul/web", "consul/put", "consul/all"]


@pytest.mark.parametrize(
    ("matcher", "expected"),
    [
        ({"type": "path", "paths": [{"exact": "/a"}, {"regexp": "^/b$"}], "redirect_slash": True}, "Path:/a,^/b$"),
        ({"type": "path_prefix", "prefixes": [{"exact": "/a"}]}, "PathPrefix:/a"),
        ({"type": "headers", "pairs": [["X-A", "1"]]}, "Headers:X-A,1"),
        ({"type": "headers_regexp", "pairs": [["X-A", "^1"]]}, "HeadersRegexp:X-A,^1"),
        ({"type": "query", "pairs": [{"key": "a", "exact": "b"}, {"key": "c", "present": True}]}, "Query:a=b,c="),
        (None, ""),
    ],
)
def test_matchers_read_as_rules(matcher: dict[str, Any] | None, expected: str) -> None:
    assert matcher_text(matcher) == expected


@pytest.mark.parametrize(
    ("method", "url", "headers", "error"),
    [
        ("G T", "http://a/", (), "is not a method"),
        ("GET", "a.example/x", (), "is not a URL"),
        ("GET", "ftp://a/", (), "is not a URL"),
        ("GET", "http://", (), "is not a URL"),
        ("GET", "http://me:secret@a/", (), "is not a URL"),
        ("GET", "http://a:port/", (), "is not a URL"),
        ("GET", "http://a/", ("X-A",), "is not a header"),
        ("GET", "http://a/", ("X A: b",), "is not a header"),
        ("GET", "http://a/", ("X-A: b\r\nX-B: c",), "is not a header"),
    ],
)
def test_requests_that_cannot_be_meant(method: str, url: str, headers: tuple[str, ...], error: str) -> None:
    with pytest.raises(UsageError, match=error):
        request_of(method, url, headers)


def test_requests_as_a_client_would_send_them() -> None:
    assert request_of("get", "https://A.example", ("X-A:b", "X-Empty:")) == {
        "method": "GET", "scheme": "https", "host": "a.example", "port": 443, "target": "/",
        "headers": [("X-A", "b"), ("X-Empty", "")],
    }  # fmt: skip
    assert request_of("GET", "http://[::1]:81/x?y#z")["host"] == "[::1]:81"
    assert request_of("GET", "http://[::1]:81/x?y#z")["target"] == "/x?y"
