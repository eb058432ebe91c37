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
from traefikee.cluster.fencing import FencedStore
from traefikee.cluster.store import Delete, KeyValue, Put, Store

AUDIT = "/traefikee/audit/"
KEPT = 10_000
"""Entries that are kept, the newest."""
PAGE = 200
"""Entries that are read at once."""
DELETES = 100
"""Keys that one transaction removes: etcd allows 128 operations."""

Through = Literal["socket", "api", "cluster", "disk"]

_log = log.get("audit")


@dataclass(frozen=True)
class Actor:
    """Who does something.

    :ivar who: ``certificate <CN> (serial <hex>)``, ``user <name>``, or ``cluster``.
    :ivar through: the node's local socket, traefikeectl's port, the cluster by itself, or the disk of a node at rest.
    :ivar says: who the caller itself says it is (``user@host``), which nobody has checked; or an empty text.
    """

    who: str
    through: Through
    says: str = ""


CLUSTER = Actor("cluster", "cluster")
"""Nobody: what the cluster does by itself."""


class AuditEntry(BaseModel):
    """One action; ``who``, ``through`` and ``says`` as :class:`Actor` has them.

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
    says: str = ""


def entry(actor: Actor, node: str, action: str, detail: str) -> Put:
    """Return the write of one entry, to be part of the transaction that carries the action out.

    Once that is done, the entry is in the log of this node too.
    """
    at = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
    written = AuditEntry(
        at=at, who=actor.who, through=actor.through, node=node, action=action, detail=detail, says=actor.says
    )

    def tell() -> None:
        _log.info(detail, action=action, who=actor.who, through=actor.through)

    return Put(f"{AUDIT}{at}-{secrets.token_hex(4)}", written.model_dump_json().encode(), once_done=tell)


async def read(store: Store, limit: int = KEPT, *, action: str = "", since: str = "") -> list[AuditEntry]:
    """Return the newest entries, oldest first; one that cannot be read is left out.

    :param action: only those of this action.
    :param since: only those from this time on (ISO 8601, UTC), or from its beginning (``2026-11-28``).
    """
    found: list[AuditEntry] = []
    before = ""
    while len(found) < limit:
        size = min(PAGE, limit - len(found)) if not action else PAGE
        page = await store.read_page(AUDIT, limit=size, first=f"{AUDIT}{since}", before=before, descending=True)
        for one in page:
            read = _read(one)
            if read is not None and action in ("", read.action):
                found.append(read)
        if len(page) < size:
            break
        before = page[-1].key
    return found[:limit][::-1]


def _read(one: KeyValue) -> AuditEntry | None:
    try:
        return AuditEntry.model_validate_json(one.value)
    except ValidationError:
        _log.error("an entry of the audit log cannot be read", key=one.key)
        return None


async def prune(term: FencedStore, kept: int = KEPT) -> int:
    """Remove the oldest entries beyond those that are kept; return how many."""
    excess = max(0, await term.count(AUDIT) - kept)
    removed = 0
    while removed < excess:
        page = await term.read_page(AUDIT, limit=min(DELETES, excess - removed))
        if not page or await term.transact([], [Delete(one.key) for one in page]) is None:
            break
        removed += len(page)
    return removed
