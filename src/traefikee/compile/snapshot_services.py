"""What a service of the snapshot has beside its servers (``docs/internals/snapshot.md``)."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from traefikee.config.model import Model

Pairs: TypeAlias = tuple[tuple[str, str], ...]
"""Names and values of headers."""


class ClientIP(Model):
    """Clients are told apart by their address."""

    type: Literal["client_ip"] = "client_ip"


class RequestHost(Model):
    """Clients are told apart by the host that they ask for."""

    type: Literal["request_host"] = "request_host"


class RequestHeader(Model):
    """Clients are told apart by a header."""

    type: Literal["request_header"] = "request_header"
    name: str


ClientSource: TypeAlias = Annotated[ClientIP | RequestHost | RequestHeader, Field(discriminator="type")]


class Sticky(Model):
    """The cookie that keeps a client at its server."""

    cookie_name: str
    secure: bool = False
    http_only: bool = False
    same_site: Literal["", "none", "lax", "strict"] = ""


class HealthCheck(Model):
    """GET ``path`` has to be answered 200 to 399. Empty texts and port 0: the server's own; times in milliseconds."""

    path: str
    scheme: Literal["", "http", "https"] = ""
    port: int = 0
    host: str = ""
    interval_ms: int
    timeout_ms: int
    headers: Pairs = ()


class MaxConnections(Model):
    """How many requests of one client run at the same time."""

    amount: int
    source: ClientSource


class CircuitBreaker(Model):
    """When requests are answered 503 at once; the expression is checked, and in its canonical form."""

    expression: str


class Buffering(Model):
    """Requests and responses are read whole; bytes, 0: no limit, of ``mem_...`` 1 MiB."""

    max_request_body_bytes: int = 0
    mem_request_body_bytes: int = 0
    max_response_body_bytes: int = 0
    mem_response_body_bytes: int = 0
    retry_expression: str = ""


class Retry(Model):
    """Total tries of a request, the first included; 0: as many as the service has servers."""

    attempts: int = 0
