"""Each file of `malformed/` goes to nginx as well: the engine is never the laxer one.

A proxy is laxer than another one if it lets a server see more of an input than the other does:

* nginx lets no whole request through, and the engine does; or
* both do, and through the engine the server sees more requests, or another method, target or body.

Where nginx is stricter than the standard asks, the case's file says so in `nginx`, with the reason. Whatever nginx
does, what the engine sends has one reading: each request is read strictly (h11), framed once, its lines end with CR LF,
and no field could be taken for framing (`transfer_encoding`).

Both stand before an origin that reads strictly and keeps the bytes of each connection.
"""

import re
import shutil
import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue

import h11
import pytest

from tests.engine.test_malformed import FILES, load, raw
from tests.support.engine import EngineProcess
from tests.support.ports import loopback_address
from tests.support.process import Process
from tests.support.snapshots import entry_point, route, service, snapshot
from tests.support.wait import SLOWNESS, wait_for

LANES = 8
"""Cases that run at once, each before an origin of its own."""

Request = tuple[str, str, bytes]
"""Method, target, body."""


@dataclass
class Seen:
    """What a server saw of one case."""

    requests: list[Request] = field(default_factory=list)
    streams: list[bytearray] = field(default_factory=list)


class StrictOrigin:
    """A server that takes what h11 takes, answers 200, and closes at the first thing that it does not."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.seen = Seen()
        self._open: list[threading.Thread] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection, self.seen), daemon=True)
            thread.start()
            self._open.append(thread)

    @staticmethod
    def _serve(connection: socket.socket, seen: Seen) -> None:
        stream = bytearray()
        seen.streams.append(stream)
        protocol = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        head: h11.Request | None = None
        body = b""
        with connection:
            try:
                while True:
                    event = protocol.next_event()
                    if event is h11.NEED_DATA:
                        data = connection.recv(65536)
                        stream += data
                        protocol.receive_data(data)
                    elif isinstance(event, h11.Request):
                        head, body = event, b""
                    elif isinstance(event, h11.Data):
                        body += event.data
                    elif isinstance(event, h11.EndOfMessage) and head is not None:
                        seen.requests.append((head.method.decode(), head.target.decode("latin-1"), body))
                        answer = h11.Response(status_code=200, headers=[("Content-Length", "0")])
                        connection.sendall(protocol.send(answer) or b"")
                        protocol.send(h11.EndOfMessage())
                        protocol.start_next_cycle()
                    else:
                        return
            except (OSError, h11.ProtocolError):
                return

    def take(self) -> Seen:
        """What came since the last call."""
        seen, self.seen = self.seen, Seen()
        return seen

    def close(self) -> None:
        """Accept nothing any more."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._open:
            thread.join(10)


def play(address: str, port: int, request: bytes, origin: StrictOrigin) -> Seen:
    """Send it on a connection of its own, wait until the proxy has closed that, and return what the server saw."""
    origin.take()
    with socket.create_connection((address, port), timeout=20 * SLOWNESS) as client:
        try:
            client.sendall(request)
            client.settimeout(1 * SLOWNESS)
            while client.recv(65536):
                pass
        except TimeoutError:
            # The engine gives a body time; nginx has its own limits below.
            client.shutdown(socket.SHUT_WR)
            client.settimeout(20 * SLOWNESS)
            try:
                while client.recv(65536):
                    pass
            except OSError:
                pass
        except OSError:
            pass
    return origin.take()


def play_all(address: str, ports: Sequence[int], origins: Sequence[StrictOrigin]) -> dict[str, Seen]:
    """All cases, several at once."""
    lanes: Queue[tuple[int, StrictOrigin]] = Queue()
    for lane in zip(ports, origins, strict=True):
        lanes.put(lane)

    def one(file: Path) -> tuple[str, Seen]:
        lane = lanes.get()
        try:
            return file.stem, play(address, lane[0], raw(load(file)["request"]), lane[1])
        finally:
            lanes.put(lane)

    with ThreadPoolExecutor(LANES) as pool:
        return dict(pool.map(one, FILES))


@pytest.fixture(scope="module")
def origins() -> Iterator[list[StrictOrigin]]:
    """One for each lane."""
    made = [StrictOrigin() for _ in range(LANES)]
    yield made
    for origin in made:
        origin.close()


NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log stderr crit;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  client_header_timeout 700ms; client_body_timeout 700ms; keepalive_timeout 300ms; lingering_timeout 300ms;
  proxy_http_version 1.1; proxy_set_header Connection "";
  {servers}
}}
"""


@pytest.fixture(scope="module")
def through_nginx(origins: list[StrictOrigin], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Seen]]:
    """What servers behind nginx saw, by case."""
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    assert binary, "nginx is missing; next step: make setup"
    folder, address = tmp_path_factory.mktemp("nginx"), loopback_address()
    ports = range(9000, 9000 + LANES)
    servers = [
        f"server {{ listen {address}:{port}; location / {{ proxy_pass http://127.0.0.1:{origin.port}; }} }}"
        for port, origin in zip(ports, origins, strict=True)
    ]
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, servers="\n  ".join(servers)))
    process = Process([binary, "-e", "stderr", "-p", folder, "-c", config], name="nginx")
    try:
        wait_for(lambda: not refused(address, ports[-1]), "nginx listens")
        yield play_all(address, ports, origins)
    finally:
        process.cleanup()


def refused(address: str, port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) != 0


@pytest.fixture(scope="module")
def through_engine(origins: list[StrictOrigin], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Seen]]:
    """What servers behind the engine saw, by case."""
    engine, address = EngineProcess(tmp_path_factory.mktemp("engine")), loopback_address()
    ports = range(8000, 8000 + LANES)
    try:
        engine.start()
        engine.apply(
            snapshot(
                [entry_point(f"{address}:{port}", f"p{port}") for port in ports],
                [route(service=f"s{port}", id=f"r{port}", entry_points=[f"p{port}"]) for port in ports],
                [
                    service(f"http://127.0.0.1:{origin.port}", id=f"s{port}")
                    for port, origin in zip(ports, origins, strict=True)
                ],
                # Each request on a connection of its own to the server, as nginx has it.
                max_idle_connections_per_server=0,
                idle_timeout_ms=300,
                request_header_timeout_ms=700,
            )
        )
        yield play_all(address, ports, origins)
    finally:
        engine.cleanup()


@pytest.mark.parametrize("case", [file.stem for file in FILES])
def test_never_laxer_than_nginx(case: str, through_nginx: dict[str, Seen], through_engine: dict[str, Seen]) -> None:
    ours, theirs = through_engine[case].requests, through_nginx[case].requests
    document = load(next(file for file in FILES if file.stem == case))
    if "nginx" in document:
        assert ours != theirs, f"nginx does as the engine does; the reason is wrong: {document['nginx']}"
        return
    assert len(ours) <= len(theirs), f"{ours} through the engine, {theirs} through nginx"
    assert ours == theirs[: len(ours)]


FRAMING = re.compile(rb"\r\n(?:content-length|transfer-encoding):", re.IGNORECASE)
LIKE_FRAMING = re.compile(
    rb"\r\n(?:content_length|transfer_encoding|content-length |transfer-encoding )", re.IGNORECASE
)


@pytest.mark.parametrize("case", [file.stem for file in FILES])
def test_what_the_engine_sends_has_one_reading(case: str, through_engine: dict[str, Seen]) -> None:
    for stream in through_engine[case].streams:
        head, _, _ = bytes(stream).partition(b"\r\n\r\n")
        assert not re.search(rb"(?<!\r)\n|\r(?!\n)|\x00", head), head
        assert len(FRAMING.findall(head)) <= 1, head
        assert not LIKE_FRAMING.search(head), head
    assert not [target for _, target, _ in through_engine[case].requests if target == "/smuggled"]
