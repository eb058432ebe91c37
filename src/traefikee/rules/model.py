"""What a parsed rule consists of. Regular expressions are texts in the syntax of Rust's ``regex`` crate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class PathPattern:
    """One path or path prefix: a plain text, or an anchored regular expression when the argument had a template."""

    text: str
    is_regexp: bool = False


@dataclass(frozen=True, slots=True)
class QueryPattern:
    """One ``key=value`` of ``Query``: its value is compared (``exact``), matched (``regexp``), or only has to exist."""

    key: str
    exact: str | None = None
    regexp: str | None = None


@dataclass(frozen=True, slots=True)
class Host:
    """The request's host, without its port, is one of these (lower case)."""

    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HostRegexp:
    """The request's host, without its port, matches one of these anchored, case-insensitive patterns."""

    patterns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Path:
    """The whole decoded path is one of these."""

    paths: tuple[PathPattern, ...]


@dataclass(frozen=True, slots=True)
class PathPrefix:
    """The decoded path begins with one of these; a plain prefix does not end at a slash."""

    prefixes: tuple[PathPattern, ...]


@dataclass(frozen=True, slots=True)
class Method:
    """The request's method is one of these (upper case)."""

    methods: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Headers:
    """Every named header has a value equal to the given one. Names are in canonical form (``X-Request-Id``)."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class HeadersRegexp:
    """Every named header has a value in which the pattern is found (not anchored)."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Query:
    """Every key's first value in the query fits its pattern."""

    pairs: tuple[QueryPattern, ...]


@dataclass(frozen=True, slots=True)
class ClientIP:
    """The client's address is one of these, or in one of these networks. Not in Traefik 1.7."""

    ranges: tuple[str, ...]


Matcher: TypeAlias = Host | HostRegexp | Path | PathPrefix | Method | Headers | HeadersRegexp | Query | ClientIP


@dataclass(frozen=True, slots=True)
class Unless:
    """The matcher does not match. Not in Traefik 1.7."""

    matcher: Matcher


AnyMatcher: TypeAlias = Matcher | Unless


@dataclass(frozen=True, slots=True)
class StripPrefix:
    """Remove the first of these prefixes that the path begins with; longest first."""

    prefixes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StripPrefixRegex:
    """Remove what the first of these patterns matches at the path's start; longest template first."""

    patterns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AddPrefix:
    """Put this before the path."""

    prefix: str


@dataclass(frozen=True, slots=True)
class ReplacePathRegex:
    """Replace every match of the pattern in the path; the replacement may refer to groups (``$1``, ``${1}``)."""

    pattern: str
    replacement: str


@dataclass(frozen=True, slots=True)
class ReplacePath:
    """The path becomes this."""

    path: str


Modifier: TypeAlias = StripPrefix | StripPrefixRegex | AddPrefix | ReplacePathRegex | ReplacePath


@dataclass(frozen=True, slots=True)
class Rule:
    """One parsed rule. ``text`` is as written (its length in bytes is the frontend's default priority).

    All matchers have to match. Of modifiers of the same type the last one counts.
    """

    text: str
    matchers: tuple[Matcher, ...]
    modifiers: tuple[Modifier, ...]
