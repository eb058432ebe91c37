"""What the tables ``http`` and ``tls`` of Traefik 2 and 3 may hold; what has no equivalent is not there.

Field names are those of Traefik 2 in snake case. The models are read through their layout; see
:mod:`traefikee.providers.http.tables`.
"""

from __future__ import annotations

from pydantic import Field

from traefikee.config.backend_options import Buffering as Buffering
from traefikee.config.middlewares import MiddlewareModel
from traefikee.config.routers import RedirectScheme, ReplacePathRegex


class RouterTLS(MiddlewareModel):
    """``routers.X.tls``: that it is there is what counts."""

    options: str = ""
    cert_resolver: str = ""


class RouterTable(MiddlewareModel):
    """``routers.X``."""

    entry_points: tuple[str, ...] = ()
    rule: str = ""
    rule_syntax: str = ""
    priority: int = 0
    service: str = ""
    middlewares: tuple[str, ...] = ()
    tls: RouterTLS | None = None


class ServerTable(MiddlewareModel):
    """One server."""

    url: str = ""
    weight: int = 1
    preserve_path: bool = False


class Cookie(MiddlewareModel):
    """``sticky.cookie``."""

    name: str = ""
    secure: bool = False
    http_only: bool = False
    same_site: str = ""


class Sticky(MiddlewareModel):
    """``sticky``."""

    cookie: Cookie | None = None


class HealthCheckTable(MiddlewareModel):
    """``healthCheck``; durations in seconds."""

    path: str = ""
    scheme: str = ""
    mode: str = ""
    method: str = ""
    port: int = 0
    interval: float = 30.0
    timeout: float = 5.0
    hostname: str = ""
    headers: dict[str, str] = Field(default_factory=dict)
    follow_redirects: bool = True


class Forwarding(MiddlewareModel):
    """``responseForwarding``: nothing is ever held back."""

    flush_interval: str = ""


class LoadBalancerTable(MiddlewareModel):
    """``services.X.loadBalancer``."""

    servers: tuple[ServerTable, ...] = ()
    strategy: str = ""
    sticky: Sticky | None = None
    health_check: HealthCheckTable | None = None
    pass_host_header: bool = True
    response_forwarding: Forwarding | None = None


class WeightedService(MiddlewareModel):
    """One service of several, and its share."""

    name: str = ""
    weight: int = 1


class Weighted(MiddlewareModel):
    """``services.X.weighted``."""

    services: tuple[WeightedService, ...] = ()


class ServiceTable(MiddlewareModel):
    """``services.X``."""

    load_balancer: LoadBalancerTable | None = None
    weighted: Weighted | None = None


class IPStrategy(MiddlewareModel):
    """``ipStrategy``: whose address counts; 0 and nothing: the client's."""

    depth: int = 0
    excluded_ips: tuple[str, ...] = Field(default=(), alias="excludedIPs")


class Source(MiddlewareModel):
    """``sourceCriterion``: who counts as one client."""

    ip_strategy: IPStrategy | None = None
    request_header_name: str = ""
    request_host: bool = False


class Prefix(MiddlewareModel):
    """``addPrefix``."""

    prefix: str = ""


class StripPrefix(MiddlewareModel):
    """``stripPrefix``; the path always begins with a slash."""

    prefixes: tuple[str, ...] = ()
    force_slash: bool = True


class StripPrefixRegex(MiddlewareModel):
    """``stripPrefixRegex``."""

    regex: tuple[str, ...] = ()


class Path(MiddlewareModel):
    """``replacePath``."""

    path: str = ""


class HeadersTable(MiddlewareModel):
    """``headers``."""

    custom_request_headers: dict[str, str] = Field(default_factory=dict)
    custom_response_headers: dict[str, str] = Field(default_factory=dict)
    allowed_hosts: tuple[str, ...] = ()
    hosts_proxy_headers: tuple[str, ...] = ()
    ssl_redirect: bool = False
    ssl_temporary_redirect: bool = False
    ssl_host: str = ""
    ssl_proxy_headers: dict[str, str] = Field(default_factory=dict)
    ssl_force_host: bool = False
    sts_seconds: int = 0
    sts_include_subdomains: bool = False
    sts_preload: bool = False
    force_sts_header: bool = Field(default=False, alias="forceSTSHeader")
    frame_deny: bool = False
    custom_frame_options_value: str = ""
    content_type_nosniff: bool = False
    browser_xss_filter: bool = False
    custom_browser_xss_value: str = Field(default="", alias="customBrowserXSSValue")
    content_security_policy: str = ""
    public_key: str = ""
    referrer_policy: str = ""
    permissions_policy: str = ""
    feature_policy: str = ""
    is_development: bool = False


class IPList(MiddlewareModel):
    """``ipWhiteList``, ``ipAllowList``."""

    source_range: tuple[str, ...] = ()
    ip_strategy: IPStrategy | None = None


class Users(MiddlewareModel):
    """``basicAuth``, ``digestAuth``."""

    users: tuple[str, ...] = ()
    users_file: str = ""
    realm: str = ""
    remove_header: bool = False
    header_field: str = ""


class ForwardTLS(MiddlewareModel):
    """``forwardAuth.tls``."""

    ca: str = ""
    ca_optional: bool = False
    cert: str = ""
    key: str = ""
    insecure_skip_verify: bool = False


class Forward(MiddlewareModel):
    """``forwardAuth``."""

    address: str = ""
    tls: ForwardTLS | None = None
    trust_forward_header: bool = False
    auth_response_headers: tuple[str, ...] = ()


class RateLimitTable(MiddlewareModel):
    """``rateLimit``: ``average`` requests in ``period`` seconds, ``burst`` at once."""

    average: int = 0
    period: float = 1.0
    burst: int = 1
    source_criterion: Source | None = None


class RedirectRegex(MiddlewareModel):
    """``redirectRegex``."""

    regex: str = ""
    replacement: str = ""
    permanent: bool = False


class ErrorsTable(MiddlewareModel):
    """``errors``."""

    status: tuple[str, ...] = ()
    service: str = ""
    query: str = ""


class Compress(MiddlewareModel):
    """``compress``."""

    excluded_content_types: tuple[str, ...] = ()
    min_response_body_bytes: int = 0


class CircuitBreakerTable(MiddlewareModel):
    """``circuitBreaker``."""

    expression: str = ""


class Retry(MiddlewareModel):
    """``retry``."""

    attempts: int = 0
    initial_interval: str = ""


class NamesTable(MiddlewareModel):
    """``subject``, ``issuer``."""

    country: bool = False
    province: bool = False
    locality: bool = False
    organization: bool = False
    common_name: bool = False
    serial_number: bool = False
    domain_component: bool = False


class InfoTable(MiddlewareModel):
    """``passTLSClientCert.info``."""

    not_after: bool = False
    not_before: bool = False
    sans: bool = False
    subject: NamesTable | None = None
    issuer: NamesTable | None = None


class ClientCert(MiddlewareModel):
    """``passTLSClientCert``."""

    pem: bool = False
    info: InfoTable | None = None


class Chain(MiddlewareModel):
    """``chain``."""

    middlewares: tuple[str, ...] = ()


class InFlight(MiddlewareModel):
    """``inFlightReq``."""

    amount: int = 0
    source_criterion: Source | None = None


class MiddlewareTable(MiddlewareModel):
    """``middlewares.X``: just one of these."""

    add_prefix: Prefix | None = None
    strip_prefix: StripPrefix | None = None
    strip_prefix_regex: StripPrefixRegex | None = None
    replace_path: Path | None = None
    replace_path_regex: ReplacePathRegex | None = None
    headers: HeadersTable | None = None
    ip_white_list: IPList | None = None
    ip_allow_list: IPList | None = None
    basic_auth: Users | None = None
    digest_auth: Users | None = None
    forward_auth: Forward | None = None
    rate_limit: RateLimitTable | None = None
    redirect_scheme: RedirectScheme | None = None
    redirect_regex: RedirectRegex | None = None
    errors: ErrorsTable | None = None
    compress: Compress | None = None
    buffering: Buffering | None = None
    circuit_breaker: CircuitBreakerTable | None = None
    retry: Retry | None = None
    pass_tls_client_cert: ClientCert | None = Field(default=None, alias="passTLSClientCert")
    chain: Chain | None = None
    in_flight_req: InFlight | None = None


class CertificateTable(MiddlewareModel):
    """One of ``tls.certificates``."""

    cert_file: str = ""
    key_file: str = ""
    stores: tuple[str, ...] = ()
