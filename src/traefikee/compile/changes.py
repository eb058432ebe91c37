"""Configurations as named objects, and the changes that make one of another.

What is published consists of objects, each with a key (``route/consul/frontend1``) and a text (JSON). A change names
the objects that are new or different and those that are gone; a whole is a change of nothing. Nothing here looks inside
an object. Pure functions, no I/O.

The form in which changes are stored and sent: frames, one after the other, each of four bytes with its length (most
significant first) and the change, compressed (zlib). A change is text in lines: the first one is a JSON object
(:class:`Header`), each other one the key as a JSON text and, after a tab, the object's text; no tab: it is gone.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError

from traefikee import __version__, formats

COMPRESSION = 1
_LENGTH = struct.Struct(">I")

Texts: TypeAlias = Mapping[str, bytes]
"""The texts of objects by key."""


class Header(BaseModel):
    """What a change is.

    :ivar format: the format (:mod:`traefikee.formats`) that it is written in.
    :ivar base: the name of the state that it changes; empty if it is a whole.
    :ivar name: the name of the state that it makes.
    :ivar revision: its revision.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = 1
    base: str
    name: str
    revision: int


class _Form(BaseModel):
    """What every format's header has."""

    format: int


@dataclass(frozen=True)
class Change:
    """What is put and what is removed, by key."""

    put: Texts
    remove: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.put or self.remove)


@dataclass(frozen=True)
class State:
    """A configuration at one revision.

    :ivar name: names it and what led to it; empty: nothing was heard yet.
    :ivar format: the format of its objects.
    """

    name: str = ""
    revision: int = 0
    objects: Texts = field(default_factory=dict)
    format: int = 1

    @property
    def document(self) -> int:
        """The form of the engine's document that its objects make."""
        return formats.DOCUMENTS[self.format]


class FormatError(ValueError):
    """A change is written in a format that this build does not understand."""

    def __init__(self, found: int) -> None:
        older = found < formats.OLDEST
        super().__init__(
            f"it is written in format {found}, and version {__version__} of this node understands {formats.OWN}: "
            + ("install the version before it here" if older else "upgrade this node")
        )


def difference(before: Texts, after: Texts) -> Change:
    """Return what makes ``after`` of ``before``."""
    if before is after:
        return Change({})
    put = {key: text for key, text in after.items() if before.get(key) != text}
    gone = len(before) + sum(key not in before for key in put) - len(after)
    return Change(put, tuple(key for key in before if key not in after) if gone else ())


def name_of(base: str, revision: int, change: Change) -> str:
    """Return the name of the state that a change makes: a digest of how it came about (SHA-256, hexadecimal)."""
    digest = hashlib.sha256(f"{base}\n{revision}\n".encode())
    for line in _lines(change):
        digest.update(line)
    return digest.hexdigest()


def pack(header: Header, change: Change) -> bytes:
    """Return a change as one frame."""
    first = formats.in_format(header, header.model_dump_json().encode(), header.format)
    lines = b"\n".join([first, *_lines(change)])
    compressed = zlib.compress(lines, COMPRESSION)
    return _LENGTH.pack(len(compressed)) + compressed


def _lines(change: Change) -> Iterator[bytes]:
    for key in change.remove:
        yield json.dumps(key).encode()
    for key, text in change.put.items():
        yield b"%s\t%s" % (json.dumps(key).encode(), text)


def split(content: bytes) -> tuple[list[bytes], bool]:
    """Return the frames of a text, and whether nothing was left over at its end."""
    frames, at = [], 0
    while at + _LENGTH.size <= len(content):
        end = at + _LENGTH.size + _LENGTH.unpack_from(content, at)[0]
        if end > len(content):
            break
        frames.append(content[at:end])
        at = end
    return frames, at == len(content)


def unpack(frame: bytes) -> tuple[Header, Change]:
    """Undo :func:`pack`.

    :raises FormatError: if it is one of a format that this build does not understand.
    :raises ValueError: if that is no change at all.
    """
    try:
        first, *lines = zlib.decompress(frame[_LENGTH.size :]).split(b"\n")
        # Before anything else: another format may have other fields.
        form = _Form.model_validate_json(first).format
        if form not in formats.OWN:
            raise FormatError(form)
        header = Header.model_validate_json(first)
        put: dict[str, bytes] = {}
        remove = []
        for line in lines:
            key, tab, text = line.partition(b"\t")
            if tab:
                put[json.loads(key)] = text
            else:
                remove.append(json.loads(key))
    except ValidationError as error:
        raise ValueError(error.errors(include_input=False)[0]["msg"]) from None
    except zlib.error as error:
        raise ValueError(f"it is damaged: {error}") from None
    return header, Change(put, tuple(remove))


def follow(state: State, frames: Iterable[bytes]) -> State:
    """Return the state that changes make of another one.

    :raises FormatError: if a frame is of a format that this build does not understand.
    :raises ValueError: if a frame is damaged, or for another state.
    """
    name, revision, objects, form = state.name, state.revision, state.objects, state.format
    for frame in frames:
        header, change = unpack(frame)
        if header.base and header.base != name:
            raise ValueError(f"it changes {header.base[:12]}, but {name[:12] or 'nothing'} is known")
        changed = dict(objects) if header.base else {}
        for key in change.remove:
            if changed.pop(key, None) is None:
                raise ValueError(f"it removes {key}, which is not there")
        changed.update(change.put)
        name, revision, objects, form = header.name, header.revision, changed, header.format
    return State(name, revision, objects, form)


# --- the engine's documents (docs/internals/snapshot.md) ---

SETTINGS = "settings"
ENTRY_POINTS = "entry_points"
KINDS = {"route/": "routes", "service/": "services", "certificate/": "certificates"}
"""Prefixes of keys, and the lists of a snapshot that their objects belong in."""


def engine_snapshot(state: State, local: Texts) -> bytes:
    """Return the whole snapshot as the engine reads it.

    :param local: settings and entry points as this node runs them.
    """
    lists: dict[str, list[bytes]] = {name: [] for name in KINDS.values()}
    for key, text in state.objects.items():
        kind = KINDS.get(key[: key.find("/") + 1])
        if kind is not None:
            lists[kind].append(text)
    parts = [b'{"format":%d,"revision":%d' % (state.document, state.revision)]
    parts += [b'"%s":%s' % (name.encode(), local[name]) for name in (SETTINGS, ENTRY_POINTS)]
    parts += [b'"%s":[%s]' % (name.encode(), b",".join(texts)) for name, texts in lists.items()]
    return b",".join(parts) + b"}"


def engine_change(before: State, after: State, change: Change, local: Texts) -> bytes:
    """Return the change of a snapshot as the engine reads it.

    :param local: settings and entry points as this node runs them, if they changed.
    """
    parts = [b'{"format":%d,"base":%d,"revision":%d' % (after.document, before.revision, after.revision)]
    parts += [
        b'"%s":%s' % (name.encode(), local[name] if name in change.put else b"null")
        for name in (SETTINGS, ENTRY_POINTS)
    ]
    for prefix, name in KINDS.items():
        put = b",".join(text for key, text in change.put.items() if key.startswith(prefix))
        remove = json.dumps([key.removeprefix(prefix) for key in change.remove if key.startswith(prefix)])
        parts.append(b'"%s":{"put":[%s],"remove":%s}' % (name.encode(), put, remove.encode()))
    return b",".join(parts) + b"}"


def localised(objects: Texts, server_name: str, bind: str | None) -> Texts:
    """Return settings and entry points as one node runs them.

    :param server_name: the node's name, sent to servers as ``X-Forwarded-Server``.
    :param bind: the IP address for entry points whose address has no host (``:80``), or None for every address.
    :raises ValueError: if one of the two is not there.
    """
    try:
        settings: Any = json.loads(objects[SETTINGS])
        entry_points: Any = json.loads(objects[ENTRY_POINTS])
        settings["server_name"] = server_name
        if bind:
            bare = bind.removeprefix("[").removesuffix("]")
            host = f"[{bare}]" if ":" in bare else bare
            for entry_point in entry_points:
                if entry_point["address"].startswith(":"):
                    entry_point["address"] = host + entry_point["address"]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it has no usable {error}") from None
    return {SETTINGS: _compact(settings), ENTRY_POINTS: _compact(entry_points)}


def _compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
