"""Routers of Traefik 2 and 3, with the services and middlewares that they name."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any

from traefikee.config.dynamic import Backend, Router
from traefikee.config.errors import did_you_mean
from traefikee.config.http_tables import RouterTable
from traefikee.config.routers import RouterMiddleware
from traefikee.config.runtime import ObjectError
from traefikee.providers.http.middlewares import UNKNOWN, MiddlewareReader
from traefikee.providers.http.services import Service, ServiceReader, weighted
from traefikee.providers.layout import layout_of
from traefikee.providers.tables import TableReader

LAYOUT = layout_of(RouterTable)
MOST_MIDDLEWARES = 100
_SYNTAXES = ("", "v2", "v3")
_RESERVED = "@#"
"""Characters that names do not have: providers and alternatives are told apart by them."""


@dataclass(slots=True)
class Http:
    """What became of the tables.

    :ivar backends: services, by name.
    """

    routers: dict[str, Router] = field(default_factory=dict)
    backends: dict[str, Backend] = field(default_factory=dict)
    errors: list[ObjectError] = field(default_factory=list)


def read_http(
    routers: Mapping[str, Any],
    services: Mapping[str, Any],
    middlewares: Mapping[str, Any],
    provider: str,
    *,
    backends: Mapping[str, Backend],
    frontends: Container[str],
) -> Http:
    """Return what tables of Traefik 2 and 3 say.

    :param backends: of the same provider in the form of Traefik 1.7: routers can name them too.
    :param frontends: names that are taken.
    """
    return _Resolver(provider, backends, frontends).run(routers, services, middlewares)


class _Resolver:
    def __init__(self, provider: str, backends: Mapping[str, Backend], frontends: Container[str]) -> None:
        self._provider = provider
        self._backends = backends
        self._frontends = frontends
        self._services: dict[str, Service | None] = {}
        self._middlewares: dict[str, RouterMiddleware | tuple[str, ...] | None] = {}
        self._found = Http()

    def run(self, routers: Mapping[str, Any], services: Mapping[str, Any], middlewares: Mapping[str, Any]) -> Http:
        found = self._found
        for name in sorted(services):
            service_reader = ServiceReader(self._provider, name)
            self._services[name] = service_reader.read(services[name])
            if name in self._backends:
                service_reader.error("", "a backend has this name too; give one of them another name")
            if not _may_be_named(service_reader):
                self._services[name] = None
            found.errors += service_reader.errors
        self._put_weighted_together()
        found.backends = {name: one.backend for name, one in sorted(self._services.items()) if one is not None}
        for name in sorted(middlewares):
            middleware_reader = MiddlewareReader(self._provider, name)
            self._middlewares[name] = middleware_reader.read(middlewares[name])
            if not _may_be_named(middleware_reader):
                self._middlewares[name] = None
            found.errors += middleware_reader.errors
        for name in sorted(routers):
            reader = _RouterReader(self._provider, name)
            router = self._router(reader, routers[name])
            if _may_be_named(reader) and router is not None:
                found.routers[name] = router
            found.errors += reader.errors
        return found

    def _put_weighted_together(self) -> None:
        for name, service in list(self._services.items()):
            if service is None or service.shares is None:
                continue
            reader = ServiceReader(self._provider, name)
            named: dict[str, Service] = {}
            shares: dict[str, int] = {}
            for other, weight in service.shares.items():
                bare = self._bare(reader, other, "weighted.services", "service")
                one = self._services.get(bare) if bare is not None else None
                if one is not None and bare is not None:
                    named[bare], shares[bare] = one, weight
                elif bare is not None:
                    reader.wrong("weighted.services", self._missing("service", bare, self._services))
            if not reader.failed:
                try:
                    self._services[name] = weighted(Service(Backend(), True, shares), named)
                except ValueError as error:
                    reader.wrong("weighted.services", str(error))
            if reader.failed:
                self._services[name] = None
            self._found.errors += reader.errors

    def _bare(self, reader: TableReader, name: str, path: str, what: str) -> str | None:
        """Return a name without its provider, or None if that is another one."""
        bare, at, provider = name.rpartition("@")
        if not at:
            return name
        if provider == self._provider:
            return bare
        reader.error(
            path, f'{what} "{name}" is another provider\'s, which cannot be used; those here are @{self._provider}'
        )
        return None

    def _missing(self, what: str, name: str, known: Mapping[str, object]) -> str:
        if name in known:
            return f'its {what} "{name}" has an error'
        return f'{what} "{name}" is not defined{did_you_mean(name, known)}'

    def _router(self, reader: _RouterReader, value: object) -> Router | None:
        values = reader.table(value, LAYOUT)
        if values is None:
            return None
        if reader.name in self._frontends:
            reader.error("", "a frontend has this name too; give one of them another name")
        reader.check(values)
        values.setdefault("rule", "")
        service, passes = self._service(reader, values.pop("service", ""))
        names = values.pop("middlewares", ())
        middlewares: list[RouterMiddleware] = []
        for name in names:
            self._add(reader, name, middlewares, ())
        if reader.failed:
            return None
        tls = "tls" in values
        values |= {"service": service, "pass_host_header": passes, "tls": tls, "middlewares": tuple(middlewares)}
        return Router.model_validate(values)

    def _service(self, reader: TableReader, name: str) -> tuple[str, bool]:
        if not name:
            reader.error("service", "it has no service")
            return "", True
        bare = self._bare(reader, name, "service", "service")
        if bare is None:
            return "", True
        service = self._services.get(bare)
        if service is not None:
            return bare, service.pass_host_header
        if bare in self._services or bare not in self._backends:
            reader.error("service", self._missing("service", bare, {**self._services, **self._backends}))
        return bare, True

    def _add(self, reader: TableReader, name: str, found: list[RouterMiddleware], above: tuple[str, ...]) -> None:
        """Add a middleware, or those of a chain."""
        bare = self._bare(reader, name, "middlewares", "middleware")
        if bare is None:
            return
        middleware = self._middlewares.get(bare)
        if middleware is None:
            reader.error("middlewares", self._missing("middleware", bare, self._middlewares))
        elif isinstance(middleware, RouterMiddleware):
            found.append(self._with_page(reader, middleware))
        elif bare in above:
            reader.error("middlewares", f"chain {' -> '.join((*above, bare))} contains itself")
        else:
            for one in middleware:
                if len(found) > MOST_MIDDLEWARES:
                    reader.error("middlewares", f"there are more than {MOST_MIDDLEWARES}, chains laid out")
                    return
                self._add(reader, one, found, (*above, bare))

    def _with_page(self, reader: TableReader, middleware: RouterMiddleware) -> RouterMiddleware:
        """Return the middleware with the bare name of the service of its error page."""
        page = middleware.errors
        if page is None:
            return middleware
        service = self._bare(reader, page.backend, "middlewares", "service")
        return middleware.model_copy(update={"errors": page.model_copy(update={"backend": service or ""})})


def _may_be_named(reader: TableReader) -> bool:
    """Say of an object whose name cannot be one that it is so; tell whether it has no error."""
    if any(char in reader.name for char in _RESERVED):
        reader.error("", f"its name contains {' or '.join(_RESERVED)}, which names cannot")
    return not reader.failed


class _RouterReader(TableReader):
    unknown = UNKNOWN

    def __init__(self, provider: str, name: str) -> None:
        super().__init__(provider, "router", name)

    def check(self, values: Mapping[str, Any]) -> None:
        """Say what of a router cannot be meant, beside what it names."""
        syntax = values.get("rule_syntax", "")
        if syntax not in _SYNTAXES:
            self.error("ruleSyntax", f'"{syntax}" is unknown; it has to be v2 or v3')
        tls = values.get("tls") or {}
        if tls.get("options", "default") not in ("", "default"):
            self.error("tls.options", "options of TLS are those of the entry point; leave tls.options out")
        if tls.get("cert_resolver"):
            text = "certificates are not obtained by this version; name them below tls.certificates"
            self.error("tls.certResolver", text)
