"""All keys below a prefix, read again and again: what did not change is not decoded again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

from traefikee.config.dynamic import DynamicConfiguration
from traefikee.config.runtime import ObjectError
from traefikee.providers.decoded import GROUPS, Decoded, Outcome, passed_over, put_together
from traefikee.providers.kv.keys import REMOVING
from traefikee.providers.kv.reader import Counts, Reader, everyone
from traefikee.providers.kv.tree import Node, tree_of

_Place: TypeAlias = tuple[str, str | None]
"""Group and name of an object; no name: a key beside the objects."""


def alias_of(pairs: Mapping[str, bytes], prefix: str) -> str | None:
    """Return the prefix that is read instead of this one, without slashes around it, or None if there is no alias.

    Traefik 1.7, "Atomic configuration changes": the value of ``<prefix>/alias``.
    """
    try:
        return _alias_value(pairs, prefix).decode().strip().strip("/") or None
    except UnicodeDecodeError:
        return None


def decode(pairs: Mapping[str, bytes], prefix: str, provider: str, counts: Counts = everyone) -> Decoded:
    """Return the dynamic configuration that the pairs below a prefix hold, or below its alias. See :class:`Decoder`."""
    return Decoder(prefix, provider, counts).decode(pairs)


class Decoder:
    """Decodes the pairs below a prefix again and again: an object whose pairs are the same is the same object.

    :param prefix: where the configuration is, unless a key there names another place.
    :param provider: the provider's name, for errors.
    :param counts: tells by its tags whether a server counts; the others are left out.
    """

    def __init__(self, prefix: str, provider: str, counts: Counts = everyone) -> None:
        self._prefix = prefix
        self._provider = provider
        self._counts = counts
        self._root: str | None = None
        self._pairs: Mapping[str, bytes] = {}
        self._places: dict[str, _Place | None] = {}
        self._keys: dict[_Place, set[str]] = {}
        self._outcomes: dict[tuple[str, str], Outcome] = {}
        self._order: list[tuple[str, str]] | None = None
        """The outcomes' keys sorted, as long as they are the same."""

    def decode(self, pairs: Mapping[str, bytes]) -> Decoded:
        """Return the dynamic configuration that the pairs hold.

        Never raises for what the pairs hold. Keys outside of the prefix are not looked at; slashes around the prefix
        and before a key do not count; empty values (directories) are passed over, but for headers to be removed.

        :param pairs: full keys and their values; not to be changed afterwards. It is quickest if a value that is the
            same is the same object.
        """
        try:
            _alias_value(pairs, self._prefix).decode()
        except UnicodeDecodeError:
            text = "the value of its key alias is not UTF-8"
            error = ObjectError(provider=self._provider, kind="provider", name="", path="alias", message=text)
            return Decoded(DynamicConfiguration(), (error,))
        alias = alias_of(pairs, self._prefix)
        root = self._prefix.strip("/") if alias is None else alias
        if root != self._root:
            self._root, self._pairs, self._places, self._keys, self._outcomes = root, {}, {}, {}, {}
            self._order = None
        self._take_over(pairs)
        notes = []
        if alias is not None and not self._keys:
            notes.append(f'the alias points to "{alias}", where there are no keys')
        beside = [key for (_, name), keys in self._keys.items() if name is None for key in keys]
        notes += _notes(tree_of(pairs, beside, root))
        return self._decoded(tuple(notes))

    def _take_over(self, pairs: Mapping[str, bytes]) -> None:
        """Decode the objects of which a pair is new, different or gone."""
        before = self._pairs
        touched = set()
        for key, value in pairs.items():
            old = before.get(key)
            if old is value or (old is not None and old == value):
                continue
            place = self._place(key)
            if place is not None:
                touched.add(place)
                if _means_something(key, value):
                    self._keys.setdefault(place, set()).add(key)
                else:
                    self._keys.get(place, set()).discard(key)
        for key in before.keys() - pairs.keys():
            place = self._places.pop(key, None)
            if place is not None:
                touched.add(place)
                self._keys.get(place, set()).discard(key)
        self._pairs = pairs
        for place in touched:
            group, name = place
            keys = self._keys.get(place)
            if not keys:
                self._keys.pop(place, None)
                self._outcomes.pop((group, name or ""), None)
                self._order = None
                continue
            if name is not None:
                tree = tree_of(pairs, keys, self._root or "")
                reader = Reader(self._provider, group, name, self._counts)
                item = reader.read(tree.children[group].children[name])
                if (group, name) not in self._outcomes:
                    self._order = None
                self._outcomes[group, name] = Outcome(item, tuple(reader.errors))

    def _place(self, key: str) -> _Place | None:
        """Return the group and the name of the object that a key is part of; no name: it is beside the objects."""
        if key not in self._places:
            bare, start = key.lstrip("/"), f"{self._root}/" if self._root else ""
            first, _, rest = bare[len(start) :].strip("/").partition("/")
            name = rest.partition("/")[0] if rest and first in GROUPS else None
            self._places[key] = (first, name) if bare.startswith(start) else None
        return self._places[key]

    def _decoded(self, notes: tuple[str, ...]) -> Decoded:
        if self._order is None:
            self._order = sorted(self._outcomes)
        outcomes = ((group, name, self._outcomes[group, name]) for group, name in self._order)
        return replace(put_together(self._provider, outcomes, notes), source=self._root or "")


def _alias_value(pairs: Mapping[str, bytes], prefix: str) -> bytes:
    wanted = f"{prefix.strip('/')}/alias".strip("/")
    return next((pairs[key] for key in (wanted, f"/{wanted}", f"{wanted}/", f"/{wanted}/") if key in pairs), b"")


def _means_something(key: str, value: bytes) -> bool:
    """Tell whether a pair is one: a directory is not, and an empty value only where a header is removed."""
    if value:
        return True
    parts = key.rsplit("/", 3)
    return len(parts) == 4 and bool(parts[3]) and parts[1] == "headers" and parts[2] in REMOVING


def _notes(tree: Node) -> list[str]:
    notes = []
    for name, node in tree.sorted():
        if name not in GROUPS:
            if name != "alias":
                notes.append(passed_over(name))
        elif node.value is not None:
            notes.append(f'key "{name}" has a value, which is passed over; its objects are below it')
    return notes
