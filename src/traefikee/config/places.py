"""Where an object was read, as whoever has to change it looks for it: a key, or a file and the table in it."""

from __future__ import annotations

from traefikee.config.runtime import KEY_VALUE_PROVIDERS, ObjectError, ObjectKind

STATIC = "static"
"""The provider's name in errors about objects of the static configuration."""

_GROUPS: dict[str, str] = {
    "frontend": "frontends",
    "backend": "backends",
    "server": "backends",
    "tls": "tls",
    "router": "http.routers",
    "service": "http.services",
    "middleware": "http.middlewares",
}


def place(provider: str, source: str, kind: ObjectKind, name: str, path: str = "") -> str:
    """Return the key of an object or of a part of it (``traefik/frontends/web/backend``).

    Objects of files are ``rules.toml: frontends.web.backend``; options of the static configuration are their names.

    :param source: where the provider reads: the prefix of its keys, or the file; empty if that is not known.
    :param name: the object's name; a server's is ``<backend>/<server>``.
    :param path: where in the object, as :class:`ObjectError` has it; in a server's error it begins in the backend.
    """
    if provider == STATIC:
        return path
    keys = provider in KEY_VALUE_PROVIDERS
    parts = [_GROUPS[kind]] if kind in _GROUPS else []
    if kind == "server":
        backend, _, server = name.partition("/")
        parts += [backend] if path else [backend, "servers", server]
    elif name:
        parts.append(name)
    parts += [path] if path else []
    inside = ("/" if keys else ".").join(parts)
    if not source:
        return inside
    return "/".join(filter(None, (source, inside))) if keys else f"{source}: {inside}" if inside else source


def place_of(error: ObjectError, source: str) -> str:
    """Return the place of what causes an error: file and line, if they are known."""
    return error.where or place(error.provider, source, error.kind, error.name, error.path)
