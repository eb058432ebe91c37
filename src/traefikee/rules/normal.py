"""Logic of rules: any nesting of and, or and not as alternatives, of each of which all matchers have to match."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import TypeAlias

from traefikee.rules.model import (
    AnyMatcher,
    ClientIP,
    Host,
    HostRegexp,
    Matcher,
    Method,
    Path,
    PathPattern,
    PathPrefix,
    Unless,
)
from traefikee.rules.regexp import RuleError

MOST_ALTERNATIVES = 64

Alternative: TypeAlias = tuple[AnyMatcher, ...]


@dataclass(frozen=True, slots=True)
class Is:
    """One matcher."""

    matcher: AnyMatcher


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    node: Node


@dataclass(frozen=True, slots=True)
class All:
    """All of them."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Any:
    """At least one of them."""

    nodes: tuple[Node, ...]


Node: TypeAlias = Is | Not | All | Any


def alternatives(node: Node) -> tuple[Alternative, ...]:
    """Return alternatives that together match what the node does: its disjunctive normal form.

    Matchers of one kind that are joined by "or" become one, whose values are alternatives.

    :raises RuleError: there are more than :data:`MOST_ALTERNATIVES`.
    """
    return tuple(_alternatives(node, negated=False))


def _alternatives(node: Node, *, negated: bool) -> list[Alternative]:
    match node:
        case Is(matcher):
            return [(_negated(matcher) if negated else matcher,)]
        case Not(inner):
            return _alternatives(inner, negated=not negated)
        case All(nodes) | Any(nodes):
            found = [_alternatives(one, negated=negated) for one in nodes]
            # De Morgan: the opposite of all is any of the opposites.
            return _all(found) if isinstance(node, All) is not negated else _any(found)


def _negated(matcher: AnyMatcher) -> AnyMatcher:
    return matcher.matcher if isinstance(matcher, Unless) else Unless(matcher)


def _all(parts: list[list[Alternative]]) -> list[Alternative]:
    number = 1
    for part in parts:
        number *= len(part)
        _check(number)
    return [
        tuple(dict.fromkeys(matcher for alternative in chosen for matcher in alternative)) for chosen in product(*parts)
    ]


def _any(parts: list[list[Alternative]]) -> list[Alternative]:
    found = list(_merged(alternative for part in parts for alternative in part))
    _check(len(found))
    return found


def _check(number: int) -> None:
    if number > MOST_ALTERNATIVES:
        text = f"the rule stands for more than {MOST_ALTERNATIVES} combinations of matchers"
        raise RuleError(f"{text}; write several routers, or one matcher with a regular expression")


def _merged(found: Iterable[Alternative]) -> Iterable[Alternative]:
    """Give each alternative once; single matchers of one kind become one."""
    kinds: dict[object, AnyMatcher] = {}
    for alternative in found:
        kind = _kind(alternative[0]) if len(alternative) == 1 else None
        if kind is None:
            kinds.setdefault(alternative, alternative[0])
        elif kind in kinds:
            kinds[kind] = _joined(kinds[kind], alternative[0])
        else:
            kinds[kind] = alternative[0]
    for key, matcher in kinds.items():
        yield key if isinstance(key, tuple) and matcher in key else (matcher,)


def _kind(matcher: AnyMatcher) -> object:
    """Return what matchers have in common that can become one, or None."""
    if isinstance(matcher, Host | HostRegexp | Method | ClientIP):
        return type(matcher).__name__
    if isinstance(matcher, Path):
        return f"Path {_is_regexp(matcher.paths)}"
    if isinstance(matcher, PathPrefix):
        return f"PathPrefix {_is_regexp(matcher.prefixes)}"
    return None


def _is_regexp(patterns: tuple[PathPattern, ...]) -> bool:
    """Tell whether an expression is among them: plain texts stay by themselves, since they are found quickly."""
    return any(pattern.is_regexp for pattern in patterns)


def _joined(one: AnyMatcher, other: AnyMatcher) -> Matcher:
    match one, other:
        case Host(a), Host(b):
            return Host(tuple(dict.fromkeys((*a, *b))))
        case HostRegexp(a), HostRegexp(b):
            return HostRegexp(tuple(dict.fromkeys((*a, *b))))
        case Method(a), Method(b):
            return Method(tuple(dict.fromkeys((*a, *b))))
        case ClientIP(a), ClientIP(b):
            return ClientIP(tuple(dict.fromkeys((*a, *b))))
        case Path(c), Path(d):
            return Path(tuple(dict.fromkeys((*c, *d))))
        case PathPrefix(c), PathPrefix(d):
            return PathPrefix(tuple(dict.fromkeys((*c, *d))))
    raise TypeError(f"{one} and {other} cannot be one")
