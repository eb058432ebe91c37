"""The systemd units: what systemd itself says of them, and what the nodes rely on."""

import re
import subprocess
from pathlib import Path

import pytest
from tests.support import BIN, ROOT

UNITS = {"traefikee-bootstrap": 1.6, "traefikee-control": 1.6, "traefikee-data": 1.7}
"""With the exposure (0 to 10) that systemd-analyze may find at most."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the units were installed, with the command where they are told that it is."""
    root = tmp_path_factory.mktemp("root")
    command = root / "opt/traefikee/bin"
    command.mkdir(parents=True)
    (command / "traefikee").symlink_to(BIN / "traefikee")
    install(root)
    return root


def install(root: Path, *options: str, code: int = 0) -> str:
    argv = [str(ROOT / "packaging/systemd/install"), f"--root={root}", *options]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def analyze(installed: Path, name: str, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run systemd-analyze on one unit, whose commands are there."""
    unit = installed / f"usr/lib/systemd/system/{name}.service"
    text = unit.read_text().replace("/opt/traefikee/bin", str(installed / "opt/traefikee/bin"))
    copy = installed / f"{name}.service"
    copy.write_text(text)
    argv = ["systemd-analyze", *words, str(copy)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_nothing_wrong(installed: Path, name: str) -> None:
    done = analyze(installed, name, "verify", "--man=no", "--recursive-errors=no")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("name", "most"), UNITS.items())
def test_a_node_can_do_little_beside_its_work(installed: Path, name: str, most: float) -> None:
    done = analyze(installed, name, "security", "--offline=true", "--no-pager", f"--threshold={round(most * 10)}")
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= most
    assert done.returncode == 0, "so systemd sees it too"


def test_what_the_nodes_rely_on(installed: Path) -> None:
    texts = {name: (installed / f"usr/lib/systemd/system/{name}.service").read_text() for name in UNITS}
    for text in texts.values():
        assert "\nType=notify\n" in text
        assert "\nNotifyAccess=main\n" in text, "etcd, a child, speaks to a service manager too"
        assert "\nWatchdogSec=" in text
        assert "\nUser=traefikee\n" in text
    assert "\nKillMode=process\n" in texts["traefikee-data"], "the engine outlives its agent"
    assert "\nExecReload=/bin/kill -USR2 $MAINPID\n" in texts["traefikee-data"]
    assert "\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n" in texts["traefikee-data"]
    assert "AmbientCapabilities" not in texts["traefikee-control"]


def test_installing_again_keeps_options_and_takes_another_folder(installed: Path, tmp_path: Path) -> None:
    options = installed / "etc/traefikee/data.env"
    options.write_text("TRAEFIKEE_NAME=mine\n")
    install(installed)
    assert options.read_text() == "TRAEFIKEE_NAME=mine\n"
    told = install(tmp_path, code=1)
    assert "there is no command" in told
    assert "--bindir" in told
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/traefikee").symlink_to(BIN / "traefikee")
    install(tmp_path, "--bindir=/usr/bin")
    for name in UNITS:
        assert "ExecStart=/usr/bin/traefikee " in (tmp_path / f"usr/lib/systemd/system/{name}.service").read_text()
    assert "Usage:" in install(tmp_path, "--nonsense", code=2)
