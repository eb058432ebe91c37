"""Where the nodes of a test's cluster run: machines of a network, or addresses of this machine's loopback.

Both take the same lines, as a user types them. On the loopback what a node needs to be one of several on a machine
(name, state directory, socket, address of the entry points) comes from the environment.
"""

import contextlib
import ctypes
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import httpx

from tests.support import BIN, ROOT
from tests.support.consul import Consul, consul_command
from tests.support.machine import Machine
from tests.support.ports import loopback_address
from tests.support.process import Process
from tests.support.wait import SLOWNESS, wait_for

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
_PLACE = "TRAEFIKEE_TEST_PLACE"


class Place(Protocol):
    """Where one node runs."""

    name: str
    address: str

    def run(
        self, line: str, *, deadline: float = 60, env: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run a shell line and return what it printed."""

    def check(self, line: str, *, deadline: float = 60, env: Mapping[str, str] | None = None) -> str:
        """The same, but the line must succeed; returns its standard output."""

    def start(self, line: str, *, env: Mapping[str, str] | None = None, name: str | None = None) -> Process:
        """Start a shell line in the background."""


class Local:
    """A loopback address with a folder: a `Place` on this machine. Its processes end with `destroy`."""

    def __init__(self, name: str, address: str | None = None) -> None:
        self.name = name
        self.address = address or loopback_address()
        # Not below pytest's own folder: a state directory's path is limited.
        self.folder = Path(tempfile.mkdtemp(prefix="tkee-"))
        self.statedir = self.folder / "state"
        self.socket = self.folder / "traefikee.sock"
        self.env = {
            "HOME": str(self.folder),
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            "TRAEFIKEE_NAME": name,
            "TRAEFIKEE_STATEDIR": str(self.statedir),
            "TRAEFIKEE_TRAEFIKEESOCKET": str(self.socket),
            "TRAEFIKEE_BIND": self.address,
            _PLACE: str(self.folder),
        }
        self._started: list[Process] = []

    def __repr__(self) -> str:
        return f"<{self.name}, {self.address}>"

    def run(
        self, line: str, *, deadline: float = 60, env: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run a shell line and return what it printed."""
        return subprocess.run(
            ["bash", "-c", line],
            env={**os.environ, **self.env, **(env or {})},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=deadline * SLOWNESS,
            check=False,
        )

    def check(self, line: str, *, deadline: float = 60, env: Mapping[str, str] | None = None) -> str:
        """The same, but the line must succeed; returns its standard output."""
        done = self.run(line, deadline=deadline, env=env)
        assert done.returncode == 0, f"on {self.name}: {line}\nexit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def start(self, line: str, *, env: Mapping[str, str] | None = None, name: str | None = None) -> Process:
        """Start one command in the background."""
        words = shlex.split(line)
        words[0] = shutil.which(words[0], path=self.env["PATH"]) or words[0]
        process = Process(
            words,
            env={**self.env, **(env or {})},
            cwd=self.folder,
            name=f"{self.name}: {name or Path(words[0]).name}".replace("/", "-"),
        )
        self._started.append(process)
        return process

    def processes(self) -> dict[int, str]:
        """The command lines of what runs here, by process id: engines that outlived their agent are found too."""
        mark = f"{_PLACE}={self.folder}".encode()
        found = {}
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if folder.name.isdigit() and mark in (folder / "environ").read_bytes().split(b"\0"):
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found

    def destroy(self) -> None:
        """End its processes, and remove its files."""
        for process in self._started:
            process.cleanup()
        self._started.clear()
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)


def files(place: Place) -> tuple[Path, Path]:
    """A place's state directory and socket, as the tests see them."""
    if isinstance(place, Machine):
        return place.root / "var/lib/traefikee_state", place.root / "run/traefikee.sock"
    assert isinstance(place, Local)
    return place.statedir, place.socket


def enter_network(place: Place) -> None:
    """Make the calling thread, which is to end soon, a client on that machine: its new sockets are there."""
    if not isinstance(place, Machine):
        return
    namespace = os.open(place.root.parent / "ns/net", os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter the network of {place.name}")
    finally:
        os.close(namespace)


def in_network(place: Place, work: Callable[[], T]) -> T:
    """Call something in a thread of its own whose sockets are on that machine."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            enter_network(place)
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - it is raised again where the caller waits
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


class NetworkTransport(httpx.BaseTransport):
    """Sends requests from a machine, a new connection for each."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one."""

        def send() -> httpx.Response:
            with httpx.HTTPTransport(verify=False, trust_env=False) as transport:
                answer = transport.handle_request(request)
                content = b"".join(answer.iter_raw())
                answer.close()
            return httpx.Response(answer.status_code, headers=answer.headers, content=content, request=request)

        return in_network(self._place, send)


class MachineConsul(Consul):
    """A Consul on a machine of a network."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(Path("/tmp/consul"), machine.address)
        self._machine = machine
        self._http.close()
        self._http = httpx.Client(base_url=f"http://{self.endpoint}", timeout=10, transport=NetworkTransport(machine))

    def start(self) -> None:
        """Start it, and wait until it takes writes."""
        line = shlex.join(consul_command(self.address, self.data))
        self.process = self._machine.start(f"mkdir -p {self.data}; {line}", name="consul")
        wait_for(self._ready, "Consul has a leader", 30)


def start_origin(place: Place, name: str, port: int = 80) -> str:
    """Start an origin there; returns its URL."""
    place.start(
        f"{BIN / 'python'} -m tests.support.origin --listen {place.address}:{port} --name {name}",
        env={"PYTHONPATH": str(ROOT)},
        name="origin",
    ).wait_for_output("listens on")
    return f"http://{place.address}:{port}"


def routes(name: str, rule: str, *urls: str) -> dict[str, str]:
    """The keys of a frontend and its backend, both of that name, below no prefix."""
    servers: dict[str, Any] = {f"backends/{name}/servers/s{n}/url": url for n, url in enumerate(urls)}
    return {**servers, f"frontends/{name}/backend": name, f"frontends/{name}/routes/main/rule": rule}
