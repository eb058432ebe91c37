"""Static and dynamic configurations in, one snapshot and the errors of single objects out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeAlias, TypeVar, cast

from traefikee.compile import routers as compile_routers
from traefikee.compile import rules as compile_rules
from traefikee.compile import snapshot as snap
from traefikee.compile.backends import service_options
from traefikee.compile.client_tls import client_tls
from traefikee.compile.middlewares import chain_name, frontend_middlewares
from traefikee.compile.problems import Problems
from traefikee.compile.servers import effective_weight, server_url
from traefikee.compile.static_options import middlewares_of, retry_of
from traefikee.config.certificate_checks import check_pair
from traefikee.config.certificates import CertificatePair
from traefikee.config.durations import milliseconds
from traefikee.config.dynamic import Backend, DynamicConfiguration, Frontend, Router, TLSCertificate
from traefikee.config.errors import did_you_mean
from traefikee.config.observability import AccessLog
from traefikee.config.ocsp import split_ocsp
from traefikee.config.places import STATIC
from traefikee.config.runtime import ObjectError, ObjectKind, Severity, spelt
from traefikee.config.static import EntryPoint, LogLevel, StaticConfiguration
from traefikee.rules import Matcher, Modifier, RuleError, parse_rule

__all__ = ["STATIC", "Compiled", "Memory", "PemPair", "compile_snapshot"]

T = TypeVar("T")

_LEVELS: dict[LogLevel, str] = {
    "DEBUG": "debug",
    "INFO": "info",
    "WARN": "warn",
    "ERROR": "error",
    "FATAL": "error",
    "PANIC": "error",
}
_MAX_PRIORITY = 2**63 - 1


class PemPair(Protocol):
    """Anything with a certificate chain, leaf first, and its key, both PEM texts."""

    @property
    def chain_pem(self) -> str:
        """The chain."""

    @property
    def key_pem(self) -> str:
        """The key."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """What became of the configurations.

    :ivar snapshot: what the engine runs.
    :ivar errors: what was left out or served in part, in a fixed order.
    :ivar effective: by provider, what is in force: frontends with their entry points resolved, and valid backends.
    """

    snapshot: snap.Snapshot
    errors: tuple[ObjectError, ...]
    effective: dict[str, DynamicConfiguration]


class Memory:
    """What became of each object when it was compiled last, so that what did not change is not compiled again.

    It changes nothing but the time that a compilation takes. An object that comes out the same is the same object.
    """

    def __init__(self) -> None:
        self._static: StaticConfiguration | None = None
        self._known: dict[tuple[str, str, str], _Outcome] = {}
        self._next: dict[tuple[str, str, str], _Outcome] = {}

    def begin(self, static: StaticConfiguration) -> None:
        """Begin a compilation; everything depends on the static configuration."""
        if static is not self._static:
            self._static, self._known = static, {}
        self._next = {}

    def end(self) -> None:
        """Forget the objects that this compilation did not have."""
        self._known = self._next

    def recall(
        self, key: tuple[str, str, str], inputs: tuple[object, ...], errors: list[ObjectError], work: Callable[[], T]
    ) -> T:
        """Return what ``work`` returns, and add the errors that it adds; both depend on nothing but the inputs."""
        known = self._known.get(key)
        if known is None or known.inputs != inputs:
            before = len(errors)
            result = work()
            known = _Outcome(inputs, result, tuple(errors[before:]))
        elif known.errors:
            errors.extend(known.errors)
        self._next[key] = known
        return cast("T", known.result)


@dataclass(frozen=True, slots=True)
class _Outcome:
    inputs: tuple[object, ...]
    result: object
    errors: tuple[ObjectError, ...]


def compile_snapshot(
    static: StaticConfiguration,
    dynamic: Mapping[str, DynamicConfiguration],
    *,
    revision: int,
    default_certificate: PemPair,
    rejected: Mapping[str, str] | None = None,
    memory: Memory | None = None,
) -> Compiled:
    """Return the snapshot of a static configuration and of what the providers (by name) say.

    A bad object is left out with an error and changes nothing for the others. The order of mappings does not matter.

    :param revision: the number that the snapshot carries.
    :param default_certificate: served by TLS entry points that have none of their own.
    :param rejected: by ``<kind>:<id>`` as the engine reports problems (``route:consul/f1``, ``service:consul/b1``,
        ``certificate:<id>``), the engine's error for objects that it refused: they are left out too, and a refused
        service takes its frontends with it.
    :param memory: of the compilations before this one.
    """
    generated = CertificatePair(chain_pem=default_certificate.chain_pem, key_pem=default_certificate.key_pem)
    memory = memory or Memory()
    memory.begin(static)
    compiled = _Compiler(static, revision, generated, rejected or {}, memory).run(dynamic)
    memory.end()
    return compiled


@dataclass
class _Compiler:
    static: StaticConfiguration
    revision: int
    generated: CertificatePair
    rejected: Mapping[str, str]
    memory: Memory
    errors: list[ObjectError] = field(default_factory=list)
    routes: list[tuple[int, snap.Route]] = field(default_factory=list)
    """Routes with their exact priority; the snapshot's is a number of 64 bits."""
    services: dict[str, snap.Service] = field(default_factory=dict)
    certificates: dict[str, snap.Certificate] = field(default_factory=dict)
    bound: dict[str, list[str]] = field(default_factory=dict)
    """Ids of the certificates of each TLS entry point."""

    def run(self, dynamic: Mapping[str, DynamicConfiguration]) -> Compiled:
        names = {entry_point.name: entry_point for entry_point in self.static.entry_points}
        defaults = {name: self._static_certificates(entry_point) for name, entry_point in names.items()}
        effective = {}
        for provider in sorted(dynamic):
            effective[provider] = _Provider(self, provider, dynamic[provider]).run()
        self.routes.sort(key=lambda item: (-item[0], item[1].id))
        snapshot = snap.Snapshot(
            revision=self.revision,
            settings=_settings(self.static),
            entry_points=tuple(self._entry_point(entry_point, defaults[name]) for name, entry_point in names.items()),
            routes=tuple(route for _, route in self.routes),
            services=tuple(self.services[name] for name in sorted(self.services)),
            certificates=tuple(self.certificates[name] for name in sorted(self.certificates)),
        )
        return Compiled(snapshot, tuple(self.errors), effective)

    def add_certificate(self, pair: CertificatePair) -> str:
        """Keep the pair for the snapshot and return its id."""
        if pair.id not in self.certificates:
            chain, response = split_ocsp(pair.chain_pem)
            self.certificates[pair.id] = snap.Certificate(
                id=pair.id, chain_pem=chain, key_pem=pair.key_pem, ocsp_response=response
            )
        return pair.id

    def refusal(self, kind: str, identifier: str) -> str | None:
        """Return the sentence about an object that the engine refused, or None."""
        text = self.rejected.get(f"{kind}:{identifier}")
        return None if text is None else f"the engine refuses it: {text}"

    def refusals(self, identifier: str) -> tuple[str, ...]:
        """Return the sentences about a router's routes and service that the engine refused."""
        found: dict[str, None] = {}
        for key, text in self.rejected.items():
            kind, _, rest = key.partition(":")
            is_route = kind == "route" and (rest == identifier or rest.startswith(f"{identifier}#"))
            provider, name = identifier.split("/", 1)
            is_service = kind == "service" and rest.startswith(f"{provider}/") and rest.endswith(f"@{name}")
            if is_route or is_service:
                found[f"the engine refuses it: {text}"] = None
        return tuple(found)

    def _static_certificates(self, entry_point: EntryPoint) -> str:
        """Bind an entry point's own certificates; return the id of its default one ("" without TLS)."""
        tls = entry_point.tls
        if tls is None:
            return ""
        own = [pair for pair in tls.certificates if self._accepted(entry_point, pair)]
        default = tls.default_certificate
        if default is not None and not self._accepted(entry_point, default):
            default = None
        self.bound[entry_point.name] = list(dict.fromkeys(self.add_certificate(pair) for pair in own))
        return self.add_certificate(default or next(iter(own), self.generated))

    def _accepted(self, entry_point: EntryPoint, pair: CertificatePair) -> bool:
        refusal = self.refusal("certificate", pair.id)
        if refusal is not None:
            path = f"entryPoints.{entry_point.name}.TLS"
            self.errors.append(
                ObjectError(provider=STATIC, kind="tls", name=entry_point.name, path=path, message=refusal)
            )
        return refusal is None

    def _entry_point(self, entry_point: EntryPoint, default_certificate: str) -> snap.EntryPoint:
        tls = None
        if entry_point.tls is not None:
            authority = entry_point.tls.client_ca
            tls = snap.TLS(
                certificates=tuple(self.bound[entry_point.name]),
                default_certificate=default_certificate,
                min_version=entry_point.tls.min_version,
                cipher_suites=entry_point.tls.cipher_suites,
                sni_strict=entry_point.tls.sni_strict,
                client_ca=authority and snap.ClientCA(pem=authority.pem, optional=authority.optional),
            )
        peers = entry_point.proxy_protocol
        return snap.EntryPoint(
            name=entry_point.name,
            address=entry_point.address,
            forwarded_headers=snap.ForwardedHeaders(
                insecure=entry_point.forwarded_headers.insecure,
                trusted_ips=entry_point.forwarded_headers.trusted_ips,
            ),
            limits=snap.Limits(
                max_connections=entry_point.connection_limits.total,
                max_connections_per_client=entry_point.connection_limits.per_client,
            ),
            proxy_protocol=peers and snap.ProxyProtocol(insecure=peers.insecure, trusted_ips=peers.trusted_ips),
            ping=self.static.ping is not None and self.static.ping.entry_point == entry_point.name,
            metrics=self.static.prometheus is not None and self.static.prometheus.entry_point == entry_point.name,
            tls=tls,
            middlewares=middlewares_of(self.static, entry_point),
        )


def _settings(static: StaticConfiguration) -> snap.Settings:
    return snap.Settings.model_validate(
        {
            "log_level": _LEVELS[static.log_level],
            "dial_timeout_ms": milliseconds(static.forwarding_timeouts.dial_timeout),
            "response_header_timeout_ms": milliseconds(static.forwarding_timeouts.response_header_timeout),
            "read_timeout_ms": milliseconds(static.responding_timeouts.read_timeout),
            "write_timeout_ms": milliseconds(static.responding_timeouts.write_timeout),
            "stall_timeout_ms": milliseconds(static.responding_timeouts.stall_timeout),
            "idle_timeout_ms": milliseconds(static.responding_timeouts.idle_timeout),
            "request_accept_grace_timeout_ms": milliseconds(static.life_cycle.request_accept_grace_timeout),
            "grace_timeout_ms": milliseconds(static.life_cycle.grace_time_out),
            "max_idle_connections_per_server": static.max_idle_conns_per_host or 2,
            "insecure_skip_verify": static.insecure_skip_verify,
            "root_ca_pem": static.root_cas,
            "access_log": static.access_log and _access_log(static.access_log),
            "metrics": static.prometheus and snap.Metrics(buckets=static.prometheus.buckets),
            "retry": retry_of(static),
        }
    )


def _access_log(log: AccessLog) -> snap.AccessLog:
    headers = snap.AccessLogHeaders(default_mode=log.headers_mode, names=log.header_modes)
    return snap.AccessLog(
        file_path=log.file_path,
        format=log.format,
        buffering_size=log.buffering_size,
        filters=snap.AccessLogFilters(
            status_codes=log.status_codes,
            retry_attempts=log.retry_attempts,
            min_duration_ms=milliseconds(log.min_duration),
        ),
        fields=snap.AccessLogFields(default_mode=log.fields_mode, names=log.field_modes, headers=headers),
    )


@dataclass(frozen=True, slots=True)
class _Served:
    """What became of a frontend: its route with the exact priority, and what is in force."""

    priority: int
    route: snap.Route
    effective: Frontend


_Service: TypeAlias = tuple[snap.Service, Backend]
"""A service, and the backend as it is in force."""
_Page: TypeAlias = tuple[str, str]
"""The id of an error page's service, and why the page cannot be used, or an empty text."""


@dataclass
class _Provider:
    """One provider's part of a compilation."""

    compiler: _Compiler
    name: str
    config: DynamicConfiguration
    services: dict[str, _Service] = field(default_factory=dict)

    def run(self) -> DynamicConfiguration:
        """Add everything that is valid to the compiler; return what is in force."""
        recall, errors, refusal = self.compiler.memory.recall, self.compiler.errors, self.compiler.refusal
        for name in sorted(self.config.backends):
            backend = self.config.backends[name]
            inputs = (backend, refusal("service", f"{self.name}/{name}"))
            key = (self.name, "backend", name)
            compiled = recall(key, inputs, errors, partial(self._service, name, backend))
            if compiled is not None:
                self.services[name] = compiled
        frontends = {}
        for name in sorted(self.config.frontends):
            frontend = self.config.frontends[name]
            service = self._service_of(name, frontend)
            pages = self._pages(frontend) if frontend.errors else {}
            frontend_inputs = (frontend, service, pages, refusal("route", f"{self.name}/{name}"))
            key = (self.name, "frontend", name)
            served = recall(key, frontend_inputs, errors, partial(self._frontend, name, frontend, service, pages))
            if served is not None and service is not None:
                self.compiler.routes.append((served.priority, served.route))
                self.compiler.services[service.id] = service
                for page in served.effective.errors.values():
                    answering = self.services[page.backend][0]
                    self.compiler.services[answering.id] = answering
                frontends[name] = served.effective
        routers = self._routers()
        certificates = {}
        for name in sorted(self.config.tls):
            certificate = self._certificate(name, self.config.tls[name])
            if certificate is not None:
                certificates[name] = certificate
        backends = {name: backend for name, (_, backend) in self.services.items()}
        return DynamicConfiguration(frontends=frontends, backends=backends, tls=certificates, routers=routers)

    def _routers(self) -> dict[str, Router]:
        """Add the routes of all routers; return those that are served."""
        recall, errors = self.compiler.memory.recall, self.compiler.errors
        served = {}
        numbered = [name for name in self.config.frontends if "#" in name]
        for name in sorted(self.config.routers):
            router = self.config.routers[name]
            taken = tuple(one for one in numbered if one.startswith(f"{name}#"))
            wrapped = f"{router.service}@{name}"
            taken += (wrapped,) * (wrapped in self.config.backends)
            named = [one.errors.backend for one in router.middlewares if one.errors is not None]
            pages = {service: self._page(service) for service in named}
            service = self._service_named("router", name, "service", router.service)
            inputs = (router, service, pages, self.compiler.refusals(f"{self.name}/{name}"), taken)
            work = partial(self._router, name, router, service, pages, taken)
            compiled = recall((self.name, "router", name), inputs, errors, work)
            if compiled is None:
                continue
            found, routed = compiled
            self.compiler.routes += [(route.priority, route) for route in found]
            self.compiler.services[routed.id] = routed
            for backend in pages:
                answering = self.services[backend][0]
                self.compiler.services[answering.id] = answering
            served[name] = router
        return served

    def _router(
        self, name: str, router: Router, service: _Service | None, pages: Mapping[str, _Page], taken: tuple[str, ...]
    ) -> tuple[tuple[snap.Route, ...], snap.Service] | None:
        """Return a router's routes and their service, or None if it has an error.

        :param taken: names of other objects that the router could have needed.
        """
        static = self.compiler.static
        defined = {one.name: one for one in static.entry_points}
        problems = Problems(self.name)
        alternatives = compile_routers.parse(router, problems)
        named = self._entry_points("router", name, router.entry_points)
        entry_points = compile_routers.on_tls(router, named, defined, problems)
        chain = compile_routers.chain_of(router, pages, entry_points, defined, problems)
        routed = None if service is None else service[0]
        if service is not None and chain.wrapping:
            # What is wrong with the service's own options has been told.
            own = compile_routers.wrapped(service[1], chain)
            options, _ = service_options(router.service, own, static.health_check_interval, problems)
            identifier = f"{self.name}/{router.service}@{name}"
            routed = service[0].model_copy(update={"id": identifier, **options})
        problems.found = [compile_routers.spelt(one, router) for one in problems.found]
        self._tell("router", name, problems)
        refused = self.compiler.refusals(f"{self.name}/{name}")
        for refusal in refused:
            self._error("router", name, "", refusal)
        if routed is None or not entry_points or problems.failed or refused or not alternatives:
            return None
        identifiers = [f"{self.name}/{name}"]
        identifiers += [f"{self.name}/{name}#{number}" for number in range(2, len(alternatives) + 1)]
        needed = {one.partition("/")[2] for one in (*identifiers[1:], routed.id)} - {router.service}
        for one in sorted(needed.intersection(taken)):
            self._error("router", name, "", f'"{one}" is the name of another object; rename that')
            return None
        priority = router.priority or len(router.rule.encode(errors="surrogatepass"))
        return tuple(
            snap.Route(
                id=identifier,
                entry_points=entry_points,
                priority=max(-_MAX_PRIORITY, min(priority, _MAX_PRIORITY)),
                matchers=matchers,
                modifiers=tuple(chain.modifiers),
                service=routed.id,
                pass_host_header=router.pass_host_header,
                middlewares=tuple(chain.middlewares),
                chain=compile_routers.chain_name(self.name, name, router),
            )
            for identifier, matchers in zip(identifiers, alternatives, strict=True)
        ), routed

    def _page(self, backend: str) -> _Page:
        """Return the id of the service that answers for errors, and why it cannot be used."""
        reason = ""
        if backend not in self.config.backends:
            reason = f'service "{backend}" is not defined{did_you_mean(backend, self.config.backends)}'
        elif backend not in self.services:
            reason = f'service "{backend}" has an error'
        return f"{self.name}/{backend}", reason

    def _error(self, kind: ObjectKind, name: str, path: str, message: str, severity: Severity = "error") -> None:
        self.compiler.errors.append(
            ObjectError(provider=self.name, kind=kind, name=name, path=path, message=message, severity=severity)
        )

    def _tell(self, kind: ObjectKind, name: str, problems: Problems) -> None:
        for one in problems.found:
            self._error(kind, name, one.path, one.message, one.severity)

    def _service(self, name: str, backend: Backend) -> _Service | None:
        identifier = f"{self.name}/{name}"
        refusal = self.compiler.refusal("service", identifier)
        if refusal is not None:
            self._error("backend", name, "", refusal)
        problems = Problems(self.name)
        static = self.compiler.static
        options, effective = service_options(name, backend, static.health_check_interval, problems)
        self._tell("backend", name, problems)
        servers = []
        for server_name, server in sorted(backend.servers.items()):
            part = "url"
            try:
                url = server_url(server.url)
                part = "weight"
                weight = effective_weight(server.weight, allow_min_weight_zero=static.allow_min_weight_zero)
            except ValueError as error:
                path = spelt(self.name, f"servers.*.{part}", server_name)
                self._error("server", f"{name}/{server_name}", path, str(error))
                continue
            servers.append(snap.Server(name=server_name, url=url, weight=weight))
        if refusal is not None or problems.failed or len(servers) < len(backend.servers):
            return None
        return snap.Service(id=identifier, servers=tuple(servers), **options), effective

    def _frontend(
        self, name: str, frontend: Frontend, service: snap.Service | None, pages: Mapping[str, _Page]
    ) -> _Served | None:
        entry_points = self._entry_points("frontend", name, frontend.entry_points)
        parts = self._rules(name, frontend)
        problems = Problems(self.name)
        for page, (_, reason) in pages.items():
            if reason:
                problems.warning("errors.*.backend", f"{reason}; the page is left out", page)
        defined = {one.name: one for one in self.compiler.static.entry_points}
        usable = {page: identifier for page, (identifier, reason) in pages.items() if not reason}
        middlewares, in_force = frontend_middlewares(frontend, usable, defined, problems)
        shown = client_tls(entry_points, defined, problems) if frontend.pass_tls_cert and entry_points else None
        self._tell("frontend", name, problems)
        identifier = f"{self.name}/{name}"
        refusal = self.compiler.refusal("route", identifier)
        if refusal is not None:
            self._error("frontend", name, "", refusal)
        if service is None or not entry_points or parts is None or refusal is not None or problems.failed:
            return None
        length = sum(len(route.rule.encode(errors="surrogatepass")) for route in frontend.routes.values())
        priority = frontend.priority if frontend.priority > 0 else length
        matchers, modifiers = parts
        keep = self.compiler.static.keep_trailing_slash
        route = snap.Route(
            id=identifier,
            entry_points=entry_points,
            priority=min(priority, _MAX_PRIORITY),
            matchers=tuple(compile_rules.matcher(matcher, keep_trailing_slash=keep) for matcher in matchers),
            modifiers=compile_rules.modifiers(modifiers),
            service=service.id,
            pass_host_header=frontend.pass_host_header,
            client_tls=shown,
            middlewares=middlewares,
            chain=chain_name(self.name, in_force),
        )
        effective = in_force.model_copy(update={"entry_points": entry_points})
        return _Served(priority, route, effective)

    def _pages(self, frontend: Frontend) -> dict[str, _Page]:
        """Return for each error page its service's id, and why it cannot be used."""
        pages = {}
        for page, options in sorted(frontend.errors.items()):
            backend, reason = options.backend, ""
            if not backend:
                reason = "it is missing"
            elif backend not in self.config.backends:
                reason = f'backend "{backend}" is not defined{did_you_mean(backend, self.config.backends)}'
            elif backend == frontend.backend:
                reason = "it is the frontend's own backend; name another one"
            elif backend not in self.services:
                reason = f'backend "{backend}" has an error'
            pages[page] = (f"{self.name}/{backend}", reason)
        return pages

    def _service_of(self, name: str, frontend: Frontend) -> snap.Service | None:
        found = self._service_named("frontend", name, "backend", frontend.backend)
        return None if found is None else found[0]

    def _service_named(self, kind: ObjectKind, name: str, what: str, backend: str) -> _Service | None:
        if backend not in self.config.backends:
            hint = did_you_mean(backend, self.config.backends)
            self._error(kind, name, what, f'{what} "{backend}" is not defined{hint}')
        elif backend not in self.services:
            self._error(kind, name, what, f'its {what} "{backend}" has an error')
        return self.services.get(backend)

    def _rules(self, name: str, frontend: Frontend) -> tuple[list[Matcher], list[Modifier]] | None:
        """Return the matchers and modifiers of all routes, or None if one is wrong."""
        matchers: list[Matcher] = []
        modifiers: list[Modifier] = []
        if not frontend.routes:
            self._error("frontend", name, "routes", "it has no routes; give it at least one rule")
            return None
        valid = True
        for route_name, route in sorted(frontend.routes.items()):
            try:
                rule = parse_rule(route.rule)
            except RuleError as error:
                self._error(
                    "frontend", name, spelt(self.name, "routes.*.rule", route_name), f'route "{route_name}": {error}'
                )
                valid = False
                continue
            matchers += rule.matchers
            modifiers += rule.modifiers
        return (matchers, modifiers) if valid else None

    def _entry_points(self, kind: ObjectKind, name: str, wanted: Iterable[str]) -> tuple[str, ...]:
        """Return the names of the entry points that exist; the others become an error, or a warning if one exists."""
        defined = [entry_point.name for entry_point in self.compiler.static.entry_points]
        names = tuple(dict.fromkeys(wanted))
        by_default = "" if names else "default "
        names = names or self.compiler.static.default_entry_points
        valid = tuple(entry_point for entry_point in names if entry_point in defined)
        for entry_point in names:
            if entry_point not in defined:
                text = f'{by_default}entry point "{entry_point}" is not defined (defined: {", ".join(defined)})'
                self._error(kind, name, spelt(self.name, "entryPoints"), text, "warning" if valid else "error")
        return valid

    def _certificate(self, name: str, certificate: TLSCertificate) -> TLSCertificate | None:
        pair = CertificatePair(chain_pem=certificate.cert_file, key_pem=certificate.key_file)
        reason = self.compiler.memory.recall((self.name, "pair", name), (pair,), [], partial(check_pair, pair))
        reason = reason or self.compiler.refusal("certificate", pair.id)
        if reason is not None:
            self._error("tls", name, "certificate", reason)
        everywhere = certificate.everywhere and self.compiler.bound
        wanted = tuple(self.compiler.bound) if everywhere else certificate.entry_points
        names = self._entry_points("tls", name, wanted)
        valid = tuple(entry_point for entry_point in names if entry_point in self.compiler.bound)
        for entry_point in names:
            if entry_point not in valid and (certificate.entry_points or not valid):
                text = f'entry point "{entry_point}" has no TLS'
                self._error("tls", name, spelt(self.name, "entryPoints"), text, "warning" if valid else "error")
        if reason is not None or not valid:
            return None
        identifier = self.compiler.add_certificate(pair)
        for entry_point in valid:
            if identifier not in self.compiler.bound[entry_point]:
                self.compiler.bound[entry_point].append(identifier)
        return certificate.model_copy(update={"entry_points": valid})
