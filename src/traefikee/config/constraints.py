"""Constraints: which servers of a provider count, by their tags (Traefik 1.7, Constraints)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

_EXPRESSION = re.compile(r"\s*(?P<key>[^=!\s]*)\s*(?P<operator>==|!=)\s*(?P<pattern>\S+)\s*")


@dataclass(frozen=True, slots=True)
class Constraint:
    """``tag==pattern`` (some tag has to match), or ``tag!=pattern`` (none may); ``*`` stands for any text."""

    equal: bool
    pattern: str

    def holds(self, tags: Iterable[str]) -> bool:
        """Tell whether a server with these tags counts."""
        expression = re.compile(".*".join(re.escape(part) for part in self.pattern.split("*")), re.DOTALL)
        return any(expression.fullmatch(tag) for tag in tags) == self.equal


def parse_constraint(text: str) -> Constraint:
    """Return the constraint that a text describes.

    :raises ValueError: it is none; the message says what is allowed.
    """
    match = _EXPRESSION.fullmatch(text)
    if match is None:
        raise ValueError(f'"{text}" is not a constraint; write tag==pattern or tag!=pattern')
    if match["key"] != "tag":
        raise ValueError(f'"{text}": only "tag" can be compared, not "{match["key"]}"')
    return Constraint(equal=match["operator"] == "==", pattern=match["pattern"])


def all_hold(texts: Iterable[str]) -> Callable[[tuple[str, ...]], bool]:
    """Return what tells of a server's tags whether it counts: all constraints have to hold.

    :raises ValueError: one of the texts is none.
    """
    constraints = tuple(parse_constraint(text) for text in texts)
    return lambda tags: all(constraint.holds(tags) for constraint in constraints)
