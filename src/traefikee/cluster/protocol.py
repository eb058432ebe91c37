"""How nodes and commands of different versions understand each other: what each request says of its sender.

Each request carries the sender's version and the formats that it understands (:mod:`traefikee.formats`). Messages are
read strictly between equal versions, so that a mistake is found; of another version's message what is not known is left
out. What a node that is refused has to be able to say and to hear (the requests' headers, errors, ``/v1/ca``,
``/v1/join``, ``/v1/snapshots``, ``/v1/report``) is the same in every format.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from traefikee import __version__, formats
from traefikee.formats import Understood

VERSION_HEADER = "traefikee-version"
FORMATS_HEADER = "traefikee-formats"
"""``1-2``: the oldest and the newest format."""
CONNECTION_HEADER = "traefikee-connection"
"""Tells what a node says over one connection from what it said over an earlier one, which may arrive later."""

M = TypeVar("M", bound=BaseModel)


def own_headers() -> dict[str, str]:
    """Return what this build says of itself with each request."""
    return {VERSION_HEADER: __version__, FORMATS_HEADER: f"{formats.OLDEST}-{formats.NEWEST}"}


def sender(headers: Mapping[str, str]) -> tuple[str, Understood]:
    """Return the version of who sends a request (empty if it does not say) and the formats that it understands."""
    match = re.fullmatch(r"(\d{1,9})-(\d{1,9})", headers.get(FORMATS_HEADER, ""))
    understood = Understood(int(match[1]), int(match[2])) if match else formats.FIRST
    return headers.get(VERSION_HEADER, "")[:50], understood


def connection(headers: Mapping[str, str]) -> str:
    """Return the name of the connection over which a request came; empty if its sender is of a version without."""
    return headers.get(CONNECTION_HEADER, "")[:50]


def read(model: type[M], content: bytes, headers: Mapping[str, str]) -> M:
    """Read a message: as it stands from the same version, and without what is not known from another one.

    :param headers: of the request.
    :raises ValidationError: if it cannot be read.
    """
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        unknown = [one["loc"] for one in error.errors() if one["type"] == "extra_forbidden"]
        if sender(headers)[0] == __version__ or not unknown:
            raise
        raw: Any = json.loads(content)
        try:
            for *path, name in unknown:
                holder = raw
                for part in path:
                    holder = holder[part]
                del holder[name]
        except (LookupError, TypeError):
            raise error from None
        return model.model_validate_json(json.dumps(raw))
