"""Routers of Traefik 2 and 3, with what their middlewares mean in the words of Traefik 1.7.

A router stands by itself: its middlewares are resolved, chains are laid out, and its service is a backend.
"""

from __future__ import annotations

from traefikee.config.backend_options import Buffering, CircuitBreaker, MaxConn
from traefikee.config.frontend_options import ErrorPage, Headers, PassTLSClientCert, RateLimit
from traefikee.config.middlewares import Auth, MiddlewareModel, Redirect, WhiteList


class ReplacePathRegex(MiddlewareModel):
    """What of the path is replaced by what."""

    regex: str = ""
    replacement: str = ""


class RedirectScheme(MiddlewareModel):
    """To the same URL with another scheme, and port if it is not empty."""

    scheme: str = ""
    port: str = ""
    permanent: bool = False


class RouterMiddleware(MiddlewareModel):
    """One middleware; of everything beside its name one thing is there.

    :ivar name: as it is defined.
    :ivar type: its name in Traefik 2 (``ipWhiteList``).
    """

    name: str
    type: str
    add_prefix: str = ""
    strip_prefix: tuple[str, ...] = ()
    strip_prefix_regex: tuple[str, ...] = ()
    replace_path: str = ""
    replace_path_regex: ReplacePathRegex | None = None
    headers: Headers | None = None
    white_list: WhiteList | None = None
    auth: Auth | None = None
    rate_limit: RateLimit | None = None
    redirect: Redirect | None = None
    redirect_scheme: RedirectScheme | None = None
    errors: ErrorPage | None = None
    pass_tls_client_cert: PassTLSClientCert | None = None
    buffering: Buffering | None = None
    circuit_breaker: CircuitBreaker | None = None
    max_conn: MaxConn | None = None
    compress: bool = False


class Router(MiddlewareModel):
    """Which requests go to which service, and what happens on the way.

    :ivar rule: in the language of Traefik 2 or 3.
    :ivar rule_syntax: ``v2``, ``v3``, or nothing: whichever the rule is written in.
    :ivar service: the name of a backend of the same provider.
    :ivar entry_points: none means the default ones.
    :ivar priority: 0 stands for the length of the rule.
    :ivar tls: whether it is served on entry points with TLS alone.
    :ivar pass_host_header: as the service says.
    :ivar middlewares: outermost first.
    """

    rule: str
    rule_syntax: str = ""
    service: str
    entry_points: tuple[str, ...] = ()
    priority: int = 0
    tls: bool = False
    pass_host_header: bool = True
    middlewares: tuple[RouterMiddleware, ...] = ()
