"""Changes of configurations, and the documents that the engine is told."""

import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traefikee.compile import changes
from traefikee.compile.changes import Change, Header, State

KEYS = st.sampled_from(["settings", "route/a", "route/b", "service/a/b", 'certificate/"\t\n'])
TEXTS = st.dictionaries(KEYS, st.sampled_from([b"{}", b'{"a":1}', b'"\\t\\n"']))


@given(TEXTS, TEXTS)
def test_a_difference_makes_one_of_the_other(before: dict[str, bytes], after: dict[str, bytes]) -> None:
    change = changes.difference(before, after)
    assert not any(before.get(key) == text for key, text in change.put.items())
    assert bool(change) == (before != after)
    frame = changes.pack(Header(base="one", name="two", revision=2), change)
    assert changes.follow(State("one", 1, before), [frame]) == State("two", 2, after)


@given(st.lists(TEXTS, min_size=1, max_size=5), st.integers(0, 4))
def test_frames_lead_from_any_state_to_the_last(states: list[dict[str, bytes]], start: int) -> None:
    frames, known = [], [State()]
    for number, objects in enumerate(states, 1):
        before = known[-1]
        change = changes.difference(before.objects, objects)
        header = Header(base=before.name, name=f"s{number}", revision=number)
        frames.append(changes.pack(header, change))
        known.append(State(header.name, number, objects))
    content = b"".join(frames)
    assert changes.split(content) == (frames, True)
    begin = min(start, len(states))
    assert changes.follow(known[begin], frames[begin:]) == known[-1]
    assert changes.follow(State("other", 9, {"x": b"1"}), frames) == known[-1], "the first is a whole"


def test_what_a_crash_has_cut_is_told() -> None:
    frames = [changes.pack(Header(base="", name="one", revision=1), Change({"a": b"1"}))]
    assert changes.split(frames[0] + b"\0\0") == (frames, False)
    assert changes.split(frames[0] + frames[0][:-1]) == (frames, False)
    assert changes.split(b"") == ([], True)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"\0\0\0\1x", "it is damaged"),
        (
            b"\0\0\0\0" + zlib.compress(b'{"format":2,"base":"","name":"a","revision":1}'),
            "is written in format 2, and version",
        ),
        (b"\0\0\0\0" + zlib.compress(b'{"format":1}'), "Field required"),
        (b"\0\0\0\0" + zlib.compress(b""), "JSON"),
        (changes.pack(Header(base="other", name="a", revision=1), Change({})), "it changes other, but one is known"),
        (changes.pack(Header(base="one", name="a", revision=1), Change({}, ("x",))), "it removes x"),
    ],
)
def test_what_cannot_be_followed(frame: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        changes.follow(State("one", 1, {}), [frame])


def test_names_tell_states_apart() -> None:
    change = Change({"a": b"1"})
    names = {
        changes.name_of("", 1, change),
        changes.name_of("x", 1, change),
        changes.name_of("", 2, change),
        changes.name_of("", 1, Change({"a": b"2"})),
        changes.name_of("", 1, Change({}, ("a",))),
    }
    assert len(names) == 5


OBJECTS = {
    "settings": b'{"server_name":"","log_level":"error"}',
    "entry_points": b'[{"name":"http","address":":80"},{"name":"own","address":"10.0.0.1:443"}]',
    "route/consul/a": b'{"id":"consul/a"}',
    "service/consul/a": b'{"id":"consul/a","servers":[]}',
    "certificate/c": b'{"id":"c"}',
}


@pytest.mark.parametrize(
    ("bind", "address"),
    [(None, ":80"), ("", ":80"), ("127.0.0.2", "127.0.0.2:80"), ("::1", "[::1]:80"), ("[::1]", "[::1]:80")],
)
def test_documents_of_a_node(bind: str | None, address: str) -> None:
    local = changes.localised(OBJECTS, "nöde", bind)
    told = json.loads(changes.engine_snapshot(State("x", 7, OBJECTS), local))
    assert told == {
        "format": 1,
        "revision": 7,
        "settings": {"server_name": "nöde", "log_level": "error"},
        "entry_points": [{"name": "http", "address": address}, {"name": "own", "address": "10.0.0.1:443"}],
        "routes": [{"id": "consul/a"}],
        "services": [{"id": "consul/a", "servers": []}],
        "certificates": [{"id": "c"}],
    }


def test_the_change_that_the_engine_is_told() -> None:
    before = State("x", 7, OBJECTS)
    objects = OBJECTS | {"route/consul/b": b'{"id":"consul/b"}', "settings": b'{"server_name":"","log_level":"info"}'}
    del objects["certificate/c"]
    after = State("y", 9, objects)
    change = changes.difference(before.objects, after.objects)
    told = json.loads(changes.engine_change(before, after, change, changes.localised(objects, "n", None)))
    assert told == {
        "format": 1,
        "base": 7,
        "revision": 9,
        "settings": {"server_name": "n", "log_level": "info"},
        "entry_points": None,
        "routes": {"put": [{"id": "consul/b"}], "remove": []},
        "services": {"put": [], "remove": []},
        "certificates": {"put": [], "remove": ["c"]},
    }


def test_a_state_without_settings_is_of_no_use() -> None:
    with pytest.raises(ValueError, match="settings"):
        changes.localised({}, "n", None)
