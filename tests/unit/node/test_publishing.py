"""Configurations as chains of changes in the store."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traefikee.cluster.records import Link
from traefikee.compile import changes
from traefikee.compile.changes import State
from traefikee.config.dynamic import Backend, DynamicConfiguration, Frontend, Route, Server, TLSCertificate
from traefikee.errors import UnreachableError
from traefikee.node import publishing
from traefikee.node.publishing import LEAST_WHOLE, MOST_LINKS, PART_BYTES, Runtime, part_key

CONFIGURATION = DynamicConfiguration(
    frontends={"f": Frontend(backend="b", entry_points=("http",), routes={"r": Route(rule="Host:a")})},
    backends={"b/c": Backend(servers={"s": Server(url="http://s", weight=3)})},
    tls={"t": TLSCertificate(entry_points=("https",), cert_file="C", key_file="K")},
)
OBJECTS = st.dictionaries(st.sampled_from("abc"), st.sampled_from([b"1", b"2"]))


@given(st.lists(OBJECTS, min_size=1, max_size=6))
def test_a_chain_leads_to_what_was_published(published: list[dict[str, bytes]]) -> None:
    links: tuple[Link, ...] = ()
    frames: dict[str, bytes] = {}
    before: dict[str, bytes] = {}
    for revision, objects in enumerate(published, 1):
        draft = publishing.draft(links, before, objects, revision, new=False)
        assert bool(draft.frame) == (not links or before != objects), "what is the same is not written again"
        if draft.frame:
            frames[draft.links[-1].blob] = draft.frame
        links, before = draft.links, objects
        state = changes.follow(State(), [frames[link.blob] for link in links])
        assert (state.objects, state.name) == (objects, links[-1].name)


def test_a_new_deployment_is_a_new_state_with_the_same_content() -> None:
    first = publishing.draft((), {}, {"a": b"1"}, 1, new=True)
    second = publishing.draft(first.links, {"a": b"1"}, {"a": b"1"}, 2, new=True)
    assert second.links[-1].name != first.links[-1].name
    state = changes.follow(State(), [first.frame, second.frame])
    assert (state.revision, state.objects) == (2, {"a": b"1"})


def test_a_whole_takes_the_place_of_changes_under_the_same_name() -> None:
    first = publishing.draft((), {}, {"a": b"1"}, 1, new=True)
    second = publishing.draft(first.links, {"a": b"1"}, {"b": b"1"}, 2, new=True)
    whole = publishing.whole(second.links[-1].name, {"b": b"1"}, 2)
    assert len(whole.links) == 1
    assert changes.follow(State(), [whole.frame]) == changes.follow(State(), [first.frame, second.frame])


def test_what_is_too_long() -> None:
    def link(size: int) -> Link:
        return Link(name="n", blob="b", parts=1, size=size)

    assert not publishing.is_long(())
    assert not publishing.is_long([link(10), link(LEAST_WHOLE)])
    assert publishing.is_long([link(10), link(LEAST_WHOLE), link(1)])
    assert not publishing.is_long([link(3 * LEAST_WHOLE), link(2 * LEAST_WHOLE)])
    assert publishing.is_long([link(10)] * (MOST_LINKS + 1))


def test_what_is_older_than_the_format_in_force_is_written_anew() -> None:
    first = publishing.draft((), {}, {"a": b"1"}, 1, new=True, number=1)
    assert not publishing.is_long(first.links, 1)
    assert publishing.is_long(first.links, 2)
    assert not publishing.is_long(publishing.whole("name", {"a": b"1"}, 1, 2).links, 2)


def test_parts_stay_below_the_limit_of_the_store() -> None:
    import random

    content = random.Random(1).randbytes(3 * PART_BYTES)
    draft = publishing.draft((), {}, {"a": content.hex().encode()}, 1, new=True)
    assert draft.links[-1].parts == -(-len(draft.frame) // PART_BYTES) >= 3
    assert sorted(part_key("d", number) for number in (10, 9, 100)) == [part_key("d", n) for n in (9, 10, 100)]


def test_the_providers_configurations_survive() -> None:
    runtime = Runtime(heard={"consul": CONFIGURATION, "file": DynamicConfiguration()}, effective={})
    texts = {key: publishing.text(item) for key, item in runtime.objects().items()}
    assert Runtime.load(texts) == runtime
    again = Runtime.load(texts).objects()
    assert not publishing.difference(texts, again), "what was read is the same as what was written"


@pytest.mark.parametrize("objects", [{"heard/consul/frontends/f": b"1"}, {"nonsense": b""}, {"heard/c/x/y": b"{}"}])
def test_what_cannot_be_read_is_an_error(objects: dict[str, bytes]) -> None:
    with pytest.raises(UnreachableError, match="stored dynamic configuration cannot be read"):
        Runtime.load(objects)
