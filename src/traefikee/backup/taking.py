"""Reading a backup from a store: everything at one revision."""

from __future__ import annotations

import datetime

from traefikee import __version__
from traefikee.backup.content import ROOT, Content, Origin, belongs
from traefikee.cluster import state
from traefikee.cluster.store import Store, StoreRefusedError
from traefikee.errors import UnreachableError
from traefikee.node.statedir import Identity

TRIES = 5
"""How often everything is read again because the revision was compacted away meanwhile."""


async def take(store: Store, identity: Identity, *, quorum: bool = True) -> Content:
    """Read everything that belongs to a backup, as it was at one revision of the store.

    :param identity: the control node whose store it is.
    :param quorum: whether the store is to answer for all its members; otherwise for what this one knows.
    :raises UnreachableError: if the store does not answer.
    """
    for _ in range(TRIES):
        try:
            revision, found = await store.read_whole(ROOT, serialisable=not quorum)
        except StoreRefusedError as error:
            if "compacted" not in error.message:
                raise
            continue
        keys = {one.key: one.value for one in found if belongs(one)}
        origin = Origin(
            cluster=identity.cluster_id,
            node=identity.name,
            version=__version__,
            taken_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            revision=revision,
            generation=state.read_generation(keys.get(state.GENERATION)),
            quorum=quorum,
        )
        return Content(origin, keys, bytes.fromhex(identity.cluster_key))
    raise UnreachableError(
        "the store changes so fast that it could not be read at one revision", "try again", kind="store"
    )
