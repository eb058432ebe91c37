"""The published snapshot in the store: its parts first, the pointer to them last and in one transaction."""

from __future__ import annotations

import asyncio
import hashlib
import json
import zlib
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from traefikee.cluster import state
from traefikee.cluster.state import Pointer
from traefikee.cluster.store import REQUEST_TIMEOUT, Compare, Delete, Put, Store
from traefikee.config.dynamic import DynamicConfiguration
from traefikee.errors import TraefikeeError, UnreachableError

PART_BYTES = 512 * 1024
"""Bytes of one part: well below etcd's request limit of 1.5 MiB."""
COMPRESSION = 1


class DeposedError(TraefikeeError):
    """A write was refused because another node leads by now."""

    def __init__(self) -> None:
        super().__init__("another node leads the cluster by now", kind="deposed", retriable=True)


def pack(document: bytes) -> tuple[str, list[bytes]]:
    """Compress a document and cut it into parts; returns the digest that names it (SHA-256, hexadecimal) and them."""
    compressed = zlib.compress(document, COMPRESSION)
    parts = [compressed[start : start + PART_BYTES] for start in range(0, len(compressed), PART_BYTES)]
    return hashlib.sha256(document).hexdigest(), parts


def part_key(digest: str, part: int) -> str:
    """Return the key of one part."""
    return f"{state.BLOBS}{digest}/{part:06}"


class SnapshotStore:
    """Reads and writes the published snapshot."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cached: tuple[str, bytes] = ("", b"")

    async def write(self, document: bytes, fence: Compare) -> tuple[str, int]:
        """Store a document's parts (once: equal documents share them); returns its digest and their number.

        :raises DeposedError: if the fence no longer holds.
        """
        # Compression is the one long computation of the agent: off the event loop with it.
        digest, parts = await asyncio.to_thread(pack, document)
        if await self._store.get(part_key(digest, len(parts) - 1)) is None:
            for number, part in enumerate(parts):
                put = Put(part_key(digest, number), part)
                if await self._store.transact([fence], [put], patience=REQUEST_TIMEOUT) is None:
                    raise DeposedError
        return digest, len(parts)

    async def publish(self, pointer: Pointer, before: Pointer | None, fence: Compare) -> None:
        """Point to a snapshot, and remove the parts that neither it nor the one before needs any more.

        :raises DeposedError: if the fence no longer holds.
        """
        if await self._store.transact([fence], [Put(state.SNAPSHOT, pointer.stored())]) is None:
            raise DeposedError
        needed = {pointer.snapshot, pointer.runtime}
        if before is not None:
            needed |= {before.snapshot, before.runtime}
        _, found = await self._store.list_keys(state.BLOBS)
        stale = {key.removeprefix(state.BLOBS).partition("/")[0] for key in found} - needed
        for digest in stale:
            await self._store.transact([fence], [Delete(f"{state.BLOBS}{digest}/", prefix=True)])

    async def read(self, digest: str, parts: int) -> bytes:
        """Return a document as it was written.

        :raises UnreachableError: if it is not (no longer) there whole.
        """
        if self._cached[0] == digest:
            return self._cached[1]
        compressed = await self.read_compressed(digest, parts)
        try:
            document = await asyncio.to_thread(zlib.decompress, compressed)
        except zlib.error as error:
            raise UnreachableError(f"the stored document {digest[:12]} is damaged: {error}", kind="store") from error
        self._cached = (digest, document)
        return document

    async def read_compressed(self, digest: str, parts: int) -> bytes:
        """Return a document's compressed form (zlib)."""
        found = []
        for number in range(parts):
            part = await self._store.get(part_key(digest, number))
            if part is None:
                raise UnreachableError(
                    f"part {number + 1} of {parts} of the document {digest[:12]} is gone", kind="superseded"
                )
            found.append(part.value)
        return b"".join(found)


class Runtime(BaseModel):
    """The dynamic configurations behind a snapshot, by provider.

    :ivar heard: what the providers said: the next leader begins with it.
    :ivar effective: what of it is in force: what the API shows. Without certificates.
    """

    model_config = ConfigDict(frozen=True)

    heard: dict[str, DynamicConfiguration]
    effective: dict[str, DynamicConfiguration]

    def stored(self) -> bytes:
        """Return the form that the store keeps (JSON, the same for equal content)."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), sort_keys=True).encode()

    @classmethod
    def load(cls, document: bytes) -> Self:
        """Undo :meth:`stored`.

        :raises UnreachableError: if another version of this program wrote something that cannot be read.
        """
        try:
            return cls.model_validate_json(document)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]["msg"]
            raise UnreachableError(f"the stored dynamic configuration cannot be read: {first}", kind="store") from error
