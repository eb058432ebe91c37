"""The options of a backend beside its servers (Traefik 1.7, ``[backends]``).

Field names are those of Traefik 1.7 in snake case; its own spelling is accepted on input too.
"""

from __future__ import annotations

from pydantic import Field

from traefikee.config.middlewares import MiddlewareModel


class Stickiness(MiddlewareModel):
    """``loadBalancer.stickiness``: a cookie keeps a client at the server that answered it first.

    :ivar cookie_name: empty stands for a name made of the backend's.
    :ivar same_site: the cookie's attribute: ``none``, ``lax``, ``strict``, or nothing.
    """

    cookie_name: str = ""
    secure: bool = False
    http_only: bool = False
    same_site: str = ""


class LoadBalancer(MiddlewareModel):
    """How requests are spread over a backend's servers.

    :ivar method: ``wrr`` (weighted round robin) or ``drr`` (the same, but servers that fail get less), in any case.
    :ivar sticky: deprecated: stickiness with the cookie ``_TRAEFIK_BACKEND``.
    """

    method: str = "wrr"
    sticky: bool = False
    stickiness: Stickiness | None = None


class CircuitBreaker(MiddlewareModel):
    """``circuitBreaker``: while the expression holds, requests are answered 503."""

    expression: str = ""


class MaxConn(MiddlewareModel):
    """``maxConn``: how many requests of one client run at the same time; 0: any number.

    :ivar extractor_func: who counts as one client: ``client.ip``, ``request.host`` or ``request.header.<Name>``.
    """

    amount: int = 0
    extractor_func: str = ""


class HealthCheck(MiddlewareModel):
    """``healthCheck``: servers that do not answer GET ``path`` with 200 to 399 get no requests.

    :ivar path: empty: no checks.
    :ivar scheme: instead of the server's.
    :ivar port: instead of the server's; 0: the server's.
    :ivar interval: Go's form (``10s``); empty: the static option ``healthCheck.interval``.
    :ivar hostname: the Host header, instead of the server's address.
    """

    scheme: str = ""
    path: str = ""
    port: int = 0
    interval: str = ""
    hostname: str = ""
    headers: dict[str, str] = Field(default_factory=dict)


class Buffering(MiddlewareModel):
    """``buffering``: requests and responses are read whole before they are passed on.

    Sizes are bytes. ``max_...`` 0: no limit; ``mem_...``: what is kept in memory, 0: 1 MiB.
    """

    max_request_body_bytes: int = 0
    mem_request_body_bytes: int = 0
    max_response_body_bytes: int = 0
    mem_response_body_bytes: int = 0
    retry_expression: str = ""


class ResponseForwarding(MiddlewareModel):
    """``responseForwarding``: accepted for compatibility; nothing is ever held back."""

    flush_interval: str = ""
