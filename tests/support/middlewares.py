"""Middlewares of snapshots, with every field that a test does not care about filled in."""

import hashlib
from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]

SHA_OF_TEST = "{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M="
"""The password is `test`."""


def white_list(*ranges: str, use_x_forwarded_for: bool = False) -> Json:
    """Who may come."""
    return {"type": "white_list", "source_ranges": list(ranges), "use_x_forwarded_for": use_x_forwarded_for}


def redirect_entry_point(scheme: str = "https", port: int | None = 443, *, permanent: bool = False) -> Json:
    """To another entry point."""
    return {"type": "redirect_entry_point", "scheme": scheme, "port": port, "permanent": permanent}


def redirect_regex(regex: str, replacement: str, *, permanent: bool = False) -> Json:
    """To another URL."""
    return {"type": "redirect_regex", "regex": regex, "replacement": replacement, "permanent": permanent}


def headers(request: dict[str, str] | None = None, response: dict[str, str] | None = None) -> Json:
    """Headers that are set; an empty value removes."""
    pairs = [[list(pair) for pair in (mapping or {}).items()] for mapping in (request, response)]
    return {"type": "headers", "request": pairs[0], "response": pairs[1]}


def security_headers(**fields: Any) -> Json:
    """Everything is off by default."""
    return {
        "type": "security_headers",
        "allowed_hosts": [],
        "hosts_proxy_headers": [],
        "ssl_redirect": False,
        "ssl_temporary_redirect": False,
        "ssl_host": "",
        "ssl_force_host": False,
        "ssl_proxy_headers": [],
        "sts_seconds": 0,
        "sts_include_subdomains": False,
        "sts_preload": False,
        "force_sts_header": False,
        "frame_deny": False,
        "custom_frame_options_value": "",
        "content_type_nosniff": False,
        "browser_xss_filter": False,
        "custom_browser_xss_value": "",
        "content_security_policy": "",
        "public_key": "",
        "referrer_policy": "",
        "is_development": False,
        **fields,
    }


def client_cert(*, pem: bool = True, infos: Json | None = None) -> Json:
    """What the client's certificate says."""
    return {"type": "client_cert", "pem": pem, "infos": infos}


def basic_auth(*users: str, remove_header: bool = False, header_field: str = "") -> Json:
    """Users as `name:hash`."""
    return {
        "type": "basic_auth",
        "users": list(users),
        "remove_header": remove_header,
        "header_field": header_field,
    }


def digest_auth(name: str, password: str, *, remove_header: bool = False, header_field: str = "") -> Json:
    """One user."""
    secret = hashlib.md5(f"{name}:traefik:{password}".encode(), usedforsecurity=False).hexdigest()
    return {
        "type": "digest_auth",
        "users": [f"{name}:traefik:{secret}"],
        "remove_header": remove_header,
        "header_field": header_field,
    }


def forward_auth(
    address: str, *, trust: bool = False, response_headers: Sequence[str] = (), tls: Json | None = None
) -> Json:
    """A server that is asked."""
    return {
        "type": "forward_auth",
        "address": address,
        "trust_forward_header": trust,
        "response_headers": list(response_headers),
        "tls": tls,
    }


def rate_limit(*rates: tuple[int, int, int], source: Json | None = None) -> Json:
    """Rates as milliseconds, average, burst."""
    return {
        "type": "rate_limit",
        "source": source or {"type": "client_ip"},
        "rates": [{"period_ms": period, "average": average, "burst": burst} for period, average, burst in rates],
    }


def errors(*pages: tuple[Sequence[tuple[int, int]], str, str]) -> Json:
    """Pages as ranges of statuses, service, query."""
    return {
        "type": "errors",
        "pages": [
            {"status": [list(one) for one in ranges], "service": service, "query": query}
            for ranges, service, query in pages
        ],
    }


COMPRESS: Json = {"type": "compress"}
