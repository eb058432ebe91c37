"""From the options of frontends and entry points to their middlewares, outermost first (Traefik 1.7)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from traefikee.compile import auth as compile_auth
from traefikee.compile import checks
from traefikee.compile import snapshot_middlewares as middle
from traefikee.compile.problems import Problems
from traefikee.config.addresses import split_address
from traefikee.config.durations import milliseconds
from traefikee.config.dynamic import Frontend, Headers, PassTLSClientCert, RateLimit
from traefikee.config.errors import did_you_mean
from traefikee.config.middlewares import Auth, Redirect, WhiteList
from traefikee.config.static import EntryPoint
from traefikee.rules.regexp import translate


def chain_name(provider: str, frontend: Frontend) -> str:
    """Return the name that frontends share which are equal but for entry points and routes."""
    text = frontend.model_dump_json(exclude={"entry_points", "routes"})
    return f"{provider}/{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:16]}"


def frontend_middlewares(
    frontend: Frontend, pages: Mapping[str, str], entry_points: Mapping[str, EntryPoint], problems: Problems
) -> tuple[tuple[middle.Middleware, ...], Frontend]:
    """Return what happens to a frontend's requests before they go to its service, and the frontend as it is in force.

    That a redirect to an entry point is not in force on this one itself is the engine's business.

    :param pages: by the names of its error pages the ids of their services; without those that cannot be used (which
        has been told).
    :param entry_points: all there are, by name.
    """
    found: list[middle.Middleware | None] = []
    update: dict[str, Any] = {}
    if frontend.errors:
        errors = _errors(frontend, pages, problems)
        update["errors"] = {name: frontend.errors[name] for name in errors}
        found.append(middle.Errors(pages=tuple(errors.values())) if errors else None)
    found.append(_white_list(frontend, problems))
    if frontend.white_list is not None and not frontend.white_list.source_range:
        update["white_list"] = None
        if not frontend.whitelist_source_range:
            problems.warning("whiteList.sourceRange", "it is missing: everybody is let in")
    if frontend.redirect is not None:
        redirect, update["redirect"] = redirect_of(frontend.redirect, entry_points, problems)
        found.append(redirect)
    if frontend.headers is not None:
        found += headers_of(frontend.headers, problems)
    if frontend.basic_auth:
        basic, update["basic_auth"] = compile_auth.deprecated_basic(frontend.basic_auth, problems)
        found.append(basic)
    if frontend.pass_tls_client_cert is not None:
        found.append(client_cert_of(frontend.pass_tls_client_cert))
    if frontend.auth is not None:
        compiled = compile_auth.compile_auth(frontend.auth, problems)
        found.append(compiled.middleware)
        update["auth"] = compiled.effective
    if frontend.rate_limit is not None:
        found.append(rate_limit_of(frontend.rate_limit, problems))
    middlewares = tuple(one for one in found if one is not None)
    return middlewares, frontend.model_copy(update=update) if update else frontend


def entry_point_middlewares(
    name: str,
    entry_points: Mapping[str, EntryPoint],
    problems: Problems,
    *,
    redirect: Redirect | None = None,
    auth: Auth | None = None,
    compress: bool = False,
    white_list: WhiteList | None = None,
) -> tuple[middle.Middleware, ...]:
    """Return what happens to an entry point's requests before a route is looked for: the order of Traefik 1.7.

    :param name: the entry point's own; it cannot redirect to itself.
    :param entry_points: all there are, by name.
    """
    found: list[middle.Middleware | None] = []
    if redirect is not None:
        if redirect.entry_point == name:
            problems.error("redirect.entryPoint", f'"{name}" is the entry point itself')
        found.append(redirect_of(redirect, entry_points, problems)[0])
    if auth is not None:
        found.append(compile_auth.compile_auth(auth, problems).middleware)
    if compress:
        found.append(middle.Compress())
    if white_list is not None:
        if not white_list.source_range:
            problems.error("whiteList.sourceRange", "it is missing: everybody would be let in")
        found.append(white_list_of(white_list.source_range, white_list.use_x_forwarded_for, problems))
    return tuple(one for one in found if one is not None)


def _errors(frontend: Frontend, pages: Mapping[str, str], problems: Problems) -> dict[str, middle.ErrorPage]:
    """Return the pages that can be used; the others are left out with a warning."""
    found = {}
    for name, page in sorted(frontend.errors.items()):
        usable = name in pages
        ranges: tuple[tuple[int, int], ...] = ()
        try:
            ranges = checks.status_ranges(page.status)
        except ValueError as error:
            problems.warning("errors.*.status", f"{error}; the page is left out", name)
            usable = False
        query = page.query or "/"
        try:
            checks.page_query(query)
        except ValueError as error:
            problems.warning("errors.*.query", f"{error}; the page is left out", name)
            usable = False
        if usable:
            found[name] = middle.ErrorPage(status=ranges, service=pages[name], query=query)
    return found


def _white_list(frontend: Frontend, problems: Problems) -> middle.WhiteList | None:
    given = frontend.white_list
    if given is not None and given.source_range:
        return white_list_of(given.source_range, given.use_x_forwarded_for, problems)
    return white_list_of(frontend.whitelist_source_range, False, problems, "whitelistSourceRange")


def white_list_of(
    ranges: tuple[str, ...], use_x_forwarded_for: bool, problems: Problems, path: str = "whiteList.sourceRange"
) -> middle.WhiteList | None:
    """Return who is let in, or None if everybody is; addresses that are none are an error at ``path``."""
    if not ranges:
        return None
    found = problems.attempt(path, lambda: checks.source_ranges(ranges))
    if found is None:
        return None
    return middle.WhiteList(source_ranges=found, use_x_forwarded_for=use_x_forwarded_for)


def redirect_of(
    given: Redirect, entry_points: Mapping[str, EntryPoint], problems: Problems
) -> tuple[middle.Middleware | None, Redirect]:
    """Return the middleware, and the redirect as it is in force."""
    if given.entry_point:
        if given.regex or given.replacement:
            problems.warning("redirect.regex", "regex and replacement have no effect where an entry point is given")
        effective = given.model_copy(update={"regex": "", "replacement": ""})
        target = entry_points.get(given.entry_point)
        if target is None:
            names = ", ".join(entry_points)
            hint = did_you_mean(given.entry_point, entry_points) or f" (defined: {names})"
            problems.error("redirect.entryPoint", f'entry point "{given.entry_point}" is not defined{hint}')
            return None, effective
        scheme = "http" if target.tls is None else "https"
        port = split_address(target.address)[1]
        values = {"scheme": scheme, "port": port, "permanent": given.permanent}
        return middle.RedirectEntryPoint.model_validate(values), effective
    if not given.regex and not given.replacement:
        problems.error("redirect", "it has neither entryPoint nor regex and replacement")
        return None, given
    for name in ("regex", "replacement"):
        if not getattr(given, name):
            other = "replacement" if name == "regex" else "regex"
            problems.error(f"redirect.{name}", f"it is missing; {other} needs it")
    regex = problems.attempt("redirect.regex", lambda: translate(given.regex))
    if problems.failed or regex is None:
        return None, given
    redirect = middle.RedirectRegex(regex=regex, replacement=given.replacement, permanent=given.permanent)
    return redirect, given


_MAPS = {
    "custom_request_headers": "customRequestHeaders",
    "custom_response_headers": "customResponseHeaders",
    "ssl_proxy_headers": "sslProxyHeaders",
}
_TEXTS = {
    "ssl_host": "sslHost",
    "custom_frame_options_value": "customFrameOptionsValue",
    "custom_browser_xss_value": "customBrowserXSSValue",
    "content_security_policy": "contentSecurityPolicy",
    "public_key": "publicKey",
    "referrer_policy": "referrerPolicy",
}


def headers_of(given: Headers, problems: Problems) -> list[middle.Middleware]:
    """Return the middlewares of a table of headers."""
    maps = {
        name: problems.attempt(f"headers.{key}", lambda name=name: checks.headers(getattr(given, name))) or ()  # type: ignore[misc]
        for name, key in _MAPS.items()
    }
    for name, key in _TEXTS.items():
        problems.attempt(f"headers.{key}", lambda name=name: checks.header_value(getattr(given, name)))  # type: ignore[misc]
    for host in given.allowed_hosts:
        problems.attempt("headers.allowedHosts", lambda host=host: checks.header_value(host))  # type: ignore[misc]
    problems.attempt("headers.hostsProxyHeaders", lambda: checks.header_names(given.hosts_proxy_headers))
    problems.attempt("headers.stsSeconds", lambda: checks.not_negative(given.sts_seconds))
    if problems.failed:
        return []
    found: list[middle.Middleware] = []
    request, response = maps.pop("custom_request_headers"), maps.pop("custom_response_headers")
    if request or response:
        found.append(middle.Headers(request=request, response=response))
    values = given.model_dump(exclude={"custom_request_headers", "custom_response_headers"}) | maps
    if any(values.values()):
        found.append(middle.SecurityHeaders.model_validate(values))
    return found


def client_cert_of(given: PassTLSClientCert) -> middle.ClientCert:
    """Return what the server is told of the client's certificate."""
    return middle.ClientCert.model_validate(given.model_dump())


def rate_limit_of(given: RateLimit, problems: Problems) -> middle.RateLimit | None:
    """Return the rates that have to be kept, or None."""
    source = problems.attempt("ratelimit.extractorFunc", lambda: checks.client_source(given.extractor_func))
    rates = []
    for name, rate in sorted(given.rate_set.items()):
        if rate.period <= 0:
            problems.error("ratelimit.rateset.*.period", f"it is {rate.period:g}; it has to be above 0", name)
        for field in ("average", "burst"):
            value = getattr(rate, field)
            problems.attempt(f"ratelimit.rateset.*.{field}", lambda value=value: checks.positive(value), name)  # type: ignore[misc]
        rates.append(middle.Rate(period_ms=milliseconds(rate.period), average=rate.average, burst=rate.burst))
    if source is None or problems.failed or not rates:
        return None
    return middle.RateLimit(source=source, rates=tuple(rates))
