"""An etcd of a test's own."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import StartProcess
from tests.support.process import Process
from tests.support.wait import wait_for
from traefikee.cluster import etcd


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: sockets are in it."""
    with tempfile.TemporaryDirectory(prefix="etcd-") as name:
        yield Path(name)


@pytest.fixture
def etcd_options() -> tuple[str, ...]:
    """What etcd is told besides; a module may have others."""
    return ()


@pytest.fixture
def member(folder: Path, start_process: StartProcess, etcd_options: tuple[str, ...]) -> Process:
    """An etcd of its own, in the folder."""
    argv = [
        etcd.find(),
        "--data-dir=data",
        "--listen-client-urls=unix://client:0",
        "--advertise-client-urls=unix://client:0",
        "--listen-peer-urls=unix://peer:0",
        "--log-level=error",
        *etcd_options,
    ]
    return start_process(argv, cwd=folder, env={"PATH": os.environ["PATH"]}, name="etcd")


@pytest.fixture
def socket(folder: Path, member: Process) -> Path:
    """The client socket of that etcd, which listens."""
    path = folder / etcd.CLIENT_SOCKET
    wait_for(path.exists, f"the socket of {member}")
    return path
