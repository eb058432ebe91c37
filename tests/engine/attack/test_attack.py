"""Under attack: well-behaved clients do not notice, memory stays bounded, and is given back.

Each attack runs in a process of its own, and so do the well-behaved clients, from another address.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartProcess
from tests.support.engine import EngineProcess
from tests.support.ports import loopback_address
from tests.support.process import Process
from tests.support.snapshots import entry_point, route, service, snapshot
from tests.support.wait import SLOWNESS, wait_for

SECONDS = 1.5
TRIES = 3


def busy() -> float:
    """How many times over this machine's processors are wanted."""
    return SLOWNESS * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


FLOORS: dict[str, Callable[[], float]] = {"p50": lambda: 5 * busy(), "p99": lambda: 20 * busy()}
"""Latencies below these (ms) are not compared: they say who else was busy."""


@dataclass
class Field:
    """An engine with two workers, between a quick origin and whoever comes."""

    engine: EngineProcess
    start: StartProcess
    address: str
    port: int

    def module(self, name: str, *arguments: object) -> Process:
        return self.start(
            [sys.executable, "-m", f"tests.engine.attack.{name}", *map(str, arguments)], name=name, cwd=Path.cwd()
        )

    def good(self) -> dict[str, Any]:
        """How well-behaved clients fare at the moment."""
        clients = self.module("good", self.address, self.port, "127.0.0.9", SECONDS)
        found: dict[str, Any] = json.loads(clients.wait_for_output("^result (.*)$", SECONDS + 20).group(1))
        clients.wait()
        assert found["failures"] == []
        assert found["count"] > 50
        return found

    def attack(self, name: str) -> Process:
        attacker = self.module("attacker", name, self.address, self.port)
        attacker.wait_for_output("^under way$", 30)
        return attacker

    def memory(self, what: str = "VmRSS") -> float:
        """Of the engine, in MB."""
        status = Path(f"/proc/{self.engine.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(what)) / 1024

    def configure(self, **limits: int) -> None:
        port = self.origin.wait_for_output(r"^port (\d+)$").group(1)
        point = entry_point(f"{self.address}:{self.port}", **limits)  # type: ignore[arg-type]
        self.engine.apply(
            snapshot([point], [route()], [service(f"http://127.0.0.1:{port}")], log_level="error", revision=1)
        )

    def __post_init__(self) -> None:
        self.origin = self.module("origin")


@pytest.fixture
def field(tmp_path: Path, start_process: StartProcess) -> Iterator[Field]:
    engine = EngineProcess(tmp_path, ["--workers", "2"])
    try:
        engine.start()
        yield Field(engine, start_process, loopback_address(), 8000)
    finally:
        engine.cleanup()


@dataclass(frozen=True)
class Attack:
    """An attack, and what it may cost the engine in memory (MB), at its height and for good."""

    name: str
    growth: float
    limits: tuple[tuple[str, int], ...] = ()
    remains: float = 16

    def __str__(self) -> str:
        return "-".join([self.name, *(name for name, _ in self.limits)])


@pytest.mark.parametrize(
    "attack",
    [
        Attack("slow_heads", growth=16),
        Attack("slow_bodies", growth=24),
        Attack("many_connections", growth=64),
        Attack("many_connections", growth=10, limits=(("max_connections_per_client", 200),)),
        Attack("header_bombs", growth=16),
        Attack("tiny_chunks", growth=16),
        Attack("chunk_extensions", growth=16),
        Attack("rapid_reset", growth=16),
        Attack("continuation_flood", growth=16),
        Attack("empty_frames", growth=16),
    ],
    ids=str,
)
def test_others_do_not_notice(field: Field, attack: Attack) -> None:
    field.configure(**dict(attack.limits))
    quiet = field.good()
    before = field.memory()
    attacker = field.attack(attack.name)
    tried = []
    for _ in range(TRIES):
        under_attack = field.good()
        tried.append((quiet, under_attack))
        if all(under_attack[part] <= max(2 * quiet[part], floor()) for part, floor in FLOORS.items()):
            break
        # The machine may have been quieter before.
        attacker.pause()
        quiet = field.good()
        attacker.resume()
    else:
        pytest.fail(f"without and with attack: {tried}")
    assert attacker.running
    counters = field.engine.counters()
    attacker.kill9()

    assert counters["connections"]["panicked"] == 0
    if attack.limits:
        assert counters["connections"]["refused"] > 1_000
    elif attack.name == "many_connections":
        assert counters["connections"]["open"] >= 10_000
    else:
        assert counters["connections"]["accepted"] > 1 + quiet["count"] // 8, "there was an attack"
    if attack.name in {"rapid_reset", "continuation_flood"}:
        assert counters["http2"]["floods"] > 0
    assert field.memory("VmHWM") - before < attack.growth
    wait_for(lambda: field.engine.counters()["connections"]["open"] == 0, "the attack's connections are gone", 20)
    wait_for(lambda: field.memory() - before < attack.remains, "the attack's memory is given back", 10)
