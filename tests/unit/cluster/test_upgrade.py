"""Who may be in a cluster of several versions, and when its format is raised."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from tests.unit.cluster.support_state import cluster, control, data

from traefikee.cluster import state, upgrade
from traefikee.cluster.records import ClusterFormat, NodeRecord, Phase, Report
from traefikee.cluster.state import ClusterState
from traefikee.cluster.store import KeyValue
from traefikee.cluster.upgrade import Raise, Wait, decide_format
from traefikee.errors import RefusedError, TraefikeeError
from traefikee.formats import NewerFieldError, Understood

OLD, NEW, NEWER = Understood(1, 1), Understood(1, 2), Understood(2, 3)


def seen(
    nodes: Mapping[str, Understood | None], *, number: int = 1, left: str = "", phase: Phase = Phase.FORMED
) -> ClusterState:
    """Nodes by name (``c``: control, ``d``: data) with what they understand; None: no sign of life."""
    made: dict[str, NodeRecord] = {
        name: control(name, left=name == left) if name.startswith("c") else data(name) for name in nodes
    }
    alive = [made[name] for name, understood in nodes.items() if understood]
    down = [made[name] for name, understood in nodes.items() if not understood]
    values = dict(cluster(alive, down, phase=phase).keys)
    put = {state.FORMAT: ClusterFormat(number=number, version="0.2.0").stored()}
    for name, understood in nodes.items():
        if understood:
            report = Report(agent_version=f"0.{understood.newest}.0", formats=understood)
            put[state.ALIVE + made[name].id] = report.stored()
    return state.from_keys(8, {**values, **{key: KeyValue(key, value, 3, 6) for key, value in put.items()}})


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ({"c1": NEW, "c2": OLD, "d1": NEW}, "c2 (version 0.1.0) does not"),
        ({"c1": NEW, "c2": OLD, "d1": OLD}, "c2 (version 0.1.0), d1 (version 0.1.0) do not"),
        ({"c1": NEW, "c2": NEW, "d1": None}, "d1 is not READY"),
    ],
)
def test_the_format_stays_until_every_node_of_the_list_understands_the_next(
    nodes: dict[str, Understood | None], reason: str
) -> None:
    decision = decide_format(seen(nodes), NEW)
    assert isinstance(decision, Wait)
    assert reason in decision.reason
    assert decision.reason in upgrade.warnings(seen(nodes), NEW)


def test_it_is_raised_once_all_do_and_one_by_one() -> None:
    everywhere = {"c1": NEW, "c2": NEW, "d1": NEW}
    assert decide_format(seen(everywhere), NEW) == Raise(2, "every one of the 3 nodes understands it")
    assert decide_format(seen(everywhere, number=2), NEW) is None, "there is no newer one"
    assert decide_format(seen(everywhere), OLD) is None, "an old leader does not know of it"
    further = dict.fromkeys(everywhere, NEWER)
    assert decide_format(seen(further, number=2), NEWER) == Raise(3, "every one of the 3 nodes understands it")


def test_a_bootstrap_node_that_has_left_does_not_count_and_a_cluster_that_forms_waits() -> None:
    assert isinstance(decide_format(seen({"c1": NEW, "c0": None}, left="c0"), NEW), Raise)
    assert decide_format(seen({"c1": NEW}, phase=Phase.FORMING), NEW) is None


@pytest.mark.parametrize(
    ("understood", "number", "words"),
    [
        (
            OLD,
            2,
            "this node is of version 9.9, which understands format 1, and the cluster is at format 2 since version "
            "0.2.0 was everywhere; install version 0.2.0 or the one after it on this node",
        ),
        (
            NEWER,
            1,
            "this node is of version 9.9, which understands formats 2 and 3, and the cluster is at format 1 since "
            "version 0.2.0 was everywhere; upgrade the nodes of the cluster to the version before 9.9, then start this "
            "node again",
        ),
    ],
)
def test_who_does_not_understand_the_format_in_force_is_refused_with_the_next_step(
    understood: Understood, number: int, words: str
) -> None:
    with pytest.raises(RefusedError) as caught:
        upgrade.check_other(seen({"c1": NEW}, number=number), "9.9", understood)
    assert str(caught.value) == words
    assert caught.value.kind == "version"


@pytest.mark.parametrize(("understood", "number"), [(OLD, 1), (NEW, 1), (NEW, 2), (NEWER, 2)])
def test_a_format_apart_is_let_in(understood: Understood, number: int) -> None:
    upgrade.check_other(seen({"c1": NEW}, number=number), "9.9", understood)


def test_a_format_in_force_that_cannot_be_read_is_understood_by_nobody() -> None:
    readable = seen({"c1": NEW})
    upgrade.check_own(readable)
    broken = {**readable.keys, state.FORMAT: KeyValue(state.FORMAT, b"{", 1, 9)}
    with pytest.raises(TraefikeeError, match="format 0"):
        upgrade.check_own(state.from_keys(9, broken))


def test_warnings_name_the_versions_and_what_is_refused() -> None:
    mixed = seen({"c1": NEW, "c2": OLD, "d1": OLD})
    (first, *_) = upgrade.warnings(mixed)
    assert first == "the nodes are of 2 versions (0.1.0: c2, d1; 0.2.0: c1): finish the upgrade"
    assert upgrade.warnings(seen({"c1": OLD, "d1": OLD})) == []
    node = next(node for node in mixed.nodes if node.record.name == "d1")
    assert node.report is not None
    refusing = replace(node, report=node.report.model_copy(update={"refused_revision": 4, "refusal": "too new"}))
    told = upgrade.warnings(replace(mixed, nodes=(refusing,)))
    assert "d1 refuses snapshot 4: too new" in told


def test_an_option_before_its_time_is_refused_with_who_does_not_understand_it() -> None:
    error = upgrade.needs_upgrade(seen({"c1": NEW, "d1": OLD}), NewerFieldError("entryPoints.x", 2))
    assert "entryPoints.x needs format 2, and the cluster is at format 1: d1 (version 0.1.0)" in str(error)
