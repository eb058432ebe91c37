"""How long a client may take, how long a server may, and who is told."""

import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.engine.conftest import Router
from tests.support.engine import EngineProcess
from tests.support.http1 import Connection, get
from tests.support.raw_server import RawServer, read_head
from tests.support.snapshots import entry_point, route, service, snapshot
from tests.support.wait import wait_for

LIMIT_MS = 400
GET = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
POST = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"
MEGABYTES = 64 << 20


def configure(engine: EngineProcess, address: str, url: str, **settings: Any) -> None:
    engine.apply(snapshot([entry_point(f"{address}:8000")], [route()], [service(url)], revision=2, **settings))


def cause(engine: EngineProcess, name: str) -> int:
    counters = engine.counters()
    assert sum(counters["causes"].values()) == sum(counters["failures"].values())
    count: int = counters["causes"][name]
    return count


def wait_for_cause(engine: EngineProcess, name: str) -> None:
    wait_for(lambda: cause(engine, name) == 1, f"{name} is counted")


def dribble(connection: Connection, seconds: float = 30) -> None:
    """Send a byte every now and then, until there is an answer."""
    connection.socket.settimeout(0.05)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            connection.send("x")
            connection.socket.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            continue
        except ConnectionError:
            pass
        break
    connection.socket.settimeout(20)


# --- readTimeout ---


def test_a_slow_body_is_answered_408(router: Router) -> None:
    configure(router.engine, router.address, router.origin.url, read_timeout_ms=LIMIT_MS)
    with Connection(router.address, 8000) as connection:
        connection.send(POST)
        dribble(connection)
        answer = connection.answer()
        assert answer is not None
        assert (answer.status, answer.body) == (408, b"Request Timeout")
        assert connection.closed()
    wait_for_cause(router.engine, "body_timeout")
    assert router.engine.counters()["failures"]["client"] == 1


def test_a_slow_head_is_answered_408(router: Router) -> None:
    configure(router.engine, router.address, router.origin.url, read_timeout_ms=LIMIT_MS)
    with Connection(router.address, 8000) as connection:
        connection.send("GET / HTTP/1.1\r\nX: ")
        dribble(connection)
        answer = connection.answer()
        assert answer is not None
        assert answer.status == 408
    wait_for_cause(router.engine, "head_timeout")


def test_a_client_that_asks_nothing_is_let_go(router: Router) -> None:
    configure(router.engine, router.address, router.origin.url, read_timeout_ms=LIMIT_MS)
    with Connection(router.address, 8000) as connection:
        assert connection.closed()
    assert sum(router.engine.counters()["failures"].values()) == 0, "it is nobody's failure"


def test_time_between_requests_is_not_a_requests_time(router: Router) -> None:
    configure(router.engine, router.address, router.origin.url, read_timeout_ms=LIMIT_MS)
    with Connection(router.address, 8000) as connection:
        for _ in range(2):
            connection.send("GET /bytes/1 HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = connection.answer()
            assert answer is not None
            assert answer.status == 200
            time.sleep(LIMIT_MS / 1000 * 1.5)


def test_a_slow_server_is_not_the_requests_fault(engine: EngineProcess, address: str) -> None:
    def slowly(connection: socket.socket) -> None:
        read_head(connection)
        time.sleep(LIMIT_MS / 1000 * 2)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with RawServer(slowly) as server:
        configure(engine, address, server.url, read_timeout_ms=LIMIT_MS)
        assert get(address, 8000).status == 200


# --- writeTimeout ---


def test_a_slow_server_is_answered_for_in_time(engine: EngineProcess, address: str) -> None:
    with RawServer(lambda connection: server.hold(connection)) as server:
        configure(engine, address, server.url, write_timeout_ms=LIMIT_MS)
        answer = get(address, 8000)
        assert (answer.status, answer.body) == (504, b"Gateway Timeout")
    wait_for_cause(engine, "answer_timeout")
    assert engine.counters()["failures"]["server_timeout"] == 1


def test_an_answer_that_is_not_whole_in_time_is_cut(engine: EngineProcess, address: str) -> None:
    def stream(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not server.ending.wait(0.05):
            connection.sendall(b"1\r\nx\r\n")

    with RawServer(stream) as server:
        configure(engine, address, server.url, write_timeout_ms=LIMIT_MS)
        with Connection(address, 8000) as connection:
            connection.send(GET)
            read = b""
            while piece := connection.socket.recv(4096):
                read += piece
        assert read.startswith(b"HTTP/1.1 200")
        assert not read.endswith(b"0\r\n\r\n")
    wait_for_cause(engine, "answer_timeout")


@pytest.mark.parametrize(
    ("setting", "expected"), [("write_timeout_ms", "client_timeout"), ("stall_timeout_ms", "client_stalled")]
)
def test_a_client_that_reads_nothing_is_cut(engine: EngineProcess, address: str, setting: str, expected: str) -> None:
    def much(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % MEGABYTES)
        connection.sendall(bytes(MEGABYTES))

    with RawServer(much) as server:
        configure(engine, address, server.url, **{setting: LIMIT_MS})
        with Connection(address, 8000) as connection:
            connection.send(GET)
            wait_for_cause(engine, expected)
            found = engine.counters()
            assert found["failures"]["client"] == 1
            assert found["requests"]["open"] == 0
            read = 0
            try:
                while piece := connection.socket.recv(1 << 20):
                    read += len(piece)
            except ConnectionError:
                pass
            assert read < MEGABYTES


# --- stallTimeout ---


def test_a_client_that_stops_in_its_body(router: Router) -> None:
    configure(router.engine, router.address, router.origin.url, stall_timeout_ms=LIMIT_MS)
    with Connection(router.address, 8000) as connection:
        connection.send(POST + "some")
        answer = connection.answer()
        assert answer is not None
        assert answer.status == 408
    wait_for_cause(router.engine, "body_stalled")


def test_a_slow_body_that_goes_on_is_no_stall(router: Router) -> None:
    configure(router.engine, router.address, router.origin.url, stall_timeout_ms=LIMIT_MS)
    with Connection(router.address, 8000) as connection:
        connection.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n")
        for _ in range(8):
            connection.send("x")
            time.sleep(LIMIT_MS / 1000 / 4)
        answer = connection.answer()
        assert answer is not None
        assert answer.body == b"x" * 8


def upload(address: str) -> Connection:
    """A connection with more of a body than all buffers on the way to the server take, without waiting for it."""
    connection = Connection(address, 8000)
    connection.send(f"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: {MEGABYTES}\r\n\r\n")
    connection.socket.settimeout(0.3)
    try:
        connection.send(bytes(MEGABYTES))
    except TimeoutError:
        connection.socket.settimeout(20)
        return connection
    pytest.fail("everything was taken")


def test_a_server_that_stops_reading(engine: EngineProcess, address: str) -> None:
    with RawServer(lambda connection: server.hold(connection)) as server:
        configure(engine, address, server.url, stall_timeout_ms=2 * LIMIT_MS)
        with upload(address) as connection:
            answer = connection.answer()
            assert answer is not None
            assert (answer.status, answer.body) == (504, b"Gateway Timeout")
    wait_for_cause(engine, "server_stalled")


def test_who_leaves_a_stalled_upload_is_noticed(engine: EngineProcess, address: str) -> None:
    def narrow(connection: socket.socket) -> None:
        read_head(connection)
        server.hold(connection)

    with RawServer(narrow) as server:
        configure(engine, address, server.url)
        with upload(address) as connection:
            wait_for(lambda: server.connections == 1, "the upload is under way")
            # A reset, since an orderly end would come after all that waits to be sent.
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        wait_for_cause(engine, "client_gone")


# --- what is never cut ---


def silence(server: RawServer) -> None:
    server.ending.wait(LIMIT_MS / 1000 * 3)


def events(server: RawServer, connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
    silence(server)
    connection.sendall(b"data: 2\n\n")


def long_poll(server: RawServer, connection: socket.socket) -> None:
    silence(server)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\ndata: 1\n\ndata: 2")


@pytest.mark.parametrize("behaviour", [events, long_poll])
def test_a_server_may_be_silent(
    engine: EngineProcess, address: str, behaviour: Callable[[RawServer, socket.socket], None]
) -> None:
    def serve(connection: socket.socket) -> None:
        read_head(connection)
        behaviour(server, connection)

    with RawServer(serve) as server:
        configure(engine, address, server.url, stall_timeout_ms=LIMIT_MS)
        assert get(address, 8000).body.startswith(b"data: 1\n\ndata: 2")
    assert sum(engine.counters()["failures"].values()) == 0


def test_a_client_may_wait_for_100_continue(engine: EngineProcess, address: str) -> None:
    def ponder(connection: socket.socket) -> None:
        head = read_head(connection)
        silence(server)
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not head.endswith(b"body"):
            head += connection.recv(100)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with RawServer(ponder) as server:
        configure(engine, address, server.url, stall_timeout_ms=LIMIT_MS)
        with Connection(address, 8000) as connection:
            connection.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
            assert connection.socket.recv(100).startswith(b"HTTP/1.1 100")
            connection.send("body")
            answer = connection.answer()
            assert answer is not None
            assert answer.status == 200


def test_tunnels_have_no_limits(engine: EngineProcess, address: str) -> None:
    def switch(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        while piece := connection.recv(100):
            connection.sendall(piece)

    with RawServer(switch) as server:
        limits = dict.fromkeys(("read_timeout_ms", "write_timeout_ms", "stall_timeout_ms"), LIMIT_MS)
        configure(engine, address, server.url, **limits)
        with Connection(address, 8000) as connection:
            connection.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
            answer = connection.answer()
            assert answer is not None
            assert answer.status == 101
            silence(server)
            connection.send("still there?")
            assert connection.socket.recv(100) == b"still there?"
    assert sum(engine.counters()["failures"].values()) == 0


# --- HTTP/2 ---

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
WINDOW_OF_NOTHING = b"\0\0\6\4\0\0\0\0\0" + b"\0\4\0\0\0\0"


def stream(flags: int, method: bytes) -> bytes:
    """A HEADERS frame for / on stream 1; 5 ends the stream, 4 does not."""
    block = method + b"\x86\x84\x41\x01a"
    return b"\0\0" + bytes([len(block)]) + b"\1" + bytes([flags]) + b"\0\0\0\1" + block


@pytest.mark.parametrize("setting", ["read_timeout_ms", "stall_timeout_ms"])
def test_a_stream_that_stops_in_its_body(router: Router, setting: str) -> None:
    configure(router.engine, router.address, router.origin.url, **{setting: LIMIT_MS})
    with Connection(router.address, 8000) as connection:
        connection.send(PREFACE + stream(4, b"\x83"))
        wait_for_cause(router.engine, "body_timeout" if setting == "read_timeout_ms" else "body_stalled")
        assert router.engine.counters()["requests"]["by_status"] == {"408": 1}


@pytest.mark.parametrize(
    ("setting", "expected"), [("write_timeout_ms", "client_timeout"), ("stall_timeout_ms", "client_stalled")]
)
def test_a_stream_that_opens_no_window(engine: EngineProcess, address: str, setting: str, expected: str) -> None:
    def much(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % MEGABYTES)
        connection.sendall(bytes(MEGABYTES))

    with RawServer(much) as server:
        configure(engine, address, server.url, **{setting: LIMIT_MS})
        with Connection(address, 8000) as connection:
            connection.send(PREFACE + WINDOW_OF_NOTHING + stream(5, b"\x82"))
            wait_for_cause(engine, expected)
            assert engine.counters()["requests"]["open"] == 0
