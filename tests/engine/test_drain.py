"""An engine is taken out of service and brought back, with real clients on it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, PingFrame
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.engine.conftest import Router
from tests.engine.test_apply import refuses
from tests.engine.test_take_over import Clients
from tests.support.engine import EngineProcess, control_client
from tests.support.http1 import Connection, get
from tests.support.http2 import Client
from tests.support.snapshots import entry_point, route, service, snapshot
from tests.support.wait import wait_for

ASK = "GET /bytes/10 HTTP/1.1\r\nHost: a\r\n\r\n"


def prepare(router: Router, *, revision: int = 2, ping: bool = False, **settings: Any) -> None:
    """The router's own snapshot with other times."""
    point = entry_point(f"{router.address}:{router.port}", ping=ping)
    settings = {"grace_timeout_ms": 300, **settings}
    router.engine.apply(snapshot([point], [route()], [service(router.origin.url)], revision=revision, **settings))


def drain(engine: EngineProcess) -> None:
    answer = engine.control.post("/drain")
    assert (answer.status_code, answer.json()) == (202, {})


def undrain(engine: EngineProcess) -> None:
    answer = engine.control.post("/undrain")
    assert (answer.status_code, answer.json()) == (200, {})


def state(engine: EngineProcess) -> str:
    return str(engine.status()["state"])


def drained(engine: EngineProcess) -> None:
    wait_for(lambda: state(engine) == "drained", "the engine is drained")


def test_what_is_open_ends_by_itself_and_nothing_is_cut(router: Router) -> None:
    prepare(router)
    host = (router.address, router.port)
    with (
        Connection(*host) as idle,
        Connection(*host) as slow,
        Connection(*host) as kept,
        connect(f"ws://{router.address}:{router.port}/", proxy=None) as websocket,
    ):
        for one in (idle, kept):
            one.send(ASK)
            assert one.answer() is not None
        slow.send("GET /slow?seconds=1000 HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: router.origin.waiting.is_set(), "a request is under way")
        websocket.send("before")
        assert websocket.recv() == "before"

        drain(router.engine)
        wait_for(lambda: refuses(*host), "connections are refused at once")
        kept.send(ASK)
        answer = kept.answer()
        assert answer is not None
        assert (answer.status, answer.header("Connection")) == (200, "close"), "it is served, and told to go"
        assert kept.closed()
        assert idle.closed(), "after the grace time nothing more is expected of it"
        status = router.engine.status()
        assert (status["state"], status["listeners"]) == ("draining", [])
        assert (status["connections"], status["requests"]) == (2, 2), "the slow one and the websocket"

        websocket.send("long after the grace time")
        assert websocket.recv() == "long after the grace time"
        router.origin.ending.set()
        answer = slow.answer()
        assert answer is not None
        assert answer.body == b"slow\n"
        wait_for(lambda: router.engine.status()["connections"] == 1, "only the websocket is left")
        assert state(router.engine) == "draining"
    drained(router.engine)
    assert router.engine.process.running


def frames(connection: socket.socket) -> Iterator[Frame]:
    """What an engine sends, to its end; the library h2 takes nothing more after a GOAWAY."""
    buffer = b""
    while data := connection.recv(65536):
        buffer += data
        while len(buffer) >= 9:
            frame, length = Frame.parse_frame_header(memoryview(buffer[:9]))
            if len(buffer) < 9 + length:
                break
            frame.parse_body(memoryview(buffer[9 : 9 + length]))
            buffer = buffer[9 + length :]
            if isinstance(frame, PingFrame) and "ACK" not in frame.flags:
                connection.sendall(PingFrame(opaque_data=frame.opaque_data, flags=["ACK"]).serialize())
            yield frame


def test_http2_is_told_to_go_and_its_streams_end(router: Router) -> None:
    prepare(router, grace_timeout_ms=60_000)
    with Client(router.address, router.port) as client:
        client.ask("/slow?seconds=1000")
        wait_for(lambda: router.origin.waiting.is_set(), "a request is under way")
        drain(router.engine)
        seen = frames(client.socket)
        assert any(isinstance(frame, GoAwayFrame) for frame in seen), "it is told"
        assert state(router.engine) == "draining"
        router.origin.ending.set()
        body = b"".join(frame.data for frame in seen if isinstance(frame, DataFrame))
        assert body == b"slow\n", "what was under way is answered, and then the connection ends"
    drained(router.engine)


def test_it_is_announced_before_listeners_close(router: Router) -> None:
    prepare(router, ping=True, request_accept_grace_timeout_ms=1_500)
    drain(router.engine)
    wait_for(lambda: get(router.address, router.port, "/ping").status == 503, "pings say so")
    assert get(router.address, router.port, "/bytes/1").status == 200, "new connections are served meanwhile"
    assert state(router.engine) == "draining"
    wait_for(lambda: refuses(router.address, router.port), "then no more connections are taken")
    drained(router.engine)
    undrain(router.engine)
    assert get(router.address, router.port, "/ping").status == 200
    assert get(router.address, router.port, "/bytes/1").status == 200
    assert state(router.engine) == "running"


def test_it_is_called_off_while_it_is_announced(router: Router) -> None:
    prepare(router, ping=True, request_accept_grace_timeout_ms=1_000)
    with Connection(router.address, router.port) as kept:
        drain(router.engine)
        wait_for(lambda: get(router.address, router.port, "/ping").status == 503, "pings say so")
        undrain(router.engine)
        drain(router.engine)
        undrain(router.engine)
        undrain(router.engine)
        # Longer than all of the announcement and the grace: nothing of it may still happen.
        threading.Event().wait(1.6)
        assert get(router.address, router.port, "/ping").status == 200
        kept.send(ASK)
        answer = kept.answer()
        assert answer is not None
        assert answer.header("Connection") is None


def test_a_snapshot_is_put_in_force_and_its_listeners_stay_closed(router: Router) -> None:
    prepare(router)
    drain(router.engine)
    drained(router.engine)
    other = router.port + 1
    points = [
        entry_point(f"{router.address}:{router.port}", name="http"),
        entry_point(f"{router.address}:{other}", name="more"),
    ]
    routes = [route(entry_points=["http", "more"])]
    router.engine.apply(snapshot(points, routes, [service(router.origin.url)], revision=7))
    assert router.engine.status()["revision"] == 7
    for port in (router.port, other):
        assert refuses(router.address, port)
    undrain(router.engine)
    for port in (router.port, other):
        assert get(router.address, port, "/bytes/1").status == 200
    router.engine.apply(snapshot(points[:1], [route()], [service(router.origin.url)], revision=8))
    assert refuses(router.address, other)
    assert get(router.address, router.port, "/bytes/1").status == 200


def test_an_engine_that_is_drained_first_never_listens(engine: EngineProcess, address: str) -> None:
    drain(engine)
    assert state(engine) == "drained"
    engine.apply(snapshot([entry_point(f"{address}:8000")], [route()], [service("http://192.0.2.1")]))
    assert refuses(address, 8000)
    undrain(engine)
    with socket.create_connection((address, 8000), timeout=5):
        pass


def test_a_port_that_was_taken_meanwhile_keeps_it_drained(router: Router) -> None:
    prepare(router)
    drain(router.engine)
    drained(router.engine)
    with socket.create_server((router.address, router.port)):
        answer = router.engine.control.post("/undrain")
        assert answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY
        assert "address already in use" in answer.json()["error"]
        assert [one["kind"] for one in answer.json()["problems"]] == ["entry_point"]
        assert state(router.engine) == "drained"
    undrain(router.engine)
    assert get(router.address, router.port, "/bytes/1").status == 200


def test_a_drained_engine_stops_and_is_replaced(router: Router) -> None:
    prepare(router, request_accept_grace_timeout_ms=60_000)
    with connect(f"ws://{router.address}:{router.port}/", proxy=None) as websocket:
        router.engine.control.post("/drain")
        prepare(router, revision=3, request_accept_grace_timeout_ms=0)
        undrain(router.engine)
        drain(router.engine)
        wait_for(lambda: refuses(router.address, router.port), "connections are refused")
        router.engine.successor()
        with control_client(router.engine.new_socket) as control:
            assert control.post("/drain").status_code == httpx.codes.ACCEPTED
            point = entry_point(f"{router.address}:{router.port}")
            wanted = snapshot([point], [route()], [service(router.origin.url)], revision=4, grace_timeout_ms=300)
            assert control.put("/snapshot", json=wanted).status_code == httpx.codes.OK
        with control_client(router.engine.control_socket) as new:
            assert new.get("/status").json()["state"] == "drained"
            assert refuses(router.address, router.port)
            websocket.send("still here")
            assert websocket.recv() == "still here"
            assert new.post("/undrain").status_code == httpx.codes.OK
            assert get(router.address, router.port, "/bytes/1").status == 200
            assert new.post("/stop").status_code == httpx.codes.ACCEPTED
        router.engine.process.terminate()
        with pytest.raises(ConnectionClosed):
            websocket.recv(timeout=10)


def test_draining_under_load_costs_no_request(router: Router) -> None:
    """Who was accepted, or was in a queue by then, is served; afterwards connections are refused, never reset."""
    prepare(router, grace_timeout_ms=2_000)
    for _ in range(3):
        with Clients(router.address, router.port) as clients:
            clients.more_answers(200)
            drain(router.engine)
            wait_for(lambda: refuses(router.address, router.port), "connections are refused")
        lost = [failure for failure in clients.failures if "ConnectionRefusedError" not in failure]
        assert not lost, lost
        drained(router.engine)
        undrain(router.engine)


def test_who_waits_in_a_queue_is_served(router: Router) -> None:
    """While the engine hangs, the kernel accepts clients for it; then it finds them and the order to drain together."""
    prepare(router, grace_timeout_ms=20_000)
    for _ in range(5):
        with ExitStack() as stack:
            router.engine.process.pause()
            clients = [stack.enter_context(Connection(router.address, router.port)) for _ in range(200)]
            order = stack.enter_context(socket.socket(socket.AF_UNIX))
            order.connect(str(router.engine.control_socket))
            order.sendall(b"POST /drain HTTP/1.1\r\nHost: engine\r\nContent-Length: 0\r\n\r\n")
            router.engine.process.resume()
            wait_for(lambda: refuses(router.address, router.port), "connections are refused")
            for client in clients:
                client.send(ASK)
            answers = [client.answer() for client in clients]
            assert [answer.status if answer else None for answer in answers] == [200] * len(clients)
        drained(router.engine)
        undrain(router.engine)


def test_it_cannot_be_asked_while_another_engine_takes_over(router: Router) -> None:
    prepare(router)
    new = router.engine.successor()
    assert router.engine.control.post("/drain").status_code == httpx.codes.SERVICE_UNAVAILABLE
    assert router.engine.control.post("/undrain").status_code == httpx.codes.SERVICE_UNAVAILABLE
    assert router.engine.control.get("/drain").status_code == httpx.codes.METHOD_NOT_ALLOWED
    new.terminate()
    wait_for(lambda: router.engine.control.post("/drain").status_code == httpx.codes.ACCEPTED, "it can be asked again")
    drained(router.engine)
