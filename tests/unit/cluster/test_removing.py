"""What rm-node refuses, before anything is done."""

import pytest
from tests.unit.cluster.support_state import cluster, control, data

from traefikee.cluster.removing import check
from traefikee.cluster.state import ClusterState
from traefikee.errors import RefusedError

STATE = cluster([*map(control, "abc"), data("d")], [data("e"), control("new", member=0)])


def refusal(state: ClusterState, names: str, *, force: bool = False) -> str:
    """What is said, or an empty text."""
    try:
        check(state, [node for node in state.nodes if node.record.name in names.split()], force=force)
    except RefusedError as error:
        return f"{error.cause}; {error.next_step}"
    return ""


def test_what_is_down_or_never_came_in_is_removed_without_force() -> None:
    assert refusal(STATE, "e new") == ""


@pytest.mark.parametrize("name", ["a", "d"])
def test_what_is_ready_needs_force(name: str) -> None:
    assert "add --force" in refusal(STATE, name)
    assert refusal(STATE, name, force=True) == ""


def test_all_reasons_are_told_at_once() -> None:
    said = refusal(STATE, "a b c d e")
    for reason in (
        "nothing was removed: a is READY and takes part in the consensus",
        "d is READY and carries traffic",
        "stop what is READY first (data nodes: drain-node, then stop), or add --force",
        "no control node would be left",
    ):
        assert reason in said


def test_force_does_not_cost_the_quorum() -> None:
    state = cluster([*map(control, "ab"), data("d")], [control("c"), data("e")])
    assert "the quorum would be lost" in refusal(state, "a", force=True)
    assert refusal(state, "c") == ""


def test_data_nodes_are_removed_however_the_control_nodes_are() -> None:
    state = cluster([control("a"), data("d")], [*map(control, "bc"), data("e")])
    assert refusal(state, "e") == ""


def test_who_joins_at_this_moment_is_waited_for() -> None:
    state = cluster([*map(control, "abc"), control("new", member=0)])
    assert "new joins at this moment" in refusal(state, "new", force=True)
