"""Checks of values that several options have in common. Each raises a ValueError that says what is allowed."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from traefikee.compile import snapshot_services as parts
from traefikee.config.addresses import is_host, is_ip_or_network

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\U0010ffff]*")
_STATUS = re.compile(r"([1-9][0-9]{2})(?:-([1-9][0-9]{2}))?")
_HEADER = "request.header."
LARGEST = 2**63 - 1


def header_name(name: str) -> str:
    """Return a header's name (RFC 9110, 5.1)."""
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!a} is not a header name")
    return name


def header_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return headers' names."""
    return tuple(header_name(name) for name in names)


def header_value(value: str) -> str:
    """Return a header's value (RFC 9110, 5.5). The error does not repeat it: it may be a secret."""
    if not _VALUE.fullmatch(value):
        raise ValueError("the value contains control characters")
    return value


def headers(pairs: Mapping[str, str]) -> parts.Pairs:
    """Return headers by name; names that differ in nothing but case are one, and the last one counts."""
    found: dict[str, tuple[str, str]] = {}
    for name in sorted(pairs):
        header_name(name)
        try:
            found[name.lower()] = (name, header_value(pairs[name]))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return tuple(sorted(found.values()))


def client_source(text: str) -> parts.ClientSource:
    """Return who counts as one client (``extractorFunc``)."""
    if text == "client.ip":
        return parts.ClientIP()
    if text == "request.host":
        return parts.RequestHost()
    allowed = "it has to be client.ip, request.host or request.header.<Name>"
    if not text.startswith(_HEADER):
        raise ValueError(f'"{text}" is unknown; {allowed}' if text else f"it is missing; {allowed}")
    if not _TOKEN.fullmatch(text[len(_HEADER) :]):
        raise ValueError(f'"{text}" names no header; {allowed}')
    return parts.RequestHeader(name=text[len(_HEADER) :])


def source_ranges(texts: Iterable[str]) -> tuple[str, ...]:
    """Return addresses and networks."""
    found = tuple(texts)
    for text in found:
        if not is_ip_or_network(text) or "%" in text:
            raise ValueError(f'"{text}" is neither an IP address nor a network such as 10.0.0.0/8')
    return found


def status_ranges(texts: Iterable[str]) -> tuple[tuple[int, int], ...]:
    """Return ranges of status codes, both ends inclusive; none is an error."""
    found = []
    for text in texts:
        match = _STATUS.fullmatch(text)
        if match is None:
            raise ValueError(f'"{text}" is neither a status nor a range; write for example 404 or 500-599')
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last:
            raise ValueError(f'"{text}" ends before it begins; write {last}-{first}')
        found.append((first, last))
    if not found:
        raise ValueError("there is none; write for example 404 or 500-599")
    return tuple(found)


def page_query(text: str) -> str:
    """Return the path that a service is asked for an error page."""
    if not text.startswith("/") or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(f"{text!a} is not a path; write for example /{{status}}.html")
    return text


def not_negative(number: int, *, what: str = "it", largest: int = LARGEST) -> int:
    """Return a number from 0."""
    if number < 0:
        raise ValueError(f"{what} is {number}; it must not be negative")
    if number > largest:
        raise ValueError(f"{what} is {number}, which is too large")
    return number


def positive(number: int) -> int:
    """Return a number from 1."""
    if number <= 0:
        raise ValueError(f"it is {number}; it has to be above 0")
    return not_negative(number)


def is_ipv6(text: str) -> bool:
    """Tell whether a text is an IPv6 address."""
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def http_url(text: str) -> str:
    """Return an ``http`` or ``https`` URL of a server that is asked, without its fragment. Holds no password."""
    example = "write for example http://10.0.0.9:8080/auth"
    if not text:
        raise ValueError(f"it is missing; {example}")
    if not text.isprintable() or " " in text or not text.isascii():
        raise ValueError("it contains blanks, control characters or characters that are not ASCII")
    shown = "it" if "@" in text else f'"{text}"'
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError(f"{shown} has no valid host and port; {example}") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"{shown} is not a URL with http or https; {example}")
    if "@" in parts.netloc:
        raise ValueError("it contains a user name or password, which is not supported")
    if port == 0 or parts.netloc.endswith(":"):
        raise ValueError(f"{shown} has no valid port; it has to be a number from 1 to 65535")
    if not (is_ipv6(host) if ":" in host else is_host(host)):
        raise ValueError(f"{shown} has no valid host; {example}")
    return parts._replace(fragment="").geturl()
