"""What each object of a dynamic configuration may hold, taken from its model; for files and key-value stores alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import UnionType
from typing import Any, Literal, TypeAlias, get_args, get_origin

from traefikee.config.dynamic import Backend, Frontend
from traefikee.config.model import Model

KeyKind: TypeAlias = Literal["text", "raw", "list", "bool", "int", "duration", "tables"]
"""What a value is; ``raw``: a text whose blanks count; ``tables``: a list of what the level's children are."""

_KINDS: dict[Any, KeyKind] = {str: "text", bool: "bool", int: "int", float: "duration", tuple[str, ...]: "list"}


@dataclass(slots=True)
class Key:
    """One level of the layout.

    :ivar name: as Traefik 1.7 spells it (``sourceRange``).
    :ivar field: the model's field that it fills, or an empty text: none.
    :ivar kind: what a value here means, or None if this level only has children.
    :ivar children: levels below by their name in lower case; ``*`` stands for any name.
    :ivar deprecated: what to write instead, or an empty text.
    """

    name: str
    field: str = ""
    kind: KeyKind | None = None
    children: dict[str, Key] = dataclasses.field(default_factory=dict)
    deprecated: str = ""

    @property
    def any(self) -> Key | None:
        """What is below any name."""
        return self.children.get("*")

    def copy(self) -> Key:
        """Return the same level of its own, to be changed."""
        return replace(self, children={name: child.copy() for name, child in self.children.items()})

    def at(self, path: str) -> Key:
        """Return the level below; names in lower case with slashes."""
        key = self
        for part in path.split("/"):
            key = key.children[part]
        return key

    def leaves(self, path: str = "") -> Iterator[tuple[str, Key]]:
        """Give each level that takes a value, with its path."""
        for name, child in self.children.items():
            below = f"{path}/{name}" if path else name
            if child.kind is not None:
                yield below, child
            yield from child.leaves(below)


def layout_of(model: type[Model], name: str = "") -> Key:
    """Return what an object of this model may hold."""
    root = Key(name)
    for field_name, info in model.model_fields.items():
        spelling = info.alias or field_name
        root.children[spelling.lower()] = _key(spelling, field_name, info.annotation)
    return root


def _key(name: str, field_name: str, annotation: Any) -> Key:
    if annotation in _KINDS:
        return Key(name, field_name, _KINDS[annotation])
    if get_origin(annotation) is tuple:
        below = get_args(annotation)[0]
        return replace(layout_of(below, name), field=field_name, kind="tables")
    if get_origin(annotation) is dict:
        _, below = get_args(annotation)
        return Key(name, field_name, children={"*": _key("*", "*", below)})
    inner = annotation
    if isinstance(annotation, UnionType):
        inner = next(option for option in get_args(annotation) if option is not type(None))
    return replace(layout_of(inner, name), field=field_name)


FRONTEND = layout_of(Frontend)
"""A frontend, as files have it."""
FRONTEND.at("routes/*/rule").kind = "raw"
FRONTEND.at("basicauth").deprecated = "auth.basic.users"
FRONTEND.at("whitelistsourcerange").deprecated = "whiteList.sourceRange"

BACKEND = layout_of(Backend)
"""A backend, as files have it."""
BACKEND.at("loadbalancer/sticky").deprecated = "loadBalancer.stickiness"

TLS = Key(
    "tls",
    children={
        "entrypoints": Key("entryPoints", "entry_points", "list"),
        "certificate": Key(
            "certificate",
            "certificate",
            children={
                "certfile": Key("certFile", "cert_file", "text"),
                "keyfile": Key("keyFile", "key_file", "text"),
            },
        ),
    },
)
"""A certificate, as files have it."""
