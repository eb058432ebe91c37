r"""Regular expressions of the rule language, rewritten from Go's syntax into that of Rust's ``regex`` crate.

The two are siblings (both follow RE2) and differ in little: Go's ``\d``, ``\s``, ``\w`` and ``\b`` are ASCII, Go
knows ``\Q...\E``, and a bracket expression in Rust may contain others and set operations, so that ``[``, ``&&``,
``--`` and ``~~`` inside one have to be escaped.
"""

from __future__ import annotations

_META = frozenset("\\.+*?()|[]{}^$#&-~")
_ASCII_CLASSES = {
    "d": "[0-9]",
    "D": "[^0-9]",
    "s": "[\\t\\n\\x0c\\r ]",
    "S": "[^\\t\\n\\x0c\\r ]",
    "w": "[0-9A-Za-z_]",
    "W": "[^0-9A-Za-z_]",
}


class RuleError(ValueError):
    """A rule that cannot be meant as it stands. The text is one sentence that names the part at fault."""


def escape(literal: str) -> str:
    """Return a regular expression (Rust ``regex``) that matches just this text."""
    return "".join("\\" + char if char in _META else char for char in literal)


def translate(pattern: str) -> str:
    """Return a Go (RE2) regular expression in the syntax of Rust's ``regex`` crate.

    The result is a complete expression: its groups and brackets are balanced, so that it can be put into a group.

    :raises RuleError: a group, a bracket or an escape is not closed. Other mistakes are found by the engine.
    """
    out: list[str] = []
    depth = 0
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "\\":
            text, at = _escape_sequence(pattern, at, in_class=False)
            out.append(text)
            continue
        if char == "[":
            text, at = _bracket(pattern, at)
            out.append(text)
            continue
        if char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
            if depth < 0:
                raise RuleError(f'regular expression "{pattern}" has a ")" without its "("')
        out.append(char)
        at += 1
    if depth:
        raise RuleError(f'regular expression "{pattern}" has a "(" without its ")"')
    return "".join(out)


def _escape_sequence(pattern: str, at: int, *, in_class: bool) -> tuple[str, int]:
    if at + 1 >= len(pattern):
        raise RuleError(f'regular expression "{pattern}" ends in a backslash')
    char = pattern[at + 1]
    if char in _ASCII_CLASSES:
        return _ASCII_CLASSES[char], at + 2
    if char == "b" and not in_class:
        return "(?-u:\\b)", at + 2
    if char == "Q" and not in_class:
        end = pattern.find("\\E", at + 2)
        stop = len(pattern) if end < 0 else end
        return escape(pattern[at + 2 : stop]), stop if end < 0 else end + 2
    return pattern[at : at + 2], at + 2


def _bracket(pattern: str, start: int) -> tuple[str, int]:
    """Return the bracket expression that begins at ``start``, rewritten, and where it ends."""
    out = ["["]
    at = start + 1
    if pattern.startswith("^", at):
        out.append("^")
        at += 1
    if pattern.startswith("]", at):
        out.append("\\]")
        at += 1
    while at < len(pattern):
        char = pattern[at]
        if char == "]":
            return "".join([*out, "]"]), at + 1
        if char == "\\":
            text, at = _escape_sequence(pattern, at, in_class=True)
            out.append(text)
            continue
        if pattern.startswith("[:", at):
            end = pattern.find(":]", at + 2)
            if end >= 0:
                out.append(pattern[at : end + 2])
                at = end + 2
                continue
        if char == "[":
            out.append("\\[")
        elif char in "&~" or (char == "-" and pattern.startswith("--", at)):
            out.append("\\" + char)
        else:
            out.append(char)
        at += 1
    raise RuleError(f'regular expression "{pattern}" has a "[" without its "]"')


def has_template(text: str) -> bool:
    """Tell whether the argument of a path, host or query matcher holds a ``{name:regexp}`` part (or a lone brace)."""
    return "{" in text or "}" in text


def template(text: str, default: str) -> str:
    """Return the regular expression (Rust ``regex``, not anchored) of a template such as ``/{id:[0-9]+}/x``.

    Text outside of braces is literal; ``{name}`` stands for ``default``, ``{name:regexp}`` for the expression, which
    may contain balanced braces itself.

    :raises RuleError: a brace has no partner, or a template has no name or an empty expression.
    """
    out: list[str] = []
    literal_from = 0
    depth = 0
    opened = 0
    for at, char in enumerate(text):
        if char == "{":
            if depth == 0:
                out.append(escape(text[literal_from:at]))
                opened = at
            depth += 1
        elif char == "}":
            depth -= 1
            if depth < 0:
                raise RuleError(f'"{text}" has a "}}" without its "{{" (a "," or ";" always ends an argument)')
            if depth == 0:
                out.append(_placeholder(text, text[opened + 1 : at], default))
                literal_from = at + 1
    if depth:
        raise RuleError(f'"{text}" has a "{{" without its "}}" (a "," or ";" always ends an argument)')
    out.append(escape(text[literal_from:]))
    return "".join(out)


def _placeholder(text: str, inner: str, default: str) -> str:
    name, colon, expression = inner.partition(":")
    if not name.strip():
        raise RuleError(f'"{text}" has a template without a name; write {{name}} or {{name:regexp}}')
    if not colon:
        return f"(?:{default})"
    if not expression:
        raise RuleError(f'"{text}" has a template without a regular expression; write {{name}} or {{name:regexp}}')
    return f"(?:{translate(expression)})"
