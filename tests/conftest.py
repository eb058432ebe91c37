"""Fixtures for the tests of real processes. Each leaves nothing running."""

import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import process as processes
from tests.support.consul import Consul
from tests.support.machine import Network
from tests.support.origin import Origin
from tests.support.ports import loopback_address, release_all_addresses
from tests.support.process import Process
from tests.support.wait import wait_for

StartProcess = Callable[..., Process]
StartOrigin = Callable[..., Origin]


@pytest.fixture
def address() -> str:
    """A loopback address of the test's own: every port on it is free."""
    return loopback_address()


@pytest.fixture
def start_process() -> Iterator[StartProcess]:
    """Start processes (see `Process`) that end with the test."""
    started: list[Process] = []

    def start(*arguments: Any, **options: Any) -> Process:
        process = Process(*arguments, **options)
        started.append(process)
        return process

    yield start
    for process in reversed(started):
        process.cleanup()


@pytest.fixture
def start_origin() -> Iterator[StartOrigin]:
    """Start origins (see `Origin`) that end with the test."""
    started: list[Origin] = []

    def start(name: str = "origin", **options: Any) -> Origin:
        origin = Origin(name, **options)
        started.append(origin)
        return origin

    yield start
    for origin in started:
        origin.close()


@pytest.fixture
def origin(start_origin: StartOrigin) -> Origin:
    """One origin."""
    return start_origin()


@pytest.fixture
def consul(tmp_path: Path) -> Iterator[Consul]:
    """A running Consul, empty."""
    server = Consul(tmp_path / "consul")
    try:
        server.start()
        yield server
    finally:
        server.cleanup()


@pytest.fixture
def network() -> Iterator[Network]:
    """A network without machines; they end with it. Without root the test fails and says why."""
    if os.environ.get("TRAEFIKEE_TEST_NO_NAMESPACES") == "1":
        pytest.skip("TRAEFIKEE_TEST_NO_NAMESPACES=1")
    with Network() as made:
        yield made


@pytest.fixture(scope="session", autouse=True)
def nothing_left_running() -> Iterator[None]:
    """Fail the run if a process that a test started outlives it."""
    yield
    release_all_addresses()
    try:
        wait_for(lambda: not processes.left_over(), "the tests' processes have ended", 2)
    except AssertionError:
        found = processes.kill_left_over()
        pytest.fail(f"left running by the tests: {found}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of each process's output with a failed test."""
    report = yield
    if report.failed:
        for process in processes.started:
            report.sections.append((f"output of {process!r}", process.tail()))
    return report
