"""The snapshot's middlewares (``docs/internals/snapshot.md``)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field

from traefikee.compile.snapshot_services import ClientSource, Pairs
from traefikee.config.model import Model


class ErrorPage(Model):
    """Answers with a status in one of these ranges are replaced by what a service says."""

    status: tuple[tuple[int, int], ...]
    service: str
    query: str


class Errors(Model):
    """The first page that fits."""

    type: Literal["errors"] = "errors"
    pages: tuple[ErrorPage, ...]


class WhiteList(Model):
    """Who is let in."""

    type: Literal["white_list"] = "white_list"
    source_ranges: tuple[str, ...]
    use_x_forwarded_for: bool = False


class RedirectEntryPoint(Model):
    """To the same URL with another scheme and port; null: no port."""

    type: Literal["redirect_entry_point"] = "redirect_entry_point"
    scheme: Literal["http", "https"]
    port: int | None
    permanent: bool = False


class RedirectRegex(Model):
    """To what the replacement makes of the URL; a pattern in the syntax of Rust's ``regex``."""

    type: Literal["redirect_regex"] = "redirect_regex"
    regex: str
    replacement: str
    permanent: bool = False


class Headers(Model):
    """Headers that are set; an empty value removes."""

    type: Literal["headers"] = "headers"
    request: Pairs = ()
    response: Pairs = ()


class SecurityHeaders(Model):
    """Redirects to TLS, checks of hosts, and headers that make browsers careful."""

    type: Literal["security_headers"] = "security_headers"
    allowed_hosts: tuple[str, ...] = ()
    hosts_proxy_headers: tuple[str, ...] = ()
    ssl_redirect: bool = False
    ssl_temporary_redirect: bool = False
    ssl_host: str = ""
    ssl_force_host: bool = False
    ssl_proxy_headers: Pairs = ()
    sts_seconds: int = 0
    sts_include_subdomains: bool = False
    sts_preload: bool = False
    force_sts_header: bool = False
    frame_deny: bool = False
    custom_frame_options_value: str = ""
    content_type_nosniff: bool = False
    browser_xss_filter: bool = False
    custom_browser_xss_value: str = ""
    content_security_policy: str = ""
    public_key: str = ""
    referrer_policy: str = ""
    is_development: bool = False


class CertificateNames(Model):
    """Which parts of a certificate's subject or issuer are told."""

    country: bool = False
    province: bool = False
    locality: bool = False
    organization: bool = False
    common_name: bool = False
    serial_number: bool = False
    domain_component: bool = False


class CertificateInfos(Model):
    """What is told of a client certificate."""

    not_after: bool = False
    not_before: bool = False
    sans: bool = False
    subject: CertificateNames | None = None
    issuer: CertificateNames | None = None


class ClientCert(Model):
    """What the server gets to know of the client's certificate."""

    type: Literal["client_cert"] = "client_cert"
    pem: bool = False
    infos: CertificateInfos | None = None


class BasicAuth(Model):
    """RFC 7617; ``name:hash`` of each user."""

    secret_fields: ClassVar[frozenset[str]] = frozenset({"users"})

    type: Literal["basic_auth"] = "basic_auth"
    users: tuple[str, ...]
    remove_header: bool = False
    header_field: str = ""


class DigestAuth(Model):
    """RFC 7616; ``name:realm:hash`` of each user."""

    secret_fields: ClassVar[frozenset[str]] = frozenset({"users"})

    type: Literal["digest_auth"] = "digest_auth"
    users: tuple[str, ...]
    remove_header: bool = False
    header_field: str = ""


class ForwardAuthTLS(Model):
    """TLS towards the authentication server; no authorities: the system's."""

    secret_fields: ClassVar[frozenset[str]] = frozenset({"key_pem"})

    ca_pem: str = ""
    cert_pem: str = ""
    key_pem: str = ""
    insecure_skip_verify: bool = False


class ForwardAuth(Model):
    """Another server is asked."""

    type: Literal["forward_auth"] = "forward_auth"
    address: str
    trust_forward_header: bool = False
    response_headers: tuple[str, ...] = ()
    tls: ForwardAuthTLS | None = None


class Rate(Model):
    """``average`` requests a period, ``burst`` at once."""

    period_ms: int
    average: int
    burst: int


class RateLimit(Model):
    """All rates have to be kept by each client."""

    type: Literal["rate_limit"] = "rate_limit"
    source: ClientSource
    rates: tuple[Rate, ...]


class Compress(Model):
    """Responses are compressed; entry points only."""

    type: Literal["compress"] = "compress"


Middleware: TypeAlias = Annotated[
    Errors
    | WhiteList
    | RedirectEntryPoint
    | RedirectRegex
    | Headers
    | SecurityHeaders
    | ClientCert
    | BasicAuth
    | DigestAuth
    | ForwardAuth
    | RateLimit
    | Compress,
    Field(discriminator="type"),
]
