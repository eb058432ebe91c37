"""A whole cluster on this machine's loopback addresses, for the demonstration and the measurements.

One bootstrap node, three control nodes, two data nodes, a real Consul and three origin servers, each on an address of
its own; nothing needs root.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.consul import consul_command  # noqa: E402

BIN = ROOT / ".venv" / "bin"
NETWORK = os.environ.get("LOCAL_NETWORK") or "127.42.0"
"""The addresses that everything is on, but for their last part; another one lets two of these run at once."""
CONSUL = f"{NETWORK}.50"
BOOTSTRAP = f"{NETWORK}.10"
CONTROL = {f"control-node-{number}": f"{NETWORK}.1{number}" for number in (1, 2, 3)}
DATA = {f"data-node-{number}": f"{NETWORK}.2{number}" for number in (1, 2)}
ORIGINS = {f"origin-{number}": f"{NETWORK}.3{number}:9000" for number in (1, 2, 3)}
HTTP_PORT = 8000
HTTPS_PORT = 8443
LOAD_PAUSE = 0.002
FIRST = next(iter(CONTROL))

APP_KEYS = {
    **{f"traefik/backends/app/servers/{name}/url": f"http://{address}" for name, address in ORIGINS.items()},
    "traefik/frontends/app/backend": "app",
    "traefik/frontends/app/routes/main/rule": "Host:app.demo",
    "traefik/frontends/fresh/backend": "app",
    "traefik/frontends/fresh/routes/main/rule": "Host:fresh.demo",
}
"""What is written into Consul: one application, and a frontend whose rule is changed again and again."""

DEPLOY = (
    "deploy",
    f"--entryPoints=Name:http Address::{HTTP_PORT}",
    f"--entryPoints=Name:https Address::{HTTPS_PORT} TLS",
    "--defaultentrypoints=http,https",
    f"--consul.endpoint={CONSUL}:8500",
    "--consul.watch",
    "--consul.prefix=traefik",
)

T = TypeVar("T")


class ClusterError(Exception):
    """It cannot go on."""


class LocalCluster:
    """What runs, where its files are, and how it is ended."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="traefikee-"))
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, argv: Sequence[str | Path]) -> None:
        """Start a process with its output in <name>.log."""
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [str(word) for word in argv], cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
            )  # fmt: skip

    def node(self, name: str, command: str, *options: str) -> None:
        """Start a node with a state directory and a socket of its own."""
        own = [f"--name={name}", f"--statedir={self.folder / name}", f"--traefikeesocket={self.socket(name)}"]
        self.start(name, [BIN / "traefikee", command, *own, *options])

    def socket(self, name: str) -> Path:
        """The socket of a node."""
        return self.folder / f"{name}.sock"

    def start_surroundings(self) -> None:
        """Start Consul and the origin servers."""
        self.start("consul", consul_command(CONSUL, self.folder / "consul-data"))
        for name, address in ORIGINS.items():
            self.start(name, [BIN / "python", "-m", "tests.support.origin", "--listen", address, "--name", name])

    def form(self) -> float:
        """Bootstrap, and start all other nodes at the same moment; returns the seconds until the cluster was formed.

        :raises ClusterError: if it does not form.
        """
        started = time.monotonic()
        peers = ",".join(f"{address}:4242" for address in [BOOTSTRAP, *CONTROL.values()])
        own = [
            f"--advertise={BOOTSTRAP}:4242",
            f"--listen={BOOTSTRAP}:4242",
            f"--mtlscertsoutputdir={self.credentials}",
        ]
        self.node("bootstrap-node", "bootstrap", *own, "--licensekey=any", "--api", "--controlNodes=3", "--timeout=120")
        tokens = json.loads(until(lambda: self.ask("bootstrap-node", "env", "-o", "json"), "the bootstrap node", 30))
        for name, address in CONTROL.items():
            own = [f"--advertise={address}:4242", f"--listen={address}:4242"]
            token = f"--token={tokens['control_node_token']}"
            self.node(name, "start-control-node", f"--peeraddresses={peers}", *own, token)
        for name, address in DATA.items():
            token = f"--token={tokens['data_node_token']}"
            self.node(name, "start-data-node", f"--peeraddresses={peers}", f"--bind={address}", token)
        if self.processes["bootstrap-node"].wait(120):
            raise ClusterError(f"the cluster did not form; see {self.folder / 'bootstrap-node.log'}")
        formed = time.monotonic() - started
        until(lambda: [node["status"] for node in self.nodes(FIRST)].count("READY") == 5, "all nodes READY", 30)
        return formed

    def deploy(self) -> str:
        """Deploy two entry points and Consul; returns what is printed.

        :raises ClusterError: if the deployment fails.
        """
        argv = [str(BIN / "traefikee"), *DEPLOY, f"--traefikeesocket={self.socket(FIRST)}"]
        done = subprocess.run(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False
        )
        if done.returncode:
            raise ClusterError(f"the deployment failed: {done.stdout}")
        return done.stdout

    def leader(self, name: str = "") -> str:
        """The leader's name, as a control node (the first one by default) sees it."""
        return next(str(node["name"]) for node in self.nodes(name or FIRST) if node["leader"])

    @property
    def credentials(self) -> Path:
        """Where bootstrap writes the API credentials."""
        return self.folder / "credentials"

    def ask(self, name: str, *words: str) -> str:
        """Run a command on a node; return what it prints."""
        argv = [str(BIN / "traefikee"), *words, f"--traefikeesocket={self.socket(name)}"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            raise ClusterError(f"traefikee {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def nodes(self, name: str) -> list[dict[str, Any]]:
        """The nodes as a control node lists them."""
        listed: list[dict[str, Any]] = json.loads(self.ask(name, "list-nodes", "-o", "json"))
        return listed

    def last_words(self) -> str:
        """The last lines of every log."""
        lines = []
        for log in sorted(self.folder.glob("*.log")):
            lines += [f"--- {log.name}", *log.read_text(errors="replace").splitlines()[-4:]]
        return "\n".join(lines)

    def stop(self) -> None:
        """End everything, and remove its files."""
        for process in reversed(self.processes.values()):
            if process.poll() is None:
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        left = left_running(self.folder)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)
        if left:
            raise ClusterError(f"processes had to be killed: {left}")


def left_running(folder: Path) -> list[int]:
    """Processes whose command line names the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if str(folder).encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


def until(condition: Callable[[], T], what: str, deadline: float) -> T:
    """Return the condition's first true value.

    :raises ClusterError: at the deadline (seconds).
    """
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        with contextlib.suppress(ClusterError, OSError, http.client.HTTPException, KeyError, StopIteration):
            value = condition()
            if value:
                return value
        time.sleep(0.05)
    raise ClusterError(f"{what}: not within {deadline:.0f} s")


def put(key: str, value: str) -> None:
    """Write a key into Consul with its own API."""
    connection = http.client.HTTPConnection(CONSUL, 8500, timeout=10)
    connection.request("PUT", f"/v1/kv/{key}", body=value)
    answer = connection.getresponse()
    if answer.status != 200 or answer.read().strip() != b"true":
        raise ClusterError(f"Consul does not take {key}")
    connection.close()


def get(address: str, host: str, path: str = "/") -> tuple[int, dict[str, Any]]:
    """Send one request to a data node; return status and the origin's JSON."""
    connection = http.client.HTTPConnection(address, HTTP_PORT, timeout=10)
    try:
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, json.loads(body) if answer.status == 200 else {}
    finally:
        connection.close()


def header(seen: dict[str, Any], name: str) -> str:
    """A header that the origin has seen."""
    return next(str(value) for key, value in seen["headers"] if key.lower() == name)


@contextlib.contextmanager
def traffic(host: str, pause: float = LOAD_PAUSE) -> Iterator[dict[str, int]]:
    """Send requests to both data nodes all the while, a new connection each; counts them and the failed ones.

    :param pause: seconds between two requests to one of them.
    """
    counts = {"sent": 0, "failed": 0}
    lock, ended = threading.Lock(), threading.Event()

    def work(address: str) -> None:
        while not ended.wait(pause):
            try:
                failed = get(address, host)[0] != 200
            except (OSError, http.client.HTTPException):
                failed = True
            with lock:
                counts["sent"] += 1
                counts["failed"] += failed

    threads = [threading.Thread(target=work, args=(address,), daemon=True) for address in DATA.values()]
    for thread in threads:
        thread.start()
    try:
        yield counts
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def change_until_served(host: str) -> float:
    """Change the rule of the frontend `fresh`; return the milliseconds until every data node routes by it."""
    started = time.monotonic()
    put("traefik/frontends/fresh/routes/main/rule", f"Host:{host}")
    for address in DATA.values():
        until(lambda address=address: get(address, host)[0] == 200, f"{host} on {address}", 30)  # type: ignore[misc]
    return (time.monotonic() - started) * 1000
