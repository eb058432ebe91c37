"""Snapshots (docs/internals/snapshot.md) with every field that a test does not care about filled in."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Json = dict[str, Any]


def entry_point(
    address: str,
    name: str = "http",
    *,
    tls: Json | None = None,
    ping: bool = False,
    metrics: bool = False,
    insecure: bool = True,
    trusted_ips: Sequence[str] = (),
    max_connections: int = 0,
    max_connections_per_client: int = 0,
    proxy_protocol: Json | None = None,
    middlewares: Sequence[Json] = (),
) -> Json:
    """An entry point; forwarded headers are believed by default, as in Traefik 1.7."""
    return {
        "name": name,
        "address": address,
        "forwarded_headers": {"insecure": insecure, "trusted_ips": list(trusted_ips)},
        "limits": {
            "max_connections": max_connections,
            "max_connections_per_client": max_connections_per_client,
        },
        "proxy_protocol": proxy_protocol,
        "ping": ping,
        "metrics": metrics,
        "tls": tls,
        "middlewares": list(middlewares),
    }


def access_log(
    path: Path | str = "",
    *,
    format: str = "common",  # noqa: A002 - the snapshot's own word
    buffering: int = 0,
    status_codes: Sequence[tuple[int, int]] = (),
    retry_attempts: bool = False,
    min_duration_ms: int = 0,
    fields: str = "keep",
    field_names: Json | None = None,
    headers: str = "keep",
    header_names: Json | None = None,
) -> Json:
    """The access log; an empty path is the engine's standard output."""
    return {
        "file_path": str(path),
        "format": format,
        "buffering_size": buffering,
        "filters": {
            "status_codes": list(status_codes),
            "retry_attempts": retry_attempts,
            "min_duration_ms": min_duration_ms,
        },
        "fields": {
            "default_mode": fields,
            "names": field_names or {},
            "headers": {"default_mode": headers, "names": header_names or {}},
        },
    }


def tls(
    default: str | None = None,
    certificates: Sequence[str] = (),
    *,
    min_version: str = "1.2",
    cipher_suites: Sequence[str] = (),
    sni_strict: bool = False,
    client_ca: str = "",
    client_optional: bool = False,
) -> Json:
    """The TLS part of an entry point; certificates by id, the CA as PEM."""
    return {
        "certificates": list(certificates),
        "default_certificate": default,
        "min_version": min_version,
        "cipher_suites": list(cipher_suites),
        "sni_strict": sni_strict,
        "client_ca": {"pem": client_ca, "optional": client_optional} if client_ca else None,
    }


def route(
    matchers: Iterable[Json] = (),
    service: str = "origin",
    *,
    modifiers: Iterable[Json] = (),
    id: str = "test/route",  # noqa: A002 - the snapshot's own word
    entry_points: Sequence[str] = ("http",),
    pass_host_header: bool = True,
    client_roles: Sequence[str] = (),
    forward_client_identity: bool = False,
    middlewares: Iterable[Json] = (),
    chain: str = "",
) -> Json:
    """A route; without matchers it matches everything. Its priority is set by :func:`snapshot`."""
    return {
        "id": id,
        "entry_points": list(entry_points),
        "priority": 0,
        "matchers": list(matchers),
        "modifiers": list(modifiers),
        "service": service,
        "pass_host_header": pass_host_header,
        "client_roles": list(client_roles),
        "forward_client_identity": forward_client_identity,
        "middlewares": list(middlewares),
        "chain": chain,
    }


def service(
    *servers: str | tuple[str, int],
    id: str = "origin",  # noqa: A002 - the snapshot's own word
    balancer: str = "wrr",
    **features: Json | None,
) -> Json:
    """A service of servers given as URL or (URL, weight), with `sticky`, `health_check` and so on as keywords."""
    pairs = [(server, 1) if isinstance(server, str) else server for server in servers]
    return {
        "id": id,
        "balancer": balancer,
        "servers": [
            {"name": f"server{number}", "url": url, "weight": weight} for number, (url, weight) in enumerate(pairs, 1)
        ],
        "sticky": None,
        "health_check": None,
        "max_connections": None,
        "circuit_breaker": None,
        "buffering": None,
        **features,
    }


def snapshot(
    entry_points: Sequence[Json],
    routes: Sequence[Json],
    services: Sequence[Json],
    *,
    certificates: Sequence[Json] = (),
    revision: int = 1,
    **settings: Any,
) -> Json:
    """A whole snapshot; further keywords change its settings. The first of the routes that match wins."""
    return {
        "format": 1,
        "revision": revision,
        "settings": {
            "server_name": "engine-under-test",
            "log_level": "debug",
            "dial_timeout_ms": 2_000,
            "response_header_timeout_ms": 0,
            "request_header_timeout_ms": 60_000,
            "read_timeout_ms": 0,
            "write_timeout_ms": 0,
            "stall_timeout_ms": 60_000,
            "idle_timeout_ms": 180_000,
            "request_accept_grace_timeout_ms": 0,
            "grace_timeout_ms": 10_000,
            "max_idle_connections_per_server": 200,
            "insecure_skip_verify": False,
            "root_ca_pem": "",
            "ticket_keys": [],
            "retry": None,
            "access_log": None,
            "metrics": None,
            **settings,
        },
        "entry_points": list(entry_points),
        "routes": [one | {"priority": len(routes) - number} for number, one in enumerate(routes)],
        "services": list(services),
        "certificates": list(certificates),
    }


def change(before: Json, after: Json) -> Json:
    """What makes one snapshot of another."""
    made: Json = {"format": 1, "base": before["revision"], "revision": after["revision"]}
    for whole in ("settings", "entry_points"):
        made[whole] = None if before[whole] == after[whole] else after[whole]
    for kind in ("routes", "services", "certificates"):
        old, new = ({one["id"]: one for one in document[kind]} for document in (before, after))
        made[kind] = {
            "put": [one for name, one in new.items() if old.get(name) != one],
            "remove": [name for name in old if name not in new],
        }
    return made
