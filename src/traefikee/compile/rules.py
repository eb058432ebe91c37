"""From parsed rules to the snapshot's matchers and modifiers."""

from __future__ import annotations

from collections.abc import Sequence

from traefikee import rules
from traefikee.compile import snapshot as snap


def any_matcher(parsed: rules.AnyMatcher) -> snap.Matcher:
    """Return the snapshot's form of a matcher of Traefik 2, where paths with and without their last slash differ."""
    if isinstance(parsed, rules.Unless):
        return snap.NotMatcher(matcher=matcher(parsed.matcher, keep_trailing_slash=True))
    return matcher(parsed, keep_trailing_slash=True)


def matcher(parsed: rules.Matcher, *, keep_trailing_slash: bool) -> snap.PositiveMatcher:
    """Return the snapshot's form of one matcher."""
    match parsed:
        case rules.Host(hosts):
            return snap.HostMatcher(hosts=hosts)
        case rules.HostRegexp(patterns):
            return snap.HostRegexpMatcher(patterns=patterns)
        case rules.Path(paths):
            return snap.PathMatcher(paths=_texts(paths), redirect_slash=not keep_trailing_slash)
        case rules.PathPrefix(prefixes):
            return snap.PathPrefixMatcher(prefixes=_texts(prefixes))
        case rules.Method(methods):
            return snap.MethodMatcher(methods=methods)
        case rules.Headers(pairs):
            return snap.HeadersMatcher(pairs=pairs)
        case rules.HeadersRegexp(pairs):
            return snap.HeadersRegexpMatcher(pairs=pairs)
        case rules.Query(queries):
            return snap.QueryMatcher(pairs=tuple(_query(query) for query in queries))
        case rules.ClientIP(ranges):
            return snap.ClientIPMatcher(ranges=ranges)


def _texts(patterns: Sequence[rules.PathPattern]) -> tuple[snap.TextPattern, ...]:
    return tuple(
        snap.RegexpText(regexp=pattern.text) if pattern.is_regexp else snap.ExactText(exact=pattern.text)
        for pattern in patterns
    )


def _query(query: rules.QueryPattern) -> snap.QueryExact | snap.QueryRegexp | snap.QueryPresent:
    if query.exact is not None:
        return snap.QueryExact(key=query.key, exact=query.exact)
    if query.regexp is not None:
        return snap.QueryRegexp(key=query.key, regexp=query.regexp)
    return snap.QueryPresent(key=query.key)


def modifiers(parsed: Sequence[rules.Modifier]) -> tuple[snap.Modifier, ...]:
    """Return the modifiers of a frontend in the order in which they are applied, whatever the order of the text.

    Each kind works at most once; of several the last one counts (Traefik 1.7).
    """
    last = {type(modifier): modifier for modifier in parsed}
    order = (
        rules.StripPrefixRegex,
        rules.StripPrefix,
        rules.AddPrefix,
        rules.ReplacePathRegex,
        rules.ReplacePath,
    )
    return tuple(_modifier(last[kind]) for kind in order if kind in last)


def _modifier(parsed: rules.Modifier) -> snap.Modifier:
    match parsed:
        case rules.StripPrefixRegex(patterns):
            return snap.StripPrefixRegexModifier(patterns=patterns)
        case rules.StripPrefix(prefixes):
            return snap.StripPrefixModifier(prefixes=prefixes)
        case rules.AddPrefix(prefix):
            return snap.AddPrefixModifier(prefix=prefix)
        case rules.ReplacePathRegex(pattern, replacement):
            return snap.ReplacePathRegexModifier(pattern=pattern, replacement=replacement)
        case rules.ReplacePath(path):
            return snap.ReplacePathModifier(path=path)
