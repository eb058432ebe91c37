"""The harness itself: waiting, ports, processes, origins, Consul."""

import signal
import socket
import subprocess
import sys

import httpx
import pytest
from websockets.sync.client import connect

from tests.conftest import StartProcess
from tests.support.consul import Consul
from tests.support.origin import Origin, pattern
from tests.support.ports import HeldPort, loopback_address
from tests.support.process import left_over
from tests.support.wait import DeadlineError, wait_for


def test_a_wait_says_what_it_waited_for_and_what_it_saw() -> None:
    with pytest.raises(DeadlineError, match=r"the moon is full \(last seen: value 0\)"):
        wait_for(lambda: 0, "the moon is full", 0.05)
    with pytest.raises(DeadlineError, match=r"the moon is full .*ZeroDivisionError"):
        wait_for(lambda: 1 / 0, "the moon is full", 0.05)


def test_a_held_port_is_free_only_after_its_release(address: str) -> None:
    with HeldPort(address) as held, socket.socket() as other:
        with pytest.raises(OSError, match="in use"):
            other.bind((address, held.port))
        other.bind((address, held.release()))


def test_addresses_differ() -> None:
    assert len({loopback_address() for _ in range(50)}) == 50


def test_output_and_exit_code(start_process: StartProcess) -> None:
    process = start_process(["bash", "-c", "echo number 17; trap 'exit 3' TERM; while :; do sleep 0.01; done"])
    assert process.wait_for_output(r"number (\d+)").group(1) == "17"
    assert process.terminate() == 3


def test_a_process_that_ends_without_its_line_fails_at_once(start_process: StartProcess) -> None:
    process = start_process(["echo", "something else"])
    with pytest.raises(AssertionError, match=r"ended \(0\) without printing"):
        process.wait_for_output("ready", deadline=1000)


def test_kill9_spares_children_and_cleanup_does_not(start_process: StartProcess) -> None:
    process = start_process(["bash", "-c", "sleep 1000 & echo started; wait"])
    process.wait_for_output("started")
    process.kill9()
    assert process.exit_code == -signal.SIGKILL
    assert "sleep 1000" in left_over().values()
    process.cleanup()
    wait_for(lambda: "sleep 1000" not in left_over().values(), "the child has ended")


def test_origin_tells_and_remembers(origin: Origin) -> None:
    origin.assert_untouched()
    with httpx.Client(base_url=origin.url, trust_env=False) as client:
        told = client.post(f"{origin.url}//x//%2Fy?b=1;2", content=b"12345", headers={"X-A": "1"}).json()
        assert (told["method"], told["path"], told["body_length"]) == ("POST", "//x//%2Fy?b=1;2", 5)
        assert ["X-A", "1"] in told["headers"]
        assert client.post("/echo", content=iter([b"1", b"2"])).content == b"12"
        assert client.get("/status/503").status_code == 503
        assert client.get("/bytes/100000").content == pattern(100_000)
        assert client.get("/stream").text == "chunk 0\nchunk 1\nchunk 2\n"
    assert [seen.body for seen in origin.requests] == [b"12345", b"12", b"", b"", b""]
    assert origin.record.connections == 1
    assert origin.record.raw.startswith(b"POST //x//%2Fy?b=1;2 HTTP/1.1\r\n")
    with pytest.raises(AssertionError):
        origin.assert_untouched()


def test_origin_echoes_websockets(origin: Origin) -> None:
    with connect(f"ws://{origin.address}:{origin.port}/x", proxy=None) as socket_:
        for message in ("text", b"binary", "x" * 200_000):
            socket_.send(message)
            assert socket_.recv() == message
    assert origin.last().path == "/x"


def test_origin_runs_by_hand(start_process: StartProcess, address: str) -> None:
    process = start_process([sys.executable, "-m", "tests.support.origin", "--listen", f"{address}:80", "--name", "b"])
    process.wait_for_output("b listens on")
    told = subprocess.run(["curl", "-sS", f"http://{address}/x"], capture_output=True, text=True, check=True).stdout
    assert '"name": "b"' in told


def test_consul_keeps_its_data_over_a_restart(consul: Consul) -> None:
    consul.put_all({f"traefik/{number}": str(number) for number in range(100)})
    consul.delete("traefik/9", tree=True)
    consul.stop()
    consul.start()
    assert consul.get("traefik/17") == "17"
    assert consul.get("traefik/9") is None
    assert len(consul.keys("traefik/")) == 89
    consul.delete("traefik/", tree=True)
    assert consul.keys("traefik/") == []
