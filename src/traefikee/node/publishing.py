"""Published configurations in the store: a whole, the changes since, and a pointer written with the last of them.

A change costs what it holds, not what it changes. When the changes have become many, or large beside the whole, a new
whole takes their place; nobody who knows the state has to read it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

from pydantic import ValidationError

from traefikee import __version__, formats
from traefikee.cluster import state
from traefikee.cluster.fencing import FencedStore
from traefikee.cluster.records import Link, Pointer
from traefikee.cluster.store import REQUEST_TIMEOUT, Compare, Delete, Put, Store
from traefikee.compile import changes
from traefikee.compile.changes import Change, Header, State
from traefikee.compile.snapshot import Snapshot
from traefikee.config.dynamic import Backend, DynamicConfiguration, Frontend, Router, TLSCertificate
from traefikee.config.middlewares import MiddlewareModel
from traefikee.config.model import Model
from traefikee.errors import TraefikeeError, UnreachableError

PART_BYTES = 512 * 1024
"""Bytes of one part: well below etcd's request limit of 1.5 MiB."""
MOST_LINKS = 100
LEAST_WHOLE = 64 * 1024
"""Bytes of changes that are never too many, however small the whole is."""

Objects: TypeAlias = Mapping[str, Model | bytes]
"""Objects by key: as they were compiled, or as texts that were read."""


def text(item: Model | bytes) -> bytes:
    """Return an object's text; equal objects have equal texts. What the engine does not read holds no defaults."""
    if isinstance(item, bytes):
        return item
    return item.model_dump_json(by_alias=True, exclude_defaults=isinstance(item, MiddlewareModel)).encode()


def difference(before: Objects, after: Objects) -> Change:
    """Return what makes ``after`` of ``before``. The same object is not looked at."""
    put = {}
    known = 0
    for key, item in after.items():
        old = before.get(key)
        known += old is not None
        if old is not item:
            now = text(item)
            if old is None or text(old) != now:
                put[key] = now
    gone = len(before) > known
    return Change(put, tuple(key for key in before if key not in after) if gone else ())


def in_format(objects: Objects, number: int) -> Objects:
    """Return objects as a format has them.

    :raises NewerFieldError: if something is set that the format has no form for.
    """
    if number >= formats.NEWEST:
        return objects
    return {
        key: item if isinstance(item, bytes) else formats.in_format(item, text(item), number)
        for key, item in objects.items()
    }


def snapshot_objects(snapshot: Snapshot, number: int = formats.NEWEST) -> Objects:
    """Return the objects of a snapshot, as a format has them.

    :raises NewerFieldError: as :func:`in_format`.
    """
    entry_points = [formats.in_format(one, text(one), number) for one in snapshot.entry_points]
    objects: dict[str, Model | bytes] = {
        changes.SETTINGS: formats.in_format(snapshot.settings, text(snapshot.settings), number),
        changes.ENTRY_POINTS: b"[%s]" % b",".join(entry_points),
    }
    for prefix, name in changes.KINDS.items():
        objects.update({prefix + item.id: item for item in getattr(snapshot, name)})
    return in_format(objects, number)


_GROUPS: dict[str, Any] = {"frontends": Frontend, "backends": Backend, "tls": TLSCertificate, "routers": Router}


@dataclass(frozen=True)
class Runtime:
    """The dynamic configurations behind a snapshot, by provider.

    :ivar heard: what the providers said: the next leader begins with it.
    :ivar effective: what of it is in force: what the API shows. Without certificates.
    """

    heard: dict[str, DynamicConfiguration]
    effective: dict[str, DynamicConfiguration]

    def objects(self) -> Objects:
        """Return the objects that it consists of."""
        objects: dict[str, Model | bytes] = {}
        for part, providers in (("heard", self.heard), ("effective", self.effective)):
            for provider, configuration in providers.items():
                # A provider that has said something is known even if that was nothing.
                objects[f"{part}/{provider}"] = b"{}"
                for group in _GROUPS:
                    prefix = f"{part}/{provider}/{group}/"
                    objects.update({prefix + name: item for name, item in getattr(configuration, group).items()})
        return objects

    @classmethod
    def load(cls, objects: changes.Texts) -> Self:
        """Undo :meth:`objects`.

        :raises UnreachableError: if another version of this program wrote something that cannot be read.
        """
        found: dict[str, dict[str, dict[str, dict[str, Model]]]] = {"heard": {}, "effective": {}}
        try:
            for key, item in objects.items():
                part, provider, *rest = key.split("/", 3)
                groups = found[part].setdefault(provider, {group: {} for group in _GROUPS})
                if rest:
                    groups[rest[0]][rest[1]] = _GROUPS[rest[0]].model_validate_json(item)
        except (KeyError, IndexError, ValueError) as error:
            first = error.errors(include_input=False)[0]["msg"] if isinstance(error, ValidationError) else repr(error)
            raise UnreachableError(
                f"the stored dynamic configuration cannot be read: {first}", kind="unreadable"
            ) from error
        return cls(
            **{
                part: {name: DynamicConfiguration.model_validate(groups) for name, groups in providers.items()}
                for part, providers in found.items()
            }
        )


@dataclass(frozen=True)
class Draft:
    """A change that is about to be published.

    :ivar links: the chain with it.
    :ivar frame: its packed form, or nothing if there is no change.
    """

    links: tuple[Link, ...]
    frame: bytes = b""


def draft(
    links: Sequence[Link],
    before: Objects,
    after: Objects,
    revision: int,
    *,
    new: bool,
    number: int = formats.NEWEST,
) -> Draft:
    """Return the change that makes ``after`` of what a chain holds, packed.

    :param number: the format to write in.
    :param new: the state gets a new name even if nothing changed.
    """
    change = difference(before, after) if links else Change({key: text(item) for key, item in after.items()})
    if links and not change and not new:
        return Draft(tuple(links))
    base = links[-1].name if links else ""
    name = changes.name_of(base, revision, change)
    header = Header(format=number, base=base, name=name, revision=revision)
    frame = changes.pack(header, change)
    return Draft((*links, _link(header, frame)), frame)


def whole(name: str, objects: Objects, revision: int, number: int = formats.NEWEST) -> Draft:
    """Return a state as a chain of a single link, written in a format."""
    change = Change({key: text(item) for key, item in objects.items()})
    header = Header(format=number, base="", name=name, revision=revision)
    frame = changes.pack(header, change)
    return Draft((_link(header, frame),), frame)


def _link(header: Header, frame: bytes) -> Link:
    return Link(name=header.name, blob=_blob(frame), parts=len(_cut(frame)), size=len(frame), format=header.format)


def _blob(frame: bytes) -> str:
    return hashlib.sha256(frame).hexdigest()


def _cut(frame: bytes) -> list[bytes]:
    return [frame[start : start + PART_BYTES] for start in range(0, len(frame), PART_BYTES)]


def is_long(links: Sequence[Link], number: int = 1) -> bool:
    """Tell whether a new whole would be better than these changes, or some are older than the format in force."""
    if any(link.format < number for link in links):
        return True
    later = sum(link.size for link in links[1:])
    return len(links) > MOST_LINKS or later > max(LEAST_WHOLE, links[0].size if links else 0)


def part_key(blob: str, part: int) -> str:
    """Return the key of one part."""
    return f"{state.BLOBS}{blob}/{part:06}"


class SnapshotStore:
    """Reads and writes the published snapshot."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def pointer(self) -> tuple[Pointer | None, int]:
        """Return the pointer as it is now (None where there is none), and the revision at which it was written.

        :raises TraefikeeError: if another version of this program has written one that cannot be read: taken for none,
            what is published would be replaced, and its revision would begin again.
        """
        found = await self._store.get(state.SNAPSHOT)
        if found is None:
            return None, 0
        try:
            return Pointer.model_validate_json(found.value), found.mod_revision
        except ValidationError:
            raise TraefikeeError(
                f"what points to the published snapshot cannot be read by version {__version__} of this node",
                "upgrade this node",
                kind="version",
            ) from None

    async def publish(
        self, pointer: Pointer, before: Pointer | None, frames: Sequence[bytes], term: FencedStore, at: int
    ) -> int:
        """Store changes and point to them; remove parts that neither this pointer nor the one before needs any more.

        :param at: the store's revision at which ``before`` was written, 0 for none. An earlier write of this leader
            whose answer was lost may arrive later than what was read after it: the fence alone would let it pass.
        :returns: the revision at which this one was written.
        :raises DeposedError: if the term is over.
        :raises UnreachableError: if ``before`` is not (any more) what is published.
        """
        together = []
        for frame in frames:
            puts = [Put(part_key(_blob(frame), number), part) for number, part in enumerate(_cut(frame))]
            if len(frame) < PART_BYTES // 2:
                together += puts
                continue
            for put in puts:
                await term.transact([], [put], patience=REQUEST_TIMEOUT)
        unchanged = Compare.unchanged(state.SNAPSHOT, at)
        done = await term.transact([unchanged], [*together, Put(state.SNAPSHOT, pointer.stored())])
        if done is None:
            raise UnreachableError("what is published is not what was read before", kind="superseded")
        if all(len(chain) > 1 for chain in (pointer.snapshot, pointer.runtime)):
            return done
        needed = _blobs(pointer) | (_blobs(before) if before is not None else set())
        _, found = await self._store.list_keys(state.BLOBS)
        for blob in {key.removeprefix(state.BLOBS).partition("/")[0] for key in found} - needed:
            await term.transact([], [Delete(f"{state.BLOBS}{blob}/", prefix=True)])
        return done

    async def parts(self, links: Sequence[Link]) -> AsyncIterator[bytes]:
        """Yield the packed changes of some links, part by part.

        :raises UnreachableError: if one is not (no longer) there whole.
        """
        for link in links:
            for number in range(link.parts):
                part = await self._store.get(part_key(link.blob, number))
                if part is None:
                    raise UnreachableError(
                        f"part {number + 1} of the change {link.name[:12]} is gone", kind="superseded"
                    )
                yield part.value

    async def frames(self, links: Sequence[Link]) -> bytes:
        """Return the packed changes of some links.

        :raises UnreachableError: if one is not (no longer) there whole.
        """
        return b"".join([part async for part in self.parts(links)])

    async def read(self, links: Sequence[Link]) -> State:
        """Return the state that a chain makes.

        :raises UnreachableError: if it is not (no longer) there whole, or damaged.
        """
        frames, _ = changes.split(await self.frames(links))
        try:
            return await asyncio.to_thread(changes.follow, State(), frames)
        except ValueError as error:
            raise UnreachableError(f"what is stored cannot be read: {error}", kind="unreadable") from error


def _blobs(pointer: Pointer) -> set[str]:
    return {link.blob for link in (*pointer.snapshot, *pointer.runtime)}
