"""The snapshot document: the whole routing configuration that an engine is told (``docs/internals/snapshot.md``)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self, TypeAlias

from pydantic import Field

from traefikee.compile import snapshot_middlewares as middle
from traefikee.compile import snapshot_services as parts
from traefikee.config.model import Model

FORMAT = 1


class AccessLogFilters(Model):
    """Which requests are logged: those that any of these accepts, or all."""

    status_codes: tuple[tuple[int, int], ...] = ()
    retry_attempts: bool = False
    min_duration_ms: int = 0


class AccessLogHeaders(Model):
    """What is done with headers, by name and for all others."""

    default_mode: Literal["keep", "drop", "redact"] = "keep"
    names: dict[str, Literal["keep", "drop", "redact"]] = Field(default_factory=dict)


class AccessLogFields(Model):
    """What is done with fields, by name and for all others."""

    default_mode: Literal["keep", "drop"] = "keep"
    names: dict[str, Literal["keep", "drop"]] = Field(default_factory=dict)
    headers: AccessLogHeaders = AccessLogHeaders()


class AccessLog(Model):
    """A line for each request, in a file or, with an empty path, on standard output."""

    file_path: str = ""
    format: Literal["common", "json"] = "common"
    buffering_size: int = 0
    filters: AccessLogFilters = AccessLogFilters()
    fields: AccessLogFields = AccessLogFields()


class Metrics(Model):
    """Requests are measured; ``buckets`` are the upper bounds of the histograms, in seconds."""

    buckets: tuple[float, ...]


class Settings(Model):
    """What holds for the whole engine. Timeouts are milliseconds, 0 means none.

    ``root_ca_pem``, if not empty, replaces the system's authorities for ``https`` servers. ``ticket_keys`` (48 bytes
    each, in base64) encrypt TLS session tickets, the first one new ones; none means keys of the engine's own.
    """

    secret_fields: ClassVar[frozenset[str]] = frozenset({"ticket_keys"})

    server_name: str = ""
    log_level: Literal["error", "warn", "info", "debug"] = "error"
    dial_timeout_ms: int = 30_000
    response_header_timeout_ms: int = 0
    request_header_timeout_ms: int = 60_000
    read_timeout_ms: int = 0
    write_timeout_ms: int = 0
    stall_timeout_ms: int = 60_000
    idle_timeout_ms: int = 180_000
    request_accept_grace_timeout_ms: int = 0
    grace_timeout_ms: int = 10_000
    max_idle_connections_per_server: int = 200
    insecure_skip_verify: bool = False
    root_ca_pem: str = ""
    ticket_keys: tuple[str, ...] = ()
    access_log: AccessLog | None = None
    metrics: Metrics | None = None
    retry: parts.Retry | None = None


class ForwardedHeaders(Model):
    """Whose ``X-Forwarded-*`` headers survive."""

    insecure: bool = True
    trusted_ips: tuple[str, ...] = ()


class ProxyProtocol(Model):
    """Whose PROXY protocol headers are believed; those of others are taken off and passed over."""

    insecure: bool = False
    trusted_ips: tuple[str, ...] = ()


class ClientCA(Model):
    """Authorities of client certificates: verified if sent (``optional``), else required in the handshake."""

    pem: str
    optional: bool


class TLS(Model):
    """TLS of an entry point; certificates are named by their ids.

    ``cipher_suites`` are those of TLS 1.2 by their IANA names, in order; none means all that the engine has.
    """

    certificates: tuple[str, ...]
    default_certificate: str
    min_version: Literal["1.2", "1.3"] = "1.2"
    cipher_suites: tuple[str, ...] = ()
    sni_strict: bool = False
    client_ca: ClientCA | None = None


class Limits(Model):
    """How many open connections an entry point lets in, in all and from one client; 0 means any number."""

    max_connections: int = 0
    max_connections_per_client: int = 0


class EntryPoint(Model):
    """A listener. ``address`` is in Go's listen syntax; with ``ping`` the engine answers ``/ping`` itself, with
    ``metrics`` it answers ``/metrics``. ``middlewares``: outermost first.
    """

    name: str
    address: str
    forwarded_headers: ForwardedHeaders = ForwardedHeaders()
    limits: Limits = Limits()
    proxy_protocol: ProxyProtocol | None = None
    ping: bool = False
    metrics: bool = False
    tls: TLS | None = None
    middlewares: tuple[middle.Middleware, ...] = ()


class ExactText(Model):
    """A path or prefix that is compared as it is."""

    exact: str


class RegexpText(Model):
    """A path or prefix that is matched by an anchored regular expression (Rust ``regex``)."""

    regexp: str


TextPattern: TypeAlias = ExactText | RegexpText


class QueryExact(Model):
    """The first value of the key equals this."""

    key: str
    exact: str


class QueryRegexp(Model):
    """The first value of the key matches this."""

    key: str
    regexp: str


class QueryPresent(Model):
    """The key is there."""

    key: str
    present: Literal[True] = True


class HostMatcher(Model):
    """The request's host is one of these (lower case, no port)."""

    type: Literal["host"] = "host"
    hosts: tuple[str, ...]


class HostRegexpMatcher(Model):
    """One of these patterns is found in the request's host."""

    type: Literal["host_regexp"] = "host_regexp"
    patterns: tuple[str, ...]


class PathMatcher(Model):
    """The whole path is one of these; ``redirect_slash`` answers 301 to the form with or without the last slash."""

    type: Literal["path"] = "path"
    paths: tuple[TextPattern, ...]
    redirect_slash: bool


class PathPrefixMatcher(Model):
    """The path begins with one of these."""

    type: Literal["path_prefix"] = "path_prefix"
    prefixes: tuple[TextPattern, ...]


class MethodMatcher(Model):
    """The request's method is one of these (upper case)."""

    type: Literal["method"] = "method"
    methods: tuple[str, ...]


class HeadersMatcher(Model):
    """Each header has this value among its values."""

    type: Literal["headers"] = "headers"
    pairs: tuple[tuple[str, str], ...]


class HeadersRegexpMatcher(Model):
    """Each header has a value in which this pattern is found."""

    type: Literal["headers_regexp"] = "headers_regexp"
    pairs: tuple[tuple[str, str], ...]


class QueryMatcher(Model):
    """Each key's first value fits."""

    type: Literal["query"] = "query"
    pairs: tuple[QueryExact | QueryRegexp | QueryPresent, ...]


class ClientIPMatcher(Model):
    """The client's address is in one of these ranges."""

    type: Literal["client_ip"] = "client_ip"
    ranges: tuple[str, ...]


PositiveMatcher: TypeAlias = Annotated[
    HostMatcher
    | HostRegexpMatcher
    | PathMatcher
    | PathPrefixMatcher
    | MethodMatcher
    | HeadersMatcher
    | HeadersRegexpMatcher
    | QueryMatcher
    | ClientIPMatcher,
    Field(discriminator="type"),
]


class NotMatcher(Model):
    """The other matcher does not match."""

    type: Literal["not"] = "not"
    matcher: PositiveMatcher


Matcher: TypeAlias = Annotated[
    HostMatcher
    | HostRegexpMatcher
    | PathMatcher
    | PathPrefixMatcher
    | MethodMatcher
    | HeadersMatcher
    | HeadersRegexpMatcher
    | QueryMatcher
    | ClientIPMatcher
    | NotMatcher,
    Field(discriminator="type"),
]


class StripPrefixRegexModifier(Model):
    """Remove what the first pattern that matches at the path's start matches; none: 404, unless ``optional``."""

    type: Literal["strip_prefix_regex"] = "strip_prefix_regex"
    patterns: tuple[str, ...]
    optional: bool = False


class StripPrefixModifier(Model):
    """Remove the first prefix that fits; none: 404, unless ``optional``."""

    type: Literal["strip_prefix"] = "strip_prefix"
    prefixes: tuple[str, ...]
    optional: bool = False


class AddPrefixModifier(Model):
    """Put this before the path."""

    type: Literal["add_prefix"] = "add_prefix"
    prefix: str


class ReplacePathRegexModifier(Model):
    """Replace every match of the pattern in the path."""

    type: Literal["replace_path_regex"] = "replace_path_regex"
    pattern: str
    replacement: str


class ReplacePathModifier(Model):
    """The path becomes this."""

    type: Literal["replace_path"] = "replace_path"
    path: str


Modifier: TypeAlias = Annotated[
    StripPrefixRegexModifier | StripPrefixModifier | AddPrefixModifier | ReplacePathRegexModifier | ReplacePathModifier,
    Field(discriminator="type"),
]


class ClientTLS(Model):
    """What ``https`` servers are shown: a certificate, by its id; and by which authorities they are verified, if not as
    all servers are.
    """

    certificate: str
    root_ca_pem: str = ""


class Route(Model):
    """Requests that go to one service. Routes stand in the order in which they are tried.

    ``middlewares``: outermost first. Routes of the same ``chain`` share what these have to remember.
    """

    id: str
    entry_points: tuple[str, ...]
    priority: int = 0
    matchers: tuple[Matcher, ...] = ()
    modifiers: tuple[Modifier, ...] = ()
    service: str
    pass_host_header: bool = True
    client_roles: tuple[str, ...] = ()
    forward_client_identity: bool = False
    client_tls: ClientTLS | None = None
    middlewares: tuple[middle.Middleware, ...] = ()
    chain: str = ""


class Server(Model):
    """One server: ``http://host[:port]``, ``https://...``, ``h2c://...`` or ``unix:/path.sock``, and its weight."""

    name: str
    url: str
    weight: int = 1


class Service(Model):
    """A group of servers, and how requests are spread over them."""

    id: str
    balancer: Literal["wrr", "drr"] = "wrr"
    servers: tuple[Server, ...] = ()
    sticky: parts.Sticky | None = None
    health_check: parts.HealthCheck | None = None
    max_connections: parts.MaxConnections | None = None
    circuit_breaker: parts.CircuitBreaker | None = None
    buffering: parts.Buffering | None = None


class Certificate(Model):
    """A certificate chain, leaf first, and its key, PEM texts; an OCSP response (DER in base64) or nothing."""

    secret_fields: ClassVar[frozenset[str]] = frozenset({"key_pem"})

    id: str
    chain_pem: str
    key_pem: str
    ocsp_response: str = ""


class Snapshot(Model):
    """A whole routing configuration. ``revision`` only grows; 0 is for a node's own, internal entry points."""

    format: Literal[1] = 1
    revision: int
    settings: Settings
    entry_points: tuple[EntryPoint, ...] = ()
    routes: tuple[Route, ...] = ()
    services: tuple[Service, ...] = ()
    certificates: tuple[Certificate, ...] = ()

    def to_json(self) -> bytes:
        """Return the document; equal snapshots give equal bytes, since every list in it is ordered."""
        return self.model_dump_json().encode()

    @classmethod
    def from_json(cls, data: bytes | str) -> Self:
        """Return the snapshot of a document.

        :raises ValueError: it is not a snapshot of this format. The text does not repeat the document's content.
        """
        return cls.model_validate_json(data)
