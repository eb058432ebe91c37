"""The matchers of Traefik 2 and 3 by their names: from their texts to what they match."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from traefikee.rules.model import (
    ClientIP,
    Headers,
    HeadersRegexp,
    Host,
    HostRegexp,
    Matcher,
    Method,
    Path,
    PathPattern,
    PathPrefix,
    Query,
    QueryPattern,
)
from traefikee.rules.regexp import RuleError, template, translate

ELSEWHERE = frozenset({"hostsni", "hostsniregexp", "alpn"})
"""Matchers of TCP routers, in lower case."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TEMPLATE = re.compile(r"\{\s*[A-Za-z_]")
"""How a template begins; a number after the brace is a part of a regular expression."""
_HOST_DEFAULT = "[^.]+"
_PATH_DEFAULT = "[^/]+"
_HOST = re.compile(r"[^\s/:`*{}().][^\s/:`*{}()]*")

Reader: TypeAlias = Callable[[list[str], str], Matcher]


@dataclass(frozen=True, slots=True)
class Call:
    """One matcher.

    :ivar read: takes its texts, and ``v2``, ``v3`` or an empty text; raises a :class:`RuleError`.
    """

    name: str
    read: Reader
    example: str
    syntaxes: tuple[str, ...] = ("v2", "v3")


def _some(texts: list[str], syntax: str) -> list[str]:
    """Return the texts of a matcher that takes one or, in Traefik 2, several."""
    if not texts or not all(texts):
        raise RuleError("a text is missing")
    if syntax == "v3" and len(texts) > 1:
        raise RuleError("it takes one text; join several matchers by ||")
    return texts


def _pair(texts: list[str]) -> tuple[str, str]:
    if len(texts) != 2 or not texts[0]:
        raise RuleError("it takes two texts, a name and a value")
    return texts[0], texts[1]


def _is_template(text: str, syntax: str) -> bool:
    return syntax == "v2" or (not syntax and _TEMPLATE.search(text) is not None)


def _host(texts: list[str], syntax: str) -> Matcher:
    for text in _some(texts, syntax):
        if not _HOST.fullmatch(text):
            raise RuleError(f'"{text}" is not a host name; HostRegexp takes patterns, and ports do not count')
    return Host(tuple(text.lower().rstrip(".") for text in texts))


def _host_regexp(texts: list[str], syntax: str) -> Matcher:
    found = []
    for text in _some(texts, syntax):
        whole = _is_template(text, syntax)
        found.append(f"(?i)^{template(text, _HOST_DEFAULT)}$" if whole else f"(?i){translate(text)}")
    return HostRegexp(tuple(found))


def _path_pattern(text: str, syntax: str, *, whole: bool) -> PathPattern:
    if not text.startswith("/"):
        raise RuleError(f'"{text}" does not start with a slash')
    if "{" in text and _is_template(text, syntax):
        return PathPattern(f"^{template(text, _PATH_DEFAULT)}{'$' if whole else ''}", is_regexp=True)
    return PathPattern(text)


def _path(texts: list[str], syntax: str) -> Matcher:
    return Path(tuple(_path_pattern(text, syntax, whole=True) for text in _some(texts, syntax)))


def _path_prefix(texts: list[str], syntax: str) -> Matcher:
    return PathPrefix(tuple(_path_pattern(text, syntax, whole=False) for text in _some(texts, syntax)))


def _path_regexp(texts: list[str], _syntax: str) -> Matcher:
    (text,) = _some(texts, "v3")
    return Path((PathPattern(translate(text), is_regexp=True),))


def _method(texts: list[str], syntax: str) -> Matcher:
    for text in _some(texts, syntax):
        if not _TOKEN.fullmatch(text):
            raise RuleError(f'"{text}" is not an HTTP method')
    return Method(tuple(text.upper() for text in texts))


def _header_name(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise RuleError(f'"{name}" is not a header name')
    return "-".join(word[:1].upper() + word[1:].lower() for word in name.split("-"))


def _headers(texts: list[str], _syntax: str) -> Matcher:
    name, value = _pair(texts)
    return Headers(((_header_name(name), value),))


def _headers_regexp(texts: list[str], _syntax: str) -> Matcher:
    name, value = _pair(texts)
    return HeadersRegexp(((_header_name(name), translate(value)),))


def _query(texts: list[str], syntax: str) -> Matcher:
    if not texts or not all(texts):
        raise RuleError("a text is missing")
    if syntax == "v3" or (not syntax and not any("=" in text for text in texts)):
        if len(texts) > 2:
            raise RuleError("it takes a key, and perhaps a value")
        return Query((QueryPattern(texts[0], exact=texts[1]) if len(texts) == 2 else QueryPattern(texts[0]),))
    found = []
    for text in texts:
        key, _, value = text.partition("=")
        if not key:
            raise RuleError(f'"{text}" has no key')
        found.append(QueryPattern(key, exact=value) if value else QueryPattern(key))
    return Query(tuple(found))


def _query_regexp(texts: list[str], _syntax: str) -> Matcher:
    key, value = _pair(texts)
    return Query((QueryPattern(key, regexp=translate(value)),))


def _client_ip(texts: list[str], syntax: str) -> Matcher:
    for text in _some(texts, syntax):
        if not _is_range(text):
            raise RuleError(f'"{text}" is neither an IP address nor a network such as 10.0.0.0/8')
    return ClientIP(tuple(texts))


def _is_range(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    # Python takes masks and zones too.
    return "%" not in text and ("/" not in text or text.rpartition("/")[2].isdecimal())


_CALLS = (
    Call("Host", _host, "Host(`www.example.com`)"),
    Call("HostHeader", _host, "Host(`www.example.com`)", ("v2",)),
    Call("HostRegexp", _host_regexp, "HostRegexp(`^[a-z]+\\.example\\.com$`)"),
    Call("Path", _path, "Path(`/products`)"),
    Call("PathPrefix", _path_prefix, "PathPrefix(`/products`)"),
    Call("PathRegexp", _path_regexp, "PathRegexp(`^/products/[0-9]+$`)", ("v3",)),
    Call("Method", _method, "Method(`GET`)"),
    Call("Headers", _headers, "Headers(`Content-Type`, `application/json`)", ("v2",)),
    Call("Header", _headers, "Header(`Content-Type`, `application/json`)", ("v3",)),
    Call("HeadersRegexp", _headers_regexp, "HeadersRegexp(`Content-Type`, `^application/(json|yaml)$`)", ("v2",)),
    Call("HeaderRegexp", _headers_regexp, "HeaderRegexp(`Content-Type`, `^application/(json|yaml)$`)", ("v3",)),
    Call("Query", _query, "Query(`mobile`, `true`)"),
    Call("QueryRegexp", _query_regexp, "QueryRegexp(`mobile`, `^(true|yes)$`)", ("v3",)),
    Call("ClientIP", _client_ip, "ClientIP(`192.168.1.0/24`)"),
)
BY_FOLDED = {call.name.lower(): call for call in _CALLS}
"""All matchers by their names in lower case."""
