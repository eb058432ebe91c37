"""What differs between what files said at two deployments, object by object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from traefikee.config.difference import Change, Kind, model_differences
from traefikee.config.dynamic import DynamicConfiguration
from traefikee.config.model import Model
from traefikee.providers.file.content import Content

_GROUPS: Mapping[str, tuple[str, ...]] = {
    "frontends": ("frontends.{}",),
    "routers": ("http.routers.{}",),
    "backends": ("backends.{}", "http.services.{}"),
    "tls": ("tls.{}",),
}
"""Objects, and what they are called in files."""


def file_differences(before: Content | None, after: Content | None) -> tuple[Change, ...]:
    """Return what differs, with file and line where it is said; secrets masked, certificates as digests."""
    one, other = (before or Content()), (after or Content())
    changes: list[Change] = []
    for group, names in _GROUPS.items():
        changes += _group(group, names, one, other)
    return tuple(changes)


def _group(group: str, names: tuple[str, ...], before: Content, after: Content) -> Iterator[Change]:
    one, other = _objects(before.configuration, group), _objects(after.configuration, group)
    for name in sorted({*one, *other}):
        old, new = one.get(name), other.get(name)
        if old == new:
            continue
        said = after if new is not None else before
        # An object is called after what the file has: a service of Traefik 2 is compiled as a backend.
        prefix = next((form.format(name) for form in names if form.format(name).lower() in said.places), "")
        whole = prefix or names[0].format(name)
        if old is None or new is None:
            kind: Kind = "added" if old is None else "removed"
            value = True
            yield Change(
                whole, kind, value if new is None else None, value if old is None else None, _place(said, whole)
            )
            continue
        for change in model_differences(whole, old, new):
            yield replace(change, where=_place(said, change.path))


def _objects(configuration: DynamicConfiguration, group: str) -> Mapping[str, Model]:
    found: Mapping[str, Model] = getattr(configuration, group)
    return found


def _place(content: Content, path: str) -> str:
    """Return file and line of the deepest part of a path of which they are known."""
    path = path.lower()
    while path:
        if path in content.places:
            return content.places[path]
        path = path.rpartition(".")[0]
    return ""
