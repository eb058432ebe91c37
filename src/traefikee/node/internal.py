"""The entry points that a control node's agent writes for its own engine: ``:4242``, ``:55055`` and ``:8080``.

Pure: from an identity and addresses to a snapshot. Who may reach what is decided here: each route names the roles
that it admits, and the engine checks them against the client certificate.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from traefikee.cluster.roles import Role
from traefikee.cluster.x509_fields import split
from traefikee.compile.snapshot import (
    TLS,
    Certificate,
    ClientCA,
    EntryPoint,
    ExactText,
    ForwardedHeaders,
    Limits,
    PathPrefixMatcher,
    Route,
    Server,
    Service,
    Settings,
    Snapshot,
)
from traefikee.node.statedir import Identity

CLUSTER_ENTRY_POINT = "cluster"
API_ENTRY_POINT = "api"
DASHBOARD_ENTRY_POINT = "dashboard"

API_PORT = 55055
DASHBOARD_PORT = 8080

ETCD_PEER_PATHS = ("raft", "members", "leases", "version", "downgrade")
"""What etcd's members ask each other for: Raft messages; the membership, and promotions, which a follower passes to the
leader (``/members/promote/<id>``); lease renewals, likewise; versions, as 3.5 and newer also do for downgrades."""

_CERTIFICATE = "node"


@dataclass(frozen=True)
class Addresses:
    """Where a control node listens (``host:port``; the host may be empty); None leaves the entry point out."""

    cluster: str
    api: str | None
    dashboard: str | None


@dataclass(frozen=True)
class Sockets:
    """The unix sockets behind the entry points."""

    etcd_peer: Path
    cluster: Path
    api: Path
    dashboard: Path


def beside(listen: str, port: int) -> str:
    """Return another port on the host of a listen address."""
    return f"{listen.rpartition(':')[0]}:{port}"


def compile_internal(identity: Identity, addresses: Addresses, sockets: Sockets) -> Snapshot:
    """Return the snapshot for a control node's engine."""
    # In an order of their own: which of them signs changes nothing for the connections that are open.
    trusted = "".join(sorted(split(identity.ca_pem)))
    client_ca = ClientCA(pem=trusted, optional=True)
    entry_points = [_entry_point(CLUSTER_ENTRY_POINT, addresses.cluster, client_ca)]
    services = [_service("etcd", sockets.etcd_peer), _service("cluster", sockets.cluster)]
    control = (Role.CONTROL.value,)
    routes = [
        # etcd's own peer protocol: Raft messages, and what a new member asks before it joins.
        *(_prefix(path, CLUSTER_ENTRY_POINT, f"/{path}", "etcd", roles=control) for path in ETCD_PEER_PATHS),
        # The agent checks the role of each of its own requests: a newcomer has no certificate yet.
        _prefix("agent", CLUSTER_ENTRY_POINT, "/v1/", "cluster"),
    ]
    if addresses.api is not None:
        required = ClientCA(pem=trusted, optional=False)
        entry_points.append(_entry_point(API_ENTRY_POINT, addresses.api, required))
        services.append(_service("api", sockets.api))
        routes.append(_prefix("api", API_ENTRY_POINT, "/v1/", "api", roles=(Role.API.value,)))
    if addresses.dashboard is not None:
        entry_points.append(_entry_point(DASHBOARD_ENTRY_POINT, addresses.dashboard, None, ping=True))
        services.append(_service("dashboard", sockets.dashboard))
        routes.append(_prefix("dashboard", DASHBOARD_ENTRY_POINT, "/", "dashboard", identify=False))
    return Snapshot(
        revision=0,
        settings=Settings(
            server_name=identity.name,
            log_level="error",
            dial_timeout_ms=5_000,
            response_header_timeout_ms=0,
            request_header_timeout_ms=30_000,
            read_timeout_ms=0,
            write_timeout_ms=0,
            stall_timeout_ms=60_000,
            idle_timeout_ms=180_000,
            request_accept_grace_timeout_ms=0,
            grace_timeout_ms=2_000,
            max_idle_connections_per_server=64,
            insecure_skip_verify=False,
            root_ca_pem="",
            ticket_keys=(),
            access_log=None,
            metrics=None,
        ),
        entry_points=tuple(entry_points),
        routes=tuple(routes),
        services=tuple(services),
        certificates=(
            Certificate(
                id=_CERTIFICATE,
                chain_pem=identity.certificate_pem,
                key_pem=identity.key_pem,
                ocsp_response="",
            ),
        ),
    )


def _entry_point(name: str, address: str, client_ca: ClientCA | None, *, ping: bool = False) -> EntryPoint:
    tls = None
    if client_ca is not None:
        tls = TLS(
            certificates=(_CERTIFICATE,),
            default_certificate=_CERTIFICATE,
            min_version="1.2",
            cipher_suites=(),
            sni_strict=False,
            client_ca=client_ca,
        )
    return EntryPoint(
        name=name,
        address=address,
        forwarded_headers=ForwardedHeaders(insecure=False, trusted_ips=()),
        limits=Limits(max_connections=0, max_connections_per_client=0),
        proxy_protocol=None,
        ping=ping,
        metrics=False,
        tls=tls,
    )


def _service(name: str, socket: Path) -> Service:
    return Service(id=name, servers=(Server(name=name, url=f"unix:{socket}", weight=1),))


def _prefix(
    name: str, entry_point: str, prefix: str, service: str, *, roles: tuple[str, ...] = (), identify: bool = True
) -> Route:
    matcher = PathPrefixMatcher(prefixes=(ExactText(exact=prefix),))
    return _route(name, entry_point, matcher, service, roles, identify=identify)


def _route(
    name: str,
    entry_point: str,
    matcher: PathPrefixMatcher,
    service: str,
    roles: tuple[str, ...],
    *,
    identify: bool,
) -> Route:
    return Route(
        id=name,
        entry_points=(entry_point,),
        priority=0,
        matchers=(matcher,),
        modifiers=(),
        service=service,
        pass_host_header=True,
        client_roles=roles,
        forward_client_identity=identify,
    )
