"""Limits of connections: of an entry point, of a client, of the files that the engine may open."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import Router
from tests.support.engine import EngineProcess
from tests.support.http1 import Connection, get
from tests.support.origin import Origin
from tests.support.ports import loopback_address
from tests.support.snapshots import entry_point, route, service, snapshot
from tests.support.wait import SLOWNESS, wait_for

REQUEST = b"GET /bytes/1 HTTP/1.1\r\nHost: a\r\n\r\n"


def limited(router: Router, revision: int = 2, **limits: Any) -> None:
    point = entry_point(f"{router.address}:{router.port}", **limits)
    router.engine.apply(snapshot([point], [route()], [service(router.origin.url)], revision=revision))


def served(router: Router, source: str = "127.0.0.1") -> socket.socket | None:
    """A connection that has got an answer, or None if it was closed instead."""
    connection = socket.create_connection((router.address, router.port), 10 * SLOWNESS, (source, 0))
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.sendall(REQUEST)
        if connection.recv(4096):
            return connection
    connection.close()
    return None


def connections(router: Router) -> Any:
    return router.engine.counters()["connections"]


def wait_until_open(router: Router, count: int) -> None:
    wait_for(lambda: connections(router)["open"] == count, f"{count} connections are open")


def test_an_entry_point_is_full(router: Router) -> None:
    limited(router, max_connections=3)
    with contextlib.ExitStack() as stack:
        first = served(router)
        assert first is not None
        for _ in range(2):
            stack.enter_context(contextlib.closing(served(router) or pytest.fail("refused below the limit")))
        before = connections(router)
        assert [served(router) for _ in range(5)] == [None] * 5
        after = connections(router)
        assert after["refused"] - before["refused"] == 5
        assert after["open"] == 3
        first.close()
        wait_until_open(router, 2)
        stack.enter_context(contextlib.closing(served(router) or pytest.fail("there is room again")))
        assert served(router) is None
    lines = [line for line in router.engine.process.tail().splitlines() if "MaxConnections (3) is reached" in line]
    assert 1 <= len(lines) <= 5, "logged, but not each time"
    assert "127.0.0.1" in lines[0]
    assert "http" in lines[0]


def test_a_client_has_its_share(router: Router) -> None:
    limited(router, max_connections_per_client=2)
    with contextlib.ExitStack() as stack:
        for source in ("127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.2"):
            stack.enter_context(contextlib.closing(served(router, source) or pytest.fail(f"{source} is refused")))
        for source in ("127.0.0.1", "127.0.0.2"):
            assert served(router, source) is None, source
        stack.enter_context(contextlib.closing(served(router, "127.0.0.3") or pytest.fail("others are not concerned")))
        assert connections(router)["refused"] == 2
    wait_until_open(router, 0)
    back = served(router) or pytest.fail("its share is free again")
    back.close()


def test_a_refused_client_sees_an_orderly_end(router: Router) -> None:
    limited(router, max_connections=1)
    with contextlib.closing(served(router) or pytest.fail("refused")), Connection(router.address, router.port) as late:
        assert late.socket.recv(1) == b"", "closed, not reset"


def test_limits_change_while_connections_are_open(router: Router) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(contextlib.closing(served(router) or pytest.fail("no limit yet")))
        limited(router, 2, max_connections=2)
        assert served(router) is None, "those that were open count"
        limited(router, 3, max_connections=4)
        stack.enter_context(contextlib.closing(served(router) or pytest.fail("there is room")))
        limited(router, 4)
        stack.enter_context(contextlib.closing(served(router) or pytest.fail("no limit any more")))


@pytest.fixture
def poor(tmp_path: Path, origin: Origin) -> Iterator[Router]:
    """A router that may open few files."""
    engine = EngineProcess(tmp_path, ["--workers", "2"], under=["prlimit", "--nofile=160:160"])
    try:
        engine.start()
        made = Router(engine, loopback_address(), origin)
        engine.apply(snapshot([entry_point(f"{made.address}:{made.port}")], [route()], [service(origin.url)]))
        yield made
    finally:
        engine.cleanup()


def test_the_files_are_used_up(poor: Router) -> None:
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(Connection(poor.address, poor.port))
        first.send(REQUEST)
        assert first.answer() is not None
        for _ in range(300):
            stack.enter_context(socket.create_connection((poor.address, poor.port), 10 * SLOWNESS))
        wait_for(lambda: connections(poor)["accepted"] >= 301, "all of them were accepted")
        found = connections(poor)
        assert found["refused"] > 100
        assert found["accept_failed"] == 0, "some files are kept back"
        assert 50 < found["open"] < 160
        assert "ulimit -n" in poor.engine.process.tail()

        # Connections to servers and to the control socket still work.
        poor.engine.apply(
            snapshot(
                [entry_point(f"{poor.address}:{poor.port}")],
                [route()],
                [service(poor.origin.url, id="new"), service(poor.origin.url)],
                revision=2,
            )
        )
        first.send(REQUEST)
        answer = first.answer()
        assert answer is not None
        assert answer.status == 200
    wait_until_open(poor, 0)
    assert get(poor.address, poor.port, "/bytes/1").status == 200
