"""The dynamic configuration: frontends, backends and certificates, as a provider gives them as a whole.

Field names are those of Traefik 1.7 in snake case; its own spelling (``passHostHeader``) is accepted on input too.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from traefikee.config.model import Model


class _DynamicModel(Model):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Server(_DynamicModel):
    """One server of a backend: its URL and its relative weight (0 counts as 1 unless ``allowMinWeightZero`` is on)."""

    url: str
    weight: int = 1


class LoadBalancer(_DynamicModel):
    """How requests are spread over a backend's servers; ``wrr`` (weighted round robin) is the only method so far."""

    method: str = "wrr"


class Backend(_DynamicModel):
    """A group of servers that frontends refer to by its name."""

    servers: dict[str, Server] = Field(default_factory=dict)
    load_balancer: LoadBalancer = LoadBalancer()


class Route(_DynamicModel):
    """One rule of a frontend."""

    rule: str


class Frontend(_DynamicModel):
    """Which requests go to which backend. All routes have to match.

    :ivar backend: the name of a backend of the same provider.
    :ivar entry_points: names of entry points; none means the default ones.
    :ivar priority: above 0: takes precedence over the rules' length.
    :ivar pass_host_header: whether the server sees the client's Host header, or its own address.
    """

    backend: str
    entry_points: tuple[str, ...] = ()
    priority: int = 0
    pass_host_header: bool = True
    routes: dict[str, Route] = Field(default_factory=dict)


class TLSCertificate(_DynamicModel):
    """A certificate for the given entry points; both files are a path or PEM text. None means the default ones."""

    secret_fields: ClassVar[frozenset[str]] = frozenset({"key_file"})

    entry_points: tuple[str, ...] = ()
    cert_file: str
    key_file: str


class DynamicConfiguration(_DynamicModel):
    """Everything that one provider says, by name."""

    frontends: dict[str, Frontend] = Field(default_factory=dict)
    backends: dict[str, Backend] = Field(default_factory=dict)
    tls: dict[str, TLSCertificate] = Field(default_factory=dict)


def to_api(config: DynamicConfiguration) -> dict[str, Any]:
    """Return the JSON object that Traefik 1.7's API shows for one provider (``GET /api/providers/<name>``).

    Names are sorted, zero values are left out except for those that 1.7 always shows, and certificates never appear.
    """
    shown: dict[str, Any] = {}
    if config.backends:
        shown["backends"] = {name: _backend(config.backends[name]) for name in sorted(config.backends)}
    if config.frontends:
        shown["frontends"] = {name: _frontend(config.frontends[name]) for name in sorted(config.frontends)}
    return shown


def _backend(backend: Backend) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    if backend.servers:
        shown["servers"] = {
            name: {"url": server.url, "weight": server.weight} for name, server in sorted(backend.servers.items())
        }
    shown["loadBalancer"] = {"method": backend.load_balancer.method}
    return shown


def _frontend(frontend: Frontend) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    if frontend.entry_points:
        shown["entryPoints"] = list(frontend.entry_points)
    shown["backend"] = frontend.backend
    if frontend.routes:
        shown["routes"] = {name: {"rule": route.rule} for name, route in sorted(frontend.routes.items())}
    if frontend.pass_host_header:
        shown["passHostHeader"] = True
    shown["priority"] = frontend.priority
    shown["basicAuth"] = None
    return shown
