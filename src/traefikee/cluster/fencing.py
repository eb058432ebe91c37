"""The writes of one term of leadership. Each compares the leader key, so that those of a deposed leader fail.

The leader's duties are given a :class:`FencedStore` and no other way to write: a write without the fence cannot be
forgotten there. ``tests/unit/cluster/test_writes.py`` holds the list of all others, and what each compares.
"""

from __future__ import annotations

from collections.abc import Sequence

from traefikee.cluster import state
from traefikee.cluster.store import Compare, Delete, KeyValue, Put, Store, StoreMember
from traefikee.errors import TraefikeeError


class DeposedError(TraefikeeError):
    """A write was refused because another node leads by now."""

    def __init__(self) -> None:
        super().__init__("another node leads the cluster by now", kind="deposed", retriable=True)


class FencedStore:
    """The store, as the leader of one term may use it.

    :param creation: the create-revision of the leader key in this term.
    :ivar fence: the comparison that every write carries.
    """

    def __init__(self, store: Store, creation: int) -> None:
        self._store = store
        self.fence = Compare.same_creation(state.LEADER, creation)

    async def get(self, key: str) -> KeyValue | None:
        """Return one key, or None where there is none (a linearisable read)."""
        return await self._store.get(key)

    async def list_keys(self, prefix: str) -> tuple[int, list[str]]:
        """Return the store's revision and the keys that start with the prefix, without their values."""
        return await self._store.list_keys(prefix)

    async def transact(
        self, compares: Sequence[Compare], operations: Sequence[Put | Delete], *, patience: float | None = None
    ) -> int | None:
        """Carry out the operations if the term goes on and every other comparison holds, all or none.

        :param patience: seconds to wait for the answer; the outcome is unknown after them.
        :returns: the revision of the write, or None if one of ``compares`` failed.
        :raises DeposedError: if the term is over.
        """
        done = await self._store.transact([self.fence, *compares], operations, patience=patience)
        if done is None:
            # A leader key that is gone does not come back with the same revision: this says which comparison failed.
            await self.confirm()
        return done

    async def confirm(self) -> None:
        """Make sure that the term still goes on.

        :raises DeposedError: if it is over.
        """
        found = await self._store.get(state.LEADER)
        if found is None or found.create_revision != self.fence.revision:
            raise DeposedError

    async def members(self) -> list[StoreMember]:
        """Return etcd's members."""
        return await self._store.members()

    async def remove_member(self, member: int) -> None:
        """Remove a member of etcd whose removal was written down in a fenced transaction before.

        etcd compares nothing here. That does no harm if the term has ended meanwhile: member ids are never used again,
        and what was written down is not taken back.

        :raises StoreRefusedError: if that could cost the quorum.
        """
        await self._store.remove_member(member)
