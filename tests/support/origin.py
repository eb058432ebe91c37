"""A small origin server that tells what it was asked, and remembers every byte.

Run by hand: python -m tests.support.origin --listen 127.0.0.1:8080 --name a

`/slow?seconds=1` answers late, `/stream?chunks=3` in chunks with a trailer, `/status/503` with that status,
`/bytes/1000` with that many bytes, `/echo` with the request's body, `/drop` with a closed connection. An upgrade to a
websocket is an echo. Everything else gets JSON: name, method, path, headers, body_length.
"""

import argparse
import contextlib
import io
import json
import socket
import socketserver
import ssl
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from tests.support.wait import wait_for


@dataclass(frozen=True)
class Seen:
    """One request as the origin got it."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        """All values of a header, in order."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name: str) -> str | None:
        """A header's only value, or None; several fail."""
        values = self.values(name)
        assert len(values) <= 1, f"{name} was sent {len(values)} times: {values}"
        return values[0] if values else None


@dataclass
class Record:
    """What an origin has seen since the last `clear`."""

    requests: list[Seen] = field(default_factory=list)
    connections: int = 0
    raw: bytearray = field(default_factory=bytearray)

    def clear(self) -> None:
        """Forget it."""
        self.requests.clear()
        self.raw.clear()
        self.connections = 0


class _Recorder(io.RawIOBase):
    """A connection's reading side that keeps a copy of every byte."""

    def __init__(self, connection: socket.socket, raw: bytearray) -> None:
        self._connection = connection
        self._raw = raw
        self.head = bytearray()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._connection.recv_into(buffer)
        piece = bytes(memoryview(buffer)[:count])
        self._raw += piece
        self.head += piece
        return count


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "_Server"

    def setup(self) -> None:
        super().setup()
        self._recorder = _Recorder(self.connection, self.server.record.raw)
        # Small reads, so that a websocket's first bytes are not swallowed by a buffer that nobody looks into again.
        self.rfile = cast("io.BufferedReader", io.BufferedReader(self._recorder, 4096))

    def handle_one_request(self) -> None:
        del self._recorder.head[:]
        super().handle_one_request()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""

    def send_response_only(self, code: int, message: str | None = None) -> None:
        super().send_response_only(code, message)

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            pieces = []
            while size := int(self.rfile.readline().split(b";")[0] or b"-", 16):
                pieces.append(self._exactly(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return b"".join(pieces)
        return self._exactly(int(self.headers.get("Content-Length", "0")))

    def _exactly(self, size: int) -> bytes:
        data = self.rfile.read(size)
        if len(data) < size:
            raise ConnectionError("the body ended early")
        return data

    def _serve(self) -> None:
        # Python's own `path` folds leading slashes.
        target = self.raw_requestline.split(b" ")[1].decode("latin-1")
        headers = [(name, value) for name, value in self.headers.raw_items()]
        if self.headers.get("Upgrade", "").lower() == "websocket" and not target.startswith("/status/"):
            self.server.record.requests.append(Seen(self.command, target, headers, b""))
            self._websocket()
            return
        body = self._body()
        self.server.record.requests.append(Seen(self.command, target, headers, body))
        url = urlsplit(target if target.startswith("/") and not target.startswith("//") else "/")
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        verb, _, argument = url.path.strip("/").partition("/")
        if (status := self.server.statuses.get(url.path)) is not None:
            verb, argument = "status", str(status)
        match verb:
            case "slow":
                self.server.waiting.set()
                self.server.ending.wait(float(query.get("seconds", "1")))
                self._answer(200, b"slow\n", "text/plain")
            case "stream":
                self._stream(int(query.get("chunks", "3")), float(query.get("pause", "0")))
            case "status":
                code = int(argument)
                empty = code in {204, 304}
                self._answer(code, b"" if empty else f"{code}\n".encode(), "text/plain")
            case "bytes":
                self._answer(200, pattern(int(argument)), "application/octet-stream")
            case "echo":
                self._answer(200, body, "application/octet-stream")
            case "drop":
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
            case _:
                told = {
                    "name": self.server.name,
                    "method": self.command,
                    "path": target,
                    "headers": headers,
                    "body_length": len(body),
                }
                self._answer(200, json.dumps(told).encode(), "application/json")

    def _answer(self, code: int, body: bytes, kind: str) -> None:
        self.send_response_only(code)
        self.send_header("Content-Type", kind)
        self.send_header("X-Origin", self.server.name)
        if code not in {204, 304}:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _stream(self, chunks: int, pause: float) -> None:
        self.send_response_only(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Trailer", "X-Checksum")
        self.end_headers()
        for number in range(chunks):
            piece = f"chunk {number}\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            if pause:
                self.server.ending.wait(pause)
        self.wfile.write(b"0\r\nX-Checksum: %d\r\n\r\n" % chunks)

    def _websocket(self) -> None:
        self.close_connection = True
        protocol = ServerProtocol(subprotocols=None)
        protocol.receive_data(bytes(self._recorder.head))
        (request,) = protocol.events_received()
        assert isinstance(request, Request)
        response = protocol.accept(request)
        if offered := request.headers.get("Sec-WebSocket-Protocol"):
            response.headers["Sec-WebSocket-Protocol"] = offered.split(",")[0].strip()
        protocol.send_response(response)
        while True:
            for frame in protocol.events_received():
                assert isinstance(frame, Frame)
                if frame.opcode is Opcode.TEXT:
                    protocol.send_text(bytes(frame.data), fin=frame.fin)
                elif frame.opcode is Opcode.BINARY:
                    protocol.send_binary(bytes(frame.data), fin=frame.fin)
                elif frame.opcode is Opcode.CONT:
                    protocol.send_continuation(bytes(frame.data), fin=frame.fin)
            for piece in protocol.data_to_send():
                if piece:
                    self.connection.sendall(piece)
            if protocol.state is State.CLOSED or protocol.close_expected():
                return
            data = self.connection.recv(65536)
            self.server.record.raw.extend(data)
            if data:
                protocol.receive_data(data)
            else:
                protocol.receive_eof()


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024

    def __init__(self, address: str, port: int, name: str, tls: ssl.SSLContext | None = None) -> None:
        self.name = name
        self.tls = tls
        self.record = Record()
        self.waiting = threading.Event()
        self.ending = threading.Event()
        self.statuses: dict[str, int] = {}
        self.open: set[socket.socket] = set()
        super().__init__((address, port), _Handler)

    def get_request(self) -> tuple[Any, Any]:
        connection, peer = super().get_request()
        if self.tls is not None:
            # The handshake waits for the first read, in the connection's own thread.
            connection = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, peer

    def process_request(self, request: Any, client_address: Any) -> None:
        self.record.connections += 1
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A broken connection or chunk is what some tests are about; it is seen as a request that never was.
        if not isinstance(sys.exception(), OSError | ValueError):
            super().handle_error(request, client_address)


class Origin:
    """An origin in threads of this process. Several requests run at once."""

    def __init__(
        self, name: str = "origin", address: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self._server = _Server(address, port, name, tls)
        self.name = name
        self.address = address
        self.port: int = self._server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://{address}:{self.port}"
        self.record = self._server.record
        self.waiting = self._server.waiting
        """Set once a request to /slow has arrived."""
        self.ending = self._server.ending
        """Set it to end all waiting in /slow and /stream at once."""
        self.statuses = self._server.statuses
        """Paths that are answered with a status, whatever they are otherwise."""
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def requests(self) -> list[Seen]:
        """The requests since the last `record.clear()`."""
        return self.record.requests

    def last(self) -> Seen:
        """The newest request."""
        assert self.requests, f"no request has reached {self.name}"
        return self.requests[-1]

    def assert_untouched(self) -> None:
        """Fail unless not one byte has come."""
        assert not self.record.raw, f"{self.name} received {bytes(self.record.raw[:500])!r}"

    def settle(self) -> None:
        """Wait until everything that was sent so far is recorded. Not for TLS."""
        # Connections are accepted in order: those before this one have been.
        with socket.create_connection((self.address, self.port)) as last:
            wait_for(lambda: last.getsockname() in self._peers(), f"{self.name} has accepted what came")
        wait_for(lambda: not any(map(_waits, list(self._server.open))), f"{self.name} has read what came")

    def _peers(self) -> list[Any]:
        peers = []
        for connection in list(self._server.open):
            with contextlib.suppress(OSError):
                peers.append(connection.getpeername())
        return peers

    def close(self) -> None:
        """Stop listening and drop every connection."""
        self._server.ending.set()
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self._server.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()


def _waits(connection: socket.socket) -> bool:
    """Tell whether there is something to read: bytes, or their end."""
    try:
        connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        # It was closed meanwhile.
        return False
    return True


def pattern(size: int) -> bytes:
    """Bytes that repeat with a period that divides no buffer size, so that a lost or doubled piece shows."""
    period = bytes(range(251))
    return (period * (size // len(period) + 1))[:size]


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--listen", default="127.0.0.1:8080", help="address:port")
    parser.add_argument("--name", default="origin")
    options = parser.parse_args()
    address, _, port = options.listen.rpartition(":")
    server = _Server(address, int(port), options.name)
    print(f"{options.name} listens on {address}:{server.server_address[1]}", flush=True)  # noqa: T201
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main()
