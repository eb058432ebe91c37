"""The loads: each is a program of its own, whose outcome is read from what it prints."""

import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.proxies import HOST

OWN = Path(__file__).parent / "load" / "target" / "release" / "traefikee-bench-load"


class LoadError(Exception):
    """A load that could not be run, or that the proxy did not bear."""


@dataclass(frozen=True)
class Outcome:
    """What a load has seen."""

    count: int
    """Answers that came in full."""
    errors: int
    seconds: float
    p50: float | None = None
    """Milliseconds, as the following."""
    p99: float | None = None
    p999: float | None = None
    resumed: int = 0
    """TLS handshakes that resumed a session."""


def _run(command: Sequence[str | Path], seconds: float) -> str:
    argv = [str(part) for part in command]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 60, check=False)
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"{argv[0]} did not end") from error
    if done.returncode != 0:
        raise LoadError(f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _number(pattern: str, text: str) -> float | None:
    match = re.search(pattern, text)
    return float(match.group(1)) if match else None


MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


def _wrk_latency(share: str, text: str) -> float | None:
    match = re.search(rf"^ +{share}% +([\d.]+)(us|ms|s|m)$", text, re.MULTILINE)
    return float(match.group(1)) * MILLISECONDS[match.group(2)] if match else None


def wrk(url: str, connections: int, seconds: float, *, body: int = 0) -> Outcome:
    """HTTP/1.1 over connections that are kept, each with one request at a time; `body` bytes are posted."""
    script: list[str | Path] = []
    if body:
        script = ["--script", Path(__file__).parent / "configs" / "post.lua"]
    options = ["-t", "2", "-c", str(connections), "-d", f"{seconds:g}s", "--timeout", "10s", "--latency"]
    headers = ["-H", f"Host: {HOST}"]
    text = _run(["wrk", *options, *headers, *script, url, *(["--", str(body)] if body else [])], seconds)
    count = _number(r"(\d+) requests in", text)
    if count is None:
        raise LoadError(f"wrk said something else: {text}")
    refused = _number(r"Non-2xx or 3xx responses: (\d+)", text) or 0
    socket_errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    errors = int(refused) + sum(map(int, socket_errors.groups()) if socket_errors else ())
    return Outcome(
        count=int(count - refused),
        errors=errors,
        seconds=seconds,
        p50=_wrk_latency("50", text),
        p99=_wrk_latency("99", text),
    )


def h2load(url: str, connections: int, streams: int, seconds: float) -> Outcome:
    """HTTP/2 over TLS."""
    options = ["-c", str(connections), "-m", str(streams), "-t", "1", "-D", f"{seconds:g}", "--npn-list=h2"]
    text = _run(["h2load", *options, "-H", f":authority: {HOST}", url], seconds)
    if "Application protocol: h2" not in text:
        raise LoadError("does not speak HTTP/2 here")
    succeeded = _number(r"(\d+) succeeded", text)
    good = _number(r"status codes: (\d+) 2xx", text)
    failed = _number(r"(\d+) failed", text)
    if succeeded is None or good is None or failed is None:
        raise LoadError(f"h2load said something else: {text}")
    return Outcome(count=int(good), errors=int(failed + max(0, succeeded - good)), seconds=seconds)


def _own(*arguments: str, seconds: float) -> Outcome:
    said = json.loads(_run([OWN, *arguments], seconds))
    return Outcome(
        count=said["count"] - said.get("late", 0),
        errors=said["errors"],
        seconds=said["seconds"],
        p50=said["p50_ms"],
        p99=said["p99_ms"],
        p999=said["p999_ms"],
        resumed=said.get("resumed", 0),
    )


def handshakes(address: str, connections: int, seconds: float, *, resume: bool) -> Outcome:
    """A new TLS 1.3 connection for each request."""
    options = ["--host", HOST, "--connections", str(connections), "--seconds", f"{seconds:g}"]
    outcome = _own("handshakes", *options, *(["--resume"] if resume else []), address, seconds=seconds)
    # The first connection of each of the load's own tasks has nothing to resume.
    if resume and outcome.resumed < outcome.count - connections - outcome.count // 50:
        raise LoadError(f"only {outcome.resumed} of {outcome.count} sessions were resumed")
    return outcome


def fixed_rate(address: str, rate: float, connections: int, seconds: float) -> Outcome:
    """Requests at a rate that does not depend on the answers; latency counts from when each was due."""
    options = ["--rate", f"{rate:g}", "--connections", str(connections), "--seconds", f"{seconds:g}"]
    return _own("rate", "--host", HOST, *options, address, seconds=seconds)


class Idle:
    """Connections that have asked once and wait, until the end of the `with`."""

    def __init__(self, address: str, connections: int) -> None:
        options = ["--host", HOST, "--connections", str(connections)]
        self._child = subprocess.Popen(
            [OWN, "idle", *options, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.connections = connections

    def __enter__(self) -> Outcome:
        """Wait until all are open."""
        line = self._child.stdout.readline() if self._child.stdout else ""
        if not line:
            self.__exit__()
            raise LoadError("the idle connections could not be opened")
        said = json.loads(line)
        return Outcome(count=said["count"], errors=said["errors"], seconds=0)

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.communicate()
