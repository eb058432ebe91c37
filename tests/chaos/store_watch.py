"""Everything that the store's keys ever said, read from whichever member answers: the strongest witness of a run."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.chaos.asking import ask, lines
from tests.chaos.history import Stored
from tests.cluster.nodes import Node
from traefikee.cluster import etcd, state

IDLE = 2.0
"""Seconds of silence after which another member is asked: a member without a quorum knows nothing new."""


class CompactedError(Exception):
    """A part of the history is gone before it was read: the harness cannot judge this run."""


def socket_of(node: Node) -> Path:
    """Where a control node's etcd answers."""
    return node.statedir / "etcd" / etcd.CLIENT_SOCKET


class StoreWatch:
    """Follows the store from its first revision on, in a thread.

    :ivar revision: the last that was seen.
    :ivar keys: what each key says now.
    :ivar failure: why the history has a gap, if it has.
    """

    def __init__(self, nodes: Sequence[Node], record: Callable[[Stored], None]) -> None:
        self._nodes = nodes
        self._record = record
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="store watch")
        self.revision = 0
        self.keys: dict[str, str] = {}
        self.failure = ""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; returns once nothing more is recorded."""
        self._ended.set()
        self._thread.join(IDLE * 3)

    def leader(self) -> str | None:
        """The leader's name, as the store says."""
        identity = self.keys.get(state.LEADER)
        if identity is None:
            return None
        for node in self._nodes:
            if self.keys.get(state.NAMES + node.name) == identity:
                return node.name
        return None

    def _run(self) -> None:
        while not self._ended.is_set():
            for node in self._nodes:
                if self._ended.is_set():
                    return
                try:
                    self._follow(node)
                except OSError:
                    self._ended.wait(0.1)
                except CompactedError as error:
                    self.failure = str(error)
                    return

    def _follow(self, node: Node) -> None:
        body = {"create_request": {**prefix(state.STATE), "start_revision": str(self.revision + 1)}}
        for message in lines(socket_of(node), "/v3/watch", body, IDLE):
            result = message.get("result", {})
            if result.get("canceled"):
                if int(result.get("compact_revision", 0)):
                    raise CompactedError(f"the store forgot its history before {result['compact_revision']}")
                return
            for raw in result.get("events", ()):
                self._take(raw)
            if self._ended.is_set():
                return

    def _take(self, raw: dict[str, Any]) -> None:
        pair = raw["kv"]
        key = base64.b64decode(pair["key"]).decode()
        deleted = raw.get("type") == "DELETE"
        value = None if deleted else base64.b64decode(pair.get("value", "")).decode(errors="replace")
        revision = int(pair["mod_revision"])
        self._record(Stored(revision, key, int(pair.get("create_revision", 0)), value))
        if value is None:
            self.keys.pop(key, None)
        else:
            self.keys[key] = value
        self.revision = max(self.revision, revision)


def prefix(text: str) -> dict[str, str]:
    """The range of all keys that begin with a text, as etcd's gateway wants it."""
    end = text[:-1] + chr(ord(text[-1]) + 1)
    return {"key": _encode(text), "range_end": _encode(end)}


def read_range(node: Node, revision: int = 0, below: str = state.STATE) -> tuple[int, dict[str, tuple[int, str]]]:
    """Return the store's revision and its keys with their last change and value.

    :param below: what the keys begin with.
    :param revision: read as of this one from what this member has itself; the newest agreed one by default.
    :raises OSError: if the member does not answer.
    """
    body: dict[str, Any] = prefix(below)
    if revision:
        body |= {"revision": str(revision), "serializable": True}
    answer = ask(socket_of(node), "/v3/kv/range", body)
    if "error" in answer:
        raise OSError(str(answer["error"]))
    found = {
        base64.b64decode(one["key"]).decode(): (
            int(one["mod_revision"]),
            base64.b64decode(one.get("value", "")).decode(errors="replace"),
        )
        for one in answer.get("kvs", ())
    }
    return int(answer["header"]["revision"]), found


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
