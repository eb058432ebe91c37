"""The options of a frontend beside its routes (Traefik 1.7, ``[frontends]``); see also :mod:`.middlewares`.

Field names are those of Traefik 1.7 in snake case; its own spelling is accepted on input too.
"""

from __future__ import annotations

from pydantic import Field

from traefikee.config.middlewares import MiddlewareModel


class CertificateNames(MiddlewareModel):
    """Which parts of a certificate's subject or issuer are told."""

    country: bool = False
    province: bool = False
    locality: bool = False
    organization: bool = False
    common_name: bool = False
    serial_number: bool = False
    domain_component: bool = False


class CertificateInfos(MiddlewareModel):
    """``passTLSClientCert.infos``: what ``X-Forwarded-Tls-Client-Cert-Infos`` tells."""

    not_after: bool = False
    not_before: bool = False
    sans: bool = False
    subject: CertificateNames | None = None
    issuer: CertificateNames | None = None


class PassTLSClientCert(MiddlewareModel):
    """``passTLSClientCert``: what the server gets to know of the client's certificate.

    :ivar pem: the certificates themselves, as ``X-Forwarded-Tls-Client-Cert``.
    """

    pem: bool = False
    infos: CertificateInfos | None = None


class Headers(MiddlewareModel):
    """``headers``: headers that are set or, with an empty value, removed; and answers that make browsers careful."""

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
    is_development: bool = False


class ErrorPage(MiddlewareModel):
    """``errors.<name>``: who answers instead when the status is one of these.

    :ivar status: codes and ranges (``404``, ``500-599``).
    :ivar backend: another backend of the same provider.
    :ivar query: the path that it is asked for; ``{status}`` stands for the code. Empty: ``/``.
    """

    status: tuple[str, ...] = ()
    backend: str = ""
    query: str = ""


class Rate(MiddlewareModel):
    """``ratelimit.rateset.<name>``: ``average`` requests in ``period`` seconds, ``burst`` at once."""

    period: float = 0.0
    average: int = 0
    burst: int = 0


class RateLimit(MiddlewareModel):
    """``ratelimit``: all rates have to be kept by each client; none: no limit.

    :ivar extractor_func: who counts as one client: ``client.ip``, ``request.host`` or ``request.header.<Name>``.
    """

    rate_set: dict[str, Rate] = Field(default_factory=dict, alias="rateset")
    extractor_func: str = ""
