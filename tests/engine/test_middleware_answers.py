"""Middlewares that look at answers: error pages, compression."""

import gzip
import http.client
import socket
import subprocess
import time
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.engine.conftest import Router
from tests.engine.test_middleware_requests import ask, wait_for_causes
from tests.support.http1 import Answer, Connection, over_http2
from tests.support.middlewares import (
    COMPRESS,
    SHA_OF_TEST,
    basic_auth,
    errors,
    forward_auth,
    headers,
    rate_limit,
    white_list,
)
from tests.support.origin import Origin, pattern
from tests.support.ports import HeldPort
from tests.support.raw_server import RawServer, read_head
from tests.support.snapshots import entry_point, route, service, snapshot
from tests.support.wait import SLOWNESS

Json = dict[str, Any]

GZIP = "Accept-Encoding: br, gzip"


@pytest.fixture
def pages() -> Iterator[Origin]:
    made = Origin("pages")
    yield made
    made.close()


def with_pages(router: Router, pages: Origin, *middlewares: Json, servers: list[str] | None = None) -> None:
    """404, 401, 403 and 500-599 get a page."""
    router.origin.record.clear()
    pages.record.clear()
    point = entry_point(f"{router.address}:{router.port}")
    chain = [errors(([(404, 404), (401, 403), (429, 429), (500, 599)], "pages", "/page/{status}.html")), *middlewares]
    services = [service(*([router.origin.url] if servers is None else servers)), service(pages.url, id="pages")]
    router.engine.apply(snapshot([point], [route(middlewares=chain, chain="c")], services))


def test_a_page_instead_of_a_servers_answer(router: Router, pages: Origin) -> None:
    with_pages(router, pages, headers({"X-Asked": "1"}, {"X-Answer": "1"}))
    for status in (404, 503):
        answer = ask(router, f"/status/{status}", "Cookie: c", "If-None-Match: x")
        assert (answer.status, answer.header("X-Origin")) == (status, "pages")
        assert f'"path": "/page/{status}.html"'.encode() in answer.body
        assert int(answer.header("Content-Length") or 0) == len(answer.body)
    seen = pages.last()
    assert (seen.method, seen.header("Host"), seen.header("X-Forwarded-Host")) == ("GET", "0.0.0.0", "0.0.0.0")
    assert (seen.header("Cookie"), seen.header("If-None-Match")) == ("c", None)
    for status in (200, 400, 418):
        assert ask(router, f"/status/{status}").header("X-Origin") == "origin"
    answer = over_http2(f"{router.url}/status/500")
    assert (answer.status, answer.header("X-Origin")) == (500, "pages")


def test_a_page_instead_of_an_answer_of_the_engine(router: Router, pages: Origin) -> None:
    with HeldPort() as port:
        with_pages(router, pages, servers=[f"http://{port}"])
        answer = ask(router)
        assert (answer.status, answer.header("X-Origin")) == (502, "pages")
    with_pages(router, pages, servers=[])
    assert b"/page/503.html" in ask(router).body
    with_pages(router, pages, white_list("192.0.2.7"))
    assert b"/page/403.html" in ask(router).body
    with_pages(router, pages, basic_auth(f"test:{SHA_OF_TEST}"))
    answer = ask(router)
    assert (answer.status, answer.header("WWW-Authenticate")) == (401, None)
    assert b"/page/401.html" in answer.body
    with_pages(router, pages, rate_limit((3_600_000, 1, 1)))
    assert ask(router).status == 200
    assert b"/page/429.html" in ask(router).body
    with_pages(router, pages, forward_auth(f"{pages.url}/status/403"))
    assert b"/page/403.html" in ask(router).body
    named = ("connect_refused", "no_server", "not_in_white_list", "unauthorized", "rate_limited", "auth_refused")
    wait_for_causes(router, **dict.fromkeys(named, 1))


@pytest.mark.parametrize("refused", [True, False])
def test_a_connection_goes_on_after_a_page(router: Router, pages: Origin, refused: bool) -> None:
    with_pages(router, pages, *([white_list("192.0.2.7")] if refused else []))
    with Connection(router.address, router.port) as connection:
        for method in ("POST", "HEAD", "GET"):
            connection.send(f"{method} /status/503 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
            answer = connection.answer(method)
            assert answer is not None
            assert answer.status == (403 if refused else 503)
            assert (answer.body == b"") is (method == "HEAD")
            assert pages.last().method == ("HEAD" if method == "HEAD" else "GET")
            assert pages.last().body == b""


def test_a_body_that_nobody_read_ends_the_connection(router: Router, pages: Origin) -> None:
    with_pages(router, pages, white_list("192.0.2.7"))
    with Connection(router.address, router.port) as connection:
        connection.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nhello")
        answer = connection.answer()
        assert answer is not None
        assert (answer.status, answer.header("Connection")) == (403, "close")
        connection.socket.shutdown(socket.SHUT_WR)
        assert connection.closed()


def test_a_page_that_is_not_there(router: Router, pages: Origin) -> None:
    with_pages(router, pages)
    pages.close()
    answer = ask(router, "/status/500")
    assert (answer.status, answer.body) == (500, b"Bad Gateway")


def test_a_page_without_a_body(router: Router) -> None:
    point = entry_point(f"{router.address}:{router.port}")
    one = route(middlewares=[errors(([(500, 599)], "pages", "/status/204"))])
    router.engine.apply(snapshot([point], [one], [service(router.origin.url), service(router.origin.url, id="pages")]))
    answer = ask(router, "/status/500")
    assert (answer.status, answer.body, answer.header("Content-Length")) == (500, b"", "0")


def test_problems_of_pages(router: Router) -> None:
    def problems(*middlewares: Json, on_entry_point: tuple[Json, ...] = ()) -> list[str]:
        point = entry_point(f"{router.address}:{router.port}", middlewares=on_entry_point)
        one = route(middlewares=middlewares)
        document = snapshot([point], [one], [service(router.origin.url)])
        return [problem["error"] for problem in router.engine.check(document)]

    missing = errors(([(500, 500)], "nowhere", "/"), ([(600, 500)], "origin", "/"))
    assert problems(missing) == ["errors: there is no service nowhere", "errors: 600-500 are no statuses"]
    assert problems(COMPRESS) == ["compress: only entry points have it"]
    assert problems(on_entry_point=(missing,)) == ["errors: only routes have them"]


def compressing(router: Router, *middlewares: Json) -> None:
    router.origin.record.clear()
    point = entry_point(f"{router.address}:{router.port}", middlewares=[COMPRESS])
    router.engine.apply(snapshot([point], [route(middlewares=middlewares)], [service(router.origin.url)]))


def test_long_answers_are_compressed(router: Router) -> None:
    compressing(router)
    with Connection(router.address, router.port) as connection:
        for size in (1400, 1_000_000, 1401):
            connection.send(f"GET /bytes/{size} HTTP/1.1\r\nHost: a\r\n{GZIP}\r\n\r\n")
            answer = connection.answer()
            assert answer is not None
            assert (answer.header("Content-Encoding"), answer.header("Vary")) == ("gzip", "Accept-Encoding")
            assert (answer.header("Content-Length"), answer.header("Content-Type")) == (
                None,
                "application/octet-stream",
            )
            assert gzip.decompress(answer.body) == pattern(size)
    answer = over_http2(f"{router.url}/bytes/100000", GZIP)
    assert (answer.header("content-encoding"), gzip.decompress(answer.body)) == ("gzip", pattern(100_000))


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [("gzip;q=0.5, br", "br"), ("br;q=0.5, zstd", "zstd"), ("br, zstd, gzip", "gzip"), ("deflate, br", "br")],
)
def test_the_client_chooses_how(router: Router, accepted: str, coding: str) -> None:
    compressing(router)
    assert ask(router, "/bytes/5000", f"Accept-Encoding: {accepted}").header("Content-Encoding") == coding
    command = ["curl", "-sS", "--noproxy", "*", "--compressed", "-H", f"Accept-Encoding: {accepted}"]
    done = subprocess.run([*command, f"{router.url}/bytes/100000"], capture_output=True, check=True)
    assert done.stdout == pattern(100_000)


def test_over_http_1_0_the_end_of_the_connection_tells(router: Router) -> None:
    compressing(router)
    with Connection(router.address, router.port) as connection:
        connection.send(f"GET /bytes/5000 HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n{GZIP}\r\n\r\n")
        answer = connection.answer()
        assert answer is not None
        assert gzip.decompress(answer.body) == pattern(5000)


@pytest.mark.parametrize(
    ("target", "lines"),
    [
        ("/bytes/1399", [GZIP]),
        ("/bytes/5000", []),
        ("/bytes/5000", ["Accept-Encoding: gzip;q=0, identity, *"]),
    ],
)
def test_what_is_not_compressed(router: Router, target: str, lines: list[str]) -> None:
    compressing(router)
    answer = ask(router, target, *lines)
    assert (answer.header("Content-Encoding"), answer.header("Vary")) == (None, "Accept-Encoding")
    assert answer.body == pattern(int(target[7:]))


def test_a_short_body_that_comes_at_once_is_not_compressed_although_nobody_tells_its_length(router: Router) -> None:
    def answer(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")

    with RawServer(answer) as server:
        point = entry_point(f"{router.address}:{router.port}", middlewares=[COMPRESS])
        router.engine.apply(snapshot([point], [route()], [service(server.url)]))
        told = ask(router, "/", GZIP)
    assert (told.header("Content-Encoding"), told.body) == (None, b"hello")


def test_grpc_and_head_are_left_alone(router: Router) -> None:
    compressing(router)
    answer = ask(router, "/bytes/5000", GZIP, "Content-Type: application/grpc")
    assert (answer.header("Content-Encoding"), answer.header("Vary")) == (None, None)
    answer = ask(router, "/bytes/5000", GZIP, method="HEAD")
    assert (answer.header("Content-Encoding"), answer.header("Content-Length")) == (None, "5000")


def served(router: Router, head: bytes, body: bytes) -> Answer:
    def answer(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (head, len(body), body))

    with RawServer(answer) as server:
        point = entry_point(f"{router.address}:{router.port}", middlewares=[COMPRESS])
        router.engine.apply(snapshot([point], [route()], [service(server.url)]))
        return ask(router, "/", GZIP)


def test_what_the_server_says_about_its_body(router: Router) -> None:
    body = pattern(5000)
    encoded = served(router, b"200 OK\r\nContent-Encoding: x\r\nVary: Origin, Accept-Encoding", body)
    assert (encoded.header("Content-Encoding"), encoded.header("Vary"), encoded.body) == (
        "x",
        "Origin, Accept-Encoding",
        body,
    )
    part = served(router, b"206 Partial Content\r\nContent-Range: bytes 0-4999/9999", body)
    assert (part.status, part.header("Content-Encoding"), part.body) == (206, None, body)
    tagged = served(router, b'200 OK\r\nETag: "a"\r\nAccept-Ranges: bytes', body)
    assert (tagged.header("Content-Encoding"), tagged.header("ETag")) == ("gzip", 'W/"a"')
    assert tagged.header("Accept-Ranges") is None


@pytest.mark.parametrize("target", ["/bytes/1400", "/bytes/3000000", "/stream?chunks=400"])
@pytest.mark.parametrize("client", ["http/1.1", "h2"])
@pytest.mark.parametrize("server", ["http", "h2c"])
def test_compression_between_all_protocols(router: Router, client: str, server: str, target: str) -> None:
    """The server that speaks HTTP/2 is the engine itself, on another entry point."""
    points = [
        entry_point(f"{router.address}:{router.port}", middlewares=[COMPRESS]),
        entry_point(f"{router.address}:{router.port + 1}", "inner"),
    ]
    inner = service(f"{server}://{router.address}:{router.port + 1}", id="inner")
    routes = [route(service="inner", id="outer"), route(entry_points=["inner"], id="inner")]
    router.engine.apply(snapshot(points, routes, [inner, service(router.origin.url)]))
    answer = over_http2(router.url + target, GZIP) if client == "h2" else ask(router, target, GZIP)
    assert (answer.status, answer.header("Content-Encoding")) == (200, "gzip")
    plain = gzip.decompress(answer.body)
    if "bytes" in target:
        assert plain == pattern(int(target[7:]))
    else:
        assert plain == b"".join(b"chunk %d\n" % number for number in range(400))


@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
def test_a_stream_of_events_is_not_held_back(router: Router, protocol: str) -> None:
    """Each event arrives although the next one does not come, and is small."""
    compressing(router)
    if protocol == "h2":
        begin = time.monotonic()
        answer = over_http2(f"{router.url}/stream?chunks=400&pause=0.001", GZIP)
        assert gzip.decompress(answer.body) == b"".join(b"chunk %d\n" % number for number in range(400))
        assert time.monotonic() - begin < 60 * SLOWNESS
        return
    connection = http.client.HTTPConnection(router.address, router.port, timeout=20 * SLOWNESS)
    connection.request("GET", "/stream?chunks=3&pause=30", headers={"Accept-Encoding": "gzip"})
    stream = connection.getresponse()
    assert stream.getheader("Content-Encoding") == "gzip"
    plain, decoder = b"", zlib.decompressobj(31)
    while not plain.endswith(b"\n"):
        plain += decoder.decompress(stream.read1(1))
    assert plain == b"chunk 0\n"
    connection.close()


def test_trailers_follow_a_compressed_body(router: Router) -> None:
    compressing(router)
    answer = ask(router, "/stream?chunks=400", GZIP)
    assert gzip.decompress(answer.body) == b"".join(b"chunk %d\n" % number for number in range(400))
    assert answer.header("X-Checksum") == "400"


def test_pages_are_compressed_too(router: Router, pages: Origin) -> None:
    point = entry_point(f"{router.address}:{router.port}", middlewares=[COMPRESS])
    one = route(middlewares=[errors(([(500, 599)], "pages", "/bytes/5000"))])
    router.engine.apply(snapshot([point], [one], [service(router.origin.url), service(pages.url, id="pages")]))
    answer = ask(router, "/status/500", GZIP)
    assert (answer.status, gzip.decompress(answer.body)) == (500, pattern(5000))
