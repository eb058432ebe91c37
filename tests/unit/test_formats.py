"""Formats: what a build understands, and how it writes an older one."""

import json
from typing import Annotated

import pytest
from pydantic import BaseModel

from traefikee import formats
from traefikee.formats import NewerFieldError, Since, Understood, in_format, newer_field


class Part(BaseModel):
    name: str = ""
    colour: Annotated[str, Since(2)] = ""


class Whole(BaseModel):
    number: int = 0
    extra: Annotated[tuple[int, ...], Since(3)] = ()
    one: Part = Part()
    listed: tuple[Part, ...] = ()
    named: dict[str, Part] = {}


@pytest.fixture(autouse=True)
def third_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "NEWEST", 3)


def written(item: BaseModel, number: int) -> object:
    return json.loads(in_format(item, item.model_dump_json().encode(), number))


def test_fields_that_a_format_does_not_have_are_left_out_wherever_they_are() -> None:
    whole = Whole(number=1, listed=(Part(name="a"),), named={"b": Part(name="b")})
    assert written(whole, 1) == {
        "number": 1,
        "one": {"name": ""},
        "listed": [{"name": "a"}],
        "named": {"b": {"name": "b"}},
    }
    assert written(whole, 2) == json.loads(whole.model_dump_json(exclude={"extra"}))
    assert written(whole, 3) == json.loads(whole.model_dump_json())


@pytest.mark.parametrize(
    ("whole", "path", "since"),
    [
        (Whole(one=Part(colour="red")), "one.colour", 2),
        (Whole(listed=(Part(), Part(colour="red"))), "listed.1.colour", 2),
        (Whole(named={"b": Part(colour="red")}), "named.b.colour", 2),
        (Whole(extra=(1,)), "extra", 3),
    ],
)
def test_what_is_set_and_has_no_form_is_refused_by_name(whole: Whole, path: str, since: int) -> None:
    found = newer_field(whole, since - 1)
    assert found is not None
    assert (found.path, found.since) == (path, since)
    with pytest.raises(NewerFieldError, match=rf"{path} needs format {since}"):
        written(whole, since - 1)
    assert newer_field(whole, since) is None
    assert written(whole, 3) == json.loads(whole.model_dump_json())


def test_what_is_understood_in_words() -> None:
    assert [str(Understood(*pair)) for pair in ((1, 1), (1, 2), (1, 4))] == [
        "format 1",
        "formats 1 and 2",
        "formats 1 to 4",
    ]
    assert 2 in Understood(1, 2)
    assert 3 not in Understood(1, 2)


def test_an_old_engine_limits_what_a_node_understands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "OLDEST", 2)
    monkeypatch.setattr(formats, "DOCUMENTS", {2: 1, 3: 2})
    assert formats.with_engine((1, 2)) == (2, 3)
    assert formats.with_engine((1, 1)) == (2, 2)
    assert formats.with_engine((3, 4)) == (2, 0), "an engine of another age reads nothing of it"


def test_this_build_reads_the_format_before_its_own_and_has_a_document_for_each() -> None:
    assert set(formats.DOCUMENTS) == set(range(formats.OLDEST, formats.OWN.newest + 1))
    assert formats.OWN.newest - formats.OLDEST <= 1
