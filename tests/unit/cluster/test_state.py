"""The cluster as a value: what the keys of the store say."""

from tests.unit.cluster.support_state import cluster, control, data

from traefikee.cluster import state
from traefikee.cluster.state import Phase
from traefikee.cluster.store import KeyValue


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
