"""What is done to machines does what it is called, and is gone when it is taken back."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos import injection
from tests.cluster.places import in_network
from tests.support.machine import Machine, Network
from tests.support.wait import wait_for

PORT = 7000
DATAGRAM = b"x" * 1000
MOMENT = 0.5


@pytest.fixture(scope="module")
def machines() -> Iterator[tuple[Machine, Machine]]:
    """One that is struck, and another one."""
    if os.environ.get("TRAEFIKEE_TEST_NO_NAMESPACES") == "1":
        pytest.skip("TRAEFIKEE_TEST_NO_NAMESPACES=1")
    with Network() as network:
        yield network.machine("struck", "10.10.0.1", disk="4m"), network.machine("other", "10.10.0.2")


def arrive(source: Machine, target: Machine, count: int = 20) -> int:
    """How many of so many datagrams arrive, in the next moment."""

    def listen() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        made.bind((target.address, PORT))
        return made

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(count):
                with contextlib.suppress(OSError):
                    sender.sendto(DATAGRAM, (target.address, PORT))

    with in_network(target, listen) as receiver:
        in_network(source, send)
        until, found = time.monotonic() + MOMENT, 0
        with contextlib.suppress(TimeoutError):
            while found < count and (left := until - time.monotonic()) > 0:
                receiver.settimeout(left)
                receiver.recv(2000)
                found += 1
        return found


def reaches(source: Machine, target: Machine) -> bool:
    return arrive(source, target) > 0


def test_links_are_cut_in_the_directions_that_are_said(machines: tuple[Machine, Machine]) -> None:
    struck, other = machines
    for incoming, outgoing in ((True, False), (False, True), (True, True)):
        assert reaches(other, struck)
        assert reaches(struck, other)
        undo = injection.drop(struck, "drop", incoming=incoming, outgoing=outgoing)
        assert reaches(other, struck) is not incoming
        assert reaches(struck, other) is not outgoing
        undo()
    assert reaches(other, struck)
    assert reaches(struck, other)


def test_a_lossy_link_loses_some(machines: tuple[Machine, Machine]) -> None:
    struck, other = machines
    undo = injection.drop(struck, "numgen random mod 100 < 40 drop", incoming=True, outgoing=True)
    assert 50 < arrive(struck, other, 200) < 190
    assert 50 < arrive(other, struck, 200) < 190
    undo()
    assert arrive(other, struck, 200) == 200


def test_a_black_hole_takes_what_is_large(machines: tuple[Machine, Machine]) -> None:
    struck, other = machines
    undo = injection.drop(struck, "meta length > 900 drop", incoming=True, outgoing=False)
    assert not reaches(other, struck)
    assert reaches(struck, other)
    undo()
    undo = injection.drop(struck, "meta length > 1200 drop", incoming=True, outgoing=False)
    assert reaches(other, struck)
    undo()


def test_a_slow_link_is_slow(machines: tuple[Machine, Machine]) -> None:
    struck, other = machines
    undo = injection.slow(struck, 64)
    # 64 kbit/s are eight datagrams a second, beyond the first burst of 16.
    assert arrive(struck, other, 200) < 40
    assert arrive(other, struck, 200) < 40
    undo()
    assert arrive(struck, other, 200) == 200
    assert arrive(other, struck, 200) == 200


def test_a_full_disk_takes_nothing(machines: tuple[Machine, Machine]) -> None:
    struck, _ = machines
    undo = injection.fill(struck)
    assert "No space left" in struck.run("echo x > /var/lib/more").stderr
    undo()
    struck.check("echo x > /var/lib/more && rm /var/lib/more")


def test_a_process_is_paused(machines: tuple[Machine, Machine]) -> None:
    struck, _ = machines
    process = struck.start("sleep 60")
    undo = injection.pause([process.main_pid])
    wait_for(lambda: state(process.main_pid) == "T", "it is stopped", 5)
    undo()
    wait_for(lambda: state(process.main_pid) == "S", "it goes on", 5)
    injection.signal_all([process.main_pid], signal.SIGKILL)
    assert process.wait() != 0
    injection.signal_all([process.pid], signal.SIGKILL)


def state(pid: int) -> str:
    """How the kernel calls what it does."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_clock_is_off(machines: tuple[Machine, Machine]) -> None:
    struck, _ = machines
    line = f"LD_PRELOAD={injection.clock_library()} FAKETIME=+7200s FAKETIME_DONT_FAKE_MONOTONIC=1 date +%s"
    assert abs(int(struck.check(line)) - time.time() - 7200) < 60
