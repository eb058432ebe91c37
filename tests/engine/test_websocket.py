"""Websockets through the engine, with a real client, and frame by frame over both versions of HTTP."""

import base64
import socket
import struct
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import pytest
from h2.events import DataReceived, ResponseReceived, StreamEnded
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.sync.client import connect
from websockets.typing import Subprotocol
from websockets.utils import accept_key

from tests.engine.conftest import Router
from tests.support.http1 import Connection
from tests.support.http2 import Client, texts
from tests.support.raw_server import RawServer, read_head
from tests.support.snapshots import entry_point, route, service, snapshot
from tests.support.wait import wait_for


def test_echo(router: Router) -> None:
    address = f"ws://{router.address}:{router.port}/chat/%2Fx?room=1"
    with connect(address, proxy=None, subprotocols=[Subprotocol("chat")], additional_headers={"Cookie": "a=1"}) as ws:
        assert ws.subprotocol == "chat"
        for message in ("text", b"\x00\xff", "ä" * 100_000, b"x" * 1_000_000):
            ws.send(message)
            assert ws.recv() == message
        assert ws.ping().wait(10)
        seen = router.origin.last()
        assert seen.path == "/chat/%2Fx?room=1"
        assert seen.header("Cookie") == "a=1"
        assert seen.header("X-Forwarded-Proto") == "ws"
        assert seen.header("X-Forwarded-Port") == "8000"
    wait_for(lambda: router.engine.counters()["connections"]["open"] == 0, "the connection is closed")


def test_many_at_once(router: Router) -> None:
    with ExitStack() as stack:
        sockets = [stack.enter_context(connect(f"ws://{router.address}:{router.port}/", proxy=None)) for _ in range(20)]
        for number, socket in enumerate(sockets):
            socket.send(str(number))
        assert [socket.recv() for socket in sockets] == [str(number) for number in range(20)]


def test_a_refusal_comes_back_as_it_is(router: Router) -> None:
    with (
        pytest.raises(InvalidStatus) as caught,
        connect(f"ws://{router.address}:{router.port}/status/403", proxy=None),
    ):
        pass
    assert caught.value.response.status_code == 403


class Tunnel:
    """What a websocket's frames go through, over HTTP/1.1 or in a stream of HTTP/2 (RFC 8441)."""

    def __init__(self, address: str, port: int, speaks: str) -> None:
        self._buffer = b""
        key = base64.b64encode(bytes(16)).decode()
        if speaks == "http/1.1":
            self._one: Connection | None = Connection(address, port)
            self._one.send(
                "GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
            )
            answer = self._one.answer()
            assert answer is not None
            assert answer.status == 101
            assert answer.header("Sec-WebSocket-Accept") == accept_key(key)
        else:
            self._one = None
            self._two = Client(address, port)
            wait_for(self._may_connect, "the engine allows extended CONNECT")
            self._stream = self._two.ask(
                "/chat", [(":protocol", "websocket"), ("sec-websocket-version", "13")], method="CONNECT", end=False
            )
            head = self._two.next(self._stream)
            assert isinstance(head, ResponseReceived)
            fields = dict(texts(head.headers))
            assert fields[":status"] == "200"
            # The key and its answer are between the engine and the server.
            assert "sec-websocket-accept" not in fields
            assert "upgrade" not in fields

    def _may_connect(self) -> bool:
        if not self._two.h2.remote_settings.enable_connect_protocol:
            next(self._two.events())
        return bool(self._two.h2.remote_settings.enable_connect_protocol)

    def send(self, data: bytes) -> None:
        if self._one is not None:
            self._one.send(data)
        else:
            self._two.data(self._stream, data)

    def receive(self, size: int) -> bytes:
        """Exactly so many bytes."""
        if self._one is not None:
            data = self._one.exactly(size)
            assert len(data) == size, "the connection was closed"
            return data
        while len(self._buffer) < size:
            event = self._two.next(self._stream)
            assert isinstance(event, DataReceived), event
            self._buffer += event.data or b""
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def frame(self) -> tuple[Opcode, bool, bytes]:
        """The next short frame, not masked: its kind, whether it is the last, its content."""
        first, length = self.receive(2)
        assert length < 126
        return Opcode(first & 15), bool(first & 128), self.receive(length)

    def closed(self) -> bool:
        """Whether the other side has closed; waits for it."""
        if self._one is not None:
            return self._one.closed()
        event = self._two.next(self._stream)
        while isinstance(event, DataReceived) and not event.data:
            event = self._two.next(self._stream)
        return isinstance(event, StreamEnded)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        (self._one or self._two).close()


def masked(opcode: Opcode, data: bytes, *, last: bool = True) -> bytes:
    return Frame(opcode, data, last).serialize(mask=True)


both = pytest.mark.parametrize("speaks", ["http/1.1", "h2"])


@both
def test_fragments_and_control_frames_pass_as_they_are(router: Router, speaks: str) -> None:
    sent = [
        masked(Opcode.TEXT, "ä1".encode(), last=False),
        masked(Opcode.PING, b"between"),
        masked(Opcode.CONT, b"", last=False),
        masked(Opcode.CONT, b"end"),
        masked(Opcode.PONG, b"nobody asked"),
        masked(Opcode.BINARY, bytes(range(100))),
        masked(Opcode.CLOSE, struct.pack(">H", 4001) + b"enough"),
    ]
    with Tunnel(router.address, router.port, speaks) as tunnel:
        for frame in sent[:-1]:
            tunnel.send(frame)
        frames = [tunnel.frame() for _ in range(5)]
        # The server may answer a ping before what came before it.
        assert frames.count((Opcode.PONG, True, b"between")) == 1
        assert [frame for frame in frames if frame[0] is not Opcode.PONG] == [
            (Opcode.TEXT, False, "ä1".encode()),
            (Opcode.CONT, False, b""),
            (Opcode.CONT, True, b"end"),
            (Opcode.BINARY, True, bytes(range(100))),
        ]
        tunnel.send(sent[-1])
        assert tunnel.frame() == (Opcode.CLOSE, True, struct.pack(">H", 4001) + b"enough")
        assert tunnel.closed()
    # Byte by byte what was sent, masks too.
    assert bytes(router.origin.record.raw).endswith(b"".join(sent))
    wait_for(lambda: router.engine.counters()["requests"]["open"] == 0, "no request is open")


@both
@pytest.mark.parametrize("code", [1001, 3000, 4999])
def test_a_close_of_the_server_keeps_its_code(router: Router, speaks: str, code: int) -> None:
    said = Frame(Opcode.CLOSE, struct.pack(">H", code) + b"bye").serialize(mask=False)
    seen = []

    def behaviour(connection: socket.socket) -> None:
        head = read_head(connection).decode()
        (key,) = (line.split(": ")[1] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key: "))
        connection.sendall(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept_key(key)}\r\n\r\n".encode()
            + said
        )
        while data := connection.recv(4096):
            seen.append(data)

    answer = masked(Opcode.CLOSE, struct.pack(">H", code))
    with RawServer(behaviour) as server:
        router.engine.apply(
            snapshot([entry_point(f"{router.address}:8000")], [route()], [service(server.url)], revision=2)
        )
        with Tunnel(router.address, router.port, speaks) as tunnel:
            assert tunnel.frame() == (Opcode.CLOSE, True, struct.pack(">H", code) + b"bye")
            tunnel.send(answer)
            wait_for(lambda: b"".join(seen) == answer, "the server sees the answer")


def test_a_real_client_sees_fragments_and_close_codes(router: Router) -> None:
    with connect(f"ws://{router.address}:{router.port}/", proxy=None) as ws:
        ws.send(["one ", "two ", "three"])
        assert list(ws.recv_streaming()) == ["one ", "two ", "three", ""]
        ws.close(4002, "that was it")
    assert (ws.close_code, ws.close_reason) == (4002, "that was it")
    assert struct.pack(">H", 4002) not in router.origin.record.raw  # the client has masked it


@both
def test_a_client_that_breaks_off_is_seen_by_the_server(router: Router, speaks: str) -> None:
    with Tunnel(router.address, router.port, speaks) as tunnel:
        tunnel.send(masked(Opcode.TEXT, b"x"))
        assert tunnel.frame() == (Opcode.TEXT, True, b"x")
    wait_for(lambda: router.engine.counters()["requests"]["open"] == 0, "no request is open")
    wait_for(lambda: router.engine.counters()["connections"]["open"] == 0, "no connection is open")


def test_a_refusal_comes_back_over_http_2(router: Router) -> None:
    with Client(router.address, router.port) as client:
        stream = client.ask("/status/403", [(":protocol", "websocket")], method="CONNECT", end=False)
        assert client.answer(stream).status == 403
        assert client.answer(client.ask("/status/200")).status == 200
