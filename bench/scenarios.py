"""What is measured. A scenario runs its load against each proxy in turn, round by round."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from bench import load, usage
from bench.proxies import Proxy

SETTLE = 1.0
"""Seconds until a proxy has done what it does on the side after a load, before its memory is read."""
IDLE_CONNECTIONS = 10_000


@dataclass(frozen=True)
class Sample:
    """One run of a load against one proxy."""

    count: int
    errors: int
    seconds: float
    user: float
    """Seconds of processor time that the proxy spent in its own code, as far as the kernel can tell."""
    system: float
    p50: float | None = None
    p99: float | None = None
    p999: float | None = None
    memory: float | None = None
    """Bytes for each connection."""

    @property
    def cpu(self) -> float | None:
        """Microseconds of processor time for each unit of work; none if there was no work to divide by."""
        return (self.user + self.system) / self.count * 1e6 if self.count else None

    @property
    def rate(self) -> float:
        """Units of work in a second."""
        return self.count / self.seconds if self.seconds else 0


@dataclass
class Conditions:
    """What holds for a run of the benchmarks."""

    seconds: float
    """How long each load lasts."""
    rate: float = 0
    """The fixed rate of the loads that have one; found by `half_of_capacity`."""


@dataclass(frozen=True)
class Scenario:
    """One thing that is measured."""

    name: str
    title: str
    unit: str
    run: Callable[[Proxy, Conditions], Sample]
    prepare: Callable[[list[Proxy], Conditions], None] | None = None
    """Called once before the rounds."""
    fresh: bool = False
    """Whether each run gets a proxy that was just started."""
    note: str = ""


def _measured(run: Callable[[Proxy, Conditions], load.Outcome]) -> Callable[[Proxy, Conditions], Sample]:
    def sample(proxy: Proxy, conditions: Conditions) -> Sample:
        before = usage.cpu(proxy.process.pid)
        outcome = run(proxy, conditions)
        spent = usage.cpu(proxy.process.pid) - before
        return Sample(
            count=outcome.count,
            errors=outcome.errors,
            seconds=outcome.seconds,
            user=spent.user,
            system=spent.system,
            p50=outcome.p50,
            p99=outcome.p99,
            p999=outcome.p999,
        )

    return sample


def _http1(path: str, connections: int, body: int = 0) -> Callable[[Proxy, Conditions], Sample]:
    return _measured(
        lambda proxy, conditions: load.wrk(f"http://{proxy.http}{path}", connections, conditions.seconds, body=body)
    )


def _tls(path: str, connections: int) -> Callable[[Proxy, Conditions], Sample]:
    return _measured(
        lambda proxy, conditions: load.wrk(f"https://{proxy.https}{path}", connections, conditions.seconds)
    )


def _h2(connections: int, streams: int) -> Callable[[Proxy, Conditions], Sample]:
    return _measured(
        lambda proxy, conditions: load.h2load(f"https://{proxy.https}/", connections, streams, conditions.seconds)
    )


def _handshakes(resume: bool) -> Callable[[Proxy, Conditions], Sample]:
    return _measured(lambda proxy, conditions: load.handshakes(proxy.https, 32, conditions.seconds, resume=resume))


def _half_of_capacity(proxies: list[Proxy], conditions: Conditions) -> None:
    nginx = next(proxy for proxy in proxies if proxy.name == "nginx")
    capacity = load.wrk(f"http://{nginx.http}/", 64, conditions.seconds)
    conditions.rate = round(capacity.count / capacity.seconds / 2, -2)


@_measured
def _fixed_rate(proxy: Proxy, conditions: Conditions) -> load.Outcome:
    return load.fixed_rate(proxy.http, conditions.rate, 64, conditions.seconds)


def _idle(proxy: Proxy, _: Conditions) -> Sample:
    load.wrk(f"http://{proxy.http}/", 16, 1)
    time.sleep(SETTLE)
    before = usage.memory(proxy.process.pid)
    with load.Idle(proxy.http, IDLE_CONNECTIONS) as opened:
        time.sleep(SETTLE)
        taken = usage.memory(proxy.process.pid) - before
    return Sample(opened.count, opened.errors, 0, 0, 0, memory=taken / opened.count if opened.count else None)


KIB, MIB = 1 << 10, 1 << 20

SCENARIOS = [
    *(
        Scenario(
            f"http1-{count}", f"HTTP/1.1, {count} connections, answers of 100 bytes", "request", _http1("/", count)
        )
        for count in (16, 64, 512)
    ),
    Scenario("http2", "HTTP/2 over TLS, 16 connections with 32 streams each", "request", _h2(16, 32)),
    Scenario("tls", "HTTP/1.1 over TLS 1.3, 64 connections", "request", _tls("/", 64)),
    Scenario(
        "handshakes-full", "New TLS 1.3 connections, ECDSA P-256, full handshakes", "connection", _handshakes(False)
    ),
    Scenario("handshakes-resumed", "New TLS 1.3 connections, resumed by ticket", "connection", _handshakes(True)),
    Scenario("down-64k", "Answers of 64 KiB, 64 connections", "request", _http1(f"/size/{64 * KIB}", 64)),
    Scenario("down-1m", "Answers of 1 MiB, 64 connections", "request", _http1(f"/size/{MIB}", 64)),
    Scenario("down-1m-tls", "Answers of 1 MiB over TLS 1.3, 64 connections", "request", _tls(f"/size/{MIB}", 64)),
    Scenario("up-64k", "Requests of 64 KiB, 64 connections", "request", _http1("/", 64, body=64 * KIB)),
    Scenario("up-1m", "Requests of 1 MiB, 64 connections", "request", _http1("/", 64, body=MIB)),
    Scenario("slow", "A server that takes 200 ms, 2,000 connections", "request", _http1("/slow/200", 2000)),
    Scenario(
        "latency",
        "A fixed rate: half of what nginx can do",
        "request",
        _fixed_rate,
        prepare=_half_of_capacity,
    ),
    Scenario("idle", "10,000 idle connections after one request each", "connection", _idle, fresh=True),
]
