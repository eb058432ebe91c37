"""What drain-node refuses, and what it tells while it waits."""

import pytest
from tests.unit.cluster.support_state import cluster, control, data

from traefikee.cluster.draining import check, progress
from traefikee.cluster.records import Emptying, Report
from traefikee.cluster.state import Node
from traefikee.errors import RefusedError

ACTIVE = cluster([*map(control, "abc"), data("d"), data("e")], [data("f")], leader="a")
ALL = ACTIVE.nodes


def named(name: str) -> Node:
    return next(node for node in ALL if node.record.name == name)


@pytest.mark.parametrize(
    ("drained", "names", "force", "reason"),
    [
        ("", "d", False, ""),
        ("", "de", False, "no data node would accept requests any more"),
        ("d", "e", False, "no data node would accept requests any more"),
        ("d", "e", True, ""),
        ("d", "f", False, ""),
        ("", "ab", False, ""),
        ("", "abc", True, "no other control node could lead the cluster"),
        ("bc", "a", True, "no other control node could lead the cluster"),
    ],
)
def test_somebody_has_to_serve_and_somebody_to_lead(drained: str, names: str, force: bool, reason: str) -> None:
    state = cluster([*map(control, "abc"), data("d"), data("e")], [data("f")], drained=drained)
    nodes = [node for node in state.nodes if node.record.name in names]
    said = ""
    try:
        check(state, nodes, force=force)
    except RefusedError as error:
        said = error.cause.removeprefix("nothing was drained: ")
    assert said == reason


def report(**emptying: object) -> Report:
    return Report(agent_version="1", emptying=Emptying.model_validate({"mark": "then", **emptying}))


@pytest.mark.parametrize(
    ("told", "done", "good", "message"),
    [
        (Report(agent_version="1"), False, True, "d has not said yet that it is being drained."),
        (report(mark="an earlier time", done=True), False, True, "d has not said yet that it is being drained."),
        (
            report(connections=1),
            False,
            True,
            "d still accepts, while its pings announce the end: 1 connection, 0 requests.",
        ),
        (report(accepting=False, connections=2, requests=1), False, True, "d: 2 connections and 1 request left."),
        (report(done=True), True, True, "d is drained."),
    ],
)
def test_a_data_node_on_its_way(told: Report, done: bool, good: bool, message: str) -> None:
    state = cluster([*map(control, "abc"), data("d"), data("e")], drained="d", reports={"d": told})
    assert progress(state, "id-d", named("d"), undo=False) == (done, good, message)


@pytest.mark.parametrize(
    ("told", "done", "good", "message"),
    [
        (report(done=True), False, True, "d still accepts nothing."),
        (Report(agent_version="1"), True, True, "d accepts requests again."),
        (
            report(done=True).model_copy(update={"undrain_problem": "http: address already in use"}),
            True,
            False,
            "d cannot accept requests again: http: address already in use. It goes on trying.",
        ),
    ],
)
def test_a_data_node_on_its_way_back(told: Report, done: bool, good: bool, message: str) -> None:
    before = next(node for node in cluster([data("d")], drained="d").nodes if node.record.name == "d")
    state = cluster([*map(control, "abc"), data("d"), data("e")], reports={"d": told})
    assert progress(state, "id-d", before, undo=True) == (done, good, message)


def test_nodes_that_cannot_be_waited_for() -> None:
    assert progress(ACTIVE, "id-d", named("d"), undo=True) == (True, True, "d was not drained.")
    state = cluster([control("a")], [data("f")], drained="f")
    assert progress(state, "id-f", named("f"), undo=False)[:2] == (True, True)
    assert progress(cluster([control("a")]), "id-d", named("d"), undo=False) == (
        True,
        False,
        "d is no longer in the list of nodes.",
    )


def test_a_control_node_hands_over() -> None:
    def seen(leader: str) -> tuple[bool, bool, str]:
        return progress(cluster([*map(control, "abc")], leader=leader, drained="a"), "id-a", named("a"), undo=False)

    assert seen("a") == (False, True, "a hands leadership over.")
    assert seen("") == (False, True, "a hands leadership over.")
    assert seen("b")[:2] == (True, True)
