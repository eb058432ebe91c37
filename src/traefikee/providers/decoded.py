"""What became of everything that a provider says: good objects, and what is wrong with the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from traefikee.config.dynamic import Backend, DynamicConfiguration, Frontend, TLSCertificate
from traefikee.config.errors import did_you_mean
from traefikee.config.names import top_level_names
from traefikee.config.runtime import ObjectError

GROUPS = ("backends", "frontends", "tls")
"""What a provider says, in the order in which it is told."""
_STATIC = top_level_names() | {"leader", "storeconfig"}

Item: TypeAlias = Backend | Frontend | TLSCertificate


@dataclass(frozen=True, slots=True)
class Decoded:
    """What was said.

    :ivar configuration: the objects without errors.
    :ivar errors: what is wrong with which object. One of kind ``provider`` means that the whole reading is of no use:
        its configuration is empty, and the last good one should be kept.
    :ivar notes: sentences about keys that were passed over.
    :ivar source: where it was read: the prefix of keys, alias followed.
    """

    configuration: DynamicConfiguration
    errors: tuple[ObjectError, ...] = ()
    notes: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one object: nothing if it has an error."""

    item: Item | None
    errors: tuple[ObjectError, ...]


def put_together(provider: str, outcomes: Iterable[tuple[str, str, Outcome]], notes: tuple[str, ...] = ()) -> Decoded:
    """Return what the objects are together; a frontend needs its backend.

    :param outcomes: group, name and outcome of each object, in the order in which errors are told.
    """
    found: dict[str, dict[str, Any]] = {group: {} for group in GROUPS}
    broken: set[str] = set()
    errors: dict[str, list[ObjectError]] = {group: [] for group in GROUPS}
    for group, name, outcome in outcomes:
        errors[group] += outcome.errors
        if outcome.item is not None:
            found[group][name] = outcome.item
        elif group == "backends":
            broken.add(name)
    for name, frontend in list(found["frontends"].items()):
        if frontend.backend not in found["backends"]:
            del found["frontends"][name]
            message = _without_backend(frontend.backend, found["backends"], broken)
            errors["frontends"].append(
                ObjectError(provider=provider, kind="frontend", name=name, path="backend", message=message)
            )
    if errors["frontends"]:
        errors["frontends"].sort(key=lambda error: error.name)
    configuration = DynamicConfiguration.model_validate(found)
    return Decoded(configuration, tuple(error for group in GROUPS for error in errors[group]), notes)


def _without_backend(name: str, backends: Mapping[str, Backend], broken: set[str]) -> str:
    if not name:
        return "it has no backend"
    if name in broken:
        return f'its backend "{name}" has an error'
    return f'backend "{name}" is not defined{did_you_mean(name, backends)}'


def passed_over(name: str) -> str:
    """Return the note about a key beside the groups."""
    if name.lower() in _STATIC:
        return f'keys under "{name}" are for the static configuration or the cluster of Traefik 1.7: passed over'
    return f'key "{name}" is unknown and passed over{did_you_mean(name, GROUPS)}'


def printable(text: str) -> bool:
    """Tell whether a name can be shown and stored: not empty, no control characters, no lone surrogates."""
    return bool(text) and text.isprintable()
