"""The conformance suite of HTTP/2, h2spec (<https://github.com/summerwind/h2spec>): every case of it, none left out."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.support import BIN
from tests.support.certificates import authority
from tests.support.engine import EngineProcess
from tests.support.origin import Origin
from tests.support.ports import loopback_address
from tests.support.snapshots import entry_point, route, service, snapshot, tls
from tests.support.wait import SLOWNESS

CASES = 146
"""How many cases the suite has at the version that `h2spec/go.mod` names, the optional ones included."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An engine: cleartext at port 8000, TLS at 8443."""
    address = loopback_address()
    certificate = authority().issue("localhost", address)
    origin = Origin()
    engine = EngineProcess(tmp_path_factory.mktemp("engine"))
    try:
        engine.start()
        engine.apply(
            snapshot(
                [entry_point(f"{address}:8000"), entry_point(f"{address}:8443", "https", tls=tls("c"))],
                [route(entry_points=["http", "https"])],
                [service(origin.url)],
                certificates=[certificate.for_snapshot("c")],
            )
        )
        yield address
        assert engine.process.running
        assert engine.counters()["connections"]["panicked"] == 0
    finally:
        engine.cleanup()
        origin.close()


@pytest.mark.parametrize("port", ["8000", "8443"], ids=["cleartext", "tls"])
def test_every_case_passes(address: str, tmp_path: Path, port: str) -> None:
    tool = BIN / "h2spec"
    assert tool.exists(), "no h2spec; next step: make .venv/bin/h2spec"
    report = tmp_path / "report.xml"
    encryption = ["--tls", "--insecure"] if port == "8443" else []
    command: list[str | Path] = [
        tool,
        "--host",
        address,
        "--port",
        port,
        "--strict",
        "--timeout",
        f"{2 * SLOWNESS:.0f}",
        *encryption,
    ]
    done = subprocess.run(
        [*command, "--junit-report", report], capture_output=True, text=True, timeout=240 * SLOWNESS, check=False
    )
    suites = ElementTree.parse(report).getroot().iter("testsuite")
    tests = failed = 0
    for suite in suites:
        tests += int(suite.get("tests", "0"))
        failed += sum(int(suite.get(kind, "0")) for kind in ("errors", "failures", "skipped"))
    assert (done.returncode, failed) == (0, 0), done.stdout[-4000:]
    assert tests == CASES
