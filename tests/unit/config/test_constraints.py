from __future__ import annotations

import pytest

from traefikee.config.constraints import Constraint, all_hold, parse_constraint


@pytest.mark.parametrize(
    ("text", "constraint"),
    [
        ("tag==api", Constraint(equal=True, pattern="api")),
        (" tag != us-east-* ", Constraint(equal=False, pattern="us-east-*")),
        ("tag==a=b", Constraint(equal=True, pattern="a=b")),
    ],
)
def test_constraints(text: str, constraint: Constraint) -> None:
    assert parse_constraint(text) == constraint


@pytest.mark.parametrize("text", ["", "tag", "tag=api", "tag==", "==api", "name==api", "tag==a b", "tag<>a"])
def test_no_constraints(text: str) -> None:
    with pytest.raises(ValueError, match=r"write tag==pattern|only \"tag\""):
        parse_constraint(text)


@pytest.mark.parametrize(
    ("text", "tags", "holds"),
    [
        ("tag==api", ["web", "api"], True),
        ("tag==api", ["web"], False),
        ("tag==api", [], False),
        ("tag==us-*-1", ["us-east-1"], True),
        ("tag==us-*", ["eu-us-"], False),
        ("tag==a.c", ["abc"], False),
        ("tag!=api", ["web"], True),
        ("tag!=api", [], True),
        ("tag!=a*", ["web", "api"], False),
    ],
)
def test_what_holds(text: str, tags: list[str], holds: bool) -> None:
    assert parse_constraint(text).holds(tags) == holds


def test_all_have_to_hold() -> None:
    counts = all_hold(["tag==web-*", "tag!=old"])
    assert counts(("web-1", "new"))
    assert not counts(("web-1", "old"))
    assert not counts(("new",))
    assert all_hold([])(())
