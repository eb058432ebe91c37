"""What a deployment's files say, in the store: in parts below etcd's request limit, and not watched."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable

from pydantic import ValidationError

from traefikee.cluster import state
from traefikee.cluster.fencing import FencedStore
from traefikee.cluster.state import Link
from traefikee.cluster.store import REQUEST_TIMEOUT, Compare, Delete, Put, Store
from traefikee.errors import TraefikeeError
from traefikee.node.publishing import PART_BYTES
from traefikee.providers.file.content import Content


def pack(content: Content) -> tuple[Link, list[bytes]]:
    """Return what names a content in the store, and its parts."""
    packed = zlib.compress(content.to_json())
    parts = [packed[start : start + PART_BYTES] for start in range(0, len(packed), PART_BYTES)]
    return Link(name=content.digest, blob=content.digest, parts=len(parts), size=len(packed)), parts


async def store_parts(store: Store, link: Link, parts: Iterable[bytes]) -> list[Compare]:
    """Store the parts; return what has to hold for them to be there still."""
    held = []
    for number, part in enumerate(parts):
        key = _key(link, number)
        revision = await store.transact([], [Put(key, part)], patience=REQUEST_TIMEOUT)
        held.append(Compare.unchanged(key, revision or 0))
    return held


async def read_files(store: Store | FencedStore, link: Link | None) -> Content:
    """Return what a deployment's files say.

    :raises TraefikeeError: it is not there whole, or another version of this program has written it.
    """
    if link is None:
        return Content()
    parts = []
    for number in range(link.parts):
        part = await store.get(_key(link, number))
        if part is None:
            raise TraefikeeError(f"part {number + 1} of the deployed files is gone", "deploy again", kind="files")
        parts.append(part.value)
    try:
        return await asyncio.to_thread(lambda: Content.model_validate_json(zlib.decompress(b"".join(parts))))
    except (zlib.error, ValidationError):
        raise TraefikeeError("the deployed files cannot be read", "deploy again", kind="files") from None


async def clean(store: Store, keep: Iterable[Link | None], current: Compare) -> None:
    """Remove what no deployment needs any more.

    :param current: that the deployment for which this is known is still the current one: what a later one needs is
        its own to say.
    """
    needed = {link.blob for link in keep if link is not None}
    _, found = await store.list_keys(state.FILES)
    for blob in {key.removeprefix(state.FILES).partition("/")[0] for key in found} - needed:
        await store.transact([current], [Delete(f"{state.FILES}{blob}/", prefix=True)])


def _key(link: Link, part: int) -> str:
    return f"{state.FILES}{link.blob}/{part:06}"
