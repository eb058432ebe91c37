"""The cluster as a value: what the keys of the store say."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.cluster.support_state import cluster, control, data, info

from traefikee.cluster import state
from traefikee.cluster.records import (
    ClusterFormat,
    Deployment,
    Mark,
    NodeRecord,
    Phase,
    Pointer,
    ProviderStatus,
    Removal,
    Report,
    Traffic,
)
from traefikee.cluster.roles import Role
from traefikee.cluster.store import KeyValue
from traefikee.config.runtime import ObjectError
from traefikee.config.static import StaticConfiguration

ERROR = ObjectError(provider="consul", kind="frontend", name="f", path="", message="wrong")


def test_an_empty_store_is_a_cluster_that_forms() -> None:
    empty = state.from_keys(0, {})
    assert (empty.info, empty.phase, empty.nodes, empty.leader) == (None, Phase.FORMING, (), None)
    assert not empty.dashboard


def test_nodes_are_listed_control_nodes_first_and_know_who_leads() -> None:
    seen = cluster([data("d"), control("b"), control("a")], leader="b")
    assert [(node.record.name, node.is_leader) for node in seen.nodes] == [("a", False), ("b", True), ("d", False)]
    assert seen.leader_creation == 3


def test_status() -> None:
    seen = cluster(
        [control("a"), control("new", member=0), data("d1")],
        [control("b"), control("gone", left=True), data("d2"), control("never", member=0)],
    )
    statuses = {node.record.name: node.status for node in seen.nodes}
    assert statuses == {
        "a": "READY", "new": "PENDING", "d1": "READY", "b": "DOWN", "gone": "DOWN", "d2": "DOWN", "never": "PENDING",
    }  # fmt: skip


def test_the_addresses_to_dial_are_those_of_members_the_living_first() -> None:
    seen = cluster([control("b"), control("new", member=0)], [control("a"), control("gone", left=True)])
    assert seen.control_addresses == ("b:4242", "a:4242")


def test_a_value_that_cannot_be_read_is_left_out() -> None:
    seen = cluster([control("a")])
    key = state.NODES + "x"
    broken = state.from_keys(8, {**seen.keys, key: KeyValue(key, b"{", 1, 1)})
    assert [node.record.name for node in broken.nodes] == ["a"]


# --- read by what changed ---

_IDS = ("id-a", "id-b", "id-d")
_RECORDS = (control("a"), control("z", left=True), control("b", member=0), data("a"), data("d"))
_REPORTS = [
    Report(agent_version="1").stored(),
    Report(agent_version="1", revision=3).stored(),
    Report(agent_version="2", refused_revision=4, refusal="no").stored(),
]
_DEPLOYMENTS = [
    Deployment(number=number, at="now", by=by, command="", configuration=StaticConfiguration()).stored()
    for number, by in ((1, "a"), (2, "b"))
]
_VALUES: dict[str, list[bytes]] = {
    **{
        state.NODES + one: [*(record.model_copy(update={"id": one}).stored() for record in _RECORDS), b"{"]
        for one in _IDS
    },
    **{state.ALIVE + one: [*_REPORTS, b"{"] for one in (*_IDS, "stranger")},
    **{state.DRAINED + one: [Mark(by="a", at=at).stored() for at in "12"] for one in (*_IDS, "gone")},
    **{
        state.REMOVED + one: [
            Removal(id=one, name=one, role=Role.DATA, certificate_serial="1", by="a", at="now").stored(),
            b"{",
        ]
        for one in (*_IDS, "gone")
    },
    state.REMOVAL: [b"id-a", b"id-b"],
    **{state.TRAFFIC + one: [Traffic(data_nodes=2).stored(), b"[]"] for one in _IDS},
    state.LEADER: [one.encode() for one in _IDS],
    state.INFO: [info().stored(), b"{"],
    state.PHASE: [*(one.encode() for one in Phase), b"of a newer version"],
    state.FORMAT: [ClusterFormat(number=2).stored(), b"{"],
    state.CURRENT: [b"1", b"2"],
    state.CONFIGS + "1": [*_DEPLOYMENTS, b"{"],
    state.CONFIGS + "2": _DEPLOYMENTS,
    state.SNAPSHOT: [Pointer(revision=1, config=1).stored(), Pointer(revision=2, config=1).stored()],
    state.PROVIDERS: [state.stored_providers({"file": ProviderStatus(state="ok", since="now")}), b"{"],
    state.STATE + "something/else": [b"1", b"2"],
}
_CHANGES = st.sampled_from(sorted(_VALUES)).flatmap(
    lambda key: st.tuples(st.just(key), st.none() | st.sampled_from(_VALUES[key]))
)


@settings(max_examples=300)
@given(st.lists(st.lists(_CHANGES, max_size=5), max_size=12))
def test_a_state_that_follows_changes_is_the_one_that_is_read_afresh(
    batches: list[list[tuple[str, bytes | None]]],
) -> None:
    # From a full state on, so that what one key says of another's value is there to be forgotten.
    keys = {key: KeyValue(key, values[0], 0, 0) for key, values in _VALUES.items()}
    followed = state.from_keys(0, dict(keys))
    for revision, batch in enumerate(batches, 1):
        changed: list[tuple[str, KeyValue | None]] = []
        for key, value in batch:
            created = keys[key].create_revision if key in keys else revision
            now = None if value is None else KeyValue(key, value, created, revision)
            changed.append((key, now))
            if now is None:
                keys.pop(key, None)
            else:
                keys[key] = now
        before = followed
        followed = state.advance(before, revision, changed)
        afresh = state.from_keys(revision, dict(keys))
        assert followed == afresh
        assert list(followed.by_id) == [node.record.id for node in followed.nodes]
        assert followed.control_addresses == afresh.control_addresses
        assert before.revision == revision - 1, "the state before is left as it was"


def test_what_data_nodes_report_is_no_news_for_data_nodes() -> None:
    seen = cluster([control("a"), data("d")])
    report = Report(agent_version="1", revision=9).stored()

    def after(key: str) -> int:
        return state.advance(seen, 99, [(key, KeyValue(key, report, 3, 99))]).news

    assert after(state.ALIVE + "id-d") == seen.news
    assert after(state.TRAFFIC + "id-a") == seen.news
    assert after(state.ALIVE + "id-a") == 99, "where they can go to has changed"
    assert after(state.NODES + "id-d") == after(state.SNAPSHOT) == after(state.STATE + "anything") == 99


def test_what_did_not_change_is_not_read_again() -> None:
    seen = cluster([control("a"), data("d"), data("e")])
    key = state.ALIVE + "id-d"
    after = state.advance(seen, 9, [(key, KeyValue(key, Report(agent_version="2").stored(), 3, 9))])
    same = [(one.record.name, one is other) for one, other in zip(seen.nodes, after.nodes, strict=True)]
    assert same == [("a", True), ("d", False), ("e", True)]
    assert after.info is seen.info


def test_who_drained_a_node_and_who_removed_one() -> None:
    seen = cluster([control("a"), control("b"), data("d")], drained=["a", "gone"], removed=["b", "x"])
    marks = {node.record.name: (bool(node.drained), bool(node.removed)) for node in seen.nodes}
    assert marks == {"a": (True, False), "b": (False, True), "d": (False, False)}
    assert seen.removed["id-x"].sentence() == "the data node 'x' was removed from its cluster by user me at then"


# --- of another version ---


def stored_by_a_newer_version(value: bytes) -> bytes:
    return json.dumps({**json.loads(value), "added": {"in": [1, 2]}, "also": None}).encode()


def test_fields_of_a_newer_version_survive_a_change_of_the_value() -> None:
    record = control("a")
    read = NodeRecord.model_validate_json(stored_by_a_newer_version(record.stored()))
    changed = read.model_copy(update={"member": 7})
    assert json.loads(changed.stored()) == {
        **json.loads(record.stored()), "member": 7, "added": {"in": [1, 2]}, "also": None,
    }  # fmt: skip


def test_what_only_a_newer_version_knows_crashes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    seen = cluster([control("a"), data("d")], leader="a")
    odd = json.dumps({**json.loads(data("x").stored()), "role": "mirror"}).encode()
    pointer = Pointer(revision=3, config=1, errors=(ERROR,))
    raw = json.loads(pointer.stored())
    raw["errors"].append({**raw["errors"][0], "kind": "gizmo"})
    keys = {
        **seen.keys,
        **{
            key: KeyValue(key, value, 3, 77)
            for key, value in {
                state.NODES + "x": odd,
                state.PHASE: b"migrating",
                state.SNAPSHOT: json.dumps(raw).encode(),
                state.STATE + "gizmos/1": b"\xff",
            }.items()
        },
    }
    read = state.from_keys(8, keys)
    state.from_keys(9, keys)
    assert [node.record.name for node in read.nodes] == ["a", "d"]
    assert read.phase is Phase.FORMED, "neither still being made, nor given up"
    assert read.pointer is not None
    assert (read.pointer.revision, read.pointer.errors) == (3, (ERROR,))
    assert "".join(capsys.readouterr()).count("cannot be read") == 2, "each of the two once"
