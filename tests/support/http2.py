"""HTTP/2 by hand, on the library h2: a client that says and sees every frame, and the same for servers."""

import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    DataReceived,
    Event,
    InformationalResponseReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)

from tests.support.wait import SLOWNESS

Fields = Sequence[tuple[str, str]]


def texts(headers: Iterable[tuple[object, object]] | None) -> list[tuple[str, str]]:
    """The fields of an event, which are texts whatever their type says."""
    return [(str(name), str(value)) for name, value in headers or ()]


class Peer:
    """One end of a connection."""

    def __init__(self, connection: socket.socket, *, client: bool) -> None:
        self.socket = connection
        self.socket.settimeout(10 * SLOWNESS)
        # The engine is to be shown what a decent library would not send.
        configuration = H2Configuration(
            client_side=client,
            header_encoding="utf-8",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.h2 = H2Connection(configuration)
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        """Send what there is to send."""
        self.socket.sendall(self.h2.data_to_send())

    def events(self) -> Iterator[Event]:
        """What happens, until the other side closes. Data is taken at once."""
        while data := self.socket.recv(65536):
            for event in self.h2.receive_data(data):
                if isinstance(event, DataReceived) and event.flow_controlled_length:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                self.flush()
                yield event
            self.flush()

    def head(self, stream: int, fields: Fields, *, end: bool = False) -> None:
        """Send a head, or trailers."""
        self.h2.send_headers(stream, fields, end_stream=end)
        self.flush()

    def data(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Send a piece of a body, which has to fit the window."""
        self.h2.send_data(stream, data, end_stream=end)
        self.flush()

    def reset(self, stream: int, code: int = 8) -> None:
        """Give a stream up; 8 is CANCEL."""
        self.h2.reset_stream(stream, code)
        self.flush()


@dataclass
class Answer:
    """One response."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    interim: list[int] = field(default_factory=list)
    reset: int | None = None
    """The code with which the stream was reset, if it was."""

    def header(self, name: str) -> str | None:
        """A header's only value, or None."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) <= 1, f"{name} was sent {len(values)} times: {values}"
        return values[0] if values else None


class Client(Peer):
    """A client's connection to an engine, by prior knowledge or, with `tls`, by ALPN."""

    def __init__(self, address: str, port: int, tls: ssl.SSLContext | None = None, server_name: str = "") -> None:
        plain = socket.create_connection((address, port), timeout=10 * SLOWNESS)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._scheme = "https" if tls else "http"
            super().__init__(tls.wrap_socket(plain, server_hostname=server_name) if tls else plain, client=True)
        except BaseException:
            plain.close()
            raise
        self._waiting: dict[int, list[Event]] = {}
        self._events = self.events()

    def ask(
        self, path: str, fields: Fields = (), *, method: str = "GET", host: str = "a.example", end: bool = True
    ) -> int:
        """Begin a request; returns its stream."""
        stream = self.h2.get_next_available_stream_id()
        start = [(":method", method), (":scheme", self._scheme), (":authority", host), (":path", path)]
        self.head(stream, [*start, *fields], end=end)
        return stream

    def next(self, stream: int) -> Event:
        """What happens next to a stream."""
        waiting = self._waiting.setdefault(stream, [])
        while not waiting:
            event = next(self._events, None)
            if event is None:
                raise ConnectionError("the connection was closed")
            of = getattr(event, "stream_id", None)
            if of:
                self._waiting.setdefault(of, []).append(event)
        return waiting.pop(0)

    def answer(self, stream: int, *, until: bytes | None = None) -> Answer:
        """The response, whole or until its body ends with `until`."""
        answer = Answer()
        while True:
            match self.next(stream):
                case InformationalResponseReceived(headers=headers):
                    answer.interim.append(int(dict(texts(headers))[":status"]))
                case ResponseReceived(headers=headers):
                    answer.headers = texts(headers)
                    answer.status = int(dict(answer.headers)[":status"])
                case DataReceived(data=data):
                    answer.body += data or b""
                case TrailersReceived(headers=headers):
                    answer.trailers = texts(headers)
                case StreamReset(error_code=code):
                    answer.reset = int(code or 0)
                    return answer
                case StreamEnded():
                    return answer
            if until is not None and answer.body.endswith(until):
                return answer

    def close(self) -> None:
        """Close the connection without a word."""
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
