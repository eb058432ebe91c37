"""The real engine, told what to do through its control socket."""

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from tests.support import BIN, ROOT
from tests.support.process import Process
from tests.support.wait import wait_for
from traefikee.node.engine import environment

Json = dict[str, Any]


def engine_binary() -> Path:
    """$TRAEFIKEE_ENGINE, or what `make build` made."""
    named = os.environ.get("TRAEFIKEE_ENGINE")
    places = [Path(named)] if named else [BIN / "traefikee-engine", ROOT / "engine/target/release/traefikee-engine"]
    for place in places:
        if place.exists():
            return place
    raise RuntimeError(f"no engine at {', '.join(map(str, places))}; next step: make build")


def control_client(socket: Path) -> httpx.Client:
    """A client of an engine's control socket."""
    return httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://engine", timeout=20)


class EngineProcess:
    """An engine in a folder of its own; `under` is a command that becomes it, such as prlimit."""

    def __init__(self, folder: Path, options: Sequence[str] = (), under: Sequence[str] = ()) -> None:
        self.control_socket = folder / "control.sock"
        self._options = options
        self._under = under
        self._process: Process | None = None
        self._replaced: list[Process] = []
        self.control = control_client(self.control_socket)

    @property
    def process(self) -> Process:
        """The running process."""
        assert self._process is not None, "the engine was not started"
        return self._process

    def start(self) -> None:
        """Start it, and wait until it answers. After a kill: start it again."""
        if self._process is not None:
            self._process.cleanup()
        command: list[str | Path] = [*self._under, engine_binary(), "--control", self.control_socket, *self._options]
        self._process = Process(command, name="engine", env=environment())
        wait_for(self._answers, "the engine answers on its control socket")

    def _answers(self) -> bool:
        if not self.process.running:
            raise RuntimeError(f"the engine ended: {self.process.tail()}")
        # httpx leaves the socket of a failed connection open, which is a warning, which is an error.
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(self.control_socket))
        return bool(self.status()["pid"] == self.process.pid)

    @property
    def new_socket(self) -> Path:
        """Where an engine that is to take over is told what to do."""
        return self.control_socket.with_suffix(".new")

    @property
    def old_socket(self) -> Path:
        """Where the engine answers that was replaced last."""
        return self.control_socket.with_suffix(".old")

    def successor(self, *options: str) -> Process:
        """Start an engine that is to take over; it waits for its first snapshot at `new_socket`."""
        paths = ("--control", self.new_socket, "--take-over", self.control_socket)
        process = Process([engine_binary(), *paths, *options], name="new-engine")
        self._replaced.append(process)
        wait_for(lambda: self.new_socket.exists() or not process.running, "the new engine is there, or has failed")
        return process

    def take_over(self, snapshot: Json, *options: str) -> Process:
        """Replace the engine by a new one, and return the old one's process, which ends by itself."""
        new, old = self.successor(*options), self.process
        with control_client(self.new_socket) as control:
            answer = control.put("/snapshot", json=snapshot)
            assert answer.status_code == httpx.codes.OK, answer.text
        self._replaced[-1], self._process = old, new
        self.control.close()
        self.control = control_client(self.control_socket)
        return old

    def put(self, snapshot: Json) -> httpx.Response:
        """PUT /snapshot, whatever the answer."""
        return self.control.put("/snapshot", json=snapshot)

    def apply(self, snapshot: Json) -> None:
        """PUT /snapshot, which must succeed."""
        answer = self.put(snapshot)
        assert answer.status_code == httpx.codes.OK, answer.text
        assert answer.json() == {"revision": snapshot["revision"]}

    def change(self, change: Json) -> httpx.Response:
        """PATCH /snapshot, whatever the answer."""
        return self.control.patch("/snapshot", json=change)

    def check(self, snapshot: Json) -> list[Json]:
        """POST /check: the problems."""
        answer = self.control.post("/check", json=snapshot)
        assert answer.status_code == httpx.codes.OK, answer.text
        problems: list[Json] = answer.json()["problems"]
        return problems

    def status(self) -> Json:
        """GET /status."""
        answer: Json = self.control.get("/status").raise_for_status().json()
        return answer

    def counters(self) -> Json:
        """GET /counters."""
        answer: Json = self.control.get("/counters").raise_for_status().json()
        return answer

    def cleanup(self) -> None:
        """Kill it in any case."""
        self.control.close()
        for process in self._replaced:
            process.cleanup()
        if self._process is not None:
            self._process.cleanup()
