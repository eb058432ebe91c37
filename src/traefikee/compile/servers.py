"""Checks of a backend's servers."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from traefikee.config.addresses import is_host

_LATER = frozenset({"ws", "wss", "fcgi", "unix"})


def server_url(text: str) -> str:
    """Return the part of a server's URL that counts, ``scheme://host[:port]``; a path is ignored (Traefik 1.7).

    :raises ValueError: not an ``http`` or ``https`` URL with a valid host and port. Holds no password.
    """
    if not text.isprintable() or " " in text:
        raise ValueError("its url contains blanks or control characters")
    shown = "its url" if "@" in text else f'url "{text}"'
    scheme, separator, _ = text.partition("://")
    if not separator:
        raise ValueError(f"{shown} has no scheme; write http://host:port or https://host:port")
    if scheme.lower() not in ("http", "https", "h2c"):
        later = "is not supported yet" if scheme.lower() in _LATER else "is unknown"
        raise ValueError(f'{shown}: scheme "{scheme}" {later}; it has to be http, https or h2c')
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError(f"{shown} has no valid host and port; write http://host:port") from None
    if "@" in parts.netloc:
        raise ValueError("its url contains a user name or password, which is not supported")
    if not host:
        raise ValueError(f"{shown} has no host; write http://host:port")
    if port == 0 or parts.netloc.endswith(":"):
        raise ValueError(f"{shown} has no valid port; it has to be a number from 1 to 65535")
    if ":" in host:
        return f"{parts.scheme}://[{_ipv6(host, shown)}]{_port(port)}"
    if not is_host(host):
        raise ValueError(f"{shown} has no valid host; it has to be an IP address or a host name")
    return f"{parts.scheme}://{host}{_port(port)}"


def _ipv6(host: str, shown: str) -> str:
    try:
        return str(ipaddress.IPv6Address(host))
    except ValueError:
        raise ValueError(f"{shown} has no valid IPv6 address in its brackets") from None


def _port(port: int | None) -> str:
    return "" if port is None else f":{port}"


def effective_weight(weight: int, *, allow_min_weight_zero: bool) -> int:
    """Return the weight that a server gets; 0 counts as 1 unless ``allowMinWeightZero`` is on (Traefik 1.7).

    :raises ValueError: negative, or above 2147483647.
    """
    if weight < 0:
        raise ValueError(f"weight {weight} is negative")
    if weight > 2**31 - 1:
        raise ValueError(f"weight {weight} is too large")
    return weight if allow_min_weight_zero else max(weight, 1)
