"""From a backend's options to those of the snapshot's service (Traefik 1.7, ``[backends]``)."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from traefikee.compile import checks, expressions
from traefikee.compile import snapshot_services as parts
from traefikee.compile.problems import Problems
from traefikee.config.addresses import is_host
from traefikee.config.durations import milliseconds, parse_duration
from traefikee.config.dynamic import Backend, HealthCheck, LoadBalancer, Stickiness

HEALTH_CHECK_TIMEOUT = 5.0
"""Seconds in which a server has to answer a health check, as in Traefik 1.7."""
_STICKY_COOKIE = "_TRAEFIK_BACKEND"
_NOT_IN_COOKIE_NAMES = re.compile(r"[^!#$%&'*+.^_`|~0-9A-Za-z-]")
_DIGITS = re.compile(r"[+]?[0-9]+")


def service_options(
    name: str, backend: Backend, health_check_interval: float, problems: Problems
) -> tuple[dict[str, Any], Backend]:
    """Return the fields of a service that do not depend on its servers, and the backend as it is in force.

    :param health_check_interval: seconds, for backends that name none.
    """
    load_balancer = _load_balancer(backend.load_balancer, problems)
    health_check, checked = _health_check(backend.health_check, health_check_interval, problems)
    if backend.response_forwarding is not None and backend.response_forwarding.flush_interval:
        interval = backend.response_forwarding.flush_interval
        problems.attempt("responseForwarding.flushInterval", lambda: parse_duration(interval))
    options = {
        "balancer": load_balancer.method,
        "sticky": load_balancer.stickiness and _sticky(name, load_balancer.stickiness),
        "health_check": health_check,
        "max_connections": _max_connections(backend, problems),
        "circuit_breaker": _circuit_breaker(backend, problems),
        "buffering": _buffering(backend, problems),
    }
    effective = backend
    if load_balancer != backend.load_balancer or checked != backend.health_check:
        effective = backend.model_copy(update={"load_balancer": load_balancer, "health_check": checked})
    return options, effective


def cookie_name(backend: str) -> str:
    """Return the name of the cookie that Traefik 1.7 makes of a backend's: ``_82b5f`` for ``sticky``."""
    digest = hashlib.sha1(f"{_STICKY_COOKIE}_{backend}".encode(errors="surrogatepass"), usedforsecurity=False)
    return f"_{digest.hexdigest()[:5]}"


def _load_balancer(given: LoadBalancer, problems: Problems) -> LoadBalancer:
    """Return what is in force of it."""
    method = given.method.lower()
    if method not in ("wrr", "drr"):
        text = f'load balancer method "{given.method}" is unknown, wrr is used; it has to be wrr or drr'
        problems.warning("loadBalancer.method", text)
        method = "wrr"
    stickiness = given.stickiness
    if stickiness is None and given.sticky:
        stickiness = Stickiness(cookie_name=_STICKY_COOKIE)
    if stickiness is not None:
        same_site = stickiness.same_site.lower()
        if same_site not in ("", "none", "lax", "strict"):
            text = f'"{stickiness.same_site}" is unknown and left out; it has to be none, lax or strict'
            problems.warning("loadBalancer.stickiness.sameSite", text)
            same_site = ""
        stickiness = stickiness.model_copy(update={"same_site": same_site})
    return given.model_copy(update={"method": method, "stickiness": stickiness})


def _sticky(backend: str, stickiness: Stickiness) -> parts.Sticky:
    return parts.Sticky.model_validate(
        {
            "cookie_name": _NOT_IN_COOKIE_NAMES.sub("_", stickiness.cookie_name) or cookie_name(backend),
            "secure": stickiness.secure,
            "http_only": stickiness.http_only,
            "same_site": stickiness.same_site,
        }
    )


def _health_check(
    given: HealthCheck | None, default_interval: float, problems: Problems
) -> tuple[parts.HealthCheck | None, HealthCheck | None]:
    if given is None or not given.path:
        return None, given
    interval, effective = default_interval, given
    try:
        if given.interval:
            interval = _interval(given.interval)
    except ValueError as error:
        problems.warning("healthCheck.interval", f"{error}; {default_interval:g}s is used")
        effective = given.model_copy(update={"interval": ""})
    path = problems.attempt("healthCheck.path", lambda: _check_path(given.path))
    port = problems.attempt("healthCheck.port", lambda: checks.not_negative(given.port, largest=65535))
    headers = problems.attempt("healthCheck.headers", lambda: checks.headers(given.headers))
    host = problems.attempt("healthCheck.hostname", lambda: _host(given.hostname))
    scheme = given.scheme.lower()
    if scheme not in ("", "http", "https"):
        problems.error("healthCheck.scheme", f'"{given.scheme}" is unknown; it has to be http or https')
    if problems.failed:
        return None, effective
    return parts.HealthCheck.model_validate(
        {
            "path": path,
            "scheme": scheme,
            "port": port,
            "host": host,
            "interval_ms": milliseconds(interval),
            "timeout_ms": milliseconds(HEALTH_CHECK_TIMEOUT),
            "headers": headers,
        }
    ), effective


def _interval(text: str) -> float:
    """Return seconds; 1.7 takes Go's form alone, so that ``10`` means nothing."""
    if _DIGITS.fullmatch(text):
        raise ValueError(f'"{text}" has no unit; write for example {text}s')
    seconds = parse_duration(text)
    if seconds <= 0:
        raise ValueError(f'"{text}" is not above 0')
    return seconds


def _check_path(text: str) -> str:
    if not text.isprintable() or " " in text or not text.isascii():
        raise ValueError("it contains blanks, control characters or characters that are not ASCII")
    if "://" in text.partition("?")[0] or text.startswith("//"):
        raise ValueError(f'"{text}" is not a path; write for example /health')
    return text if text.startswith("/") else f"/{text}"


def _host(text: str) -> str:
    host, colon, port = text.rpartition(":")
    name = host if colon and port.isdecimal() else text
    if text and not is_host(name) and not (name.startswith("[") and name.endswith("]") and checks.is_ipv6(name[1:-1])):
        raise ValueError(f"{text!a} is not a host; write for example www.example.com")
    return text


def _max_connections(backend: Backend, problems: Problems) -> parts.MaxConnections | None:
    given = backend.max_conn
    if given is None or given.amount == 0:
        return None
    amount = problems.attempt("maxConn.amount", lambda: checks.not_negative(given.amount))
    source = problems.attempt("maxConn.extractorFunc", lambda: checks.client_source(given.extractor_func))
    return None if amount is None or source is None else parts.MaxConnections(amount=amount, source=source)


def _circuit_breaker(backend: Backend, problems: Problems) -> parts.CircuitBreaker | None:
    given = backend.circuit_breaker
    if given is None:
        return None
    text = problems.attempt("circuitBreaker.expression", lambda: expressions.circuit_breaker(given.expression))
    return None if text is None else parts.CircuitBreaker(expression=text)


_SIZES = {
    "max_request_body_bytes": "maxRequestBodyBytes",
    "mem_request_body_bytes": "memRequestBodyBytes",
    "max_response_body_bytes": "maxResponseBodyBytes",
    "mem_response_body_bytes": "memResponseBodyBytes",
}


def _buffering(backend: Backend, problems: Problems) -> parts.Buffering | None:
    given = backend.buffering
    if given is None:
        return None
    values: dict[str, Any] = {}
    for field, key in _SIZES.items():
        size = getattr(given, field)
        values[field] = problems.attempt(f"buffering.{key}", lambda size=size: checks.not_negative(size))  # type: ignore[misc]
    if given.retry_expression:
        values["retry_expression"] = problems.attempt(
            "buffering.retryExpression", lambda: expressions.retry(given.retry_expression)
        )
    return None if problems.failed else parts.Buffering.model_validate(values)
