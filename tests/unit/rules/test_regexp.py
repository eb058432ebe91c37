from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traefikee.rules.regexp import RuleError, escape, template, translate


@given(st.text())
def test_an_escaped_text_matches_itself_alone(text: str) -> None:
    pattern = re.compile(escape(text))
    assert pattern.fullmatch(text)
    assert not pattern.fullmatch(text + "x")


def test_only_characters_that_rust_allows_are_escaped() -> None:
    assert escape("a b/c<d>'é%=,:;\"!@`") == "a b/c<d>'é%=,:;\"!@`"
    assert escape("a.b-c{d}#&~") == "a\\.b\\-c\\{d\\}\\#\\&\\~"


@pytest.mark.parametrize(
    ("go", "rust"),
    [
        ("", ""),
        ("a|b", "a|b"),
        (r"\d+", "[0-9]+"),
        (r"\D", "[^0-9]"),
        (r"\w\W", "[0-9A-Za-z_][^0-9A-Za-z_]"),
        (r"[\d-]", "[[0-9]-]"),
        (r"\bx", r"(?-u:\b)x"),
        (r"\Qa.b\E+", r"a\.b+"),
        (r"\Qa.b", r"a\.b"),
        ("[[a]", r"[\[a]"),
        ("[]a]", r"[\]a]"),
        ("[^]a]", r"[^\]a]"),
        ("[[:alpha:]_]", "[[:alpha:]_]"),
        ("[a&&b~~c]", r"[a\&\&b\~\~c]"),
        ("[a-z-]", "[a-z-]"),
        (r"[\]]", r"[\]]"),
        (r"\(\[", r"\(\["),
        ("(?:a(?i)b)", "(?:a(?i)b)"),
        ("[(]", "[(]"),
    ],
)
def test_translation(go: str, rust: str) -> None:
    assert translate(go) == rust


@pytest.mark.parametrize(
    ("go", "message"),
    [
        ("(a", 'regular expression "(a" has a "(" without its ")"'),
        ("a)(", 'regular expression "a)(" has a ")" without its "("'),
        ("[a", 'regular expression "[a" has a "[" without its "]"'),
        ("[]", 'regular expression "[]" has a "[" without its "]"'),
        ("a\\", 'regular expression "a\\" ends in a backslash'),
    ],
)
def test_what_is_not_closed(go: str, message: str) -> None:
    with pytest.raises(RuleError, match=f"^{re.escape(message)}$"):
        translate(go)


def test_a_template_keeps_balanced_braces() -> None:
    assert template("/{n:[a-z]{2}}/{m}", "x") == "/(?:[a-z]{2})/(?:x)"


@given(st.text(alphabet="ab/.{}:[]()\\d", max_size=20))
def test_a_template_is_a_valid_expression_or_an_error(text: str) -> None:
    try:
        pattern = template(text, "[^/]+")
    except RuleError:
        return
    if not re.search(r"[:{}]", text):
        assert re.compile(pattern)
