"""The audit log: who changed what, kept in the store beside what was changed, and written in the same transaction.

::

    /traefikee/audit/<time, UTC>-<random>    AuditEntry

The keys sort by time. They are not watched.
"""

from __future__ import annotations

import datetime
import secrets
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from traefikee import log
from traefikee.cluster.store import Compare, Delete, Put, Store

AUDIT = "/traefikee/audit/"
KEPT = 10_000
"""Entries that are kept, the newest."""
DELETES = 100
"""Keys that one transaction removes: etcd allows 128 operations."""

Through = Literal["socket", "api", "cluster", "disk"]

_log = log.get("audit")


@dataclass(frozen=True)
class Actor:
    """Who does something.

    :ivar who: ``certificate <CN>``, ``user <name>``, or ``node <name>``.
    :ivar through: the node's local socket, traefikeectl's port, the cluster by itself, or the disk of a node at rest.
    """

    who: str
    through: Through


class AuditEntry(BaseModel):
    """One action.

    :ivar at: when (ISO 8601, UTC, microseconds).
    :ivar action: the command's name: ``deploy``, ``rm-node`` ...
    :ivar detail: a sentence without secrets.
    """

    model_config = ConfigDict(frozen=True)

    at: str
    who: str
    through: str
    node: str
    """The control node that did it."""
    action: str
    detail: str


def entry(actor: Actor, node: str, action: str, detail: str) -> Put:
    """Return the write of one entry, to be part of the transaction that carries the action out."""
    at = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
    written = AuditEntry(at=at, who=actor.who, through=actor.through, node=node, action=action, detail=detail)
    _log.info(detail, action=action, who=actor.who, through=actor.through)
    return Put(f"{AUDIT}{at}-{secrets.token_hex(4)}", written.model_dump_json().encode())


async def read(store: Store) -> list[AuditEntry]:
    """Return all entries, the oldest first; one that cannot be read is left out."""
    found = []
    for one in (await store.read_prefix(AUDIT))[1]:
        try:
            found.append(AuditEntry.model_validate_json(one.value))
        except ValidationError:
            _log.error("an entry of the audit log cannot be read", key=one.key)
    return found


async def prune(store: Store, fence: Compare, kept: int = KEPT) -> int:
    """Remove the oldest entries beyond those that are kept; return how many."""
    _, keys = await store.list_keys(AUDIT)
    old = keys[: max(0, len(keys) - kept)]
    for start in range(0, len(old), DELETES):
        await store.transact([fence], [Delete(key) for key in old[start : start + DELETES]])
    return len(old)
