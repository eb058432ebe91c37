"""From the text of a rule of Traefik 2 or 3 to alternatives of matchers: ``Host(`a`) && !PathPrefix(`/b`)``.

Grammar, in which ``!`` binds closest, then ``&&``, then ``||``::

    or    = and { "||" and }
    and   = unary { "&&" unary }
    unary = "!" unary | "(" or ")" | name "(" text { "," text } ")"
    text  = "`" ... "`" | '"' ... '"'

The two versions differ in few names and in templates (``{name:regexp}``, v2 only); unless it is said which one is
meant, what is written decides.
"""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass
from typing import Literal, NoReturn, TypeAlias

from traefikee.rules import calls
from traefikee.rules.model import AnyMatcher
from traefikee.rules.normal import All, Any, Is, Node, Not, alternatives
from traefikee.rules.regexp import RuleError

Syntax: TypeAlias = Literal["", "v2", "v3"]
"""Which language a rule is in; an empty text: either."""

MOST_CHARACTERS = 16_384
MOST_DEPTH = 40
"""Brackets and negations within each other."""

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<text>`[^`]*`|"(?:[^"\\\n]|\\.)*")
    | (?P<mark>&&|\|\||!|\(|\)|,)
    )""",
    re.VERBOSE,
)
_VERSIONS = {"v2": "Traefik 2", "v3": "Traefik 3"}


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int
    """Its first character, from 1."""


def parse_expression(text: str, syntax: Syntax = "") -> tuple[tuple[AnyMatcher, ...], ...]:
    """Return the alternatives of a rule: it matches if all matchers of any of them do.

    Names are matched in any case.

    :raises RuleError: it cannot be meant as it stands. Its text names the part at fault, and the character, from 1.
    """
    if len(text) > MOST_CHARACTERS:
        raise RuleError(f"the rule has more than {MOST_CHARACTERS} characters")
    tokens = _tokens(text)
    if len(tokens) == 1:
        raise RuleError("the rule is empty; write for example Host(`www.example.com`)")
    parser = _Parser(tokens, syntax)
    node = parser.either()
    if parser.here.kind != "end":
        parser.fail(
            "&& or || is missing before it" if parser.here.text not in (")", ",") else "it is not expected here"
        )
    return alternatives(node)


def _tokens(text: str) -> list[_Token]:
    tokens = []
    at = 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            start = at + len(text[at:]) - len(text[at:].lstrip())
            _fail(_unreadable(text, start), start + 1)
        kind = match.lastgroup or ""
        tokens.append(_Token(kind, match[kind], match.start(kind) + 1))
        at = match.end()
    return [*tokens, _Token("end", "", len(text) + 1)]


def _unreadable(text: str, at: int) -> str:
    char = text[at]
    if char in '`"':
        return f"a text begins with {char} and does not end"
    if char == "'":
        return 'texts are written in ` or in "'
    if char in "&|":
        return f"write {char * 2}"
    return f"{char!a} has no meaning in a rule"


def _fail(message: str, at: int) -> NoReturn:
    raise RuleError(f"{message} (at character {at})")


class _Parser:
    def __init__(self, tokens: list[_Token], syntax: Syntax) -> None:
        self._tokens = tokens
        self._syntax = syntax
        self._at = 0
        self._depth = 0

    @property
    def here(self) -> _Token:
        return self._tokens[self._at]

    def fail(self, message: str) -> NoReturn:
        shown = f'"{self.here.text}": ' if self.here.text else "the rule ends: "
        _fail(shown + message, self.here.at)

    def _take(self, text: str) -> bool:
        if self.here.kind != "mark" or self.here.text != text:
            return False
        self._at += 1
        return True

    def either(self) -> Node:
        nodes = [self._both()]
        while self._take("||"):
            nodes.append(self._both())
        return nodes[0] if len(nodes) == 1 else Any(tuple(nodes))

    def _both(self) -> Node:
        nodes = [self._unary()]
        while self._take("&&"):
            nodes.append(self._unary())
        return nodes[0] if len(nodes) == 1 else All(tuple(nodes))

    def _unary(self) -> Node:
        self._depth += 1
        if self._depth > MOST_DEPTH:
            self.fail(f"brackets and negations nest deeper than {MOST_DEPTH} levels")
        node = self._single()
        self._depth -= 1
        return node

    def _single(self) -> Node:
        if self._take("!"):
            return Not(self._unary())
        if self._take("("):
            node = self.either()
            if not self._take(")"):
                self.fail('a ")" is missing before it')
            return node
        if self.here.kind != "name":
            self.fail("a matcher such as Host(`www.example.com`) is missing before it")
        return Is(self._call())

    def _call(self) -> AnyMatcher:
        name = self.here
        self._at += 1
        matcher = calls.BY_FOLDED.get(name.text.lower())
        if matcher is None:
            _fail(_unknown(name.text), name.at)
        if not self._take("("):
            self.fail(f"{matcher.name} needs its texts in brackets: {matcher.example}")
        texts: list[str] = []
        while self.here.kind == "text":
            texts.append(self._text())
            if not self._take(","):
                break
        if not self._take(")"):
            self.fail(f'the texts of {matcher.name} are written in ` or ", separated by commas: {matcher.example}')
        if self._syntax and self._syntax not in matcher.syntaxes:
            _fail(f"{matcher.name} is not a matcher of {_VERSIONS[self._syntax]}", name.at)
        try:
            return matcher.read(texts, self._syntax)
        except RuleError as error:
            _fail(f"{matcher.name}: {error}", name.at)

    def _text(self) -> str:
        token = self.here
        self._at += 1
        if token.text.startswith("`"):
            return token.text[1:-1]
        try:
            value: str = json.loads(token.text)
        except ValueError:
            _fail(f"{token.text} has an escape that is not known; write it in `", token.at)
        return value


def _unknown(name: str) -> str:
    known = {folded: matcher.name for folded, matcher in calls.BY_FOLDED.items()}
    if name.lower() in calls.ELSEWHERE:
        return f"{name} is a matcher of TCP routers, which are not supported"
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    if near:
        return f'unknown matcher "{name}"; did you mean "{known[near[0]]}"?'
    return f'unknown matcher "{name}"; known are {", ".join(dict.fromkeys(known.values()))}'
