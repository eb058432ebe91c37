"""Heads of unusual shapes: they are served, or refused in time, and never cost more than their bytes."""

import os
import time
from pathlib import Path

import pytest

from tests.engine.conftest import Router
from tests.support.http1 import Connection
from tests.support.wait import SLOWNESS

KIB = 1024


def head(*fields: str) -> bytes:
    return "\r\n".join(["GET /bytes/1 HTTP/1.1", "Host: a", *fields, "", ""]).encode()


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        pytest.param([f"A{number}:" for number in range(80)], 200, id="many tiny fields"),
        pytest.param([f"A{number}:" for number in range(128)], 431, id="too many"),
        pytest.param(["A:" + "x" * 60 * KIB], 200, id="one huge field"),
        pytest.param(["A:" + "x" * 65 * KIB], 431, id="one that is too huge"),
        pytest.param(["x" * 60 * KIB + ": 1"], 200, id="one huge name"),
        pytest.param(["A: 1", " folded"], 400, id="a folded field"),
        pytest.param(["A: 1", *["\tfolded"] * 5_000], 400, id="a much folded field"),
        pytest.param(["Connection: " + ",".join(["a"] * 20_000)], 400, id="many options"),
        pytest.param(["Cookie: " + "; ".join(["a=1"] * 10_000)], 200, id="many cookies"),
    ],
)
def test_shapes(shared_router: Router, fields: list[str], status: int) -> None:
    with Connection(shared_router.address, shared_router.port) as connection:
        connection.send(head(*fields))
        answer = connection.answer()
        assert answer is not None
        assert answer.status == status


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_head_byte_by_byte_costs_what_its_bytes_cost(router: Router) -> None:
    """Looking at all of it again with each byte would be 2 GB to look at: 65,000 wake-ups are less than a second."""
    data = head("A: " + "x" * 63 * KIB)
    before = cpu_seconds(router.engine.process.pid)
    begun = time.monotonic()
    with Connection(router.address, router.port) as connection:
        for byte in data:
            connection.socket.send(bytes([byte]))
        answer = connection.answer()
    assert answer is not None
    assert answer.status == 200
    spent = cpu_seconds(router.engine.process.pid) - before
    assert spent < 2 * SLOWNESS, f"{spent:.2f} s of CPU in {time.monotonic() - begun:.2f} s"
