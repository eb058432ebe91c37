"""What is configured before every node understands it: left out, named, and taken up by itself later. Pure."""

from __future__ import annotations

from dataclasses import replace

from traefikee import formats
from traefikee.config.dynamic import DynamicConfiguration
from traefikee.config.runtime import ObjectError, ObjectKind
from traefikee.providers.base import Emitted

_KINDS: dict[str, ObjectKind] = {"frontends": "frontend", "backends": "backend", "tls": "tls", "routers": "router"}


def without_newer(provider: str, emitted: Emitted, number: int, newest: int = formats.NEWEST) -> Emitted:
    """Return what a provider says without the objects that a format has no form for; each becomes an error.

    An object is left out rather than served without an option that it was given: that may be one that protects.

    :param number: the format in force.
    """
    if number >= newest:
        return emitted
    kept: dict[str, dict[str, object]] = {}
    errors = []
    for group, kind in _KINDS.items():
        kept[group] = {}
        for name, item in getattr(emitted.configuration, group).items():
            newer = formats.newer_field(item, number)
            if newer is None:
                kept[group][name] = item
                continue
            message = f"{newer.path} can be used once all nodes are upgraded (format {newer.since})"
            errors.append(ObjectError(provider=provider, kind=kind, name=name, path=newer.path, message=message))
    if not errors:
        return emitted
    configuration: DynamicConfiguration = emitted.configuration.model_copy(update=kept)
    return replace(emitted, configuration=configuration, errors=(*emitted.errors, *errors))
