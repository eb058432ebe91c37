"""A new engine takes over from the one that runs, with clients that mind every failure."""

import itertools
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import httpx
import pytest
from websockets.sync.client import connect

from tests.engine.conftest import Router
from tests.engine.test_apply import refuses
from tests.support.engine import EngineProcess, control_client
from tests.support.http1 import Connection, get
from tests.support.origin import Origin
from tests.support.ports import loopback_address
from tests.support.process import Process
from tests.support.snapshots import entry_point, route, service, snapshot
from tests.support.wait import SLOWNESS, wait_for

Json = dict[str, Any]


class Clients:
    """Clients in threads that ask without a pause until they are told to stop. `failures` is what went wrong."""

    def __init__(self, address: str, port: int) -> None:
        self._to = (address, port)
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self.failures: list[str] = []
        self.answers = 0

    def keep_alive(self) -> None:
        """Ask on one connection for as long as the answers allow it."""
        while not self._stopping.is_set():
            with Connection(*self._to) as connection:
                while not self._stopping.is_set() and self._ask(connection, "") != "close":
                    pass

    def afresh(self) -> None:
        """Ask on a new connection each time."""
        while not self._stopping.is_set():
            with Connection(*self._to) as connection:
                self._ask(connection, "Connection: close\r\n")

    def hesitant(self) -> None:
        """Connect first, and ask a little later: a connection that was accepted is one that is served."""
        while not self._stopping.is_set():
            with Connection(*self._to) as connection:
                self._stopping.wait(0.2)
                self._ask(connection, "")

    def _ask(self, connection: Connection, more: str) -> str:
        connection.send(f"GET /bytes/3000 HTTP/1.1\r\nHost: a.example\r\n{more}\r\n")
        answer = connection.answer()
        if answer is None:
            raise ConnectionError("closed without an answer")
        if (answer.status, len(answer.body)) != (200, 3000):
            raise ValueError(f"{answer.status}, {len(answer.body)} bytes")
        self.answers += 1
        return (answer.header("Connection") or "").lower()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (OSError, ValueError, AssertionError) as error:
            self.failures.append(f"{work.__name__}: {error!r}")

    def __enter__(self) -> Self:
        for work in [self.keep_alive] * 3 + [self.afresh] * 3 + [self.hesitant] * 3:
            thread = threading.Thread(target=self._run, args=(work,))
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def more_answers(self, number: int) -> None:
        """Wait until that many more requests were answered."""
        enough = self.answers + number
        wait_for(lambda: self.failures or self.answers >= enough, "the clients get on", 20)


def wanted(router: Router, **settings: Any) -> Json:
    """The router's own snapshot."""
    point = entry_point(f"{router.address}:{router.port}")
    return snapshot([point], [route()], [service(router.origin.url)], grace_timeout_ms=2_000, **settings)


@contextmanager
def download(router: Router, lines: int) -> Iterator[Callable[[], bytes]]:
    """A download that takes its time, begun; what is given waits for its end."""
    with httpx.Client(timeout=60, trust_env=False) as client:
        url = f"{router.url}/stream?chunks={lines}&pause=0.1"
        with client.stream("GET", url) as answer:
            pieces = answer.iter_bytes()
            first = next(pieces)
            yield lambda: first + b"".join(pieces)


def test_five_in_a_row_cost_no_request(router: Router) -> None:
    """Each with another number of workers, under keep-alive and new connections, a websocket and a slow download."""
    replaced: list[Process] = []
    pids = [router.engine.process.pid]
    with (
        connect(f"ws://{router.address}:{router.port}/", proxy=None) as websocket,
        download(router, 40) as downloaded,
        Clients(router.address, router.port) as clients,
    ):
        for number, workers in enumerate((1, 4, 2, 3, 1), 1):
            clients.more_answers(200)
            replaced.append(router.engine.take_over(wanted(router, revision=number), "--workers", str(workers)))
            websocket.send(f"still there after {number}?")
            assert websocket.recv() == f"still there after {number}?"
            status = router.engine.status()
            assert status["revision"] == number
            assert status["listeners"][0]["address"] == f"{router.address}:{router.port}"
            pids.append(status["pid"])
        clients.more_answers(200)
        router.origin.ending.set()
        assert downloaded().decode() == "".join(f"chunk {line}\n" for line in range(40))
        router.origin.ending.clear()
        assert replaced[0].running, "the first one still has the websocket"
        clients.more_answers(200)
    assert clients.failures == []
    assert len(set(pids)) == 6
    assert [process.wait(20) for process in replaced] == [0] * 5
    assert not router.engine.new_socket.exists()
    wait_for(lambda: not router.engine.old_socket.exists(), "the last one has removed its socket")
    assert router.engine.status()["pid"] == pids[-1]


def test_what_the_replaced_engine_still_does_can_be_seen(router: Router) -> None:
    with connect(f"ws://{router.address}:{router.port}/", proxy=None):
        old = router.engine.take_over(wanted(router))
        with control_client(router.engine.old_socket) as control:
            status = control.get("/status").json()
            assert (status["pid"], status["state"], status["listeners"]) == (old.pid, "draining", [])
            assert control.get("/counters").json()["connections"]["open"] == 1
            assert control.put("/snapshot", json=wanted(router)).status_code == 503
    assert old.wait() == 0


def test_an_idle_connection_is_closed_after_the_grace_time_only(router: Router) -> None:
    """Closing it at once could meet a request that is on its way; the next answer says that it ends."""
    router.engine.apply(wanted(router, revision=2))
    with Connection(router.address, router.port) as asks, Connection(router.address, router.port) as silent:
        for connection in (asks, silent):
            connection.send("GET /bytes/1 HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = connection.answer()
            assert answer is not None
            assert answer.header("Connection") is None
        old = router.engine.take_over(wanted(router))
        asks.send("GET /bytes/1 HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = asks.answer()
        assert answer is not None
        assert answer.header("Connection") == "close"
        assert asks.closed()
        assert old.running
        assert silent.closed()
    assert old.wait() == 0


def test_a_replaced_engine_can_be_stopped(router: Router) -> None:
    router.engine.apply(wanted(router, revision=2))
    with connect(f"ws://{router.address}:{router.port}/", proxy=None):
        old = router.engine.take_over(wanted(router))
        assert old.terminate(deadline=10) == 0
    assert router.engine.status()["state"] == "running"


def test_a_snapshot_that_is_refused_changes_nothing(router: Router) -> None:
    before = router.engine.status()["pid"]
    new = router.engine.successor()
    with control_client(router.engine.new_socket) as control:
        bad = wanted(router)
        bad["routes"][0]["service"] = "nowhere"
        assert control.put("/snapshot", json=bad).status_code == 422
        assert get(router.address, router.port).status == 200
        new.kill9()
    assert router.engine.status()["pid"] == before
    wait_for(lambda: router.engine.put(wanted(router, revision=7)).status_code == 200, "the old one goes on")
    with Clients(router.address, router.port) as clients:
        clients.more_answers(100)
    assert clients.failures == []
    assert router.engine.process.running


def test_only_one_at_a_time(router: Router) -> None:
    first = router.engine.successor()
    assert router.engine.put(wanted(router)).status_code == 503, "what the new one was lent must not change"
    router.engine.new_socket.unlink()
    second = router.engine.successor()
    assert second.wait() == 1
    assert "does not hand its listeners over" in second.output
    first.kill9()


def test_without_an_engine_to_take_over_from(engine: EngineProcess) -> None:
    engine.process.kill9()
    new = engine.successor()
    assert new.wait() == 1
    assert "cannot take over" in new.output


def test_an_engine_that_dies_while_it_is_replaced(router: Router) -> None:
    """The new one has the sockets, and needs nobody."""
    router.engine.successor()
    router.engine.process.kill9()
    with control_client(router.engine.new_socket) as control:
        assert control.put("/snapshot", json=wanted(router)).status_code == 200
    with control_client(router.engine.control_socket) as control:
        assert control.get("/status").json()["state"] == "running"
    assert get(router.address, router.port).status == 200


def test_other_entry_points_than_before(engine: EngineProcess, origin: Origin) -> None:
    """One stays, one goes, one is new, one moves from an address to every address, one has a port of the system's."""
    addresses = [loopback_address() for _ in range(5)]

    def points(*listen: str) -> Json:
        named = [entry_point(address, name) for name, address in zip("abcde", listen, strict=False) if address]
        names = [point["name"] for point in named]
        return snapshot(named, [route(entry_points=names)], [service(origin.url)], revision=next(revisions))

    revisions = itertools.count(1)
    stays, goes, comes, moves, any_port = addresses
    engine.apply(points(f"{stays}:8000", f"{goes}:8000", "", f"{moves}:8001", f"{any_port}:0"))
    port = next(one["address"] for one in engine.status()["listeners"] if one["entry_point"] == "e").rpartition(":")[2]
    old = engine.take_over(points(f"{stays}:8000", "", f"{comes}:8000", "0.0.0.0:8001", f"{any_port}:0"))
    for address, number in ((stays, 8000), (comes, 8000), (moves, 8001), (stays, 8001), (any_port, int(port))):
        assert get(address, number).status == 200, (address, number)
    assert refuses(goes, 8000)
    assert old.wait() == 0
    assert refuses(goes, 8000)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_connection_that_waits_in_the_queue(router: Router, when: str) -> None:
    """Nobody has accepted it when the engines change; its request comes before or after."""
    request = b"GET /bytes/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    router.engine.process.signal(signal.SIGSTOP)
    with socket.create_connection((router.address, router.port), timeout=20 * SLOWNESS) as client:
        if when == "before":
            client.sendall(request)
        router.engine.process.signal(signal.SIGCONT)
        router.engine.take_over(wanted(router))
        if when == "after":
            client.sendall(request)
        assert client.makefile("rb").readline() == b"HTTP/1.1 200 OK\r\n"
