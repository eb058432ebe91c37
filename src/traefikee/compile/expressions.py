"""The expressions of circuit breakers and of retries in buffering (Traefik 1.7, as its ``vulcand/predicate`` has them).

Grammar, in which ``&&`` binds closer than ``||``::

    or      = and { "||" and }
    and     = term { "&&" term }
    term    = "(" or ")" | call [ op literal ]
    call    = name "(" [ literal { "," literal } ] ")"
    op      = "==" | "!=" | "<" | "<=" | ">" | ">="
    literal = whole number | decimal number | text in quotes

There is no ``!``, no arithmetic, no sign; nothing is escaped in a text. A comparison's literal has to be of the kind
that the call returns.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NoReturn, TypeAlias

from traefikee.config.errors import did_you_mean

Kind: TypeAlias = Literal["int", "float", "text", "bool"]

MOST_CHARACTERS = 4096
MOST_DEPTH = 25
"""Brackets within brackets; the canonical form may have twice as many, and the engine takes 64."""

_WORDS = {"int": "a whole number", "float": "a decimal number", "text": "a text in quotes"}
_EXAMPLES = {"int": "50", "float": "0.5", "text": '"GET"'}
_TOKENS = re.compile(
    r"""\s*(?:
      (?P<float>[0-9]+\.[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+)
    | (?P<int>[0-9]+)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<text>"[^"\\\n]*"|`[^`"\\\n]*`)
    | (?P<mark>&&|\|\||==|!=|<=|>=|<|>|\(|\)|,)
    )""",
    re.VERBOSE,
)
_ORDERED = ("<", "<=", ">", ">=")
_OPERATORS = ("==", "!=", *_ORDERED)


class ExpressionError(ValueError):
    """An expression that cannot be meant as it stands. The text is one sentence."""


@dataclass(frozen=True, slots=True)
class _Function:
    """What a call takes and returns."""

    arguments: tuple[Kind, ...]
    returns: Kind
    example: str


_CIRCUIT_BREAKER = {
    "LatencyAtQuantileMS": _Function(("float",), "int", "LatencyAtQuantileMS(50.0) > 100"),
    "NetworkErrorRatio": _Function((), "float", "NetworkErrorRatio() > 0.5"),
    "ResponseCodeRatio": _Function(("int", "int", "int", "int"), "float", "ResponseCodeRatio(500, 600, 0, 600) > 0.5"),
}
_RETRY = {
    "IsNetworkError": _Function((), "bool", "IsNetworkError()"),
    "Attempts": _Function((), "int", "Attempts() <= 2"),
    "ResponseCode": _Function((), "int", "ResponseCode() == 503"),
    "RequestMethod": _Function((), "text", 'RequestMethod() == "GET"'),
}


def circuit_breaker(text: str) -> str:
    """Return the canonical form of a circuit breaker's expression (``circuitBreaker.expression``).

    Functions: ``LatencyAtQuantileMS(quantile)``, ``NetworkErrorRatio()``, ``ResponseCodeRatio(from, to, of, to)``.

    :raises ExpressionError: says what is wrong, and what is allowed.
    """
    return _Parser(text, _CIRCUIT_BREAKER).parse()


def retry(text: str) -> str:
    """Return the canonical form of a retry expression (``buffering.retryExpression``).

    Functions: ``IsNetworkError()``, ``Attempts()``, ``ResponseCode()``, ``RequestMethod()``.

    :raises ExpressionError: says what is wrong, and what is allowed.
    """
    return _Parser(text, _RETRY).parse()


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


_END = _Token("end", "")


class _Parser:
    """One pass over one expression, which writes it anew."""

    def __init__(self, text: str, functions: dict[str, _Function]) -> None:
        self._functions = functions
        self._text = text
        self._tokens = self._split(text)
        self._at = 0

    def _fail(self, message: str) -> NoReturn:
        raise ExpressionError(message)

    def _split(self, text: str) -> list[_Token]:
        if not text.strip():
            examples = next(iter(self._functions.values())).example
            self._fail(f"the expression is empty; write for example {examples}")
        if len(text) > MOST_CHARACTERS:
            self._fail(f"the expression has more than {MOST_CHARACTERS} characters")
        tokens = []
        at, end = 0, len(text.rstrip())
        while at < end:
            found = _TOKENS.match(text, at)
            if found is None or found.lastgroup is None:
                rest = text[at:].lstrip()
                known = "names, numbers, texts in quotes, brackets, && || == != < <= > >="
                self._fail(f'"{rest[:20]}" cannot be read; allowed are {known}')
            tokens.append(_Token(found.lastgroup, found[found.lastgroup]))
            at = found.end()
        return tokens

    def _peek(self) -> _Token:
        return self._tokens[self._at] if self._at < len(self._tokens) else _END

    def _take(self, *texts: str) -> str | None:
        token = self._peek()
        if token.kind == "mark" and token.text in texts:
            self._at += 1
            return token.text
        return None

    def _expect(self, text: str, where: str) -> None:
        if self._take(text) is None:
            self._fail(f'{where} {self._found()} stands where "{text}" has to be')

    def _found(self) -> str:
        token = self._peek()
        return "the end" if token is _END else f'"{token.text}"'

    def parse(self) -> str:
        written, _ = self._or(0)
        if self._peek() is not _END:
            self._fail(f'{self._found()} stands where the expression has to go on with "&&" or "||", or end')
        return written

    def _or(self, depth: int) -> tuple[str, bool]:
        """Return a disjunction, and whether it is more than one part."""
        parts = [self._and(depth)]
        while self._take("||"):
            parts.append(self._and(depth))
        return self._joined(" || ", parts)

    def _and(self, depth: int) -> tuple[str, bool]:
        parts = [self._term(depth)]
        while self._take("&&"):
            parts.append(self._term(depth))
        return self._joined(" && ", parts)

    @staticmethod
    def _joined(by: str, parts: list[tuple[str, bool]]) -> tuple[str, bool]:
        if len(parts) == 1:
            return parts[0]
        return by.join(f"({text})" if compound else text for text, compound in parts), True

    def _term(self, depth: int) -> tuple[str, bool]:
        if self._take("("):
            if depth >= MOST_DEPTH:
                self._fail(f"its brackets are more than {MOST_DEPTH} deep")
            inner = self._or(depth + 1)
            self._expect(")", "in brackets")
            return inner
        return self._comparison(), False

    def _comparison(self) -> str:
        call, function = self._call()
        operator = self._take(*_OPERATORS)
        if function.returns == "bool":
            if operator is not None:
                self._fail(f'{call} is true or false by itself; leave out "{operator}" and what follows')
            return call
        if operator is None:
            self._fail(f"{call} has to be compared; write for example {function.example}")
        if function.returns == "text" and operator in _ORDERED:
            self._fail(f'{call} is a text, for which there is no "{operator}"; use == or !=')
        return f"{call} {operator} {self._literal(function.returns, f'{call} {operator}')}"

    def _call(self) -> tuple[str, _Function]:
        token = self._peek()
        if token.kind != "name":
            known = ", ".join(self._functions)
            self._fail(f"{self._found()} stands where one of the functions {known} has to be")
        function = self._functions.get(token.text)
        if function is None:
            hint = did_you_mean(token.text, self._functions)
            self._fail(f'unknown function "{token.text}"{hint or "; known are " + ", ".join(self._functions)}')
        self._at += 1
        self._expect("(", f"after {token.text}")
        arguments: list[str] = []
        if self._take(")") is None:
            while True:
                wanted = function.arguments[len(arguments)] if len(arguments) < len(function.arguments) else None
                if wanted is None:
                    self._fail(self._wrong_count(token.text, function))
                arguments.append(self._literal(wanted, f"in {token.text}(...)"))
                if self._take(",") is None:
                    break
            self._expect(")", f"in {token.text}(...)")
        if len(arguments) != len(function.arguments):
            self._fail(self._wrong_count(token.text, function))
        return f"{token.text}({', '.join(arguments)})", function

    @staticmethod
    def _wrong_count(name: str, function: _Function) -> str:
        count = len(function.arguments)
        wanted = "no argument" if count == 0 else f"{count} argument{'s' if count > 1 else ''}"
        return f"{name} takes {wanted}; write for example {function.example}"

    def _literal(self, kind: Kind, where: str) -> str:
        token = self._peek()
        if token.kind != kind:
            self._fail(f"{where} {self._found()} has to be {_WORDS[kind]}, such as {_EXAMPLES[kind]}")
        self._at += 1
        if kind == "text":
            return f'"{token.text[1:-1]}"'
        if kind == "int":
            number = int(token.text)
            if number > 2**31 - 1:
                self._fail(f"{token.text} is too large")
            return str(number)
        value = float(token.text)
        if value > 2**31 - 1:
            self._fail(f"{token.text} is too large")
        digits = f"{value:.9f}".rstrip("0")
        return f"{digits}0" if digits.endswith(".") else digits
