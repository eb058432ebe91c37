"""Middlewares of Traefik 2 and 3, one table each, to what they mean in the words of Traefik 1.7."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from traefikee.config.http_tables import MiddlewareTable
from traefikee.config.routers import RouterMiddleware
from traefikee.providers.layout import layout_of
from traefikee.providers.tables import TableReader

LAYOUT = layout_of(MiddlewareTable)
UNKNOWN = "unknown key, or one without an equivalent here:"
"""What keys are called that are not read: Traefik 2 has some that there is nothing for."""
_SPELT = {key.field: key.name for key in LAYOUT.children.values()}

Values: TypeAlias = dict[str, Any]


class MiddlewareReader(TableReader):
    """Reads one middleware."""

    unknown = UNKNOWN

    def __init__(self, provider: str, name: str) -> None:
        super().__init__(provider, "middleware", name)
        self.type = ""

    def read(self, value: object) -> RouterMiddleware | tuple[str, ...] | None:
        """Return the middleware, the names of a chain's, or None if it has an error."""
        values = self.table(value, LAYOUT)
        if values is None or self.failed:
            return None
        if len(values) != 1:
            given = ", ".join(_SPELT[field] for field in values)
            self.error("", f"it is more than one thing ({given})" if values else "it says nothing; give it a type")
            return None
        ((field, options),) = values.items()
        self.type = _SPELT[field]
        if field == "chain":
            return tuple(options.get("middlewares", ()))
        read: Callable[[MiddlewareReader, Values], Values] = _READERS[field]
        found = read(self, options)
        if self.failed:
            return None
        return RouterMiddleware.model_validate({"name": self.name, "type": self.type, **found})

    def wrong(self, key: str, message: str) -> None:
        """Add an error about one of its options."""
        path = f"{self.type}.{key}" if key else self.type
        self.error(path, f"{path}: {message}")

    def warn(self, key: str, message: str) -> None:
        """Add a warning about one of its options."""
        path = f"{self.type}.{key}"
        self.error(path, f"{path}: {message}", "warning")

    def needed(self, options: Values, field: str, key: str) -> Any:
        """Return an option that has to be there."""
        found = options.get(field)
        if not found:
            self.wrong(key, "it is missing")
        return found

    def source(self, options: Values, default: str) -> str:
        """Return who counts as one client (``sourceCriterion``)."""
        given = options.get("source_criterion") or {}
        if sum(bool(value) or field == "ip_strategy" for field, value in given.items()) > 1:
            self.wrong("sourceCriterion", "it names more than one thing")
        if given.get("request_header_name"):
            return f"request.header.{given['request_header_name']}"
        if given.get("request_host"):
            return "request.host"
        if "ip_strategy" in given:
            self.own_address(given, "sourceCriterion.ipStrategy")
            return "client.ip"
        return default

    def own_address(self, options: Values, key: str) -> None:
        """Refuse that another address than the client's own counts."""
        strategy = options.get("ip_strategy") or {}
        if strategy.get("depth") or strategy.get("excluded_ips"):
            self.wrong(key, "the client's own address counts; what X-Forwarded-For says cannot be counted in")


def _add_prefix(reader: MiddlewareReader, options: Values) -> Values:
    prefix = reader.needed(options, "prefix", "prefix") or "/"
    if not prefix.startswith("/"):
        reader.wrong("prefix", f'"{prefix}" does not start with a slash')
    return {"add_prefix": prefix}


def _strip_prefix(reader: MiddlewareReader, options: Values) -> Values:
    prefixes = reader.needed(options, "prefixes", "prefixes") or ()
    if not options.get("force_slash", True):
        reader.wrong("forceSlash", "a path always begins with a slash; leave it out")
    if not all(prefixes):
        reader.wrong("prefixes", "one of them is empty")
    return {"strip_prefix": prefixes}


def _strip_prefix_regex(reader: MiddlewareReader, options: Values) -> Values:
    return {"strip_prefix_regex": reader.needed(options, "regex", "regex")}


def _replace_path(reader: MiddlewareReader, options: Values) -> Values:
    path = reader.needed(options, "path", "path") or "/"
    if not path.startswith("/"):
        reader.wrong("path", f'"{path}" does not start with a slash')
    return {"replace_path": path}


def _replace_path_regex(reader: MiddlewareReader, options: Values) -> Values:
    reader.needed(options, "regex", "regex")
    return {"replace_path_regex": options}


def _headers(_reader: MiddlewareReader, options: Values) -> Values:
    found = dict(options)
    response = dict(found.get("custom_response_headers", {}))
    # Plain headers, which Traefik 1.7 has no options for.
    for field, header in (("permissions_policy", "Permissions-Policy"), ("feature_policy", "Feature-Policy")):
        value = found.pop(field, "")
        if value:
            response[header] = value
    return {"headers": found | ({"custom_response_headers": response} if response else {})}


def _ip_list(reader: MiddlewareReader, options: Values) -> Values:
    reader.needed(options, "source_range", "sourceRange")
    reader.own_address(options, "ipStrategy")
    return {"white_list": {"source_range": options.get("source_range", ())}}


def _users(method: str) -> Callable[[MiddlewareReader, Values], Values]:
    def read(reader: MiddlewareReader, options: Values) -> Values:
        found = dict(options)
        header, realm = found.pop("header_field", ""), found.pop("realm", "traefik")
        if realm and realm != "traefik":
            reader.warn("realm", 'the realm is always "traefik"')
        if not found.get("users") and not found.get("users_file"):
            reader.wrong("", "it names no users, and would let nobody in")
        return {"auth": {"header_field": header, method: found}}

    return read


def _forward_auth(reader: MiddlewareReader, options: Values) -> Values:
    reader.needed(options, "address", "address")
    return {"auth": {"forward": options}}


def _rate_limit(reader: MiddlewareReader, options: Values) -> Values:
    source = reader.source(options, "client.ip")
    average = options.get("average", 0)
    rate = {"average": average, "period": options.get("period", 1.0), "burst": options.get("burst", 1)}
    # Without an average Traefik 2 sets no limit.
    return {"rate_limit": {"extractor_func": source, "rate_set": {"rate": rate} if average else {}}}


def _redirect_scheme(reader: MiddlewareReader, options: Values) -> Values:
    scheme = (reader.needed(options, "scheme", "scheme") or "https").lower()
    if scheme not in ("http", "https"):
        reader.wrong("scheme", f'"{scheme}" is unknown; it has to be http or https')
    port = options.get("port", "")
    if port and not (port.isdecimal() and 0 < int(port) < 65536):
        reader.wrong("port", f'"{port}" is not a port')
    return {"redirect_scheme": options | {"scheme": scheme}}


def _redirect_regex(reader: MiddlewareReader, options: Values) -> Values:
    reader.needed(options, "regex", "regex")
    reader.needed(options, "replacement", "replacement")
    return {"redirect": options}


def _errors(reader: MiddlewareReader, options: Values) -> Values:
    reader.needed(options, "status", "status")
    service = reader.needed(options, "service", "service") or ""
    query = options.get("query", "")
    for placeholder in ("{url}", "{originalStatus}"):
        if placeholder in query:
            reader.wrong("query", f"{placeholder} is not known here; {{status}} is")
    return {"errors": {"status": options.get("status", ()), "backend": service, "query": query}}


def _compress(reader: MiddlewareReader, options: Values) -> Values:
    if options.get("excluded_content_types"):
        reader.wrong("excludedContentTypes", "it has no equivalent here")
    if options.get("min_response_body_bytes"):
        reader.warn("minResponseBodyBytes", "it has no effect: compression is the entry point's")
    return {"compress": True}


def _buffering(_reader: MiddlewareReader, options: Values) -> Values:
    return {"buffering": options}


def _circuit_breaker(reader: MiddlewareReader, options: Values) -> Values:
    reader.needed(options, "expression", "expression")
    return {"circuit_breaker": options}


def _retry(reader: MiddlewareReader, options: Values) -> Values:
    attempts = options.get("attempts", 0)
    option = f"retry.attempts={attempts}" if attempts else "retry.attempts"
    reader.wrong("", f"requests are tried again everywhere or nowhere here; use the static option {option}")
    return {}


def _client_cert(_reader: MiddlewareReader, options: Values) -> Values:
    return {"pass_tls_client_cert": {"pem": options.get("pem", False), "infos": options.get("info")}}


def _in_flight(reader: MiddlewareReader, options: Values) -> Values:
    reader.needed(options, "amount", "amount")
    return {"max_conn": {"amount": options.get("amount", 0), "extractor_func": reader.source(options, "request.host")}}


_READERS: Mapping[str, Callable[[MiddlewareReader, Values], Values]] = {
    "add_prefix": _add_prefix,
    "strip_prefix": _strip_prefix,
    "strip_prefix_regex": _strip_prefix_regex,
    "replace_path": _replace_path,
    "replace_path_regex": _replace_path_regex,
    "headers": _headers,
    "ip_white_list": _ip_list,
    "ip_allow_list": _ip_list,
    "basic_auth": _users("basic"),
    "digest_auth": _users("digest"),
    "forward_auth": _forward_auth,
    "rate_limit": _rate_limit,
    "redirect_scheme": _redirect_scheme,
    "redirect_regex": _redirect_regex,
    "errors": _errors,
    "compress": _compress,
    "buffering": _buffering,
    "circuit_breaker": _circuit_breaker,
    "retry": _retry,
    "pass_tls_client_cert": _client_cert,
    "in_flight_req": _in_flight,
}
