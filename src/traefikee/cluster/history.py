"""Deployed configurations as they are kept: the newest ones whole, so that each can be deployed again.

::

    /traefikee/history/<n, ten digits>     Record
    /traefikee/files/<blob>/<part>         its configuration, and what its files said; blobs may be shared

None of it is watched: only the deployment in force is part of the state that every control node mirrors.
"""

from __future__ import annotations

from pydantic import ValidationError

from traefikee import log
from traefikee.cluster import state
from traefikee.cluster.fencing import FencedStore
from traefikee.cluster.records import Link, Stored
from traefikee.cluster.store import Compare, Delete, Store
from traefikee.errors import RefusedError, TraefikeeError

HISTORY = "/traefikee/history/"
KEPT = 100
"""Deployments that are kept, the newest."""
_DELETES = 100
"""Keys that one transaction removes: etcd allows 128 operations."""

_log = log.get("history")


class Record(Stored):
    """One deployment: who, when and how, and where its content lies.

    :ivar id: what tells it from every other attempt to deploy.
    :ivar at: when (ISO 8601, UTC).
    :ivar by: who deployed it, as the command itself said (``user@host``).
    :ivar who: the same as the control node saw it, and ``through`` what (:class:`traefikee.cluster.audit.Actor`).
    :ivar node: the control node that was asked.
    :ivar rollback_of: the number of the deployment that was deployed again.
    :ivar files: what the files of the file provider said; None without that provider.
    """

    number: int
    id: str
    at: str
    by: str
    who: str
    through: str
    node: str
    command: str
    rollback_of: int | None = None
    configuration: Link
    files: Link | None = None

    @property
    def how(self) -> str:
        """``deploy``, or ``rollback of N``."""
        return "deploy" if self.rollback_of is None else f"rollback of {self.rollback_of}"


def record_key(number: int) -> str:
    """Return the key of one deployment; keys sort by number."""
    return f"{HISTORY}{number:010}"


async def find(store: Store, number: int) -> Record | None:
    """Return one deployment, or None if it is not kept.

    :raises TraefikeeError: if another version of this program wrote it and it cannot be read.
    """
    found = await store.get(record_key(number))
    if found is None:
        return None
    record = read(found.value)
    if record is None:
        raise TraefikeeError(
            f"what is kept of configuration {number} cannot be read", "use the version of traefikee that deployed it"
        )
    return record


async def need(store: Store, number: int) -> Record:
    """Return one deployment.

    :raises RefusedError: if it is not kept, naming those that are.
    """
    record = await find(store, number)
    if record is not None:
        return record
    ends = [await newest(store, 1), await _oldest(store)]
    kept = f"kept are {ends[1][0].number} to {ends[0][0].number}" if all(ends) else "nothing is deployed yet"
    raise RefusedError(f"there is no configuration {number}: {kept}", "see `history`", kind="unknown")


async def newest(store: Store, limit: int) -> list[Record]:
    """Return the newest deployments, newest first; one that cannot be read is left out."""
    found = await store.read_page(HISTORY, limit=limit, descending=True)
    return [record for one in found if (record := read(one.value)) is not None]


async def _oldest(store: Store) -> list[Record]:
    found = await store.read_page(HISTORY, limit=1)
    return [record for one in found if (record := read(one.value)) is not None]


def read(value: bytes) -> Record | None:
    """Return a deployment as it is kept, or None if it cannot be read."""
    try:
        return Record.model_validate_json(value)
    except ValidationError:
        _log.error("a deployment that is kept cannot be read; another version of this program wrote it")
        return None


async def clean(store: Store | FencedStore, kept: int = KEPT) -> int:
    """Remove deployments beyond those that are kept, and contents that none of these needs; return how many.

    Nothing is removed once another deployment has been stored meanwhile: it may need what was found to be useless.
    """
    current = await store.get(state.CURRENT)
    if current is None:
        return 0
    compares = [Compare.unchanged(state.CURRENT, current.mod_revision)]
    _, found = await store.read_prefix(HISTORY)
    old, rest = found[: max(0, len(found) - kept)], found[max(0, len(found) - kept) :]
    operations = [Delete(one.key) for one in old]
    records = [read(one.value) for one in rest]
    readable = [record for record in records if record is not None]
    if len(readable) == len(records):
        # What a record needs that cannot be read is not known: then all contents stay.
        needed = {link.blob for record in readable for link in (record.configuration, record.files) if link}
        operations += [
            Delete(f"{state.FILES}{blob}/", prefix=True) for blob in await _below(store, state.FILES) - needed
        ]
    number = current.value.decode()
    operations += await _outdated(store, number)
    for start in range(0, len(operations), _DELETES):
        if await store.transact(compares, operations[start : start + _DELETES]) is None:
            break
    return len(old)


async def _below(store: Store | FencedStore, prefix: str) -> set[str]:
    _, keys = await store.list_keys(prefix)
    return {key.removeprefix(prefix).partition("/")[0] for key in keys}


async def _outdated(store: Store | FencedStore, number: str) -> list[Delete]:
    """Return what to remove of the watched keys: everything that is not of the deployment in force."""
    needed = set()
    deployed = await store.get(state.CONFIGS + number)
    if deployed is not None:
        link = state.packed_link(deployed.value)
        needed = {link.blob} if link else set()
    configs = {f"{state.CONFIGS}{one}" for one in await _below(store, state.CONFIGS)}
    parts = await _below(store, state.CONFIG_PARTS) - needed
    return [
        *(Delete(key) for key in sorted(configs - {state.CURRENT, state.CONFIGS + number})),
        *(Delete(f"{state.CONFIG_PARTS}{blob}/", prefix=True) for blob in sorted(parts)),
    ]
