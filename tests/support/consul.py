"""A real Consul server whose data outlives a restart."""

import base64
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from tests.support.ports import loopback_address
from tests.support.process import Process
from tests.support.wait import wait_for


def consul_command(address: str, data: Path, port: int = 8500) -> list[str]:
    """The command line of a one-server Consul on `address`, for use on a `Machine` too."""
    return [
        "consul",
        "agent",
        "-server",
        "-bootstrap-expect=1",
        "-node=consul",
        f"-data-dir={data}",
        f"-bind={address}",
        f"-client={address}",
        f"-http-port={port}",
        "-dns-port=-1",
        "-grpc-port=-1",
        "-serf-wan-port=-1",
        "-hcl=performance { raft_multiplier = 1 }",
        "-hcl=disable_update_check = true",
        '-hcl=log_level = "warn"',
    ]


class Consul:
    """Consul on a loopback address of its own, so that its fixed ports (8300, 8301, 8500) disturb nobody."""

    def __init__(self, data: Path, address: str | None = None) -> None:
        self.data = data
        self.address = address or loopback_address()
        self.endpoint = f"{self.address}:8500"
        self.process: Process | None = None
        self._http = httpx.Client(base_url=f"http://{self.endpoint}", timeout=10, trust_env=False)

    def start(self) -> None:
        """Start it, and wait until it takes writes."""
        if not shutil.which("consul"):
            raise RuntimeError("consul was not found; next step: make setup")
        self.data.mkdir(parents=True, exist_ok=True)
        self.process = Process(consul_command(self.address, self.data), name="consul")
        wait_for(self._ready, "Consul has a leader", 30)

    def _ready(self) -> bool:
        assert self.process is not None
        if not self.process.running:
            raise RuntimeError(f"consul ended\n{self.process.tail()}")
        return self._http.get("/v1/status/leader").json() != "" and self._http.put("/v1/kv/ready").is_success

    def stop(self) -> None:
        """End it; `start` brings it back with its data."""
        if self.process is not None:
            self.process.resume()
            self.process.terminate()
            self.process.cleanup()
            self.process = None

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing is answered."""
        assert self.process is not None
        self.process.pause()

    def resume(self) -> None:
        """The end of `pause`."""
        assert self.process is not None
        self.process.resume()

    def put(self, key: str, value: str | bytes) -> None:
        """Write one key."""
        self._http.put(f"/v1/kv/{key}", content=value).raise_for_status()

    def put_all(self, values: dict[str, str]) -> None:
        """Write many keys, in transactions of Consul's largest size."""
        operations = [{"Verb": "set", "Key": key, "Value": encode(value)} for key, value in values.items()]
        for start in range(0, len(operations), 64):
            self.transaction([{"KV": operation} for operation in operations[start : start + 64]])

    def get(self, key: str) -> str | None:
        """A key's value, or None."""
        answer = self._http.get(f"/v1/kv/{key}", params={"raw": ""})
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        return answer.raise_for_status().text

    def keys(self, prefix: str = "") -> list[str]:
        """All keys under a prefix."""
        answer = self._http.get(f"/v1/kv/{prefix}", params={"keys": ""})
        keys: list[str] = [] if answer.status_code == httpx.codes.NOT_FOUND else answer.raise_for_status().json()
        return keys

    def delete(self, key: str, *, tree: bool = False) -> None:
        """Delete a key, or with `tree` everything that starts with it."""
        self._http.delete(f"/v1/kv/{key}", params={"recurse": ""} if tree else {}).raise_for_status()

    def transaction(self, operations: Sequence[dict[str, Any]]) -> None:
        """All of them or none; see `PUT /v1/txn`."""
        answer = self._http.put("/v1/txn", json=list(operations))
        assert answer.is_success, answer.text

    def cleanup(self) -> None:
        """End it in any case."""
        if self.process is not None:
            self.process.cleanup()
            self.process = None
        self._http.close()


def encode(value: str) -> str:
    """A value as transactions want it."""
    return base64.b64encode(value.encode()).decode()
