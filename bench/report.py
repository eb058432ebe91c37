"""The results as a page."""

import os
import platform
import re
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.proxies import LOGGING, OURS, Kind
from bench.scenarios import SCENARIOS, Sample, Scenario

Results = Mapping[str, Mapping[str, Sequence[Sample]]]
"""Samples by scenario and proxy."""

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- results: written by make bench -->", "<!-- end of results -->"


def _values(samples: Sequence[Sample], of: Callable[[Sample], float | None]) -> list[float]:
    return [value for value in map(of, samples) if value is not None]


def _median(samples: Sequence[Sample], of: Callable[[Sample], float | None]) -> float | None:
    values = _values(samples, of)
    return statistics.median(values) if values else None


def _shown(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _spread(values: Sequence[float], digits: int = 1) -> str:
    return f"{min(values):,.{digits}f} – {max(values):,.{digits}f}" if values else "–"


def _cpu(sample: Sample) -> float | None:
    return sample.cpu


def table(scenario: Scenario, by_proxy: Mapping[str, Sequence[Sample]]) -> str:
    """One scenario's results."""
    if any(sample.memory is not None for samples in by_proxy.values() for sample in samples):
        lines = ["| | bytes/connection | spread | errors |", "|---|---|---|---|"]
        for name, samples in by_proxy.items():
            values = _values(samples, lambda sample: sample.memory)
            median = statistics.median(values) if values else None
            errors = sum(sample.errors for sample in samples)
            lines.append(f"| {name} | {_shown(median, 0)} | {_spread(values, 0)} | {errors} |")
        return "\n".join(lines)
    columns = ["", f"CPU µs/{scenario.unit}", "spread", "of it user", "÷ nginx", f"{scenario.unit}s/s"]
    columns += ["p50 ms", "p99 ms", "p99.9 ms", "errors"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    nginx = _median(by_proxy.get("nginx", ()), _cpu)
    for name, samples in by_proxy.items():
        cpu = _median(samples, _cpu)
        cells = [
            name,
            _shown(cpu),
            _spread(_values(samples, _cpu)),
            _shown(_median(samples, lambda sample: sample.user / sample.count * 1e6 if sample.count else None)),
            _shown(cpu / nginx if cpu and nginx else None, 2),
            _shown(_median(samples, lambda sample: sample.rate), 0),
            _shown(_median(samples, lambda sample: sample.p50), 2),
            _shown(_median(samples, lambda sample: sample.p99), 2),
            _shown(_median(samples, lambda sample: sample.p999), 2),
            str(sum(sample.errors for sample in samples)) if samples else "not spoken",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


@dataclass(frozen=True)
class Goal:
    """What is aimed at: a figure of the engine, or its ratio to the best of some others, is at most `limit`."""

    scenario: str
    limit: float
    of: Callable[[Sample], float | None]
    what: str
    peers: tuple[str, ...] = ()

    def row(self, results: Results) -> str | None:
        """The goal, what was measured, and by how much it was missed; `None` if it was not measured."""
        by_proxy = results.get(self.scenario, {})
        ours = _median(by_proxy.get(OURS, ()), self.of)
        theirs = [value for peer in self.peers if (value := _median(by_proxy.get(peer, ()), self.of))]
        if ours is None or (self.peers and not theirs):
            return None
        value = ours / min(theirs) if theirs else ours
        digits = 2 if self.peers else 0
        verdict = "met" if value <= self.limit else f"**missed by {value / self.limit - 1:.0%}**"
        against = f" ÷ {' or '.join(self.peers)}" if self.peers else ""
        return (
            f"| {self.scenario} | {self.what}{against} | ≤ {self.limit:,.{digits}f} | {value:,.{digits}f} | {verdict} |"
        )


BOTH = ("nginx", "HAProxy")
TENTH = round(1 / 1.1, 2)
"""At least 1.1 times as much with the same processor time."""

GOALS = [
    *(Goal(f"http1-{count}", 0.85, _cpu, "CPU per request", ("nginx",)) for count in (16, 64, 512)),
    Goal("http2", TENTH, _cpu, "CPU per request", BOTH),
    *(Goal(f"handshakes-{kind}", TENTH, _cpu, "CPU per connection", BOTH) for kind in ("full", "resumed")),
    *(
        Goal(name, TENTH, _cpu, "CPU per request", BOTH)
        for name in ("down-64k", "down-1m", "down-1m-tls", "up-64k", "up-1m")
    ),
    Goal("latency", 1, lambda sample: sample.p99, "p99", ("nginx",)),
    Goal("idle", 10 * 1024, lambda sample: sample.memory, "bytes per connection"),
]


def goals(results: Results) -> str:
    """The goals, and whether they are met."""
    rows = [row for goal in GOALS if (row := goal.row(results))]
    return "\n".join(["| scenario | goal | at most | measured | |", "|---|---|---|---|---|", *rows])


def machine() -> str:
    """What it was measured on."""
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    total = re.search(r"^MemTotal: +(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    memory = f", {int(total.group(1)) / 2**20:.0f} GiB" if total else ""
    name = model.group(1) if model else platform.machine()
    return f"{os.cpu_count()} cores of {name}{memory}, Linux {platform.release()}"


def versions(kinds: Sequence[Kind]) -> str:
    """Of everything that took part, as each says it."""
    commands = {kind.name: list(kind.version) for kind in kinds if kind.name != LOGGING}
    commands |= {"wrk": ["wrk", "-v"], "h2load": ["h2load", "--version"]}
    found = []
    for name, command in commands.items():
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        number = re.search(r"\b\d+\.\d+\.\d+\b", done.stdout + done.stderr)
        found.append(f"{name} {number.group(0) if number else '?'}")
    return ", ".join(found)


def page(results: Results, about: str) -> str:
    """The part of the page that the benchmarks write."""
    parts = [about, "### Goals\n\n" + goals(results)]
    for scenario in SCENARIOS:
        if scenario.name in results:
            title = f"### {scenario.title} (`{scenario.name}`)"
            parts.append(f"{title}\n\n{table(scenario, results[scenario.name])}")
    return "\n\n".join(parts)


def write(results: Results, about: str) -> None:
    """Put the results into docs/benchmarks.md, between its two marks."""
    before, begin, rest = PAGE.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE} has lost the marks {BEGIN} and {END}; next step: put them back")
    PAGE.write_text(f"{before}{BEGIN}\n\n{page(results, about)}\n\n{END}{after}")
