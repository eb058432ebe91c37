"""Every failure: what the client is told, which counters rise, what the log says."""

import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.support.engine import EngineProcess
from tests.support.http1 import Connection
from tests.support.ports import HeldPort
from tests.support.raw_server import RawServer, read_head
from tests.support.snapshots import entry_point, route, service, snapshot
from tests.support.wait import wait_for

BODIES = {
    400: b"Bad Request",
    404: b"404 page not found\n",
    408: b"Request Timeout",
    414: b"Request URI Too Long",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
}
"""Go's status texts, which are what Traefik answers with; 404 is that of its router."""


@dataclass(frozen=True)
class Case:
    """What goes wrong, and what has to come of it."""

    cause: str
    failure: str
    status: int
    said: str
    server: Callable[[socket.socket], None] | str | None = None
    request: str = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n"


def answers(data: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(data)

    return answer


def holds(connection: socket.socket) -> None:
    read_head(connection)
    with contextlib.suppress(OSError):
        connection.recv(1)


def get(target: str = "/", version: str = "HTTP/1.1", *headers: str) -> str:
    return "\r\n".join([f"GET {target} {version}", "Host: a", *headers, "", ""])


CASES = [
    Case("connect_refused", "server_connect", 502, "refused", server="refused"),
    Case("connect_name", "server_connect", 502, "lookup", server="http://nobody.invalid:80"),
    Case("connect_tls", "server_connect", 502, "cannot connect", server="plain"),
    Case("connect_failed", "server_connect", 502, "No such file", server="unix:/nonexistent/socket"),
    Case("connect_timeout", "server_timeout", 504, "connecting took too long", server="full"),
    Case("server_closed", "server_protocol", 502, "closed the connection before it answered", server=read_head),  # type: ignore[arg-type]
    Case("server_timeout", "server_timeout", 504, "answer took too long", server=holds),
    Case("answer_malformed", "server_protocol", 502, "malformed answer", server=answers(b"Hello.\r\n\r\n")),
    Case("answer_cut", "server_protocol", 502, "broke off its answer", server=answers(b"HTTP/1.1 200 OK\r\nCont")),
    Case("no_server", "no_server", 503, "has no server", server="none"),
    Case("no_weight", "no_server", 500, "has a weight", server="weightless"),
    Case("no_route", "no_route", 404, "no route matches"),
    Case("request_malformed", "client", 400, "refused request", request="GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    Case("target_too_long", "client", 414, "refused request", request=get("/" + "x" * 20_000)),
    Case("head_too_large", "client", 431, "refused request", request=get("/", "HTTP/1.1", *["X: 1"] * 200)),
    Case("version_unknown", "client", 505, "refused request", request=get("/", "HTTP/3.7")),
    Case("not_implemented", "client", 501, "refused request", request="CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"),
    Case("head_timeout", "client", 408, "head took too long", request="GET / HTTP/1.1\r\n"),
    Case("body_stalled", "client", 408, "stopped in the middle", server=holds,
         request="POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.cause)
def test_a_failure(engine: EngineProcess, address: str, case: Case) -> None:
    with contextlib.ExitStack() as stack:
        services = []
        match case.server:
            case None:
                pass
            case "none":
                services = [service()]
            case "weightless":
                services = [service(("http://127.0.0.1:1", 0))]
            case "refused":
                port = stack.enter_context(HeldPort())
                services = [service(f"http://{port}")]
            case "full":
                services = [service(f"http://{full(stack)}")]
            case "plain":
                plain = stack.enter_context(RawServer(lambda connection: connection.sendall(b"220 welcome\r\n" * 99)))
                services = [service(f"https://127.0.0.1:{plain.port}")]
            case str(url):
                services = [service(url)]
            case behaviour:
                services = [service(stack.enter_context(RawServer(behaviour)).url)]
        limits = {
            "dial_timeout_ms": 300,
            "response_header_timeout_ms": 300,
            "request_header_timeout_ms": 300,
            "stall_timeout_ms": 300,
        }
        if case.cause == "connect_name":
            limits["dial_timeout_ms"] = 20_000
        engine.apply(snapshot([entry_point(f"{address}:8000")], [route()] if services else [], services, **limits))  # type: ignore[arg-type]
        connection = stack.enter_context(Connection(address, 8000))
        connection.send(case.request)
        answer = connection.answer()
        assert answer is not None
        assert (answer.status, answer.body) == (case.status, BODIES[case.status])
        assert answer.header("Content-Type") == "text/plain; charset=utf-8"
        wait_for(lambda: engine.counters()["requests"]["total"] == 1, "the request is counted")
        counters = engine.counters()
        assert {name for name, count in counters["causes"].items() if count} == {case.cause}
        assert {name for name, count in counters["failures"].items() if count} == {case.failure}
        assert counters["requests"]["by_status"] == {str(case.status): 1}
        lines = wait_for(lambda: complaints(engine), "the log says so")
        assert len(lines) == 1, lines
        assert case.said in lines[0]
        assert ("WARN" in lines[0]) == (case.failure.startswith("server_")), "what a server did is worth a warning"


def complaints(engine: EngineProcess) -> list[str]:
    return [line for line in engine.process.tail().splitlines() if "cause=" in line and "status=" in line]


def full(stack: contextlib.ExitStack) -> str:
    """An address on which nobody takes a connection: its queue is full."""
    listener = stack.enter_context(contextlib.closing(socket.socket()))
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    for _ in range(4):
        waiting = stack.enter_context(contextlib.closing(socket.socket()))
        waiting.setblocking(False)
        waiting.connect_ex(listener.getsockname())
    return f"127.0.0.1:{listener.getsockname()[1]}"
