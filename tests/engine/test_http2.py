"""HTTP/2 in all its combinations with HTTP/1.1: trailers, streams, early answers, clients that leave."""

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset, TrailersReceived

from tests.support.certificates import authority
from tests.support.engine import EngineProcess
from tests.support.http1 import Connection
from tests.support.http2 import Client, Peer, texts
from tests.support.origin import Origin, pattern
from tests.support.raw_server import RawServer, read_head
from tests.support.snapshots import entry_point, route, service, snapshot, tls
from tests.support.wait import SLOWNESS, wait_for

LIMIT = 10 * SLOWNESS
SSE = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

Apply = Callable[[str], tuple[str, int]]


@pytest.fixture
def before(engine: EngineProcess, address: str) -> Apply:
    """Put the engine before a server of a URL; returns where it listens."""

    def apply(url: str) -> tuple[str, int]:
        engine.apply(snapshot([entry_point(f"{address}:8000")], [route()], [service(url)]))
        return address, 8000

    return apply


def h2c(server: RawServer) -> str:
    return server.url.replace("http:", "h2c:")


class Http2Server:
    """A behaviour that answers each request, once it is whole, with its body and both sides' trailers."""

    def __init__(self) -> None:
        self.trailers: list[tuple[str, str]] = []
        self.begun = threading.Event()
        self.reset = threading.Event()
        """Set when a stream was reset, or its connection closed."""
        self.code: int | None = None

    def echo(self, connection: socket.socket) -> None:
        peer = Peer(connection, client=False)
        body = b""
        for event in peer.events():
            match event:
                case DataReceived(data=data):
                    body += data or b""
                case TrailersReceived(headers=headers):
                    self.trailers = texts(headers)
                case StreamEnded(stream_id=int(stream)):
                    peer.head(stream, [(":status", "200"), ("trailer", "x-down")])
                    peer.data(stream, body)
                    peer.head(stream, [("x-down", "2"), ("content-length", "9")], end=True)
                    body = b""

    def hold(self, connection: socket.socket) -> None:
        """Begin an answer, and never end it."""
        peer = Peer(connection, client=False)
        for event in peer.events():
            match event:
                case RequestReceived(stream_id=int(stream)):
                    peer.head(stream, [(":status", "200")])
                    peer.data(stream, b"begun")
                    self.begun.set()
                case StreamReset(error_code=code):
                    self.code = int(code or 0)
                    self.reset.set()
        self.reset.set()


def test_trailers_of_http_2_to_http_2(before: Apply) -> None:
    behaviour = Http2Server()
    with RawServer(behaviour.echo) as server, Client(*before(h2c(server))) as client:
        for _ in range(2):
            stream = client.ask("/", [("te", "trailers"), ("trailer", "x-up")], method="POST", end=False)
            client.data(stream, b"hello")
            client.head(stream, [("x-up", "1"), ("content_length", "7")], end=True)
            answer = client.answer(stream)
            assert (answer.status, answer.body) == (200, b"hello")
            assert answer.trailers == [("x-down", "2")]
            assert behaviour.trailers == [("x-up", "1")]


def test_trailers_of_http_2_to_http_1(before: Apply) -> None:
    seen = []

    def behaviour(connection: socket.socket) -> None:
        read = read_head(connection)
        while not read.endswith(b"0\r\nx-up: 1\r\n\r\n"):
            read += connection.recv(4096)
        seen.append(read)
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Down\r\n\r\n"
            b"2\r\nok\r\n0\r\nX-Down: 2\r\nContent-Length: 9\r\n\r\n"
        )

    with RawServer(behaviour) as server, Client(*before(server.url)) as client:
        stream = client.ask("/", [("te", "trailers")], method="POST", end=False)
        client.data(stream, b"hello")
        client.head(stream, [("x-up", "1")], end=True)
        answer = client.answer(stream)
    assert (answer.status, answer.body, answer.trailers) == (200, b"ok", [("x-down", "2")])
    assert b"\r\nTE: trailers\r\n" in seen[0]
    assert b"5\r\nhello\r\n" in seen[0]


def test_trailers_of_http_1_to_http_2(before: Apply) -> None:
    behaviour = Http2Server()
    with RawServer(behaviour.echo) as server, Connection(*before(h2c(server))) as client:
        client.send(
            "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n"
            "5\r\nhello\r\n0\r\nX-Up: 1\r\nHost: evil\r\n\r\n"
        )
        answer = client.answer()
        assert answer is not None
        # After a body in chunks: with the trailers at the end.
        assert (answer.status, answer.body, answer.header("x-down")) == (200, b"hello", "2")
        assert answer.header("content-length") is None
    assert behaviour.trailers == [("x-up", "1")]


def test_trailers_after_a_told_length(before: Apply) -> None:
    """HTTP/2 has them beside Content-Length; nothing else says that the body has ended."""

    def behaviour(connection: socket.socket) -> None:
        peer = Peer(connection, client=False)
        for event in peer.events():
            match event:
                case TrailersReceived(headers=headers):
                    seen.extend(texts(headers))
                case StreamEnded(stream_id=int(stream)):
                    peer.head(stream, [(":status", "200"), ("content-length", "2")])
                    peer.data(stream, b"ok")
                    peer.head(stream, [("x-down", "2")], end=True)

    seen: list[tuple[str, str]] = []
    with RawServer(behaviour) as server, Client(*before(h2c(server))) as client:
        stream = client.ask("/", [("content-length", "5")], method="POST", end=False)
        client.data(stream, b"hello")
        client.head(stream, [("x-up", "1")], end=True)
        answer = client.answer(stream)
    assert (answer.status, answer.body, answer.trailers) == (200, b"ok", [("x-down", "2")])
    assert seen == [("x-up", "1")]


def test_a_told_length_without_an_end_is_given_up(engine: EngineProcess, address: str) -> None:
    """Trailers may follow, so that the stream's end is waited for, but not for ever."""
    with RawServer(Http2Server().echo) as server:
        engine.apply(
            snapshot([entry_point(f"{address}:8000")], [route()], [service(h2c(server))], stall_timeout_ms=300)
        )
        with Client(address, 8000) as client:
            stream = client.ask("/", [("content-length", "5")], method="POST", end=False)
            client.data(stream, b"hello")
            assert client.answer(stream).status == 408
    assert engine.counters()["causes"]["body_stalled"] == 1


def test_trailers_with_nghttp(before: Apply, tmp_path: Path) -> None:
    behaviour = Http2Server()
    body = tmp_path / "body"
    body.write_bytes(b"hello")
    with RawServer(behaviour.echo) as server:
        address, port = before(h2c(server))
        command = ["nghttp", "-v", "--no-dep", "-d", str(body), "--trailer", "x-up: 1", f"http://{address}:{port}/"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=True)
    assert behaviour.trailers == [("x-up", "1")]
    assert "x-down: 2" in done.stdout
    assert "hello" in done.stdout


def test_many_requests_of_curl_on_one_connection(engine: EngineProcess, address: str, origin: Origin) -> None:
    certificate = authority().issue("a.example")
    engine.apply(
        snapshot(
            [entry_point(f"{address}:8443", tls=tls("c"))],
            [route()],
            [service(origin.url)],
            certificates=[certificate.for_snapshot("c")],
        )
    )
    urls = [f"https://{address}:8443/bytes/{size}" for size in (0, 1, 70_000, 2_000_000)]
    command = ["curl", "-sSk", "--noproxy", "*", "--http2", "-w", "%{http_version}/%{num_connects} "]
    done = subprocess.run([*command, *urls], capture_output=True, timeout=60 * SLOWNESS, check=True)
    connects = (b"1", b"0", b"0", b"0")
    expected = b"".join(
        pattern(size) + b"2/" + number + b" " for size, number in zip((0, 1, 70_000, 2_000_000), connects, strict=True)
    )
    assert done.stdout == expected


def test_connect_is_refused(before: Apply, origin: Origin) -> None:
    with Client(*before(origin.url)) as client:
        stream = client.h2.get_next_available_stream_id()
        client.head(stream, [(":method", "CONNECT"), (":authority", "a.example:443")])
        assert client.answer(stream).status == 501
        other = client.h2.get_next_available_stream_id()
        start = [(":method", "CONNECT"), (":protocol", "connect-udp"), (":scheme", "http")]
        client.head(other, [*start, (":authority", "a.example"), (":path", "/")])
        assert client.answer(other).status == 501
        # The connection is as good as before.
        assert client.answer(client.ask("/status/200")).status == 200
    assert [seen.method for seen in origin.requests] == ["GET"]


def test_connect_of_http_1_is_refused(before: Apply, origin: Origin) -> None:
    address, port = before(origin.url)
    proxy = ["--proxytunnel", "--proxy", f"http://{address}:{port}"]
    command = ["curl", "-sS", "--noproxy", "", "-w", "%{http_connect}", *proxy, "http://a.example:443/"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert (done.returncode, done.stdout) == (56, "501"), done.stderr
    origin.assert_untouched()


def test_expect_100_continue(before: Apply, origin: Origin) -> None:
    with Client(*before(origin.url)) as client:
        stream = client.ask("/echo", [("expect", "100-continue"), ("content-length", "5")], method="POST", end=False)
        first = client.next(stream)
        assert type(first).__name__ == "InformationalResponseReceived"
        client.data(stream, b"hello", end=True)
        answer = client.answer(stream)
    assert (answer.status, answer.body) == (200, b"hello")


@pytest.mark.parametrize("server_speaks", ["http/1.1", "h2"])
def test_an_early_answer_while_the_body_is_sent(before: Apply, server_speaks: str) -> None:
    """The answer is whole, and what the client still sends does no harm to the other streams."""

    def refuse(connection: socket.socket) -> None:
        if server_speaks == "h2":
            peer = Peer(connection, client=False)
            for event in peer.events():
                if isinstance(event, RequestReceived):
                    peer.head(int(event.stream_id or 0), [(":status", "413"), ("content-length", "3")])
                    peer.data(int(event.stream_id or 0), b"big", end=True)
        else:
            read_head(connection)
            connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
            while connection.recv(65536):
                pass

    with RawServer(refuse) as server, Client(*before(h2c(server) if server_speaks == "h2" else server.url)) as client:
        for _ in range(3):
            stream = client.ask("/", [("content-length", "100000000")], method="POST", end=False)
            client.data(stream, b"x" * 10_000)
            answer = client.answer(stream)
            assert (answer.status, answer.body) == (413, b"big")
            # Sent whole; then the client is told to stop (RFC 9113 section 8.1), or it goes on.
            assert answer.reset in (None, ErrorCodes.NO_ERROR)


@pytest.mark.parametrize("client_speaks", ["http/1.1", "h2"])
def test_server_sent_events_come_when_they_are_sent(before: Apply, client_speaks: str) -> None:
    """With curl. Each event is sent only after the one before has arrived."""
    arrived = threading.Semaphore(0)

    def events(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(SSE.encode())
        for number in range(5):
            event = f"data: {number}\n\n".encode()
            connection.sendall(b"%x\r\n%s\r\n" % (len(event), event))
            if not arrived.acquire(timeout=LIMIT):
                return
        connection.sendall(b"0\r\n\r\n")

    version = "--http2-prior-knowledge" if client_speaks == "h2" else "--http1.1"
    with RawServer(events) as server:
        address, port = before(server.url)
        command = ["curl", "-sSN", "--noproxy", "*", version, f"http://{address}:{port}/events"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as curl:
            assert curl.stdout is not None
            for number in range(5):
                assert curl.stdout.readline() == f"data: {number}\n".encode()
                assert curl.stdout.readline() == b"\n"
                arrived.release()
            assert curl.stdout.read() == b""
        assert curl.returncode == 0


@pytest.fixture
def held_http1() -> Iterator[tuple[RawServer, threading.Event, threading.Event]]:
    """A server of HTTP/1.1 that begins an answer, and sees its connection close."""
    begun, gone = threading.Event(), threading.Event()

    def behaviour(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun")
        begun.set()
        try:
            while connection.recv(4096):
                pass
        finally:
            gone.set()

    with RawServer(behaviour) as server:
        yield server, begun, gone


@pytest.mark.parametrize("how", ["http/1.1 closes", "h2 resets", "h2 closes"])
def test_a_client_that_leaves_ends_its_request_at_a_server_of_http_1(
    before: Apply,
    held_http1: tuple[RawServer, threading.Event, threading.Event],
    how: str,
    engine: EngineProcess,
) -> None:
    server, begun, gone = held_http1
    address = before(server.url)
    leave(address, how, begun)
    assert gone.wait(LIMIT)
    wait_for(lambda: engine.counters()["requests"]["open"] == 0, "no request is open")


@pytest.mark.parametrize("how", ["http/1.1 closes", "h2 resets", "h2 closes"])
def test_a_client_that_leaves_resets_its_stream_at_a_server_of_http_2(
    before: Apply, how: str, engine: EngineProcess
) -> None:
    behaviour = Http2Server()
    with RawServer(behaviour.hold) as server:
        leave(before(h2c(server)), how, behaviour.begun)
        assert behaviour.reset.wait(LIMIT)
        # The connection is shared, and stays.
        assert behaviour.code == ErrorCodes.CANCEL
        wait_for(lambda: engine.counters()["requests"]["open"] == 0, "no request is open")
        assert server.connections == 1


def leave(address: tuple[str, int], how: str, begun: threading.Event) -> None:
    """Ask, see the answer begin, and go."""
    if how.startswith("http/1.1"):
        with Connection(*address) as client:
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert begun.wait(LIMIT)
            assert client.socket.recv(4096).startswith(b"HTTP/1.1 200")
        return
    with Client(*address) as two:
        stream = two.ask("/")
        assert begun.wait(LIMIT)
        assert two.answer(stream, until=b"begun").status == 200
        if how == "h2 resets":
            two.reset(stream)
            # The connection is as good as before, but for this one stream.
            two.h2.ping(b"12345678")
            two.flush()
            assert any(type(event).__name__ == "PingAckReceived" for event in two.events())
