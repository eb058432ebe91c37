"""Run the benchmarks: `python -m bench`, or `make bench` which also installs what they need."""

import argparse
import contextlib
import fcntl
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from tests.support import certificates, process
from tests.support.ports import loopback_address

from bench import load, report
from bench.proxies import Kind, Surroundings, kinds
from bench.scenarios import SCENARIOS, Conditions, Sample, Scenario

PAUSE = 0.2
"""Seconds between two loads, in which connections end."""
Named = TypeVar("Named", Scenario, Kind)
FILES = 65_536
"""Open files that are asked for: a connection is one, or two."""


def main() -> None:
    """Parse the command line, measure, report."""
    parser = argparse.ArgumentParser(prog="bench", description="Measures the engine beside other proxies.")
    parser.add_argument("--rounds", type=int, default=3, help="how often each load is run against each proxy")
    parser.add_argument("--seconds", type=int, default=3, help="how long each load lasts")
    parser.add_argument("--only", default="", help="scenarios, by the beginnings of their names, with commas")
    parser.add_argument("--proxies", default="", help="proxies, by the beginnings of their names, with commas")
    options = parser.parse_args()
    if options.rounds < 1 or options.seconds < 1:
        parser.error("--rounds and --seconds are at least 1")
    scenarios = _chosen(SCENARIOS, options.only, parser)
    everybody = kinds()
    chosen = _chosen(everybody, options.proxies, parser)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    _raise_file_limit()
    started = time.monotonic()
    with _alone(), tempfile.TemporaryDirectory(prefix="bench-") as folder:
        try:
            results = measure(scenarios, chosen, Path(folder), options.rounds, options.seconds)
        finally:
            for child in list(process.started):
                child.cleanup()
            process.kill_left_over()
    minutes = (time.monotonic() - started) / 60
    about = (
        f"{time.strftime('%Y-%m-%d', time.gmtime())}, {report.machine()}. {report.versions(chosen)}. "
        f"{options.rounds} rounds of {options.seconds:g} s, {minutes:.0f} minutes in all."
    )
    if scenarios == SCENARIOS and chosen == everybody:
        report.write(results, about)
        print(f"Written to {report.PAGE}")
    else:
        print(about, report.goals(results), sep="\n\n")


def _chosen(known: Sequence[Named], words: str, parser: argparse.ArgumentParser) -> list[Named]:
    prefixes = [word.strip().lower() for word in words.split(",") if word.strip()]
    for prefix in prefixes:
        if not any(one.name.lower().startswith(prefix) for one in known):
            parser.error(f"{prefix} is none of {', '.join(one.name for one in known)}")
    return [one for one in known if not prefixes or one.name.lower().startswith(tuple(prefixes))]


def _raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(hard, FILES)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
    except ValueError:
        # Only root may have more than was granted.
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Two benchmarks at the same time would measure each other."""
    with Path(tempfile.gettempdir(), "traefikee-bench.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit("bench: another benchmark is running on this machine; next step: wait for it, or end it")
        yield


def measure(
    scenarios: Sequence[Scenario], chosen: Sequence[Kind], folder: Path, rounds: int, seconds: float
) -> dict[str, dict[str, list[Sample]]]:
    """Run everything: within each scenario, round by round, one proxy after the other."""
    address = loopback_address()
    origins = (f"{address}:9001", f"{address}:9002")
    origin = process.Process([load.OWN, "origin", *origins], name="origin")
    origin.wait_for_output("^ready$")
    certificate = certificates.authority("bench CA").issue("*.bench.example", address)
    surroundings = Surroundings(folder, origins, certificate)
    proxies = [kind.start(surroundings) for kind in chosen]
    results: dict[str, dict[str, list[Sample]]] = {}
    for scenario in scenarios:
        print(f"{scenario.name}: ", end="", flush=True)
        conditions = Conditions(seconds)
        if scenario.prepare:
            scenario.prepare(proxies, conditions)
        samples: dict[str, list[Sample]] = {kind.name: [] for kind in chosen}
        for number in range(rounds):
            # Nobody is always the first.
            for index in _rotated(len(chosen), number):
                proxy = chosen[index].start(surroundings) if scenario.fresh else proxies[index]
                try:
                    samples[chosen[index].name].append(scenario.run(proxy, conditions))
                    print(".", end="", flush=True)
                except load.LoadError as error:
                    print(f"\n  {chosen[index].name}: {error}", end="\n  ", flush=True)
                finally:
                    if scenario.fresh:
                        proxy.close()
                time.sleep(PAUSE)
        print()
        print(report.table(scenario, samples), end="\n\n", flush=True)
        results[scenario.name] = samples
    return results


def _rotated(length: int, by: int) -> list[int]:
    return [(index + by) % length for index in range(length)]


if __name__ == "__main__":
    main()
