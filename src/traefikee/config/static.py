"""The static configuration: what ``deploy`` delivers, checked, with every file embedded.

It is kept in the cluster as JSON (``model_dump_json`` / ``model_validate_json``). Durations are seconds.
"""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

from traefikee.config.certificates import CertificatePair
from traefikee.config.middlewares import Auth, Redirect, WhiteList
from traefikee.config.model import Model
from traefikee.config.observability import AccessLog, Prometheus

LogLevel: TypeAlias = Literal["DEBUG", "INFO", "WARN", "ERROR", "FATAL", "PANIC"]
TLSVersion: TypeAlias = Literal["1.2", "1.3"]


class ClientCA(Model):
    """Authorities of client certificates (``CA``): verified if sent (``optional``), else required in the handshake."""

    pem: str
    optional: bool = False


class EntryPointTLS(Model):
    """TLS of an entry point.

    :ivar certificates: static certificates; providers may add others.
    :ivar default_certificate: served when no name matches; None stands for the first static one, else a generated one.
    :ivar min_version: the lowest version that is spoken; 1.0 and 1.1 are not available.
    :ivar cipher_suites: those of TLS 1.2 that are offered, by IANA name, the preferred one first; none means all.
    :ivar sni_strict: refuse the handshake when no certificate matches the name that the client asks for.
    """

    certificates: tuple[CertificatePair, ...] = ()
    default_certificate: CertificatePair | None = None
    min_version: TLSVersion = "1.2"
    cipher_suites: tuple[str, ...] = ()
    sni_strict: bool = False
    client_ca: ClientCA | None = None


class ForwardedHeaders(Model):
    """Whose ``X-Forwarded-*`` headers survive: everybody's (``insecure``), or those of these addresses and networks.

    Nobody's by default, where Traefik 1.7 trusts everybody.
    """

    insecure: bool = False
    trusted_ips: tuple[str, ...] = ()


class ConnectionLimits(Model):
    """How many open connections an entry point of a data node lets in; 0: any number. An addition to Traefik 1.7.

    :ivar total: on the entry point.
    :ivar per_client: from one IPv4 address, or one /64 network of IPv6.
    """

    total: int = 0
    per_client: int = 0


class ProxyProtocol(Model):
    """Whose PROXY protocol headers tell where a connection comes from: everybody's, or those of these peers."""

    insecure: bool = False
    trusted_ips: tuple[str, ...] = ()


class EntryPoint(Model):
    """A named listener. ``address`` is in Go's listen syntax (``:80``, ``1.2.3.4:80``, ``[::1]:80``, ``name:80``).

    :ivar compress: whether responses are compressed for clients that accept it.
    :ivar auth: who is let in; files with users are embedded in ``users``, those with TLS material as PEM.
    :ivar white_list: which addresses are let in.
    :ivar redirect: where every request is sent instead.
    """

    name: str
    address: str
    tls: EntryPointTLS | None = None
    forwarded_headers: ForwardedHeaders = ForwardedHeaders()
    connection_limits: ConnectionLimits = ConnectionLimits()
    proxy_protocol: ProxyProtocol | None = None
    compress: bool = False
    redirect: Redirect | None = None
    auth: Auth | None = None
    white_list: WhiteList | None = None


class ForwardingTimeouts(Model):
    """Towards servers: connecting, and waiting for the response's headers (0: no limit). Expiry answers 504."""

    dial_timeout: float = 30.0
    response_header_timeout: float = 0.0


class RespondingTimeouts(Model):
    """Towards clients; 0: no limit.

    :ivar read_timeout: a whole request, from its first byte; the first of a connection from the connection's beginning.
    :ivar write_timeout: from the end of a request's headers to the end of its response.
    :ivar idle_timeout: how long an idle connection is kept.
    :ivar stall_timeout: how long a body may stand still because the client does not send it, the server does not take
        it, or the client does not take the response's. An addition to Traefik 1.7.
    """

    read_timeout: float = 0.0
    write_timeout: float = 0.0
    stall_timeout: float = 60.0
    idle_timeout: float = 180.0


class LifeCycle(Model):
    """A stopping node accepts requests for a while, its ``/ping`` saying 503; then running ones may take their time."""

    request_accept_grace_timeout: float = 0.0
    grace_time_out: float = 10.0


class Retry(Model):
    """A request that a server did not answer is sent to another one.

    :ivar attempts: how often in all, the first time included; 0: once for each server of the backend.
    """

    attempts: int = 0


class Ping(Model):
    """``/ping`` on an entry point."""

    entry_point: str = "traefik"


class ClientTLS(Model):
    """TLS towards a provider; all texts are PEM. ``ca`` empty: the system's authorities."""

    secret_fields: ClassVar[frozenset[str]] = frozenset({"key"})

    ca: str = ""
    cert: str = ""
    key: str = ""
    insecure_skip_verify: bool = False


class ConsulOptions(Model):
    """The Consul KV provider.

    :ivar endpoint: ``host:port``, several separated by commas.
    :ivar prefix: the keys' prefix, without slashes around it.
    :ivar constraints: in addition to those of all providers.
    """

    secret_fields: ClassVar[frozenset[str]] = frozenset({"password"})

    endpoint: str = "127.0.0.1:8500"
    watch: bool = True
    prefix: str = "traefik"
    username: str = ""
    password: str = ""
    constraints: tuple[str, ...] = ()
    tls: ClientTLS | None = None

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Each ``host:port`` of ``endpoint``."""
        return tuple(part.strip() for part in self.endpoint.split(",") if part.strip())


class FileOptions(Model):
    """The file provider: its files are read where ``deploy`` runs, and travel with the configuration.

    :ivar filename: one file; with ``directory`` every file below it. Neither: tables of the configuration file itself.
    :ivar watch: the leader follows its own copy of that path.
    """

    filename: str = ""
    directory: str = ""
    watch: bool = False


class StaticConfiguration(Model):
    """Everything that ``deploy`` can say. A new one has the defaults of an empty command line.

    :ivar health_check_interval: time between two checks of a server whose backend does not say it, in seconds.
    :ivar license_endpoint: the server that judges the licence key; empty: the one that bootstrap was given, if any.
    :ivar constraints: ``tag==pattern`` and ``tag!=pattern``: which servers of the providers count; all have to hold.
    """

    entry_points: tuple[EntryPoint, ...] = (EntryPoint(name="http", address=":80"),)
    default_entry_points: tuple[str, ...] = ("http",)
    keep_trailing_slash: bool = False
    allow_min_weight_zero: bool = False
    debug: bool = False
    log_level: LogLevel = "ERROR"
    insecure_skip_verify: bool = False
    root_cas: str = ""
    providers_throttle_duration: float = 0.5
    max_idle_conns_per_host: int = 200
    forwarding_timeouts: ForwardingTimeouts = ForwardingTimeouts()
    responding_timeouts: RespondingTimeouts = RespondingTimeouts()
    life_cycle: LifeCycle = LifeCycle()
    retry: Retry | None = None
    health_check_interval: float = 30.0
    constraints: tuple[str, ...] = ()
    api: bool = False
    license_endpoint: str = ""
    ping: Ping | None = None
    access_log: AccessLog | None = None
    prometheus: Prometheus | None = None
    file: FileOptions | None = None
    consul: ConsulOptions | None = None

    def entry_point(self, name: str) -> EntryPoint | None:
        """Return the entry point of this name, or None."""
        return next((entry_point for entry_point in self.entry_points if entry_point.name == name), None)
