"""An engine's start and end."""

import signal
import socket
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartProcess
from tests.engine.conftest import Router
from tests.engine.test_apply import refuses
from tests.support.engine import EngineProcess, engine_binary
from tests.support.http1 import Connection, get
from tests.support.process import left_over
from tests.support.raw_server import RawServer, read_head
from tests.support.snapshots import entry_point, route, service, snapshot
from tests.support.wait import SLOWNESS, wait_for


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [engine_binary(), *arguments], capture_output=True, text=True, timeout=20 * SLOWNESS, check=False
    )


def test_the_command_line(tmp_path: Path) -> None:
    assert run("--version").stdout.strip().startswith("traefikee-engine ")
    assert "--control" in run("--help").stdout
    for wrong in (["--unknown"], [], ["--control"], ["--control", str(tmp_path / "s"), "--workers", "x"]):
        done = run(*wrong)
        assert done.returncode == 2, wrong
        assert done.stderr


def test_it_cannot_start_without_its_socket(tmp_path: Path) -> None:
    done = run("--control", str(tmp_path / "none" / "control.sock"))
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_second_engine_on_the_same_socket_is_refused(engine: EngineProcess) -> None:
    done = run("--control", str(engine.control_socket))
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert engine.status()["state"] == "running"


def test_status(engine: EngineProcess) -> None:
    status = engine.status()
    assert status["revision"] is None
    assert status["state"] == "running"
    assert status["listeners"] == []
    assert status["version"]
    assert status["uptime_seconds"] >= 0
    assert stat.S_IMODE(engine.control_socket.stat().st_mode) == 0o600


@pytest.mark.parametrize("how", ["stop", "sigterm"])
def test_a_graceful_stop_lets_running_requests_end(router: Router, how: str) -> None:
    with Connection(router.address, router.port) as connection, Connection(router.address, router.port) as idle:
        idle.send("GET /bytes/1 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert idle.answer() is not None
        connection.send("GET /slow?seconds=1000 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert router.origin.waiting.wait(10 * SLOWNESS)

        if how == "stop":
            assert router.engine.control.post("/stop").status_code == 202
        else:
            router.engine.process.signal(signal.SIGTERM)
        wait_for(lambda: refuses(router.address, router.port), "no more connections are taken")
        assert idle.closed(), "an idle connection is closed"
        assert router.engine.process.running
        assert router.engine.status()["state"] == "draining"

        router.origin.ending.set()
        answer = connection.answer()
        assert answer is not None
        assert (answer.status, answer.body) == (200, b"slow\n")
    assert router.engine.process.wait() == 0
    assert not router.engine.control_socket.exists()


def test_a_stop_is_announced_before_listeners_close(router: Router) -> None:
    point = entry_point(f"{router.address}:{router.port}", ping=True)
    settings: Any = {"request_accept_grace_timeout_ms": 1_500, "grace_timeout_ms": 60_000}
    router.engine.apply(snapshot([point], [route()], [service(router.origin.url)], revision=2, **settings))
    with Connection(router.address, router.port) as connection:
        connection.send("GET /ping HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.answer().status == 200  # type: ignore[union-attr]
        router.engine.control.post("/stop")
        wait_for(lambda: get(router.address, router.port, "/ping").status == 503, "pings say so")
        assert get(router.address, router.port, "/bytes/1").status == 200, "new connections are served"
        connection.send("GET /bytes/1 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.answer() is not None, "and those that are there"
        status = router.engine.status()
        assert status["state"] == "draining"
        assert len(status["listeners"]) == 1
        wait_for(lambda: refuses(router.address, router.port), "then no more connections are taken")
        assert connection.closed()
    assert router.engine.process.wait() == 0


def test_the_grace_ends(router: Router) -> None:
    point = entry_point(f"{router.address}:{router.port}")
    router.engine.apply(snapshot([point], [route()], [service(router.origin.url)], revision=2, grace_timeout_ms=200))
    with Connection(router.address, router.port) as connection:
        connection.send("GET /slow?seconds=1000 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert router.origin.waiting.wait(10 * SLOWNESS)
        assert router.engine.process.terminate(deadline=5) == 0
        assert connection.answer() is None


def test_a_tunnel_ends_in_order_when_the_grace_ends(engine: EngineProcess, address: str) -> None:
    told = []

    def switch(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        told.append(connection.recv(100))
        told.append(connection.recv(100))

    with RawServer(switch) as server:
        point = entry_point(f"{address}:8000")
        engine.apply(snapshot([point], [route()], [service(server.url)], grace_timeout_ms=300))
        with Connection(address, 8000) as connection:
            connection.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
            assert connection.answer().status == 101  # type: ignore[union-attr]
            connection.send("hello")
            wait_for(lambda: told == [b"hello"], "the tunnel is there")
            assert engine.process.terminate(deadline=5) == 0
            assert connection.socket.recv(1) == b"", "closed, not reset"
        wait_for(lambda: told == [b"hello", b""], "the server sees the end too")


def test_it_comes_back_after_a_kill(router: Router) -> None:
    before = router.engine.process.pid
    router.engine.process.kill9()
    assert router.engine.control_socket.exists(), "a killed engine leaves its socket's file"
    router.engine.start()
    assert router.engine.process.pid != before
    assert router.engine.status()["revision"] is None
    point = entry_point(f"{router.address}:{router.port}")
    router.engine.apply(snapshot([point], [route()], [service(router.origin.url)], revision=3))
    assert get(router.address, router.port, "/status/200").status == 200


@pytest.mark.parametrize("dies", [True, False])
def test_the_death_of_its_parent(start_process: StartProcess, tmp_path: Path, dies: bool) -> None:
    binary = engine_binary()
    option = "--die-with-parent" if dies else ""
    parent = start_process(["bash", "-c", f"{binary} --control {tmp_path}/c.sock {option} & echo pid $!; wait"])
    pid = int(parent.wait_for_output(r"pid (\d+)").group(1))
    wait_for(lambda: (tmp_path / "c.sock").exists(), "the engine has started")
    parent.kill9()
    if dies:
        wait_for(lambda: pid not in left_over(), "the engine has died with its parent")
    else:
        with pytest.raises(AssertionError, match="gone"):
            wait_for(lambda: pid not in left_over(), "gone", 0.3)


@pytest.mark.parametrize("options", [(), ("--log-format", "json")])
def test_its_newest_lines_are_kept(tmp_path: Path, options: tuple[str, ...]) -> None:
    engine = EngineProcess(tmp_path, options)
    engine.start()
    try:
        first = engine.control.get("/logs").json()
        assert [line["message"] for line in first["lines"]] == ["engine started"]
        assert (first["last"], first["lost"]) == (1, 0)
        assert first["lines"][0].keys() >= {"timestamp", "level", "message"}
        engine.apply(snapshot([], [], []))
        second = engine.control.get("/logs?after=1").json()
        assert "snapshot in force" in [line["message"] for line in second["lines"]]
        assert second["run"] == first["run"]
        assert engine.control.get(f"/logs?after={second['last']}").json()["lines"] == []
        assert engine.control.get("/logs?after=many").status_code == 400
        engine.process.kill9()
        engine.start()
        assert engine.control.get("/logs").json()["run"] != first["run"]
    finally:
        engine.process.cleanup()
        engine.control.close()
