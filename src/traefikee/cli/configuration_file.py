"""Finding and reading a configuration file, as ``--configFile`` names it."""

from __future__ import annotations

import os
from pathlib import Path

from traefikee.config.documents import parse_document
from traefikee.config.errors import ConfigurationError, Problem
from traefikee.config.settings import FileSettings, read_settings

_NAMES = ("traefik.toml", "traefik.yaml", "traefik.yml", "traefik.json")
LARGEST = 16 << 20
"""Bytes that a file may have."""


def load_settings(path: str) -> FileSettings:
    """Return what a file says: TOML, or YAML and JSON by their suffixes.

    Environment variables in the path are expanded; a directory stands for the ``traefik.toml`` in it (or ``.yaml``,
    ``.yml``, ``.json``).

    :raises ConfigurationError: it cannot be read, or is not of that form; what is wrong with single options is in the
        result.
    """
    name = os.path.expandvars(path)
    try:
        if Path(name).is_dir():
            name = next((str(Path(name) / one) for one in _NAMES if (Path(name) / one).exists()), "")
            if not name:
                raise _error(path, f"no {_NAMES[0]} is in that directory")
        with Path(name).open("rb") as file:
            content = file.read(LARGEST + 1)
    except FileNotFoundError:
        raise _error(name, "there is no such file") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "its name is not valid"
        raise _error(name, f"cannot be read: {reason}") from None
    if len(content) > LARGEST:
        raise _error(name, f"is larger than {LARGEST >> 20} MiB")
    return read_settings(parse_document(name, content))


def _error(name: str, message: str) -> ConfigurationError:
    return ConfigurationError([Problem("", message, name)])
