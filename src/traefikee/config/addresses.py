"""Addresses as options give them: ``host:port`` to listen on or to connect to."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

_HOST_NAME = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?"
)
_PORT = re.compile(r"[0-9]{1,5}")


def split_address(text: str) -> tuple[str, int]:
    """Return host and port of ``host:port``, ``:port`` or ``[ipv6]:port`` (Go's ``net.SplitHostPort``).

    An IPv6 address comes without its brackets, no host as an empty text.

    :raises ValueError: no port, a port outside 0-65535, or a host that is neither an address nor a name.
    """
    host, colon, port = text.rpartition(":")
    if not colon or (text.endswith("]") and text.startswith("[")):
        example = f":{text}" if _PORT.fullmatch(text) else f"{text}:80"
        raise ValueError(f'address "{text}" has no port; write for example {example}')
    if not _PORT.fullmatch(port) or int(port) > 65535:
        raise ValueError(f'address "{text}" has no valid port; it has to be a number from 0 to 65535')
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not _is_ipv6(host):
            raise ValueError(f'address "{text}" has no valid IPv6 address in its brackets')
    elif ":" in host:
        raise ValueError(f'address "{text}" has several colons; write an IPv6 address in brackets, as in [::1]:80')
    elif host and not is_host(host):
        raise ValueError(f'address "{text}" has no valid host; it has to be an IP address or a host name')
    return host, int(port)


def is_host(text: str) -> bool:
    """Tell whether a text is an IPv4 address or a host name."""
    return _HOST_NAME.fullmatch(text) is not None


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def is_ip_or_network(text: str) -> bool:
    """Tell whether a text is an IP address, or a network in CIDR form (host bits may be set, as Go allows)."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" not in text or text.rpartition("/")[2].isdecimal()


def same_listener(one: str, other: str) -> bool:
    """Tell whether two valid listen addresses are one: equal port (not 0) and equal host; any host is ``0.0.0.0``."""
    (host, port), (other_host, other_port) = split_address(one), split_address(other)
    return port == other_port != 0 and _listen_host(host) == _listen_host(other_host)


def _listen_host(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower()
    return "" if address.is_unspecified else str(address)


def check_licence_endpoint(text: str) -> str:
    """Return the URL of a licence server.

    :raises ValueError: saying why it cannot be one.
    """
    try:
        parts = urlsplit(text)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError as error:
        raise ValueError(f'"{text}" is not a URL: {error}') from None
    if parts.username or parts.password:
        raise ValueError("the URL may not hold a password: it is shown to everybody")
    if parts.scheme != "https" or not parts.hostname or not port_is_fine or parts.fragment or not text.isprintable():
        raise ValueError(f'"{text}" is not the URL of a licence server; write https://host/path')
    return text
