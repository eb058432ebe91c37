"""From the text of a rule to its matchers and modifiers (Traefik 1.7, "Matchers" and "Modifiers" of the basics page).

Grammar: ``expression {";" expression}`` with ``expression = Name ":" argument {"," argument}``. Expressions are
joined by AND, arguments by OR (by AND for ``Headers``, ``HeadersRegexp`` and ``Query``). Nothing can be escaped.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import TypeAlias

from traefikee.rules.model import (
    AddPrefix,
    Headers,
    HeadersRegexp,
    Host,
    HostRegexp,
    Matcher,
    Method,
    Modifier,
    Path,
    PathPattern,
    PathPrefix,
    Query,
    QueryPattern,
    ReplacePath,
    ReplacePathRegex,
    Rule,
    StripPrefix,
    StripPrefixRegex,
)
from traefikee.rules.regexp import RuleError, has_template, template, translate

_Parts: TypeAlias = tuple[Matcher | Modifier, ...]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HOST_DEFAULT = "[^.]+"
_PATH_DEFAULT = "[^/]+"
_QUERY_DEFAULT = ".*"


def parse_rule(text: str) -> Rule:
    """Return the matchers and modifiers of one rule.

    Names are case-sensitive. Blanks around names and arguments do not count, empty arguments and expressions are
    dropped, and each run of ``:`` counts as one.

    :raises RuleError: an unknown name, no or wrong arguments, a malformed template or regular expression. Its text
        names the part at fault and what is allowed.
    """
    matchers: list[Matcher] = []
    modifiers: list[Modifier] = []
    expressions = [part for part in text.split(";") if part.strip()]
    if not expressions:
        raise RuleError("the rule is empty; write for example Host:www.example.com")
    for expression in expressions:
        name, arguments = _split(expression)
        for part in _READERS[name](name, arguments):
            if isinstance(part, Matcher):
                matchers.append(part)
            else:
                modifiers.append(part)
    return Rule(text, tuple(matchers), tuple(modifiers))


def _split(expression: str) -> tuple[str, list[str]]:
    pieces = [piece for piece in expression.split(":") if piece]
    name = pieces[0].strip() if pieces else ""
    if name not in _READERS:
        raise RuleError(_unknown(name, expression))
    arguments = [argument.strip() for argument in ":".join(pieces[1:]).split(",")]
    arguments = [argument for argument in arguments if argument]
    if not arguments:
        raise RuleError(f'"{name}" has no argument; write for example {name}:{_EXAMPLES[name]}')
    return name, arguments


def _unknown(name: str, expression: str) -> str:
    if not name:
        return f'"{expression.strip()}" has no matcher before its ":"; write for example Host:www.example.com'
    by_folded = {known.lower(): known for known in NAMES}
    near = difflib.get_close_matches(name.lower(), by_folded, n=1, cutoff=0.6)
    if near:
        return f'unknown matcher "{name}"; did you mean "{by_folded[near[0]]}"?'
    return f'unknown matcher "{name}"; known are {", ".join(NAMES)}'


def _host(_name: str, arguments: list[str]) -> _Parts:
    return (Host(tuple(argument.lower() for argument in arguments)),)


def _host_regexp(_name: str, arguments: list[str]) -> _Parts:
    return (HostRegexp(tuple(f"(?i)^{template(argument, _HOST_DEFAULT)}$" for argument in arguments)),)


def _absolute(name: str, argument: str) -> str:
    if not argument.startswith("/"):
        raise RuleError(f'{name}: "{argument}" does not start with a slash; write /{argument}')
    return argument


def _path_pattern(name: str, argument: str, *, whole: bool) -> PathPattern:
    _absolute(name, argument)
    if not has_template(argument):
        return PathPattern(argument)
    return PathPattern(f"^{template(argument, _PATH_DEFAULT)}{'$' if whole else ''}", is_regexp=True)


def _paths(name: str, arguments: list[str]) -> Path:
    return Path(tuple(_path_pattern(name, argument, whole=True) for argument in arguments))


def _prefixes(name: str, arguments: list[str]) -> PathPrefix:
    return PathPrefix(tuple(_path_pattern(name, argument, whole=False) for argument in arguments))


def _longest_first(texts: list[str]) -> list[str]:
    return sorted(dict.fromkeys(texts), key=lambda text: -len(text.encode()))


def _strip(name: str, arguments: list[str]) -> StripPrefix:
    for argument in arguments:
        if has_template(argument):
            raise RuleError(f'{name}: "{argument}" has a template, which {name} cannot remove; use {name}Regex')
    return StripPrefix(tuple(_longest_first(arguments)))


def _strip_regex(arguments: list[str]) -> StripPrefixRegex:
    return StripPrefixRegex(tuple(f"^{template(text, _PATH_DEFAULT)}" for text in _longest_first(arguments)))


def _path(name: str, arguments: list[str]) -> _Parts:
    return (_paths(name, arguments),)


def _path_strip(name: str, arguments: list[str]) -> _Parts:
    return (_paths(name, arguments), _strip(name, arguments))


def _path_strip_regex(name: str, arguments: list[str]) -> _Parts:
    return (_paths(name, arguments), _strip_regex(arguments))


def _path_prefix(name: str, arguments: list[str]) -> _Parts:
    return (_prefixes(name, arguments),)


def _path_prefix_strip(name: str, arguments: list[str]) -> _Parts:
    return (_prefixes(name, arguments), _strip(name, arguments))


def _path_prefix_strip_regex(name: str, arguments: list[str]) -> _Parts:
    return (_prefixes(name, arguments), _strip_regex(arguments))


def _method(name: str, arguments: list[str]) -> _Parts:
    for argument in arguments:
        if not _TOKEN.fullmatch(argument):
            raise RuleError(f'{name}: "{argument}" is not an HTTP method')
    return (Method(tuple(argument.upper() for argument in arguments)),)


def _header_pairs(name: str, arguments: list[str]) -> list[tuple[str, str]]:
    if len(arguments) % 2:
        extra = "; HeadersRegexp:Name, .* asks for the header alone" if name == "Headers" else ""
        raise RuleError(f'{name}: header "{arguments[-1]}" has no value; write {name}:{_EXAMPLES[name]}{extra}')
    pairs = list(zip(arguments[::2], arguments[1::2], strict=True))
    for key, _ in pairs:
        if not _TOKEN.fullmatch(key):
            raise RuleError(f'{name}: "{key}" is not a header name')
    return [("-".join(word[:1].upper() + word[1:].lower() for word in key.split("-")), value) for key, value in pairs]


def _headers(name: str, arguments: list[str]) -> _Parts:
    return (Headers(tuple(_header_pairs(name, arguments))),)


def _headers_regexp(name: str, arguments: list[str]) -> _Parts:
    return (HeadersRegexp(tuple((key, translate(value)) for key, value in _header_pairs(name, arguments))),)


def _query_pattern(name: str, argument: str) -> QueryPattern:
    pieces = argument.split("=")
    if len(pieces) != 2 or not pieces[0]:
        raise RuleError(f'{name}: "{argument}" is not of the form key=value (with exactly one "=")')
    key, value = pieces
    if has_template(key):
        raise RuleError(f'{name}: the key in "{argument}" has a template; only the value may have one')
    if not value:
        return QueryPattern(key)
    if not has_template(value):
        return QueryPattern(key, exact=value)
    regexp = template(value, _QUERY_DEFAULT)
    return QueryPattern(key) if regexp == "(?:.*)" else QueryPattern(key, regexp=f"^{regexp}$")


def _query(name: str, arguments: list[str]) -> _Parts:
    return (Query(tuple(_query_pattern(name, argument) for argument in arguments)),)


def _add_prefix(name: str, arguments: list[str]) -> _Parts:
    return (AddPrefix(_absolute(name, arguments[-1])),)


def _replace_path(name: str, arguments: list[str]) -> _Parts:
    return (ReplacePath(_absolute(name, arguments[-1])),)


def _replace_path_regex(name: str, arguments: list[str]) -> _Parts:
    pieces = arguments[-1].split(" ")
    if len(pieces) != 2:
        raise RuleError(
            f'{name}: "{arguments[-1]}" is not a regular expression and a replacement with one blank between'
        )
    return (ReplacePathRegex(translate(pieces[0]), pieces[1]),)


_READERS: dict[str, Callable[[str, list[str]], _Parts]] = {
    "Host": _host,
    "HostRegexp": _host_regexp,
    "Path": _path,
    "PathStrip": _path_strip,
    "PathStripRegex": _path_strip_regex,
    "PathPrefix": _path_prefix,
    "PathPrefixStrip": _path_prefix_strip,
    "PathPrefixStripRegex": _path_prefix_strip_regex,
    "AddPrefix": _add_prefix,
    "ReplacePath": _replace_path,
    "ReplacePathRegex": _replace_path_regex,
    "Method": _method,
    "Headers": _headers,
    "HeadersRegexp": _headers_regexp,
    "Query": _query,
}

NAMES: tuple[str, ...] = tuple(_READERS)
"""Every matcher and modifier of the language, as it has to be written."""

_EXAMPLES = {
    "Host": "www.example.com",
    "HostRegexp": "{name:[a-z]+}.example.com",
    "Path": "/products",
    "PathStrip": "/products",
    "PathStripRegex": "/products/{id:[0-9]+}",
    "PathPrefix": "/products",
    "PathPrefixStrip": "/products",
    "PathPrefixStripRegex": "/products/{id:[0-9]+}",
    "AddPrefix": "/api",
    "ReplacePath": "/api",
    "ReplacePathRegex": "^/api/(.*) /$1",
    "Method": "GET",
    "Headers": "Content-Type, application/json",
    "HeadersRegexp": "Content-Type, application/(text|json)",
    "Query": "mobile=true",
}
