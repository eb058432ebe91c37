import os
import subprocess
import sys

import pytest
import structlog
from tests.support import BIN

from traefikee import known_faults
from traefikee.errors import UsageError


def test_nothing_is_on_by_itself() -> None:
    assert not any(known_faults.is_on(name) for name in known_faults.ALL)
    known_faults.check()


def test_an_unknown_fault_is_refused() -> None:
    with pytest.raises(UsageError, match=r"TRAEFIKEE_TEST_FAULT: there is no fault 'rain'; .*no-fencing"):
        known_faults.check("rain")


def test_a_fault_is_said_loudly(capsys: pytest.CaptureFixture[str]) -> None:
    structlog.reset_defaults()  # what a test before has set up writes elsewhere
    known_faults.check(known_faults.NO_FENCING)
    printed = capsys.readouterr()
    assert "FAULTY" in printed.out + printed.err


@pytest.mark.parametrize("name", sorted(known_faults.ALL))
def test_the_environment_names_one(name: str) -> None:
    asked = "from traefikee import known_faults as k; print(*[one for one in sorted(k.ALL) if k.is_on(one)])"
    done = subprocess.run(
        [sys.executable, "-c", asked],
        env={**os.environ, known_faults.VARIABLE: name},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [name]


def test_a_node_does_not_start_with_an_unknown_fault(tmp_path: object) -> None:
    done = subprocess.run(
        [BIN / "traefikee", "start-data-node", f"--statedir={tmp_path}/state"],
        env={**os.environ, known_faults.VARIABLE: "rain"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "there is no fault 'rain'" in done.stderr
