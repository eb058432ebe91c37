"""From routers of Traefik 2 and 3 to routes: one for each alternative of a rule, and services with what they wrap."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from traefikee.compile import auth as compile_auth
from traefikee.compile import checks, middlewares
from traefikee.compile import rules as compile_rules
from traefikee.compile import snapshot as snap
from traefikee.compile import snapshot_middlewares as middle
from traefikee.compile.problems import Found, Problems
from traefikee.config.dynamic import Backend
from traefikee.config.routers import Router, RouterMiddleware
from traefikee.config.static import EntryPoint
from traefikee.rules import RuleError, Syntax, parse_expression
from traefikee.rules.regexp import translate

_SYNTAXES: Mapping[str, Syntax] = {"v2": "v2", "v3": "v3"}
_SPELT = {
    "auth.basic": "basicAuth",
    "auth.digest": "digestAuth",
    "auth.forward": "forwardAuth",
    "auth": "",
    "whiteList": "",
    "ratelimit.rateset.rate": "rateLimit",
    "ratelimit.extractorFunc": "rateLimit.sourceCriterion",
    "redirect": "redirectRegex",
    "maxConn.extractorFunc": "inFlightReq.sourceCriterion",
    "maxConn": "inFlightReq",
}
"""What options of Traefik 1.7 are called in Traefik 2; an empty text stands for the type of the middleware."""
_OF_SERVICES = ("buffering", "circuit_breaker", "max_conn")
"""Middlewares that the engine has at services."""
_OPTIONS = {"buffering": "buffering", "circuit_breaker": "circuitBreaker", "max_conn": "maxConn"}


@dataclass
class Chain:
    """What a router's middlewares become.

    :ivar wrapping: by the names of a backend's fields, what its service has to have.
    """

    modifiers: list[snap.Modifier] = field(default_factory=list)
    middlewares: list[middle.Middleware] = field(default_factory=list)
    wrapping: dict[str, object] = field(default_factory=dict)


def parse(router: Router, problems: Problems) -> tuple[tuple[snap.Matcher, ...], ...]:
    """Return the matchers of each alternative of a router's rule; none if it is wrong."""
    try:
        found = parse_expression(router.rule, _SYNTAXES.get(router.rule_syntax, ""))
    except RuleError as error:
        problems.error("rule", str(error))
        return ()
    return tuple(tuple(compile_rules.any_matcher(one) for one in alternative) for alternative in found)


def on_tls(
    router: Router, names: Sequence[str], defined: Mapping[str, EntryPoint], problems: Problems
) -> tuple[str, ...]:
    """Return the entry points that a router is served on, of those that it names."""
    if not router.tls:
        return tuple(names)
    found = tuple(name for name in names if defined[name].tls is not None)
    if names and not found:
        problems.error("tls", f"none of its entry points has TLS ({', '.join(names)})")
    elif router.entry_points and len(found) < len(names):
        without = ", ".join(name for name in names if name not in found)
        problems.warning("tls", f"it is not served on entry points without TLS ({without})")
    return found


def chain_name(provider: str, name: str, router: Router) -> str:
    """Return the name that routes of one router share, as long as what happens to their requests is the same."""
    text = router.model_dump_json(include={"middlewares", "service", "pass_host_header"})
    return f"{provider}/{name}/{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:16]}"


def chain_of(
    router: Router,
    pages: Mapping[str, tuple[str, str]],
    entry_points: Sequence[str],
    defined: Mapping[str, EntryPoint],
    problems: Problems,
) -> Chain:
    """Return what a router's middlewares become.

    :param pages: by the names of services that answer for errors, their ids and why they cannot be used (or nothing).
    :param entry_points: those that it is served on.
    """
    chain = Chain()
    by_regex: list[str] = []
    for one in router.middlewares:
        own = Problems(problems.provider)
        _add(chain, one, pages, own)
        if one.compress:
            without = [name for name in entry_points if not defined[name].compress]
            if without:
                own.warning("compress", f"compression is an entry point's (Compress), which {', '.join(without)} lacks")
        if one.redirect is not None:
            by_regex.append(one.name)
        for found in own.found:
            message = found.message.removeprefix(f"{found.path}: ")
            text = f'middleware "{one.name}": {_spelt(found.path, one)}: {message}'
            problems.add(Found("middlewares", text, found.severity))
    if by_regex and chain.modifiers:
        text = "cannot be on one router with what changes the path, which comes first here; use two routers"
        problems.add(Found("middlewares", f'middleware "{by_regex[0]}": redirectRegex {text}', "error"))
    return chain


def _spelt(path: str, one: RouterMiddleware) -> str:
    for prefix in sorted(_SPELT, key=len, reverse=True):
        if path == prefix or path.startswith(f"{prefix}."):
            return (_SPELT[prefix] or one.type) + path[len(prefix) :]
    return path


def _add(chain: Chain, one: RouterMiddleware, pages: Mapping[str, tuple[str, str]], problems: Problems) -> None:
    found: list[middle.Middleware | None] = []
    if one.add_prefix:
        chain.modifiers.append(snap.AddPrefixModifier(prefix=one.add_prefix))
    if one.strip_prefix:
        chain.modifiers.append(snap.StripPrefixModifier(prefixes=one.strip_prefix, optional=True))
    if one.strip_prefix_regex:
        translated = [
            problems.attempt("stripPrefixRegex.regex", partial(translate, text)) for text in one.strip_prefix_regex
        ]
        patterns = tuple(f"^(?:{pattern})" for pattern in translated if pattern is not None)
        chain.modifiers.append(snap.StripPrefixRegexModifier(patterns=patterns, optional=True))
    if one.replace_path:
        chain.modifiers.append(snap.ReplacePathModifier(path=one.replace_path))
    if one.replace_path_regex is not None:
        given = one.replace_path_regex
        regex = problems.attempt("replacePathRegex.regex", lambda: translate(given.regex))
        if regex is not None:
            chain.modifiers.append(snap.ReplacePathRegexModifier(pattern=regex, replacement=given.replacement))
    if one.headers is not None:
        found += middlewares.headers_of(one.headers, problems)
    if one.white_list is not None:
        found.append(middlewares.white_list_of(one.white_list.source_range, False, problems))
    if one.auth is not None:
        found.append(compile_auth.compile_auth(one.auth, problems).middleware)
    if one.rate_limit is not None:
        found.append(middlewares.rate_limit_of(one.rate_limit, problems))
    if one.redirect is not None:
        found.append(middlewares.redirect_of(one.redirect, {}, problems)[0])
    if one.redirect_scheme is not None:
        scheme = one.redirect_scheme
        values = {"scheme": scheme.scheme, "port": int(scheme.port) if scheme.port else None}
        found.append(middle.RedirectEntryPoint.model_validate(values | {"permanent": scheme.permanent}))
    if one.errors is not None:
        found.append(_page(one, pages, problems))
    if one.pass_tls_client_cert is not None:
        found.append(middlewares.client_cert_of(one.pass_tls_client_cert))
    for name in _OF_SERVICES:
        given_option = getattr(one, name)
        if given_option is not None and name in chain.wrapping:
            problems.error(one.type, "a router has at most one of these")
        elif given_option is not None:
            chain.wrapping[name] = given_option
    chain.middlewares += [one for one in found if one is not None]


def _page(one: RouterMiddleware, pages: Mapping[str, tuple[str, str]], problems: Problems) -> middle.Errors | None:
    page = one.errors
    if page is None:
        return None
    service, reason = pages[page.backend]
    if reason:
        problems.error("errors.service", reason)
    ranges = problems.attempt("errors.status", lambda: checks.status_ranges(page.status))
    query = page.query or "/"
    problems.attempt("errors.query", lambda: checks.page_query(query))
    return (
        None
        if ranges is None
        else middle.Errors(pages=(middle.ErrorPage(status=ranges, service=service, query=query),))
    )


def spelt(found: Found, router: Router) -> Found:
    """Return what is wrong with the service that a router wraps as something that is wrong with its middleware."""
    for field_name, option in _OPTIONS.items():
        if found.path == option or found.path.startswith(f"{option}."):
            one = next(one for one in router.middlewares if getattr(one, field_name) is not None)
            message = found.message.removeprefix(f"{found.path}: ")
            return replace(
                found, path="middlewares", message=f'middleware "{one.name}": {_spelt(found.path, one)}: {message}'
            )
    return found


def wrapped(backend: Backend, chain: Chain) -> Backend:
    """Return a backend with what a router's middlewares put around it."""
    return backend.model_copy(update=dict(chain.wrapping))
