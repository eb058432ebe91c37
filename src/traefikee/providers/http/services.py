"""Services of Traefik 2 and 3 to backends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from traefikee.config.dynamic import Backend, Server
from traefikee.config.http_tables import ServiceTable
from traefikee.providers.http.middlewares import UNKNOWN
from traefikee.providers.layout import layout_of
from traefikee.providers.tables import TableReader

LAYOUT = layout_of(ServiceTable)
_TIMEOUT = 5.0
_LARGEST_WEIGHT = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Service:
    """A service, as a backend.

    :ivar shares: the shares of other services, by their names, instead of servers of its own.
    """

    backend: Backend
    pass_host_header: bool = True
    shares: Mapping[str, int] | None = None


class ServiceReader(TableReader):
    """Reads one service."""

    unknown = UNKNOWN

    def __init__(self, provider: str, name: str) -> None:
        super().__init__(provider, "service", name)

    def read(self, value: object) -> Service | None:
        """Return the service, or None if it has an error."""
        values = self.table(value, LAYOUT)
        if values is None or self.failed:
            return None
        if len(values) != 1:
            self.error("", "it has to be either a loadBalancer or weighted")
            return None
        service = self._load_balancer(values["load_balancer"]) if "load_balancer" in values else self._weighted(values)
        return None if self.failed else service

    def wrong(self, path: str, message: str) -> None:
        """Add an error about one of its options."""
        self.error(path, f"{path}: {message}")

    def _load_balancer(self, options: dict[str, Any]) -> Service:
        servers = {}
        for index, server in enumerate(options.get("servers", ())):
            path = f"loadBalancer.servers.{index}"
            if not server.get("url"):
                self.wrong(f"{path}.url", "it is missing")
            if server.get("preserve_path"):
                self.wrong(f"{path}.preservePath", "a path in a server's url is ignored")
            # In Traefik 1.7's words a weight of 0 would count as 1.
            if server.get("weight", 1) != 0:
                servers[str(index)] = {"url": server.get("url", ""), "weight": server.get("weight", 1)}
        if options.get("strategy", "wrr").lower() != "wrr":
            self.wrong("loadBalancer.strategy", f'"{options["strategy"]}" has no equivalent here; it has to be wrr')
        values: dict[str, Any] = {"servers": servers}
        sticky = options.get("sticky")
        if sticky is not None:
            cookie = sticky.get("cookie") or {}
            stickiness = {field: value for field, value in cookie.items() if field != "name"}
            values["load_balancer"] = {"stickiness": stickiness | {"cookie_name": cookie.get("name", "")}}
        check = options.get("health_check")
        if check is not None:
            values["health_check"] = self._health_check(check)
        forwarding = options.get("response_forwarding")
        if forwarding is not None:
            values["response_forwarding"] = forwarding
        return Service(Backend.model_validate(values), options.get("pass_host_header", True))

    def _health_check(self, options: dict[str, Any]) -> dict[str, Any]:
        path = "loadBalancer.healthCheck"
        if not options.get("path"):
            self.wrong(f"{path}.path", "it is missing")
        for field, key, usual in (("mode", "mode", "http"), ("method", "method", "GET")):
            if options.get(field, usual).lower() != usual.lower():
                self.wrong(f"{path}.{key}", f"it has to be {usual}")
        if not options.get("follow_redirects", True):
            self.wrong(f"{path}.followRedirects", "redirects are always followed")
        timeout = options.get("timeout", _TIMEOUT)
        if timeout != _TIMEOUT:
            text = f"a server always has {_TIMEOUT:g} s to answer"
            self.error(f"{path}.timeout", f"{path}.timeout: {text}", "warning")
        kept = ("path", "scheme", "port", "hostname", "headers")
        found = {field: options[field] for field in kept if field in options}
        return found | {"interval": f"{options.get('interval', 30.0):g}s"}

    def _weighted(self, values: dict[str, Any]) -> Service:
        shares: dict[str, int] = {}
        for index, one in enumerate(values["weighted"].get("services", ())):
            path = f"weighted.services.{index}"
            name, weight = one.get("name", ""), one.get("weight", 1)
            if not name:
                self.wrong(f"{path}.name", "it is missing")
            elif name in shares:
                self.wrong(f"{path}.name", f'"{name}" is there twice')
            if not 0 <= weight <= 1000:
                self.wrong(f"{path}.weight", f"it is {weight}; it has to be a number from 0 to 1000")
            shares[name] = weight
        if not shares:
            self.wrong("weighted.services", "there is none")
        return Service(Backend(), True, shares)


def weighted(service: Service, named: Mapping[str, Service]) -> Service:
    """Return a service of others as one: each of their servers with its part of the service's share.

    :raises ValueError: they cannot be one.
    """
    shares = service.shares or {}
    for name, one in named.items():
        if one.shares is not None:
            raise ValueError(f'service "{name}" is weighted too; name its services')
        if one.backend.health_check is not None or one.backend.load_balancer.stickiness is not None:
            raise ValueError(f'service "{name}" has a health check or is sticky, which those of a weighted one cannot')
    if len({one.pass_host_header for one in named.values()}) > 1:
        raise ValueError("its services differ in passHostHeader")
    totals = {name: sum(server.weight for server in one.backend.servers.values()) for name, one in named.items()}
    common = math.lcm(*(total for total in totals.values() if total > 0))
    servers: dict[str, Server] = {}
    for name, one in named.items():
        for key, server in one.backend.servers.items():
            weight = shares[name] * server.weight * (common // totals[name]) if totals[name] else 0
            if weight > 0:
                servers[f"{name}/{key}"] = server.model_copy(update={"weight": weight})
    divisor = math.gcd(*(server.weight for server in servers.values())) or 1
    servers = {key: one.model_copy(update={"weight": one.weight // divisor}) for key, one in servers.items()}
    if any(server.weight > _LARGEST_WEIGHT for server in servers.values()):
        raise ValueError("its weights have no common measure that is small enough")
    passes = next((one.pass_host_header for one in named.values()), True)
    return Service(Backend(servers=servers), passes)
