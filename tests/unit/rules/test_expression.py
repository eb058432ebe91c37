"""Rules of Traefik 2 and 3."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traefikee.rules import (
    AnyMatcher,
    ClientIP,
    Headers,
    HeadersRegexp,
    Host,
    HostRegexp,
    Method,
    Path,
    PathPattern,
    PathPrefix,
    Query,
    QueryPattern,
    RuleError,
    Syntax,
    Unless,
    parse_expression,
)
from traefikee.rules.normal import All, Any, Is, Node, Not, alternatives

A, B = Host(("a",)), Host(("b",))
X, Y = PathPrefix((PathPattern("/x"),)), Method(("GET",))


@pytest.mark.parametrize(
    ("text", "matcher"),
    [
        ("Host(`a`)", A),
        ('Host("A")', A),
        ("host(`a`)", A),
        ("HOST ( `a` , `b.` )", Host(("a", "b"))),
        ("HostHeader(`a`)", A),
        ("HostRegexp(`^[a-z]{2}\\.a$`)", HostRegexp(("(?i)^[a-z]{2}\\.a$",))),
        ("HostRegexp(`{x:[a-z]{2}}.a`)", HostRegexp(("(?i)^(?:[a-z]{2})\\.a$",))),
        ("HostRegexp(`{x}.a`, `b`)", HostRegexp(("(?i)^(?:[^.]+)\\.a$", "(?i)b"))),
        ("Path(`/a`)", Path((PathPattern("/a"),))),
        ("Path(`/a/{id:[0-9]+}`)", Path((PathPattern("^/a/(?:[0-9]+)$", is_regexp=True),))),
        ("PathPrefix(`/a`,`/b`)", PathPrefix((PathPattern("/a"), PathPattern("/b")))),
        ("PathPrefix(`/{x}`)", PathPrefix((PathPattern("^/(?:[^/]+)", is_regexp=True),))),
        ("PathRegexp(`\\.(jpg|png)$`)", Path((PathPattern("\\.(jpg|png)$", is_regexp=True),))),
        ("Method(`get`, `POST`)", Method(("GET", "POST"))),
        ("Headers(`x-a`, `1`)", Headers((("X-A", "1"),))),
        ("Header(`X-A`, `1`)", Headers((("X-A", "1"),))),
        ("HeadersRegexp(`x-a`, `\\d`)", HeadersRegexp((("X-A", "[0-9]"),))),
        ("HeaderRegexp(`x-a`, `1`)", HeadersRegexp((("X-A", "1"),))),
        ("Query(`a=b`, `c=`)", Query((QueryPattern("a", exact="b"), QueryPattern("c")))),
        ("Query(`a`, `b`)", Query((QueryPattern("a", exact="b"),))),
        ("Query(`a`)", Query((QueryPattern("a"),))),
        ("QueryRegexp(`a`, `^b`)", Query((QueryPattern("a", regexp="^b"),))),
        ("ClientIP(`10.0.0.0/8`, `::1`)", ClientIP(("10.0.0.0/8", "::1"))),
        ("!Host(`a`)", Unless(A)),
        ("!!Host(`a`)", A),
        ('Path("/\\"\\u00e9")', Path((PathPattern('/"é'),))),
    ],
)
def test_a_matcher(text: str, matcher: AnyMatcher) -> None:
    assert parse_expression(text) == ((matcher,),)


@pytest.mark.parametrize(
    ("syntax", "text", "matcher"),
    [
        ("v2", "HostRegexp(`a.b`)", HostRegexp(("(?i)^a\\.b$",))),
        ("v3", "HostRegexp(`a.b`)", HostRegexp(("(?i)a.b",))),
        ("v2", "Query(`a`)", Query((QueryPattern("a"),))),
        ("v3", "Query(`a=b`)", Query((QueryPattern("a=b"),))),
        ("v3", "Path(`/{id}`)", Path((PathPattern("/{id}"),))),
    ],
)
def test_versions_that_differ(syntax: Syntax, text: str, matcher: AnyMatcher) -> None:
    assert parse_expression(text, syntax) == ((matcher,),)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Host(`a`) && PathPrefix(`/x`)", [(A, X)]),
        ("Host(`a`) || Host(`b`)", [(Host(("a", "b")),)]),
        ("Host(`a`) || Host(`b`) || PathPrefix(`/x`)", [(Host(("a", "b")),), (X,)]),
        ("Host(`a`) || PathPrefix(`/x`) && Method(`GET`)", [(A,), (X, Y)]),
        ("(Host(`a`) || PathPrefix(`/x`)) && Method(`GET`)", [(A, Y), (X, Y)]),
        ("!(Host(`a`) && PathPrefix(`/x`))", [(Unless(A),), (Unless(X),)]),
        ("!(Host(`a`) || PathPrefix(`/x`))", [(Unless(A), Unless(X))]),
        ("Host(`a`) && Host(`a`) || Host(`a`)", [(A,)]),
        ("(Host(`a`) && Method(`GET`)) || (Host(`a`) && Method(`GET`))", [(A, Y)]),
    ],
)
def test_alternatives(text: str, wanted: list[tuple[AnyMatcher, ...]]) -> None:
    assert list(parse_expression(text)) == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the rule is empty; write for example Host(`www.example.com`)"),
        ("Hots(`a`)", 'unknown matcher "Hots"; did you mean "Host"? (at character 1)'),
        ("Host(`a`) && HostSNI(`*`)", "HostSNI is a matcher of TCP routers, which are not supported (at character 14)"),
        ("Host:a", "':' has no meaning in a rule (at character 5)"),
        ("Host(a)", '"a": the texts of Host are written in ` or ", separated by commas: Host(`www.example.com`) '
         "(at character 6)"),
        ("Host('a')", 'texts are written in ` or in " (at character 6)'),
        ("Host(`a)", "a text begins with ` and does not end (at character 6)"),
        ("Host(`a`) & Path(`/`)", "write && (at character 11)"),
        ("Host(`a`) Path(`/`)", '"Path": && or || is missing before it (at character 11)'),
        ("Host(`a`) &&", "the rule ends: a matcher such as Host(`www.example.com`) is missing before it "
         "(at character 13)"),
        ("(Host(`a`)", 'the rule ends: a ")" is missing before it (at character 11)'),
        ("Host(`a`))", '")": it is not expected here (at character 10)'),
        ("Host", "the rule ends: Host needs its texts in brackets: Host(`www.example.com`) (at character 5)"),
        ("Host()", "Host: a text is missing (at character 1)"),
        ("Host(`a:80`)", 'Host: "a:80" is not a host name; HostRegexp takes patterns, and ports do not count '
         "(at character 1)"),
        ("Path(`x`)", 'Path: "x" does not start with a slash (at character 1)'),
        ("Method(`G T`)", 'Method: "G T" is not an HTTP method (at character 1)'),
        ("Headers(`a`)", "Headers: it takes two texts, a name and a value (at character 1)"),
        ("Headers(`a b`, `c`)", 'Headers: "a b" is not a header name (at character 1)'),
        ("PathRegexp(`(`)", 'PathRegexp: regular expression "(" has a "(" without its ")" (at character 1)'),
        ("ClientIP(`10.0.0.0/255.0.0.0`)", 'ClientIP: "10.0.0.0/255.0.0.0" is neither an IP address nor a network such '
         "as 10.0.0.0/8 (at character 1)"),
        ("Query(`a`,`b`,`c`)", "Query: it takes a key, and perhaps a value (at character 1)"),
        ('Path("/\\q")', '"/\\q" has an escape that is not known; write it in ` (at character 6)'),
    ],
)  # fmt: skip
def test_errors_say_what_and_where(text: str, message: str) -> None:
    with pytest.raises(RuleError) as caught:
        parse_expression(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("syntax", "text", "message"),
    [
        ("v2", "PathRegexp(`a`)", "PathRegexp is not a matcher of Traefik 2"),
        ("v3", "Headers(`a`, `b`)", "Headers is not a matcher of Traefik 3"),
        ("v3", "Host(`a`, `b`)", "Host: it takes one text; join several matchers by ||"),
    ],
)
def test_the_version_can_be_said(syntax: Syntax, text: str, message: str) -> None:
    parse_expression(text)
    with pytest.raises(RuleError, match=r"^" + message.replace("|", "\\|")):
        parse_expression(text, syntax)


def test_rules_are_bounded() -> None:
    pair = "(Host(`a`) || Path(`/{0}`))"
    parse_expression(" && ".join(pair.replace("{0}", str(number)) for number in range(6)))
    with pytest.raises(RuleError, match="more than 64 combinations"):
        parse_expression(" && ".join(pair.replace("{0}", str(number)) for number in range(7)))
    with pytest.raises(RuleError, match="nest deeper than 40"):
        parse_expression("(" * 41 + "Host(`a`)" + ")" * 41)
    with pytest.raises(RuleError, match="more than 16384 characters"):
        parse_expression(" " * 16385)


LETTERS = [Host((letter,)) for letter in "ab"] + [Headers((("X", letter),)) for letter in "cd"]


def nodes() -> st.SearchStrategy[Node]:
    leaf: st.SearchStrategy[Node] = st.sampled_from(LETTERS).map(Is)
    several = 3

    def larger(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
        lists = st.lists(inner, min_size=1, max_size=several).map(tuple)
        return st.one_of(inner.map(Not), lists.map(All), lists.map(Any))

    return st.recursive(leaf, larger, max_leaves=6)


def holds(node: Node, true: frozenset[AnyMatcher]) -> bool:
    match node:
        case Is(matcher):
            return matcher in true
        case Not(inner):
            return not holds(inner, true)
        case All(inner):
            return all(holds(one, true) for one in inner)
        case Any(inner):
            return any(holds(one, true) for one in inner)


def matches(matcher: AnyMatcher, true: frozenset[AnyMatcher]) -> bool:
    if isinstance(matcher, Unless):
        return not matches(matcher.matcher, true)
    if isinstance(matcher, Host):
        return any(Host((host,)) in true for host in matcher.hosts)
    return matcher in true


@given(nodes())
def test_alternatives_match_what_the_rule_does(node: Node) -> None:
    try:
        found = alternatives(node)
    except RuleError:
        return
    for number in range(len(LETTERS) + 1):
        for chosen in itertools.combinations(LETTERS, number):
            true: frozenset[AnyMatcher] = frozenset(chosen)
            got = any(all(matches(one, true) for one in alternative) for alternative in found)
            assert got == holds(node, true)


@given(st.text(alphabet='ab`"(),!&|\\ HostPath/:{}', max_size=40))
def test_any_text_is_a_rule_or_an_error(text: str) -> None:
    with contextlib.suppress(RuleError):
        assert parse_expression(text)
