"""The agreed state: a small interface over etcd, spoken to through its JSON gateway.

Every write is a transaction that compares what it read. Keys are text; values are bytes. Revisions are etcd's: one
counter for the whole store.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from traefikee import known_faults
from traefikee.errors import UnreachableError

REQUEST_TIMEOUT = 10.0
"""Seconds that etcd may take for what is long: large values, changes of its membership."""
PATIENCE = 1.5
"""Seconds that it may take for what is small.

A member whose leader has just died drops what it is asked and answers only after 7 s that it timed out, although a new
leader is there after 1 or 2: asking again sooner is what makes a failover short.
"""
OPERATOR_PATIENCE = 5.0
"""Seconds for a write that an operator waits for: nobody repeats it, so a slow disk is waited for."""
READING = 6.0
"""Seconds for which a read is repeated: longer than an election of the store's leader, or a pause of its disk."""
RETRY = 0.2
PIECE = 50
"""Keys that are read at a time where everything is: 25 MiB at most, of parts of 512 KiB."""
UPKEEP_TIMEOUT = 30.0
"""Seconds that a compaction may take."""
FULL = "database space exceeded"
"""Part of what etcd says when its file has reached the quota."""
PERMANENT = ("compacted", "future revision", "permission denied")
"""Parts of what etcd says when asking again is of no use."""
UNKNOWN = (
    "it may have been carried out all the same: look with `traefikee list-nodes` whether the store answers again, and "
    "with `traefikee audit` whether it was done, before you try again"
)
FSYNC = "etcd_disk_wal_fsync_duration_seconds_"
"""What etcd's metrics of its write-ahead log begin with."""


@dataclass(frozen=True)
class KeyValue:
    """One key as the store has it."""

    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    lease: int = 0
    """The lease that it vanishes with, or 0."""


@dataclass(frozen=True)
class Compare:
    """A condition of a transaction: the key's create or modification revision is what was read (0: no such key).

    :ivar all_older: every key that starts with `key` was last written at `revision` or before, instead.
    """

    key: str
    revision: int
    target: str = "MOD"
    all_older: bool = False

    @classmethod
    def absent(cls, key: str) -> Compare:
        """The key does not exist."""
        return cls(key, 0, "CREATE")

    @classmethod
    def unchanged(cls, key: str, mod_revision: int) -> Compare:
        """The key was not written since ``mod_revision``."""
        return cls(key, mod_revision, "MOD")

    @classmethod
    def same_creation(cls, key: str, create_revision: int) -> Compare:
        """The key is the very one that was created at ``create_revision``: what fences a deposed leader's writes."""
        return cls(key, create_revision, "CREATE")

    @classmethod
    def none_newer(cls, prefix: str, revision: int) -> Compare:
        """No key that starts with the prefix was written after ``revision``; one may have been deleted."""
        return cls(prefix, revision, all_older=True)


@dataclass(frozen=True)
class Put:
    """Write a key; with a lease it vanishes when the lease ends.

    :ivar once_done: called when the store has said that the write is carried out.
    """

    key: str
    value: bytes
    lease: int = 0
    once_done: Callable[[], None] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Delete:
    """Remove a key, or every key that starts with it."""

    key: str
    prefix: bool = False


@dataclass(frozen=True)
class Change:
    """What a watch reports: the key with its new value, or None where it was deleted."""

    key: str
    now: KeyValue | None


@dataclass(frozen=True)
class Changes:
    """All changes of one revision or more, in order."""

    revision: int
    changes: tuple[Change, ...]


class CompactedError(Exception):
    """The watched revision is no longer kept: read everything again."""


class StoreMember:
    """One etcd member as the membership API lists it."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.id = int(raw["ID"])
        self.name = str(raw.get("name", ""))
        self.peer_urls: tuple[str, ...] = tuple(raw.get("peerURLs", ()))
        self.is_learner = bool(raw.get("isLearner", False))

    def __repr__(self) -> str:
        return f"StoreMember({self.id:x}, {self.name!r}, learner={self.is_learner})"


class StoreRefusedError(UnreachableError):
    """etcd answered with an error of its own.

    :ivar message: etcd's words.
    """

    def __init__(self, message: str) -> None:
        super().__init__(f"etcd: {message.removeprefix('etcdserver: ')}", kind="store")
        self.message = message


class StoreFullError(StoreRefusedError):
    """The store takes no changes: a member's file has reached its quota (etcd's alarm NOSPACE).

    The outcome is unknown: the write with which the quota is exceeded is refused in words and carried out all the same.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.cause = "the store is full and takes no changes"
        self.next_step = (
            "it is cleaned up by itself within a minute: try again, and see what `traefikee list-nodes` warns of"
        )


class Store:
    """A client of one etcd member over its unix socket.

    Every method raises :class:`~traefikee.errors.UnreachableError` when etcd does not answer (no process, no quorum):
    a write's outcome is then unknown, not failed. Reads change nothing and are repeated for :data:`READING` first, so
    that an election or a slow disk lengthens what an operator asks for, and fails nothing.

    :ivar patience: seconds that etcd may take for what is small: more than :data:`PATIENCE` where its disk is slow.
    """

    def __init__(self, socket: Path) -> None:
        self.patience = PATIENCE
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(socket)), base_url="http://etcd", timeout=REQUEST_TIMEOUT
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    # --- keys ---

    async def get(self, key: str) -> KeyValue | None:
        """Return one key, or None where there is none (a linearisable read)."""
        _, found = await self._range({"key": _encode(key)})
        return found[0] if found else None

    async def probe(self) -> None:
        """Read nothing in particular, once: it returns if this member is as far as the others."""
        await self._post("/v3/kv/range", {"key": _encode("/"), "count_only": True}, self.patience)

    async def read_prefix(self, prefix: str) -> tuple[int, list[KeyValue]]:
        """Return the store's revision and every key that starts with the prefix, sorted by key."""
        return await self._range({"key": _encode(prefix), "range_end": _encode_bytes(_prefix_end(prefix))})

    async def list_keys(self, prefix: str) -> tuple[int, list[str]]:
        """Return the store's revision and the keys that start with the prefix, without their values."""
        body = {"key": _encode(prefix), "range_end": _encode_bytes(_prefix_end(prefix)), "keys_only": True}
        revision, found = await self._range(body)
        return revision, [one.key for one in found]

    async def read_whole(self, prefix: str, *, serialisable: bool = False) -> tuple[int, list[KeyValue]]:
        """Return every key that starts with the prefix as of one revision, and that; read in pieces, however many.

        :param serialisable: what this member knows is enough: it answers without a quorum too.
        :raises StoreRefusedError: if the revision is compacted away meanwhile.
        """
        start, end = prefix.encode(), _encode_bytes(_prefix_end(prefix))
        found: list[KeyValue] = []
        revision = 0
        while True:
            body = {"key": _encode_bytes(start), "range_end": end, "limit": str(PIECE), "revision": str(revision)}
            answer = await self._read({**body, "serializable": serialisable}, REQUEST_TIMEOUT)
            found += [_key_value(raw) for raw in answer.get("kvs", ())]
            revision = revision or int(answer["header"]["revision"])
            if not answer.get("more"):
                return revision, found
            start = found[-1].key.encode() + b"\0"

    async def read_page(
        self, prefix: str, *, limit: int, first: str = "", before: str = "", descending: bool = False
    ) -> list[KeyValue]:
        """Return at most so many keys that start with the prefix, in ascending or descending order.

        :param first: the lowest key that is wanted; by default the prefix's first.
        :param before: the lowest key that is not wanted any more; by default the prefix's end.
        """
        body = {
            "key": _encode(max(first, prefix)),
            "range_end": _encode(before) if before else _encode_bytes(_prefix_end(prefix)),
            "limit": str(limit),
            "sort_target": "KEY",
            "sort_order": "DESCEND" if descending else "ASCEND",
        }
        return (await self._range(body))[1]

    async def count(self, prefix: str) -> int:
        """Return how many keys start with the prefix."""
        body = {"key": _encode(prefix), "range_end": _encode_bytes(_prefix_end(prefix)), "count_only": True}
        return int((await self._read(body)).get("count", 0))

    async def _range(self, body: dict[str, Any]) -> tuple[int, list[KeyValue]]:
        answer = await self._read(body)
        return int(answer["header"]["revision"]), [_key_value(raw) for raw in answer.get("kvs", ())]

    async def _read(self, body: Mapping[str, Any], patience: float | None = None) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        until = loop.time() + READING
        while True:
            try:
                return await self._post("/v3/kv/range", body, patience or self.patience)
            except UnreachableError as error:
                in_vain = isinstance(error, StoreRefusedError) and any(words in error.message for words in PERMANENT)
                if in_vain or loop.time() >= until:
                    raise
            await asyncio.sleep(RETRY)

    async def transact(
        self, compares: Sequence[Compare], operations: Sequence[Put | Delete], *, patience: float | None = None
    ) -> int | None:
        """Carry out the operations if every comparison holds, all or none.

        :param patience: seconds to wait for the answer, if more than :attr:`patience`; its outcome is unknown then.
        :returns: the revision of the write, or None if a comparison failed.
        """
        if known_faults.is_on(known_faults.NO_FENCING) and any(one.key.endswith("/leader") for one in compares):
            compares = [one for one in compares if not one.revision]
        body = {"compare": [_compare(one) for one in compares], "success": [_operation(one) for one in operations]}
        try:
            answer = await self._post("/v3/kv/txn", body, max(patience or 0.0, self.patience))
        except StoreRefusedError:
            raise
        except UnreachableError as error:
            raise UnreachableError(error.cause, UNKNOWN, kind=error.kind) from error
        if not answer.get("succeeded"):
            return None
        for one in operations:
            if isinstance(one, Put) and one.once_done is not None:
                one.once_done()
        return int(answer["header"]["revision"])

    async def watch(self, prefix: str, from_revision: int) -> AsyncIterator[Changes]:
        """Yield the changes of all keys that start with the prefix, from a revision on, until etcd goes away.

        :raises CompactedError: if ``from_revision`` is no longer kept.
        """
        create = {
            "key": _encode(prefix),
            "range_end": _encode_bytes(_prefix_end(prefix)),
            "start_revision": str(from_revision),
        }
        timeout = httpx.Timeout(REQUEST_TIMEOUT, read=None)
        try:
            async with self._client.stream(
                "POST", "/v3/watch", json={"create_request": create}, timeout=timeout
            ) as answer:
                async for line in answer.aiter_lines():
                    if not line:
                        continue
                    message = json.loads(line)
                    if "error" in message:
                        raise StoreRefusedError(str(message["error"].get("message", message["error"])))
                    result = message["result"]
                    if result.get("canceled"):
                        if int(result.get("compact_revision", 0)):
                            raise CompactedError
                        raise StoreRefusedError(str(result.get("cancel_reason", "the watch was cancelled")))
                    events = result.get("events", ())
                    # The header's may be higher: what was written up to there may be told with the next message.
                    known = [int(raw["kv"]["mod_revision"]) for raw in events] or [int(result["header"]["revision"])]
                    yield Changes(max(known), tuple(_change(raw) for raw in events))
        except (httpx.HTTPError, ValueError, KeyError) as error:
            raise _unreachable(error) from error

    # --- leases ---

    async def grant(self, ttl: int) -> int:
        """Make a lease of so many seconds and return its id."""
        return int((await self._post("/v3/lease/grant", {"TTL": ttl}, self.patience))["ID"])

    async def keep_alive(self, lease: int) -> bool:
        """Renew a lease; False means that it has ended."""
        answer = await self._post("/v3/lease/keepalive", {"ID": str(lease)}, self.patience)
        return int(answer.get("result", {}).get("TTL", 0)) > 0

    async def revoke(self, lease: int) -> None:
        """End a lease and with it its keys; one that has ended already is fine."""
        with contextlib.suppress(StoreRefusedError):
            await self._post("/v3/lease/revoke", {"ID": str(lease)}, self.patience)

    # --- membership ---

    async def members(self) -> list[StoreMember]:
        """Return etcd's members."""
        return [StoreMember(raw) for raw in (await self._post("/v3/cluster/member/list", {}))["members"]]

    async def add_learner(self, peer_url: str) -> tuple[StoreMember, list[StoreMember]]:
        """Add a member that does not vote yet; returns it and all members.

        :raises StoreRefusedError: if etcd will not have one now (another learner, unhealthy members).
        """
        answer = await self._post("/v3/cluster/member/add", {"peerURLs": [peer_url], "isLearner": True})
        return StoreMember(answer["member"]), [StoreMember(raw) for raw in answer["members"]]

    async def promote(self, member: int) -> None:
        """Let a learner vote.

        :raises StoreRefusedError: while it has not caught up.
        """
        await self._post("/v3/cluster/member/promote", {"ID": str(member)})

    async def remove_member(self, member: int) -> None:
        """Remove a member.

        :raises StoreRefusedError: if that could cost the quorum.
        """
        await self._post("/v3/cluster/member/remove", {"ID": str(member)})

    async def move_leadership(self, member: int) -> None:
        """Make another member etcd's Raft leader; only the present leader's own client may."""
        await self._post("/v3/maintenance/transfer-leadership", {"targetID": str(member)})

    async def status(self) -> dict[str, Any]:
        """Return the local member's status: ``version``, ``leader``, ``dbSize``, ``isLearner`` ..."""
        return await self._post("/v3/maintenance/status", {})

    # --- upkeep ---

    async def compact(self, revision: int) -> None:
        """Forget what was before a revision; returns when the space is free for new writes."""
        try:
            await self._post("/v3/kv/compaction", {"revision": str(revision), "physical": True}, UPKEEP_TIMEOUT)
        except StoreRefusedError as error:
            if "has been compacted" not in error.message:
                raise

    async def defragment(self, patience: float) -> None:
        """Give the local member's unused space back; it answers nothing else meanwhile.

        :param patience: seconds to wait for the end; etcd goes on after them.
        """
        await self._post("/v3/maintenance/defragment", {}, patience)

    async def disarm(self) -> None:
        """Take all alarms of missing space back."""
        alarms = await self._post("/v3/maintenance/alarm", {"action": "GET"})
        for one in alarms.get("alarms", ()):
            if one.get("alarm") == "NOSPACE":
                body = {"action": "DEACTIVATE", "alarm": "NOSPACE", "memberID": one.get("memberID", "0")}
                await self._post("/v3/maintenance/alarm", body)

    async def fsyncs(self) -> tuple[float, int]:
        """Return how long the local member has waited for its disk since it started (seconds), and how often."""
        found = {"sum": 0.0, "count": 0.0}
        try:
            text = (await self._client.get("/metrics", timeout=REQUEST_TIMEOUT)).text
            for line in text.splitlines():
                if line.startswith(FSYNC):
                    name, _, value = line.removeprefix(FSYNC).partition(" ")
                    if name in found:
                        found[name] = float(value)
        except (httpx.HTTPError, ValueError) as error:
            raise _unreachable(error) from error
        return found["sum"], int(found["count"])

    async def _post(self, path: str, body: Mapping[str, Any], patience: float = REQUEST_TIMEOUT) -> dict[str, Any]:
        try:
            answer = await self._client.post(path, json=body, timeout=patience)
            content: Any = json.loads(answer.text.strip() or "{}")
        except (httpx.HTTPError, ValueError) as error:
            raise _unreachable(error) from error
        if not isinstance(content, dict):
            raise StoreRefusedError(f"unexpected answer to {path}")
        failure = content.get("error")
        if failure is not None:
            message = failure.get("message", "") if isinstance(failure, dict) else str(failure)
            raise StoreFullError(str(message)) if FULL in str(message) else StoreRefusedError(str(message))
        return content


def _unreachable(error: Exception) -> UnreachableError:
    late = isinstance(error, httpx.TimeoutException)
    return UnreachableError(
        f"etcd does not answer{' in time' if late else f': {str(error) or type(error).__name__}'}",
        "see `traefikee list-nodes`: too few control nodes may be READY, or a disk may be slow; then try again",
        kind="store",
    )


def _encode(text: str) -> str:
    return _encode_bytes(text.encode())


def _encode_bytes(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _prefix_end(prefix: str) -> bytes:
    """Return the first key after all that start with the prefix (its last byte raised by one)."""
    raw = prefix.encode()
    return raw[:-1] + bytes([raw[-1] + 1])


def _key_value(raw: Mapping[str, Any]) -> KeyValue:
    return KeyValue(
        base64.b64decode(raw["key"]).decode(),
        base64.b64decode(raw.get("value", "")),
        int(raw.get("create_revision", 0)),
        int(raw.get("mod_revision", 0)),
        int(raw.get("lease", 0)),
    )


def _change(raw: Mapping[str, Any]) -> Change:
    found = _key_value(raw["kv"])
    return Change(found.key, None if raw.get("type") == "DELETE" else found)


def _compare(compare: Compare) -> dict[str, Any]:
    field = "create_revision" if compare.target == "CREATE" else "mod_revision"
    if compare.all_older:
        every = {"key": _encode(compare.key), "range_end": _encode_bytes(_prefix_end(compare.key))}
        return {**every, "target": compare.target, "result": "LESS", field: str(compare.revision + 1)}
    return {"key": _encode(compare.key), "target": compare.target, "result": "EQUAL", field: str(compare.revision)}


def _operation(operation: Put | Delete) -> dict[str, Any]:
    if isinstance(operation, Put):
        put = {"key": _encode(operation.key), "value": _encode_bytes(operation.value)}
        if operation.lease:
            put["lease"] = str(operation.lease)
        return {"request_put": put}
    delete = {"key": _encode(operation.key)}
    if operation.prefix:
        delete["range_end"] = _encode_bytes(_prefix_end(operation.key))
    return {"request_delete_range": delete}
