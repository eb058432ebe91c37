"""Requests and responses through the engine, with curl and by hand."""

import subprocess
from pathlib import Path

import pytest

from tests.conftest import StartOrigin
from tests.engine.conftest import Router
from tests.support.engine import EngineProcess
from tests.support.http1 import Connection, get
from tests.support.origin import Origin, pattern
from tests.support.ports import HeldPort
from tests.support.snapshots import entry_point, route, service, snapshot
from tests.support.wait import SLOWNESS, wait_for

LARGE = 20_000_000


def curl(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["curl", "-sS", "--noproxy", "*", *arguments], capture_output=True, timeout=60 * SLOWNESS, check=True
    )


def test_get(router: Router) -> None:
    done = curl("-i", f"{router.url}/some/path?a=1&b")
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nX-Origin: origin" in head
    assert b'"path": "/some/path?a=1&b"' in body


def test_head_has_a_length_and_no_body(router: Router) -> None:
    with Connection(router.address, router.port) as connection:
        for _ in range(2):
            connection.send("HEAD /bytes/1000 HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = connection.answer("HEAD")
            assert answer is not None
            assert (answer.status, answer.header("Content-Length"), answer.body) == (200, "1000", b"")


@pytest.mark.parametrize("size", [0, 1, 65_536, LARGE])
def test_post_is_byte_exact_both_ways(router: Router, tmp_path: Path, size: int) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(pattern(size))
    done = curl("--data-binary", f"@{upload}", "-H", "Expect:", f"{router.url}/echo")
    assert done.stdout == pattern(size)
    assert router.origin.last().body == pattern(size)
    assert router.origin.last().header("Content-Length") == str(size)


def test_chunked_upload_is_byte_exact(router: Router, tmp_path: Path) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(pattern(LARGE))
    done = curl("-T", str(upload), "-H", "Transfer-Encoding: chunked", "-H", "Expect:", f"{router.url}/echo")
    assert done.stdout == pattern(LARGE)
    assert router.origin.last().method == "PUT"
    assert router.origin.last().header("Content-Length") is None


def test_large_download_is_byte_exact(router: Router) -> None:
    assert curl(f"{router.url}/bytes/{LARGE}").stdout == pattern(LARGE)


def test_expect_100_continue(router: Router) -> None:
    with Connection(router.address, router.port) as connection:
        connection.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert connection.socket.recv(12) == b"HTTP/1.1 100"
        connection.send("hello")
        rest = b""
        while not rest.endswith(b"hello"):
            rest += connection.socket.recv(65536)
    assert b"HTTP/1.1 200 OK\r\n" in rest


def test_curl_with_100_continue(router: Router, tmp_path: Path) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(pattern(2_000_000))
    done = curl("-T", str(upload), "-H", "Expect: 100-continue", "--expect100-timeout", "30", f"{router.url}/echo")
    assert done.stdout == pattern(2_000_000)


def test_keep_alive_on_both_sides(router: Router) -> None:
    done = curl("-w", "%{num_connects} ", *[f"{router.url}/status/200"] * 5)
    assert done.stdout.split() == [b"200", b"1", b"200", b"0", b"200", b"0", b"200", b"0", b"200", b"0"]
    assert router.origin.record.connections == 1


def test_pipelined_requests_are_answered_in_order(router: Router) -> None:
    with Connection(router.address, router.port) as connection:
        connection.send("".join(f"GET /bytes/{size} HTTP/1.1\r\nHost: a\r\n\r\n" for size in (3, 1, 70_000, 2)))
        for size in (3, 1, 70_000, 2):
            answer = connection.answer()
            assert answer is not None
            assert answer.body == pattern(size)


def test_a_request_that_comes_byte_by_byte(router: Router) -> None:
    with Connection(router.address, router.port) as connection:
        for byte in b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n":
            connection.send(bytes([byte]))
        answer = connection.answer()
        assert answer is not None
        assert answer.body == b"abc"


def test_connection_close_is_obeyed(router: Router) -> None:
    with Connection(router.address, router.port) as connection:
        connection.send("GET /bytes/3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = connection.answer()
        assert answer is not None
        assert answer.body == pattern(3)
        assert connection.closed()


def test_http_1_0_gets_no_chunks_and_the_connection_is_closed(router: Router) -> None:
    with Connection(router.address, router.port) as connection:
        connection.send("GET /stream HTTP/1.0\r\nHost: a\r\n\r\n")
        answer = connection.answer()
        assert answer is not None
        assert answer.header("Transfer-Encoding") is None
        assert answer.body == b"chunk 0\nchunk 1\nchunk 2\n"
        assert connection.closed()


def test_streams_arrive_as_they_are_sent_with_their_trailers(router: Router) -> None:
    with Connection(router.address, router.port) as connection:
        connection.send("GET /stream?chunks=2&pause=1000 HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n")
        seen = b""
        while b"chunk 0\n" not in seen:
            seen += connection.socket.recv(65536)
        router.origin.ending.set()
        while not seen.endswith(b"\r\n\r\n"):
            seen += connection.socket.recv(65536)
    assert seen.endswith(b"\r\n0\r\nX-Checksum: 2\r\n\r\n")


def test_204_and_304_have_no_body(router: Router) -> None:
    with Connection(router.address, router.port) as connection:
        for status in (204, 304, 200):
            connection.send(f"GET /status/{status} HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = connection.answer()
            assert answer is not None
            assert answer.status == status


def test_statuses_come_back_as_they_are(router: Router) -> None:
    for status in (201, 301, 400, 404, 418, 500, 503, 599):
        assert get(router.address, router.port, f"/status/{status}").status == status


def test_hop_by_hop_headers_stay_here(router: Router) -> None:
    get(
        router.address,
        router.port,
        "/",
        "a",
        "GET",
        "Connection: X-Mine",
        "X-Mine: 1",
        "Keep-Alive: 5",
        "Proxy-Authorization: x",
        "Upgrade: h3",
        "X-Other: 1",
    )
    seen = router.origin.last()
    for gone in ("X-Mine", "Keep-Alive", "Proxy-Authorization", "Upgrade"):
        assert seen.values(gone) == []
    assert seen.values("X-Other") == ["1"]


def test_repeated_headers_keep_their_order(router: Router) -> None:
    get(router.address, router.port, "/", "a", "GET", "X-A: 1", "X-B: b", "X-A: 2", "Cookie: a=1")
    assert router.origin.last().values("X-A") == ["1", "2"]
    assert router.origin.last().values("Cookie") == ["a=1"]


def test_a_dropped_connection_is_502(router: Router) -> None:
    answer = get(router.address, router.port, "/drop")
    assert (answer.status, answer.body) == (502, b"Bad Gateway")


def test_an_idle_connection_that_the_server_has_closed_costs_nobody_a_request(
    engine: EngineProcess, address: str, start_origin: StartOrigin
) -> None:
    first = start_origin("first")
    engine.apply(snapshot([entry_point(f"{address}:8000")], [route()], [service(first.url)]))
    assert get(address, 8000, "/status/200").status == 200
    first.close()
    start_origin("second", port=first.port)
    assert get(address, 8000, "/status/200", "a", "POST", "Content-Length: 0").status == 200


def test_nobody_listens_is_502(engine: EngineProcess, address: str) -> None:
    with HeldPort(address) as nobody:
        engine.apply(snapshot([entry_point(f"{address}:8000")], [route()], [service(f"http://{nobody}")]))
        answer = get(address, 8000)
    assert (answer.status, answer.body) == (502, b"Bad Gateway")
    wait_for(lambda: engine.counters()["failures"]["server_connect"] == 1, "the failure is counted")


def test_no_header_in_time_is_504(engine: EngineProcess, address: str, origin: Origin) -> None:
    engine.apply(
        snapshot([entry_point(f"{address}:8000")], [route()], [service(origin.url)], response_header_timeout_ms=100)
    )
    answer = get(address, 8000, "/slow?seconds=1000")
    assert (answer.status, answer.body) == (504, b"Gateway Timeout")


def test_no_route_is_404(engine: EngineProcess, address: str, origin: Origin) -> None:
    engine.apply(snapshot([entry_point(f"{address}:8000")], [], [service(origin.url)]))
    answer = get(address, 8000)
    assert (answer.status, answer.body) == (404, b"404 page not found\n")
    assert (answer.header("Content-Type") or "").startswith("text/plain")
    assert answer.header("X-Content-Type-Options") == "nosniff"


def test_no_server_is_503(engine: EngineProcess, address: str) -> None:
    engine.apply(snapshot([entry_point(f"{address}:8000")], [route()], [service()]))
    answer = get(address, 8000)
    assert (answer.status, answer.body) == (503, b"Service Unavailable")


def test_a_server_on_a_unix_socket(engine: EngineProcess, address: str) -> None:
    engine.apply(snapshot([entry_point(f"{address}:8000")], [route()], [service(f"unix:{engine.control_socket}")]))
    answer = get(address, 8000, "/status")
    assert answer.status == 200
    assert b'"revision"' in answer.body


def test_ping_is_answered_by_the_engine(engine: EngineProcess, address: str, origin: Origin) -> None:
    engine.apply(snapshot([entry_point(f"{address}:8000", ping=True)], [route()], [service(origin.url)]))
    answer = get(address, 8000, "/ping")
    assert (answer.status, answer.body) == (200, b"OK")
    assert get(address, 8000, "/ping", "a", "HEAD").status == 200
    origin.assert_untouched()
    assert get(address, 8000, "/pingx").status == 200
    assert origin.last().path == "/pingx"


def test_a_head_that_never_ends_is_given_up(engine: EngineProcess, address: str, origin: Origin) -> None:
    engine.apply(
        snapshot([entry_point(f"{address}:8000")], [route()], [service(origin.url)], request_header_timeout_ms=200)
    )
    with Connection(address, 8000) as connection:
        connection.send("GET / HTTP/1.1\r\nHost: a\r\n")
        answer = connection.answer()
        assert answer is None or answer.status == 408
        assert connection.closed()
    origin.assert_untouched()


def test_an_idle_connection_is_closed(engine: EngineProcess, address: str, origin: Origin) -> None:
    engine.apply(snapshot([entry_point(f"{address}:8000")], [route()], [service(origin.url)], idle_timeout_ms=200))
    with Connection(address, 8000) as connection:
        connection.send("GET /bytes/1 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.answer() is not None
        assert connection.closed()


def test_a_client_that_goes_away_ends_its_request_at_the_server(router: Router) -> None:
    connection = Connection(router.address, router.port)
    connection.send("GET /slow?seconds=1000 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert router.origin.waiting.wait(10 * SLOWNESS)
    connection.close()
    wait_for(lambda: router.engine.counters()["requests"]["open"] == 0, "no request is open")
    wait_for(lambda: router.engine.counters()["connections"]["open"] == 0, "no connection is open")


def test_absolute_form(router: Router) -> None:
    get(router.address, router.port, "http://b.example:81/x?y", "b.example:81")
    assert router.origin.last().path == "/x?y"
    assert router.origin.last().header("Host") == "b.example:81"
