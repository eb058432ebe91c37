from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traefikee.rules import (
    NAMES,
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
    RuleError,
    StripPrefix,
    StripPrefixRegex,
    parse_rule,
)

PARTS: list[tuple[str, list[Matcher | Modifier]]] = [
    ("Host:A.Example", [Host(("a.example",))]),
    ("Host:a,b", [Host(("a", "b"))]),
    ("Host: a , b ,, ", [Host(("a", "b"))]),
    ("Host::a", [Host(("a",))]),
    (" Host : a ", [Host(("a",))]),
    ("Host:a;Host:b", [Host(("a",)), Host(("b",))]),
    ("Host:a;;", [Host(("a",))]),
    ("HostRegexp:{sub:[a-z]+}.example.com", [HostRegexp(("(?i)^(?:[a-z]+)\\.example\\.com$",))]),
    ("HostRegexp:{sub}.com,x", [HostRegexp(("(?i)^(?:[^.]+)\\.com$", "(?i)^x$"))]),
    ("HostRegexp:{x:(?:a|b)}", [HostRegexp(("(?i)^(?:(?:a|b))$",))]),
    ("Path:/a", [Path((PathPattern("/a"),))]),
    ("Path:/a/{id}", [Path((PathPattern("^/a/(?:[^/]+)$", is_regexp=True),))]),
    ("Path:/{n:[0-9]{3}}", [Path((PathPattern("^/(?:[0-9]{3})$", is_regexp=True),))]),
    ("PathPrefix:/a,/{v}", [PathPrefix((PathPattern("/a"), PathPattern("^/(?:[^/]+)", is_regexp=True)))]),
    ("PathStrip:/a,/abc", [Path((PathPattern("/a"), PathPattern("/abc"))), StripPrefix(("/abc", "/a"))]),
    (
        "PathStripRegex:/a/{n:[0-9]+}",
        [Path((PathPattern("^/a/(?:[0-9]+)$", is_regexp=True),)), StripPrefixRegex(("^/a/(?:[0-9]+)",))],
    ),
    ("PathPrefixStrip:/api/", [PathPrefix((PathPattern("/api/"),)), StripPrefix(("/api/",))]),
    (
        "PathPrefixStripRegex:/a.b,/longer",
        [PathPrefix((PathPattern("/a.b"), PathPattern("/longer"))), StripPrefixRegex(("^/longer", "^/a\\.b"))],
    ),
    ("AddPrefix:/a", [AddPrefix("/a")]),
    ("AddPrefix:/a,/b", [AddPrefix("/b")]),
    ("ReplacePath:/a,/b", [ReplacePath("/b")]),
    ("ReplacePathRegex:^/a/(.*) /b/$1", [ReplacePathRegex("^/a/(.*)", "/b/$1")]),
    ("Method:get,POST", [Method(("GET", "POST"))]),
    ("Headers:x-request-id,A b", [Headers((("X-Request-Id", "A b"),))]),
    ("Headers:X-A,1,x-b,2", [Headers((("X-A", "1"), ("X-B", "2")))]),
    ("HeadersRegexp:accept,text/.*", [HeadersRegexp((("Accept", "text/.*"),))]),
    ("Headers:X-A,http://h", [Headers((("X-A", "http://h"),))]),
    ("Query:a=b", [Query((QueryPattern("a", exact="b"),))]),
    ("Query:a=", [Query((QueryPattern("a"),))]),
    ("Query:a={x}", [Query((QueryPattern("a"),))]),
    ("Query:a={x:[0-9]+},b=c", [Query((QueryPattern("a", regexp="^(?:[0-9]+)$"), QueryPattern("b", exact="c")))]),
]


@pytest.mark.parametrize(("text", "parts"), PARTS, ids=[text for text, _ in PARTS])
def test_parts(text: str, parts: list[Matcher | Modifier]) -> None:
    rule = parse_rule(text)
    assert rule.text == text
    assert [*rule.matchers, *rule.modifiers] == parts


def test_matchers_and_modifiers_keep_their_order() -> None:
    rule = parse_rule("AddPrefix:/x;Method:GET;ReplacePath:/y;Host:a")
    assert rule.matchers == (Method(("GET",)), Host(("a",)))
    assert rule.modifiers == (AddPrefix("/x"), ReplacePath("/y"))


ERRORS = [
    ("", "the rule is empty; write for example Host:www.example.com"),
    ("  ", "the rule is empty; write for example Host:www.example.com"),
    (":::", '":::" has no matcher before its ":"; write for example Host:www.example.com'),
    ("host:a", 'unknown matcher "host"; did you mean "Host"?'),
    ("PATHPREFIX:/a", 'unknown matcher "PATHPREFIX"; did you mean "PathPrefix"?'),
    ("Hostregex:a", 'unknown matcher "Hostregex"; did you mean "HostRegexp"?'),
    ("Host", '"Host" has no argument; write for example Host:www.example.com'),
    ("Host: , ", '"Host" has no argument; write for example Host:www.example.com'),
    ("Host:a;Path:b", 'Path: "b" does not start with a slash; write /b'),
    ("Headers:A,1,B", 'Headers: header "B" has no value; write Headers:Content-Type, application/json; '
                      "HeadersRegexp:Name, .* asks for the header alone"),
    ("Path:/{a:[0-9]{1,3}}", '"/{a:[0-9]{1" has a "{" without its "}" (a "," or ";" always ends an argument)'),
    ("PathStrip:/{a}", 'PathStrip: "/{a}" has a template, which PathStrip cannot remove; use PathStripRegex'),
    ("Query:a==b", 'Query: "a==b" is not of the form key=value (with exactly one "=")'),
    ("ReplacePathRegex:^/a", 'ReplacePathRegex: "^/a" is not a regular expression and a replacement with one blank '
                             "between"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), ERRORS)
def test_errors(text: str, message: str) -> None:
    with pytest.raises(RuleError, match=f"^{re.escape(message)}$"):
        parse_rule(text)


@given(st.text())
def test_any_text_is_a_rule_or_a_rule_error(text: str) -> None:
    try:
        rule = parse_rule(text)
    except RuleError:
        return
    assert rule.matchers or rule.modifiers


_pieces = st.sampled_from(
    [*NAMES, ":", ",", ";", "{", "}", "/", "[", "]", "(", ")", "\\", "=", " ", "a", "-", "&", "\\Q"]
)


@given(st.sampled_from(NAMES), st.lists(_pieces))
def test_anything_made_of_the_languages_pieces_is_a_rule_or_a_rule_error(name: str, pieces: list[str]) -> None:
    with contextlib.suppress(RuleError):
        parse_rule(f"{name}:{''.join(pieces)}")


@given(st.lists(st.from_regex(r"[a-z0-9.-]+", fullmatch=True), min_size=1))
def test_hosts_survive(hosts: list[str]) -> None:
    assert parse_rule(f"Host:{','.join(hosts)}").matchers == (Host(tuple(hosts)),)
