"""What is deployed, in the store: configurations and what files say, in parts below etcd's request limit."""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from traefikee import formats
from traefikee.cluster import state
from traefikee.cluster.fencing import FencedStore
from traefikee.cluster.records import Link
from traefikee.cluster.store import REQUEST_TIMEOUT, Compare, Put, Store
from traefikee.config.static import StaticConfiguration
from traefikee.errors import TraefikeeError
from traefikee.node.publishing import PART_BYTES
from traefikee.providers.file.content import Content

SMALL = PART_BYTES // 2
"""Bytes of a content that is written together with the deployment that needs it."""


@dataclass(frozen=True)
class Packed:
    """A content as it is stored.

    :ivar link: what names it, and its parts.
    """

    link: Link
    parts: tuple[bytes, ...]

    @property
    def small(self) -> bool:
        """Whether it fits into the transaction that needs it."""
        return self.link.size <= SMALL

    def puts(self, prefix: str = state.FILES) -> list[Put]:
        """Return the writes of its parts below a prefix."""
        return [Put(f"{prefix}{self.link.blob}/{number:06}", part) for number, part in enumerate(self.parts)]


def pack(content: bytes, name: str = "") -> Packed:
    """Return a content as it is stored, under the digest of just that.

    :param name: what tells the content from others; by default its digest.
    """
    packed = zlib.compress(content)
    parts = tuple(packed[start : start + PART_BYTES] for start in range(0, len(packed), PART_BYTES))
    # Of the packed form: another build's zlib may pack the same content into other parts.
    blob = hashlib.sha256(packed).hexdigest()
    name = name or hashlib.sha256(content).hexdigest()
    return Packed(Link(name=name, blob=blob, parts=len(parts), size=len(packed)), parts)


def pack_files(content: Content, form: int = formats.NEWEST) -> Packed:
    """Return what files say as it is stored in a format.

    :raises NewerFieldError: if something is set that the format has no form for.
    """
    return pack(formats.in_format(content, content.to_json(), form), content.digest)


async def store_parts(store: Store, puts: Sequence[Put]) -> list[Compare]:
    """Store parts one by one; return what has to hold for them to be there still."""
    held = []
    for put in puts:
        revision = await store.transact([], [put], patience=REQUEST_TIMEOUT)
        held.append(Compare.unchanged(put.key, revision or 0))
    return held


async def read_files(store: Store | FencedStore, link: Link | None) -> Content:
    """Return what a deployment's files say.

    :raises TraefikeeError: it is not there whole, or another version of this program has written it.
    """
    if link is None:
        return Content()
    content = await _read(store, link, "the deployed files")
    try:
        return await asyncio.to_thread(Content.model_validate_json, content)
    except ValidationError:
        raise TraefikeeError("the deployed files cannot be read", "deploy again", kind="files") from None


async def read_configuration(store: Store, link: Link) -> StaticConfiguration:
    """Return a deployment's static configuration.

    :raises TraefikeeError: it is not there whole, or this version has other options than the one that deployed it.
    """
    content = await _read(store, link, "the configuration")
    try:
        return await asyncio.to_thread(StaticConfiguration.model_validate_json, content)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise TraefikeeError(
            f"the configuration that was deployed then cannot be read by this version ({where}: {first['msg']})",
            "deploy it from its file",
            kind="configuration",
        ) from None


async def _read(store: Store | FencedStore, link: Link, what: str) -> bytes:
    parts = []
    for number in range(link.parts):
        part = await store.get(f"{state.FILES}{link.blob}/{number:06}")
        if part is None:
            raise TraefikeeError(f"part {number + 1} of {what} is gone", "deploy again", kind="files")
        parts.append(part.value)
    try:
        return await asyncio.to_thread(zlib.decompress, b"".join(parts))
    except zlib.error:
        raise TraefikeeError(f"{what} cannot be read", "deploy again", kind="files") from None
