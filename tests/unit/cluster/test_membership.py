"""Who is forgotten, and when: decisions on one state."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cluster.support_state import cluster, control, data

from traefikee.cluster.membership import (
    FORGET_AFTER,
    Forget,
    Keep,
    cannot_leave,
    decide_cleaning,
    decide_removals,
    drains_the_last,
    formation,
    may_lead,
    name_conflict,
    observe_down,
    outlived,
    quorum,
)
from traefikee.cluster.records import Phase
from traefikee.cluster.roles import Role
from traefikee.cluster.state import ClusterState

LATE = FORGET_AFTER + 1
LOST = "control nodes that stay would be alive, and the quorum would be lost"


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


# --- removed by operators ---


@pytest.mark.parametrize(
    ("alive", "down", "leaving", "reason"),
    [
        ("abc", "", "a", None),
        ("abc", "", "ab", None),
        ("abc", "", "abc", "no control node would be left, and with the last one the cluster would be lost"),
        ("a", "", "a", "no control node would be left, and with the last one the cluster would be lost"),
        ("ab", "c", "c", None),
        ("ab", "c", "a", f"without a only 1 of the 2 {LOST}"),
        # The one that is DOWN leaves first, and then there is room.
        ("ab", "c", "ac", None),
        ("a", "bc", "b", "only 1 of 3 control nodes are alive, which is no quorum: nothing can be changed"),
        ("abc", "de", "ab", f"without a only 2 of the 4 {LOST}"),
        ("abc", "de", "abde", None),
        ("abc", "", "", None),
    ],
)  # fmt: skip
def test_who_may_leave(alive: str, down: str, leaving: str, reason: str | None) -> None:
    state = cluster([control(name) for name in alive], [control(name) for name in down])
    assert cannot_leave(state, {f"id-{name}" for name in leaving}) == reason


def test_who_carries_no_vote_may_always_leave() -> None:
    state = cluster([control("a"), data("d")], [control("new", member=0)])
    assert cannot_leave(state, {"id-d", "id-new"}) is None


def test_while_the_cluster_forms_its_control_nodes_stay() -> None:
    state = cluster([control("a"), control("b")], phase=Phase.FORMING)
    assert "still forming" in str(cannot_leave(state, {"id-a"}))


def test_those_who_are_about_to_leave_count_as_gone() -> None:
    state = cluster([*map(control, "ab")], [control("c")], removed="c")
    assert cannot_leave(state, {"id-b"}) is None
    assert cannot_leave(cluster([*map(control, "abc")], removed="ab"), {"id-c"}) is not None


def members(alive: int, down: int) -> tuple[list[str], list[str]]:
    return [f"a{number}" for number in range(alive)], [f"d{number}" for number in range(down)]


@pytest.mark.parametrize(("alive", "down"), [(a, d) for a in range(1, 6) for d in range(4)])
def test_the_quorum_is_never_lost_whoever_is_removed(alive: int, down: int) -> None:
    """Over all subsets: what is not refused is carried out to its end, with a quorum alive before and after each step;
    what is refused is what would lose it at some step, or everything."""
    living, dead = members(alive, down)
    for size in range(1, alive + down + 1):
        for leaving in itertools.combinations([*living, *dead], size):
            ups, downs = list(living), list(dead)
            before = cluster([*map(control, ups)], [*map(control, downs)])
            refused = cannot_leave(before, {f"id-{name}" for name in leaving}) is not None
            left = list(leaving)
            while True:
                now = cluster([*map(control, ups)], [*map(control, downs)], removed=left)
                going = [one.node.record.name for one in decide_removals(now) if isinstance(one, Forget)]
                if not going:
                    break
                assert len(going) == 1
                assert len(ups) >= quorum(len(ups) + len(downs)), "a quorum has to agree"
                ups, downs, left = ([name for name in names if name not in going] for names in (ups, downs, left))
                assert len(ups) >= quorum(len(ups) + len(downs)), "and is left"
            if refused:
                assert left, f"{leaving} of {living} and {dead} could have left"
            else:
                assert not left, f"{left} stay, of {leaving}"


def test_the_leader_itself_and_one_too_many_wait() -> None:
    state = cluster([*map(control, "abcde")], leader="a", removed="abc")
    reasons = {one.node.record.name: (type(one), one.reason) for one in decide_removals(state)}
    assert reasons == {
        "a": (Keep, "it still leads"),
        "b": (Forget, "it was removed, and 4 of the other 4 are alive"),
        "c": (Keep, "another member leaves first"),
    }


def test_a_node_that_was_removed_is_not_cleaned_beside() -> None:
    state = cluster([*map(control, "ab")], [control("c")], removed="c")
    assert cleaned(state) == []


def test_removals_are_remembered_up_to_a_number() -> None:
    ids = [str(number) for number in range(10)]
    assert outlived(ids, kept=11) == []
    assert outlived(ids, kept=10) == ["0"]
    assert outlived(ids, kept=8) == ["0", "1", "2"]
    assert outlived([], kept=8) == []


# --- drained by operators ---


@pytest.mark.parametrize(
    ("alive", "down", "drained", "removed", "who"),
    [
        ("abc", "", "", "", "abc"),
        ("abc", "", "a", "", "bc"),
        ("abc", "", "ab", "", "c"),
        ("ab", "c", "ab", "", "abc"),
        ("abc", "", "abc", "", "abc"),
        ("abc", "", "a", "b", "c"),
        ("ab", "c", "a", "b", "ac"),
    ],
)
def test_who_stands_for_election(alive: str, down: str, drained: str, removed: str, who: str) -> None:
    state = cluster([*map(control, alive)], [*map(control, down)], drained=drained, removed=removed)
    assert "".join(name for name in "abc" if may_lead(state, f"id-{name}")) == who


def test_only_members_stand_for_election() -> None:
    state = cluster([control("a"), control("new", member=0), data("d")])
    assert [name for name in ("a", "new", "d", "nobody") if may_lead(state, f"id-{name}")] == ["a"]


@pytest.mark.parametrize(
    ("drained", "ids", "last"),
    [("", "d", False), ("", "de", True), ("d", "e", True), ("de", "d", False), ("d", "d", False), ("", "f", False)],
)
def test_the_last_one_that_serves(drained: str, ids: str, last: bool) -> None:
    state = cluster([control("a"), data("d"), data("e")], [data("f")], drained=drained)
    assert drains_the_last(state, {f"id-{name}" for name in ids}, Role.DATA) == last
