"""Who is forgotten, and when: decisions on one state."""

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cluster.support_state import cluster, control, data

from traefikee.cluster.membership import (
    FORGET_AFTER,
    Forget,
    Keep,
    decide_cleaning,
    formation,
    name_conflict,
    observe_down,
    quorum,
)
from traefikee.cluster.state import ClusterState, Phase

LATE = FORGET_AFTER + 1


def cleaned(state: ClusterState) -> list[str]:
    """The names that are forgotten when everything that is down has been so for long."""
    since = observe_down(state, {}, 0.0)
    return [one.node.record.name for one in decide_cleaning(state, since, LATE) if isinstance(one, Forget)]


def reasons(state: ClusterState) -> list[str]:
    return [one.reason for one in decide_cleaning(state, observe_down(state, {}, 0.0), LATE) if isinstance(one, Keep)]


def test_down_is_counted_from_when_it_was_first_seen_so() -> None:
    state = cluster([control("a")], [data("d")])
    first = observe_down(state, {}, 10.0)
    assert observe_down(state, first, 20.0) == {"id-d": 10.0}
    assert observe_down(cluster([control("a"), data("d")]), first, 30.0) == {}


def test_nothing_is_forgotten_before_its_time() -> None:
    state = cluster([control("a")], [data("d")])
    since = observe_down(state, {}, 0.0)
    assert decide_cleaning(state, since, FORGET_AFTER - 0.1) == []
    assert [type(one) for one in decide_cleaning(state, since, FORGET_AFTER)] == [Forget]


def test_a_data_node_that_is_down_is_forgotten() -> None:
    assert cleaned(cluster([control("a"), data("d1")], [data("d2")])) == ["d2"]


def test_one_of_three_control_nodes_is_forgotten() -> None:
    assert cleaned(cluster([control("a"), control("b")], [control("c")])) == ["c"]


def test_two_of_three_are_kept_for_the_quorum() -> None:
    state = cluster([control("a")], [control("b"), control("c")])
    assert cleaned(state) == []
    assert reasons(state)[0].endswith("only 1 of 3 members are alive: the quorum would be lost")


def test_members_leave_one_at_a_time() -> None:
    state = cluster([control("a"), control("b"), control("c")], [control("d"), control("e")])
    assert cleaned(state) == ["d"]
    assert "another member leaves first" in reasons(state)[0]


def test_no_member_is_forgotten_while_the_cluster_forms() -> None:
    state = cluster([control("a"), control("b")], [control("c")], phase=Phase.FORMING)
    assert cleaned(state) == []
    assert "still forming" in reasons(state)[0]


def test_a_newcomer_that_never_came_in_and_a_node_that_left_carry_no_vote() -> None:
    state = cluster([control("a")], [control("new", member=0), control("boot", bootstrap=True, left=True)])
    assert sorted(cleaned(state)) == ["boot", "new"]


@given(st.integers(1, 9), st.integers(0, 9))
def test_what_is_left_after_a_removal_is_never_short_of_a_quorum(alive: int, down: int) -> None:
    """Interrupted after each step, over every number of nodes: the smaller membership has a quorum of live ones."""
    living = [control(f"a{number}", member=number + 1) for number in range(alive)]
    dead = [control(f"d{number}", member=number + 100) for number in range(down)]
    while True:
        gone = cleaned(cluster(living, dead))
        if not gone:
            break
        assert len(gone) == 1
        dead = [record for record in dead if record.name not in gone]
        assert alive >= quorum(alive + len(dead))
    # What stays down does so because the quorum was lost already.
    assert not dead or alive < quorum(alive + len(dead))


def test_the_bootstrap_node_is_not_one_of_those_it_waits_for() -> None:
    waiting = cluster([control("boot", bootstrap=True), control("a"), control("b")], phase=Phase.FORMING)
    assert formation(waiting) == (False, "2 of 3 control nodes have joined (a, b)")
    complete = cluster([control("boot", bootstrap=True), *map(control, "abc")], phase=Phase.FORMING)
    assert formation(complete) == (True, "3 of 3 control nodes have joined (a, b, c)")


def test_a_control_node_that_joins_right_now_does_not_count_yet() -> None:
    state = cluster([control("boot", bootstrap=True), control("a", member=0)], control_nodes=1, phase=Phase.FORMING)
    assert formation(state) == (False, "0 of 1 control nodes have joined (none yet)")


def test_the_name_of_a_join_that_was_given_up_is_free() -> None:
    assert name_conflict(cluster([control("a")], [control("new", member=0)]), "new", "id-x") is None
    joining = cluster([control("a"), control("new", member=0)])
    assert name_conflict(joining, "new", "id-x") == "the name 'new' belongs to another control node, which is PENDING"


def test_a_name_belongs_to_one_node() -> None:
    state = cluster([control("a")], [data("d")])
    assert name_conflict(state, "a", "id-a") is None
    assert name_conflict(state, "free", "id-x") is None
    assert name_conflict(state, "a", "id-x") == "the name 'a' belongs to another control node, which is READY"
    assert name_conflict(state, "d", "id-x") == (
        "the name 'd' belongs to another data node, which is DOWN: it is forgotten within a minute"
    )
