"""Entry points in the form of the command line: ``Name:https Address::443 TLS:a.pem,a.key`` (Traefik 1.7, EntryPoints).

Items are separated by blanks and split at their first ``:``. Keys are case-insensitive, ``.`` and ``_`` are the same.
"""

from __future__ import annotations

import re

from traefikee.config.certificates import ReadFile
from traefikee.config.entry_point_build import build_entry_point
from traefikee.config.entry_point_keys import KEYS, Items, Key
from traefikee.config.errors import ConfigurationError, Problem, did_you_mean
from traefikee.config.static import EntryPoint

_TRUE = frozenset({"true", "enable", "on"})
_FALSE = frozenset({"false", "disable", "off", "no", "0", ""})
_COUNT = re.compile("[0-9]{1,9}")

_NAME = "Name"
_BY_TEXT: dict[str, Key] = {key.text: key for key in KEYS if key.text}
_NAMES = (_NAME, *_BY_TEXT)


def _folded(key: str) -> str:
    return key.lower().replace(".", "_")


_BY_FOLDED = {_folded(name): name for name in _NAMES}


def parse_entry_point(text: str, read_file: ReadFile) -> EntryPoint:
    """Return the entry point that a value of ``--entryPoints`` describes, with its files embedded.

    ``VersionTLS10`` and ``VersionTLS11`` are taken as 1.2, the lowest version that is available.

    :param read_file: returns a file's content, raises FileNotFoundError or another OSError.
    :raises ConfigurationError: with every problem of the text.
    """
    items = read_entry_point(text)
    entry_point = build_entry_point(items, read_file)
    if items.problems:
        raise ConfigurationError(items.problems)
    return entry_point


def read_entry_point(text: str) -> Items:
    """Return what a value of ``--entryPoints`` says, by path; what it says wrongly is in the result's problems."""
    given: dict[str, str | None] = {}
    pairs = [item.partition(":") for item in text.split()]
    items = Items(next((value for key, _, value in pairs if key.lower() == "name" and value), ""), texts=True)
    for key, colon, value in pairs:
        name = _BY_FOLDED.get(_folded(key))
        if name is None:
            _problem(items, key, f"unknown key{did_you_mean(key.replace('_', '.'), _NAMES)}")
        elif name in given:
            _problem(items, name, "given twice")
        else:
            given[name] = value if colon else None
    for name, content in given.items():
        if name != _NAME:
            _keep(items, _BY_TEXT[name], content)
    if not (given.get("ProxyProtocol.Insecure") or given.get("ProxyProtocol.TrustedIPs")):
        # As in Traefik 1.7, any of the two with a value has headers taken off; without one nobody knows what is meant.
        for path in ("proxyProtocol.insecure", "proxyProtocol.trustedIPs"):
            if items.values.pop(path, None) is not None:
                items.problem(path, "has no value; write for example ProxyProtocol.TrustedIPs:10.0.0.0/8")
    return items


def _problem(items: Items, key: str, message: str) -> None:
    items.problems.append(Problem(f"entryPoints.{items.name or '(unnamed)'}.{key}", message))


def _keep(items: Items, key: Key, value: str | None) -> None:
    text = value or ""
    match key.kind:
        case "table":
            items.values[key.path] = True
            if value is not None:
                _keep_certificates(items, value)
        case "bool":
            if text.lower() not in _TRUE | _FALSE:
                items.problem(key.path, f'"{text}" is not a boolean; write true or false')
            items.values[key.path] = text.lower() in _TRUE
        case "list":
            items.values[key.path] = tuple(part for part in text.split(",") if part)
        case "count" if _COUNT.fullmatch(text):
            items.values[key.path] = int(text)
        case "count":
            items.problem(
                key.path,
                f'"{text}" is not a number from 0, no limit, to {10**9 - 1}; write for example {key.text}:200',
            )
        case _:
            items.values[key.path] = text


def _keep_certificates(items: Items, value: str) -> None:
    """Keep ``certificate,key`` pairs, separated by semicolons."""
    pairs = []
    for text in [part for part in value.split(";") if part] or [""]:
        certificate, _, key = text.partition(",")
        if not certificate or not key or "," in key:
            items.problem(
                "tls",
                f'"{text}" is not of the form certificate,key; write TLS alone if providers give the certificates',
            )
        else:
            pairs.append((certificate, key))
    items.values["tls.certificates"] = tuple(pairs)
