"""The PROXY protocol towards entry points: who the client is, behind a load balancer that says so."""

import contextlib
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartProcess
from tests.engine.conftest import Router
from tests.engine.test_apply import refuses
from tests.engine.test_tls import client
from tests.support.certificates import authority
from tests.support.engine import EngineProcess
from tests.support.http1 import Connection, get
from tests.support.origin import Origin
from tests.support.ports import loopback_address
from tests.support.snapshots import entry_point, route, service, snapshot, tls
from tests.support.wait import SLOWNESS, wait_for

TEXT = b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 80\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
ADDRESSES = bytes([192, 0, 2, 7, 192, 0, 2, 1, 156, 64, 0, 80])
TLV = b"\x03\x00\x04abcd"
BINARY = SIGNATURE + b"\x21\x11\x00\x0c" + ADDRESSES
REQUEST = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
PEER = "127.0.0.1"

TRUSTED = {"insecure": False, "trusted_ips": ["127.0.0.0/8"]}
OTHERS = {"insecure": False, "trusted_ips": ["10.0.0.0/8"]}


def apply(router: Router, peers: dict[str, Any], revision: int = 2, **settings: Any) -> None:
    point = entry_point(f"{router.address}:{router.port}", proxy_protocol=peers, insecure=False)
    router.engine.apply(snapshot([point], [route()], [service(router.origin.url)], revision=revision, **settings))


@pytest.mark.parametrize(
    ("peers", "header", "seen"),
    [
        (TRUSTED, TEXT, "192.0.2.7"),
        (TRUSTED, BINARY, "192.0.2.7"),
        (TRUSTED, SIGNATURE + b"\x21\x11\x00\x13" + ADDRESSES + TLV, "192.0.2.7"),
        (TRUSTED, b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 80\r\n", "2001:db8::7"),
        (TRUSTED, b"PROXY UNKNOWN\r\n", PEER),
        (TRUSTED, SIGNATURE + b"\x20\x00\x00\x00", PEER),
        (TRUSTED, SIGNATURE + b"\x21\x31\x00\xd8" + bytes(216), PEER),
        (TRUSTED, b"", PEER),
        ({"insecure": True, "trusted_ips": []}, TEXT, "192.0.2.7"),
        # Taken off, but not believed.
        (OTHERS, TEXT, PEER),
        (OTHERS, BINARY, PEER),
        (OTHERS, b"", PEER),
    ],
)
def test_the_client_that_the_server_sees(router: Router, peers: dict[str, Any], header: bytes, seen: str) -> None:
    apply(router, peers)
    with Connection(router.address, router.port) as connection:
        connection.send(header + REQUEST)
        for _ in range(2):
            answer = connection.answer()
            assert answer is not None
            assert answer.status == 200
            assert router.origin.last().values("X-Forwarded-For") == [seen]
            assert router.origin.last().values("X-Real-Ip") == [seen]
            connection.send(REQUEST)


@pytest.mark.parametrize("header", [TEXT, BINARY, b""])
def test_byte_by_byte(router: Router, header: bytes) -> None:
    apply(router, TRUSTED)
    with Connection(router.address, router.port) as connection:
        for number in range(len(header + REQUEST)):
            connection.send((header + REQUEST)[number : number + 1])
        assert connection.answer() is not None
    assert router.origin.last().values("X-Forwarded-For") == ["192.0.2.7" if header else PEER]


def test_what_only_begins_like_a_header_is_a_request(router: Router) -> None:
    apply(router, TRUSTED)
    with Connection(router.address, router.port) as connection:
        connection.send(b"PRO")
        connection.send(b"PFIND /x HTTP/1.1\r\nHost: a.example\r\n\r\n")
        assert connection.answer("PROPFIND") is not None
    assert router.origin.last().method == "PROPFIND"


@pytest.mark.parametrize(
    "header",
    [b"PROXY TCP4 nonsense\r\n", TEXT.replace(b"\r", b""), SIGNATURE + b"\x31\x11\x00\x0c" + ADDRESSES, b"PROXY " * 20],
)
def test_a_malformed_header_closes_the_connection(router: Router, header: bytes) -> None:
    apply(router, TRUSTED)
    with Connection(router.address, router.port) as connection:
        connection.send(header + REQUEST)
        assert connection.answer() is None
    router.origin.assert_untouched()


@pytest.mark.parametrize("beginning", [b"", TEXT[:20], BINARY[:20]])
def test_a_header_has_its_time(router: Router, beginning: bytes) -> None:
    apply(router, TRUSTED, request_header_timeout_ms=100)
    with Connection(router.address, router.port) as connection:
        connection.send(beginning)
        assert connection.closed()
    router.origin.assert_untouched()


def test_without_the_option_a_header_is_no_request(router: Router) -> None:
    for header in (TEXT, BINARY):
        with Connection(router.address, router.port) as connection:
            connection.send(header + REQUEST)
            answer = connection.answer()
            assert answer is not None
            assert answer.status in {400, 505}
    router.origin.assert_untouched()


def test_the_client_decides_whether_forwarded_headers_are_believed(router: Router) -> None:
    point = entry_point(
        f"{router.address}:{router.port}", proxy_protocol=TRUSTED, insecure=False, trusted_ips=["192.0.2.7"]
    )
    router.engine.apply(snapshot([point], [route()], [service(router.origin.url)], revision=2))
    for header, expected in ((TEXT, "1.1.1.1"), (b"", PEER), (TEXT.replace(b".7", b".8"), "192.0.2.8")):
        with Connection(router.address, router.port) as connection:
            connection.send(header + REQUEST[:-2] + b"X-Real-Ip: 1.1.1.1\r\n\r\n")
            assert connection.answer() is not None
        assert router.origin.last().values("X-Real-Ip") == [expected]


def test_connections_are_counted_for_the_client_that_is_told(router: Router) -> None:
    point = entry_point(f"{router.address}:{router.port}", proxy_protocol=TRUSTED, max_connections_per_client=1)
    router.engine.apply(snapshot([point], [route()], [service(router.origin.url)], revision=2))

    def served(connection: Connection, header: bytes) -> bool:
        connection.send(header + REQUEST)
        return connection.answer() is not None

    with Connection(router.address, router.port) as first, Connection(router.address, router.port) as second:
        assert served(first, TEXT)
        assert served(second, TEXT.replace(b".7", b".8"))
        with Connection(router.address, router.port) as third:
            assert not served(third, BINARY)
        assert router.engine.counters()["connections"]["refused"] == 1


@pytest.fixture
def secured(engine: EngineProcess, address: str, origin: Origin) -> Router:
    """An engine that speaks TLS behind a load balancer."""
    certificate = authority().issue("a.example").for_snapshot("c")
    point = entry_point(f"{address}:8000", tls=tls("c", ["c"]), proxy_protocol=TRUSTED)
    engine.apply(snapshot([point], [route()], [service(origin.url)], certificates=[certificate]))
    return Router(engine, address, origin)


def test_before_tls(secured: Router) -> None:
    for header, expected in ((TEXT, "192.0.2.7"), (BINARY, "192.0.2.7"), (b"", PEER)):
        with Connection(secured.address, secured.port) as connection:
            connection.send(header)
            context = client()
            with context.wrap_socket(connection.socket, server_hostname="a.example") as encrypted:
                encrypted.sendall(REQUEST)
                assert encrypted.recv(100).startswith(b"HTTP/1.1 200")
        assert secured.origin.last().values("X-Forwarded-For") == [expected]
        assert secured.origin.last().header("X-Forwarded-Proto") == "https"


def test_what_only_begins_like_a_header_is_no_tls(secured: Router) -> None:
    with Connection(secured.address, secured.port) as connection:
        connection.send(b"PROX")
        connection.send(b"IMITY")
        # At most an alert comes, or a reset for what was not read.
        with contextlib.suppress(ConnectionError):
            while connection.socket.recv(100):
                pass
    secured.origin.assert_untouched()


def test_curl(secured: Router) -> None:
    done = subprocess.run(
        ["curl", "-skf", "--noproxy", "*", "--haproxy-protocol", "--interface", "127.0.0.9",
         f"https://{secured.address}:{secured.port}/"],
        capture_output=True,
        timeout=20 * SLOWNESS,
        check=True,
    )  # fmt: skip
    assert done.returncode == 0
    assert secured.origin.last().values("X-Forwarded-For") == ["127.0.0.9"]


def test_haproxy(router: Router, start_process: StartProcess, tmp_path: Path) -> None:
    apply(router, TRUSTED)
    front = loopback_address()
    options = {8001: "send-proxy", 8002: "send-proxy-v2", 8003: "send-proxy-v2-ssl-cn", 8004: ""}
    config = ["global", "log stderr local0", "defaults", "mode tcp"]
    config += [f"timeout {what} 20s" for what in ("connect", "client", "server")]
    for port, option in options.items():
        config += [f"listen p{port}", f"bind {front}:{port}", f"server s {router.address}:{router.port} {option}"]
    file = tmp_path / "haproxy.cfg"
    file.write_text("\n".join([*config, ""]))
    command = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
    assert command, "haproxy was not found; next step: make setup"
    haproxy = start_process([command, "-db", "-f", file], name="haproxy")
    wait_for(lambda: not refuses(front, 8004) or not haproxy.running, "haproxy listens")
    for port, option in options.items():
        with socket.create_connection((front, port), 10 * SLOWNESS, ("127.0.0.9", 0)) as connection:
            connection.sendall(REQUEST)
            assert connection.recv(100).startswith(b"HTTP/1.1 200"), option
        assert router.origin.last().values("X-Forwarded-For") == ["127.0.0.9" if option else PEER], option


def test_bad_addresses_are_refused(router: Router) -> None:
    point = entry_point(f"{router.address}:{router.port}", proxy_protocol={"insecure": False, "trusted_ips": ["x"]})
    answer = router.engine.put(snapshot([point], [route()], [service(router.origin.url)], revision=2))
    assert answer.status_code == 422
    assert "proxy_protocol.trusted_ips" in answer.json()["error"]
    assert get(router.address, router.port).status == 200
