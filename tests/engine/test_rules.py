"""Which route a request takes, and what the server sees of it: one line a case."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.engine import EngineProcess
from tests.support.http1 import get
from tests.support.origin import Origin
from tests.support.ports import loopback_address
from tests.support.snapshots import entry_point, route, service, snapshot

Json = dict[str, Any]


class Table:
    """One engine and two origins for all cases."""

    def __init__(self, engine: EngineProcess) -> None:
        self.engine = engine
        self.address = loopback_address()
        self.origins = {name: Origin(name) for name in ("a", "b")}
        self._revision = 0

    def ask(self, routes: list[Json], target: str, host: str, method: str, headers: list[str]) -> tuple[int, Any]:
        """Status, and the request as the server saw it or, without one, the answer."""
        for origin in self.origins.values():
            origin.record.clear()
        self._revision += 1
        self.engine.apply(
            snapshot(
                [entry_point(f"{self.address}:8000")],
                routes,
                [service(origin.url, id=name) for name, origin in self.origins.items()],
                revision=self._revision,
            )
        )
        answer = get(self.address, 8000, target, host, method, *headers)
        seen = [(name, request) for name, origin in self.origins.items() for request in origin.requests]
        assert len(seen) <= 1
        return answer.status, seen[0] if seen else answer


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Table]:
    engine = EngineProcess(tmp_path_factory.mktemp("engine"))
    made = Table(engine)
    try:
        engine.start()
        yield made
    finally:
        engine.cleanup()
        for origin in made.origins.values():
            origin.close()


def host(*hosts: str) -> Json:
    return {"type": "host", "hosts": list(hosts)}


def host_regexp(*patterns: str) -> Json:
    return {"type": "host_regexp", "patterns": list(patterns)}


def path(*paths: str, redirect: bool = True) -> Json:
    return {"type": "path", "paths": [{"exact": path} for path in paths], "redirect_slash": redirect}


def path_regexp(pattern: str, *, redirect: bool = True) -> Json:
    return {"type": "path", "paths": [{"regexp": pattern}], "redirect_slash": redirect}


def prefix(*prefixes: str) -> Json:
    return {"type": "path_prefix", "prefixes": [{"exact": prefix} for prefix in prefixes]}


def prefix_regexp(pattern: str) -> Json:
    return {"type": "path_prefix", "prefixes": [{"regexp": pattern}]}


def method(*methods: str) -> Json:
    return {"type": "method", "methods": list(methods)}


def header(*pairs: tuple[str, str]) -> Json:
    return {"type": "headers", "pairs": [list(pair) for pair in pairs]}


def header_regexp(*pairs: tuple[str, str]) -> Json:
    return {"type": "headers_regexp", "pairs": [list(pair) for pair in pairs]}


def query(*pairs: Json) -> Json:
    return {"type": "query", "pairs": list(pairs)}


def client_ip(*ranges: str) -> Json:
    return {"type": "client_ip", "ranges": list(ranges)}


def unless(matcher: Json) -> Json:
    return {"type": "not", "matcher": matcher}


A_1 = {"key": "a", "exact": "1"}

# Matcher(s), target, request's host, method, headers, whether it matches.
MATCHES: list[tuple[list[Json], str, str, str, list[str], bool]] = [
    ([], "/", "any.example", "GET", [], True),
    ([host("a.example")], "/", "a.example", "GET", [], True),
    ([host("a.example")], "/", "A.EXAMPLE:8080", "GET", [], True),
    ([host("a.example")], "/", "b.example", "GET", [], False),
    ([host("a.example")], "/", "xa.example", "GET", [], False),
    ([host("a.example", "b.example")], "/", "b.example", "GET", [], True),
    ([host("a.example"), host("b.example")], "/", "b.example", "GET", [], False),
    ([host_regexp(r"^[^.]+\.example$")], "/", "x.example", "GET", [], True),
    ([host_regexp(r"^[^.]+\.example$")], "/", "X.Example:80", "GET", [], True),
    ([host_regexp(r"^[^.]+\.example$")], "/", "x.y.example", "GET", [], False),
    ([path("/x")], "/x", "a", "GET", [], True),
    ([path("/x")], "/x?y=1", "a", "GET", [], True),
    ([path("/x")], "/X", "a", "GET", [], False),
    ([path("/x")], "/xy", "a", "GET", [], False),
    ([path("/x")], "//x", "a", "GET", [], False),
    ([path("/x", "/y")], "/y", "a", "GET", [], True),
    ([path("/a b")], "/a%20b", "a", "GET", [], True),
    ([path("/a/b")], "/a%2Fb", "a", "GET", [], True),
    ([path("/x", redirect=False)], "/x/", "a", "GET", [], False),
    ([path_regexp("^/x/[^/]+$")], "/x/anything", "a", "GET", [], True),
    ([path_regexp("^/x/[^/]+$")], "/x/", "a", "GET", [], False),
    ([path_regexp("^/x/[^/]+$")], "/x/y/z", "a", "GET", [], False),
    ([prefix("/foo")], "/foobar", "a", "GET", [], True),
    ([prefix("/foo")], "/foo", "a", "GET", [], True),
    ([prefix("/foo")], "/fo", "a", "GET", [], False),
    ([prefix("/foo")], "//foo", "a", "GET", [], False),
    ([prefix("/foo", "/bar")], "/bar/x", "a", "GET", [], True),
    ([prefix("/foo")], "/%66oo/x", "a", "GET", [], True),
    ([prefix_regexp("^/v[0-9]+")], "/v12/x", "a", "GET", [], True),
    ([prefix_regexp("^/v[0-9]+")], "/x/v12", "a", "GET", [], False),
    ([method("POST")], "/", "a", "POST", ["Content-Length: 0"], True),
    ([method("POST")], "/", "a", "GET", [], False),
    ([method("GET", "HEAD")], "/", "a", "HEAD", [], True),
    ([header(("X-A", "1"))], "/", "a", "GET", ["X-A: 1"], True),
    ([header(("X-A", "1"))], "/", "a", "GET", ["x-a: 2", "x-a: 1"], True),
    ([header(("X-A", "1"))], "/", "a", "GET", ["X-A: 11"], False),
    ([header(("X-A", "1"))], "/", "a", "GET", [], False),
    ([header(("X-A", "1"), ("X-B", "2"))], "/", "a", "GET", ["X-A: 1", "X-B: 2"], True),
    ([header(("X-A", "1"), ("X-B", "2"))], "/", "a", "GET", ["X-A: 1"], False),
    ([header_regexp(("X-A", "b+"))], "/", "a", "GET", ["X-A: abbc"], True),
    ([header_regexp(("X-A", "^b+$"))], "/", "a", "GET", ["X-A: abbc"], False),
    ([header_regexp(("X-A", ".*"))], "/", "a", "GET", [], False),
    ([header_regexp(("X-A", ".*"))], "/", "a", "GET", ["X-A:"], True),
    ([query(A_1)], "/?a=1", "a", "GET", [], True),
    ([query(A_1)], "/?b=2&a=1", "a", "GET", [], True),
    ([query(A_1)], "/?a=11", "a", "GET", [], False),
    ([query(A_1)], "/?a=2&a=1", "a", "GET", [], False),
    ([query(A_1)], "/?a=1&a=2", "a", "GET", [], True),
    ([query(A_1)], "/?%61=%31", "a", "GET", [], True),
    ([query({"key": "a", "exact": "b c"})], "/?a=b+c", "a", "GET", [], True),
    ([query({"key": "a", "exact": "b c"})], "/?a=b%20c", "a", "GET", [], True),
    ([query({"key": "a", "regexp": "^[0-9]+$"})], "/?a=12", "a", "GET", [], True),
    ([query({"key": "a", "regexp": "^[0-9]+$"})], "/?a=x", "a", "GET", [], False),
    ([query({"key": "a", "regexp": "^[0-9]+$"})], "/?a=x&a=12", "a", "GET", [], False),
    ([query({"key": "a", "present": True})], "/?a", "a", "GET", [], True),
    ([query({"key": "a", "present": True})], "/?a=x", "a", "GET", [], True),
    ([query({"key": "a", "present": True})], "/?b", "a", "GET", [], False),
    ([query(A_1, {"key": "b", "exact": "2"})], "/?a=1", "a", "GET", [], False),
    ([query(A_1, {"key": "b", "exact": "2"})], "/?b=2&a=1", "a", "GET", [], True),
    ([client_ip("127.0.0.0/8")], "/", "a", "GET", [], True),
    ([client_ip("10.0.0.0/8", "::1")], "/", "a", "GET", [], False),
    ([client_ip("10.0.0.0/8")], "/", "a", "GET", ["X-Forwarded-For: 10.0.0.1"], False),
    ([unless(host("a"))], "/", "a", "GET", [], False),
    ([unless(host("a"))], "/", "b", "GET", [], True),
    ([host("a"), unless(prefix("/x"))], "/x/y", "a", "GET", [], False),
    ([host("a"), unless(prefix("/x"))], "/y", "a", "GET", [], True),
    ([unless(path("/x"))], "/x/", "a", "GET", [], True),
    ([unless(client_ip("127.0.0.0/8"))], "/", "a", "GET", [], False),
    ([host("a"), path("/x"), method("GET")], "/x", "a", "GET", [], True),
    ([host("a"), path("/x"), method("GET")], "/x", "a", "DELETE", [], False),
]


@pytest.mark.parametrize(("matchers", "target", "host", "method", "headers", "matches"), MATCHES)
def test_matchers(
    table: Table, matchers: list[Json], target: str, host: str, method: str, headers: list[str], matches: bool
) -> None:
    status, _ = table.ask([route(matchers, "a")], target, host, method, headers)
    assert status == (200 if matches else 404)


# Matchers, target, where the client is sent (None: nowhere, 404).
REDIRECTS: list[tuple[list[Json], str, str | None]] = [
    ([path("/test/foo")], "/test/foo/", "/test/foo"),
    ([path("/test/foo/")], "/test/foo", "/test/foo/"),
    ([path("/test/foo")], "/test/foo/?a=1&b=%20", "/test/foo?a=1&b=%20"),
    ([path_regexp("^/x/[^/]+$")], "/x/y/", "/x/y"),
    ([path("/test/foo"), method("POST")], "/test/foo/", None),
    ([host("b"), path("/test/foo")], "/test/foo/", None),
    ([path("/test/foo", redirect=False)], "/test/foo/", None),
    ([path("/test/foo")], "/test/foo//", None),
]


@pytest.mark.parametrize(("matchers", "target", "location"), REDIRECTS)
def test_trailing_slashes(table: Table, matchers: list[Json], target: str, location: str | None) -> None:
    status, answer = table.ask([route(matchers, "a")], target, "a", "GET", [])
    assert status == (301 if location else 404)
    assert answer.header("Location") == location


def test_a_redirect_serves_every_method_and_an_earlier_route_goes_first(table: Table) -> None:
    status, _ = table.ask([route([path("/x")], "a")], "/x/", "a", "DELETE", [])
    assert status == 301
    status, (name, _) = table.ask(
        [route([prefix("/x/")], "b"), route([path("/x")], "a", id="2")], "/x/", "a", "GET", []
    )
    assert (status, name) == (200, "b")


def test_the_first_route_that_matches_wins(table: Table) -> None:
    routes = [route([prefix("/x")], "a", id="1"), route([host("h")], "b", id="2"), route([], "a", id="3")]
    for target, host_name, expected in (("/x", "h", "a"), ("/y", "h", "b"), ("/y", "other", "a")):
        _, (name, _) = table.ask(routes, target, host_name, "GET", [])
        assert name == expected


def test_a_route_of_another_entry_point_is_not_taken(table: Table) -> None:
    address = loopback_address()
    table.engine.apply(
        snapshot(
            [entry_point(f"{address}:8000"), entry_point(f"{address}:8001", "other")],
            [route([], "a", id="1", entry_points=["other"]), route([], "b", id="2", entry_points=["http", "other"])],
            [service(origin.url, id=name) for name, origin in table.origins.items()],
        )
    )
    assert get(address, 8000, "/status/200").header("X-Origin") == "b"
    assert get(address, 8001, "/status/200").header("X-Origin") == "a"


def strip(*prefixes: str) -> Json:
    return {"type": "strip_prefix", "prefixes": list(prefixes)}


def strip_regex(*patterns: str) -> Json:
    return {"type": "strip_prefix_regex", "patterns": list(patterns)}


def add(prefix: str) -> Json:
    return {"type": "add_prefix", "prefix": prefix}


def replace(path: str) -> Json:
    return {"type": "replace_path", "path": path}


def replace_regex(pattern: str, replacement: str) -> Json:
    return {"type": "replace_path_regex", "pattern": pattern, "replacement": replacement}


# Modifiers, target, target at the server (None: 404), X-Forwarded-Prefix, X-Replaced-Path.
REWRITES: list[tuple[list[Json], str, str | None, list[str], list[str]]] = [
    ([], "//x//y/%2Fz?b=1;2&c=%20", "//x//y/%2Fz?b=1;2&c=%20", [], []),
    ([], "/a/../b/./c", "/a/../b/./c", [], []),
    ([], "/?", "/?", [], []),
    ([], "/%e4%F6?%e4", "/%e4%F6?%e4", [], []),
    ([strip("/pre")], "/prefix/x", "/fix/x", ["/pre"], []),
    ([strip("/pre")], "/pre//x", "/x", ["/pre"], []),
    ([strip("/pre")], "/pre", "/", ["/pre"], []),
    ([strip("/pre")], "/pre?a=1", "/?a=1", ["/pre"], []),
    ([strip("/pre")], "/pre/x/%2Fz/?a=1", "/x/%2Fz/?a=1", ["/pre"], []),
    ([strip("/pre")], "/p%72e/x%2Fy", "/x%2Fy", ["/pre"], []),
    ([strip("/pre")], "/other", None, [], []),
    ([strip("/pre") | {"optional": True}], "/other%2F", "/other%2F", [], []),
    ([strip("/pre") | {"optional": True}, add("/add")], "/pre/x", "/add/x", ["/pre"], []),
    ([strip("/a/b", "/a")], "/a/b/c", "/c", ["/a/b"], []),
    ([strip("/a/b", "/a")], "/a/c", "/c", ["/a"], []),
    ([strip_regex("^/[a-z]+/v[0-9]+")], "/api/v12/x?y", "/x?y", ["/api/v12"], []),
    ([strip_regex("^/[a-z]+/v[0-9]+")], "/api/x", None, [], []),
    ([strip_regex("/v[0-9]+")], "/v1/v2/x", "/v2/x", ["/v1"], []),
    ([strip_regex("/v[0-9]+")], "/x/v1", None, [], []),
    ([strip_regex("/v[0-9]+") | {"optional": True}], "/x/v1", "/x/v1", [], []),
    ([add("/add")], "/x?y", "/add/x?y", [], []),
    ([add("/add")], "/x%2Fy", "/add/x%2Fy", [], []),
    ([replace("/new")], "/x/y?z", "/new?z", [], ["/x/y"]),
    ([replace_regex("^/api/(.*)", "/v2/$1")], "/api/x?y", "/v2/x?y", [], ["/api/x"]),
    ([replace_regex("^/api/(.*)", "/v2/${1}x")], "/api/x", "/v2/xx", [], ["/api/x"]),
    ([replace_regex("^/api/(.*)", "/v2/$1")], "/other", "/other", [], []),
    ([replace_regex("b", "c")], "/b/b", "/c/c", [], ["/b/b"]),
    ([strip("/old"), add("/add"), replace("/new")], "/old", "/new", ["/old"], ["/add/"]),
    ([strip("/pre"), add("/add")], "/pre/old?q", "/add/old?q", ["/pre"], []),
    ([add("/add"), replace("/new")], "/old", "/new", [], ["/add/old"]),
]


@pytest.mark.parametrize(("modifiers", "target", "expected", "prefixes", "replaced"), REWRITES)
def test_modifiers(
    table: Table,
    modifiers: list[Json],
    target: str,
    expected: str | None,
    prefixes: list[str],
    replaced: list[str],
) -> None:
    status, answer = table.ask([route([], "a", modifiers=modifiers)], target, "a", "GET", [])
    if expected is None:
        assert status == 404
        return
    assert status == 200
    _, seen = answer
    assert seen.path == expected
    assert seen.values("X-Forwarded-Prefix") == prefixes
    assert seen.values("X-Replaced-Path") == replaced


def test_a_trailing_slash_of_a_prefix_is_ignored(table: Table) -> None:
    for target, expected in (("/api/x", "/x"), ("/api", "/"), ("/api/", "/")):
        _, (_, seen) = table.ask([route([], "a", modifiers=[strip("/api/")])], target, "a", "GET", [])
        assert seen.path == expected


def test_a_forwarded_prefix_is_added_to_the_clients(table: Table) -> None:
    headers = ["X-Forwarded-Prefix: /client"]
    _, (_, seen) = table.ask([route([], "a", modifiers=[strip("/pre")])], "/pre/x", "a", "GET", headers)
    assert ", ".join(seen.values("X-Forwarded-Prefix")) == "/client, /pre"


def test_the_host_header_is_the_clients_or_the_servers(table: Table) -> None:
    _, (_, seen) = table.ask([route([], "a")], "/", "A.example:8080", "GET", [])
    assert seen.values("Host") == ["A.example:8080"]
    _, (_, seen) = table.ask([route([], "a", pass_host_header=False)], "/", "A.example:8080", "GET", [])
    assert seen.values("Host") == [table.origins["a"].url.removeprefix("http://")]
    assert seen.values("X-Forwarded-Host") == ["A.example:8080"]
