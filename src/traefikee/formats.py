"""Which forms of what nodes store and say to each other this build understands, and how it writes an older one.

A *format* is one number for everything that nodes of a cluster have to agree on: values in the store, messages on
``:4242``, snapshots, the files of a state directory. A build understands its own format and the one before. A cluster
has one format in force (``cluster/format`` in the store), in which all its nodes write; the leader raises it once every
node understands the next one (:mod:`traefikee.cluster.upgrade`). So nodes one format apart work together in both
directions, and one may go back to the build before until the format was raised.

What a new build may do without a new format: add fields with defaults to stored values and messages (older nodes keep
or ignore what they do not know), add keys, add requests. What needs a new format: fields of configurations and
snapshots, which are read strictly since an option that is overlooked may be one that protects, and everything else that
an older node would take for something else. Such a field is marked with :class:`Since`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import BaseModel

OLDEST = 1
"""The oldest format that this build reads and writes."""
NEWEST = 1
"""Its own."""
DOCUMENTS: Mapping[int, int] = {1: 1}
"""The form of the engine's document (``docs/internals/snapshot.md``) that belongs to each format."""


class Understood(NamedTuple):
    """The formats that a node understands, the first and the last."""

    oldest: int
    newest: int

    def __contains__(self, number: object) -> bool:
        """Whether a format is among them."""
        return isinstance(number, int) and self.oldest <= number <= self.newest

    def __str__(self) -> str:
        """As in a sentence: ``format 1``, ``formats 1 and 2``."""
        if self.oldest == self.newest:
            return f"format {self.newest}"
        return f"formats {self.oldest} {'and' if self.oldest + 1 == self.newest else 'to'} {self.newest}"


OWN = Understood(OLDEST, NEWEST)
FIRST = Understood(1, 1)
"""What a node understands that says nothing of it."""


@dataclass(frozen=True)
class Since:
    """Marks a field that came with a format: ``name: Annotated[str, Since(2)] = ""``. It needs a default."""

    format: int


class NewerFieldError(ValueError):
    """Something is configured that a format has no form for.

    :ivar path: the field, dotted.
    :ivar since: the format that it came with.
    """

    def __init__(self, path: str, since: int) -> None:
        super().__init__(f"{path} needs format {since}")
        self.path = path
        self.since = since


def with_engine(documents: tuple[int, int]) -> Understood:
    """Return the formats that this build's agent understands together with an engine.

    :param documents: the oldest and the newest document that the engine says it reads.
    """
    newest = max((one for one, form in DOCUMENTS.items() if documents[0] <= form <= documents[1]), default=0)
    return Understood(OLDEST, min(NEWEST, newest))


def newer_field(item: object, number: int, path: str = "") -> NewerFieldError | None:
    """Return the first field of a model, or of what it consists of, that is set and that a format does not have."""
    if isinstance(item, BaseModel):
        for name, field in type(item).model_fields.items():
            value = getattr(item, name)
            there = f"{path}.{field.alias or name}" if path else field.alias or name
            since = _since(field.metadata)
            if since > number:
                if value != field.get_default(call_default_factory=True):
                    return NewerFieldError(there, since)
                continue
            found = newer_field(value, number, there)
            if found is not None:
                return found
        return None
    parts: Iterator[tuple[Any, Any]]
    if isinstance(item, Mapping):
        parts = iter(item.items())
    elif isinstance(item, (tuple, list)):
        parts = iter(enumerate(item))
    else:
        return None
    return next((one for key, part in parts if (one := newer_field(part, number, f"{path}.{key}".strip(".")))), None)


def in_format(item: BaseModel, written: bytes, number: int) -> bytes:
    """Return a model's text (JSON) as a format has it.

    :param written: the text in this build's own format.
    :raises NewerFieldError: if something is set that the format has no form for.
    """
    if number >= NEWEST:
        return written
    newer = newer_field(item, number)
    if newer is not None:
        raise newer
    content: Any = json.loads(written)
    if not _strip(item, content, number):
        return written
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()


def _strip(item: object, content: Any, number: int) -> bool:
    """Remove the fields that a format does not have; tell whether there were any."""
    changed = False
    if isinstance(item, BaseModel) and isinstance(content, dict):
        for name, field in type(item).model_fields.items():
            for key in {name, field.alias, field.serialization_alias} & content.keys():
                if _since(field.metadata) > number:
                    del content[key]
                    changed = True
                else:
                    changed |= _strip(getattr(item, name), content[key], number)
    elif isinstance(item, Mapping) and isinstance(content, dict):
        for key, part in item.items():
            if str(key) in content:
                changed |= _strip(part, content[str(key)], number)
    elif isinstance(item, (tuple, list)) and isinstance(content, list) and len(item) == len(content):
        for part, written in zip(item, content, strict=True):
            changed |= _strip(part, written, number)
    return changed


def _since(metadata: list[Any]) -> int:
    return next((one.format for one in metadata if isinstance(one, Since)), 0)
