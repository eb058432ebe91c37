"""A change that comes with the news of it."""

import base64
from typing import Any

from traefikee.compile import changes
from traefikee.compile.changes import Change, Header, State
from traefikee.node.data import told_change

KNOWN = State("one", 1, {"a": b"1"})
FRAME = changes.pack(Header(base="one", name="two", revision=2), Change({"b": b"2"}))


def event(**fields: Any) -> dict[str, Any]:
    return {"event": "cluster", "snapshot": "two", "change": base64.b64encode(FRAME).decode(), **fields}


def test_it_is_taken_if_it_is_for_what_is_known() -> None:
    assert told_change(event(), KNOWN) == (State("two", 2, {"a": b"1", "b": b"2"}), [FRAME])


def test_anything_else_has_to_be_fetched() -> None:
    assert told_change({"event": "cluster", "snapshot": "two"}, KNOWN) is None
    assert told_change(event(), State("other", 1, {})) is None
    assert told_change(event(), State()) is None
    assert told_change(event(snapshot="three"), KNOWN) is None
    for damaged in ("???", event()["change"][8:], 7, None):
        assert told_change(event(change=damaged), KNOWN) is None
