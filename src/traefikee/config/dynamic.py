"""The dynamic configuration: frontends, backends, certificates and routers, as a provider gives them as a whole.

Field names are those of Traefik 1.7 in snake case; its own spelling (``passHostHeader``) is accepted on input too.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from traefikee.config.backend_options import (
    Buffering,
    CircuitBreaker,
    HealthCheck,
    LoadBalancer,
    MaxConn,
    ResponseForwarding,
    Stickiness,
)
from traefikee.config.frontend_options import (
    CertificateInfos,
    CertificateNames,
    ErrorPage,
    Headers,
    PassTLSClientCert,
    Rate,
    RateLimit,
)
from traefikee.config.middlewares import (
    Auth,
    BasicAuth,
    DigestAuth,
    ForwardAuth,
    ForwardAuthTLS,
    MiddlewareModel,
    Redirect,
    WhiteList,
)
from traefikee.config.routers import Router

__all__ = [
    "Auth",
    "Backend",
    "BasicAuth",
    "Buffering",
    "CertificateInfos",
    "CertificateNames",
    "CircuitBreaker",
    "DigestAuth",
    "DynamicConfiguration",
    "ErrorPage",
    "ForwardAuth",
    "ForwardAuthTLS",
    "Frontend",
    "Headers",
    "HealthCheck",
    "LoadBalancer",
    "MaxConn",
    "PassTLSClientCert",
    "Rate",
    "RateLimit",
    "Redirect",
    "ResponseForwarding",
    "Route",
    "Router",
    "Server",
    "Stickiness",
    "TLSCertificate",
    "WhiteList",
]


class Server(MiddlewareModel):
    """One server of a backend: its URL and its relative weight (0 counts as 1 unless ``allowMinWeightZero`` is on)."""

    url: str
    weight: int = 1


class Backend(MiddlewareModel):
    """A group of servers that frontends refer to by its name."""

    servers: dict[str, Server] = Field(default_factory=dict)
    circuit_breaker: CircuitBreaker | None = None
    load_balancer: LoadBalancer = LoadBalancer()
    max_conn: MaxConn | None = None
    health_check: HealthCheck | None = None
    buffering: Buffering | None = None
    response_forwarding: ResponseForwarding | None = None


class Route(MiddlewareModel):
    """One rule of a frontend."""

    rule: str


class Frontend(MiddlewareModel):
    """Which requests go to which backend, and what happens on the way. All routes have to match.

    :ivar backend: the name of a backend of the same provider.
    :ivar entry_points: names of entry points; none means the default ones.
    :ivar priority: above 0: takes precedence over the rules' length.
    :ivar pass_host_header: whether the server sees the client's Host header, or its own address.
    :ivar pass_tls_cert: deprecated: ``https`` servers are shown the entry point's certificate.
    :ivar basic_auth: deprecated: ``auth.basic.users``.
    :ivar whitelist_source_range: deprecated: ``whiteList.sourceRange``.
    """

    secret_fields: ClassVar[frozenset[str]] = frozenset({"basic_auth"})

    backend: str
    entry_points: tuple[str, ...] = ()
    priority: int = 0
    pass_host_header: bool = True
    pass_tls_cert: bool = Field(default=False, alias="passTLSCert")
    pass_tls_client_cert: PassTLSClientCert | None = Field(default=None, alias="passTLSClientCert")
    routes: dict[str, Route] = Field(default_factory=dict)
    basic_auth: tuple[str, ...] = ()
    auth: Auth | None = None
    whitelist_source_range: tuple[str, ...] = ()
    white_list: WhiteList | None = None
    headers: Headers | None = None
    errors: dict[str, ErrorPage] = Field(default_factory=dict)
    rate_limit: RateLimit | None = Field(default=None, alias="ratelimit")
    redirect: Redirect | None = None


class TLSCertificate(MiddlewareModel):
    """A certificate for the given entry points; both files are a path or PEM text. None means the default ones.

    :ivar everywhere: for all entry points with TLS, whatever ``entry_points`` says (Traefik 2).
    """

    secret_fields: ClassVar[frozenset[str]] = frozenset({"key_file"})

    entry_points: tuple[str, ...] = ()
    cert_file: str
    key_file: str
    everywhere: bool = False


class DynamicConfiguration(MiddlewareModel):
    """Everything that one provider says, by name."""

    frontends: dict[str, Frontend] = Field(default_factory=dict)
    backends: dict[str, Backend] = Field(default_factory=dict)
    tls: dict[str, TLSCertificate] = Field(default_factory=dict)
    routers: dict[str, Router] = Field(default_factory=dict)
