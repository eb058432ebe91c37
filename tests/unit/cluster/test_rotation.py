"""The phases in which the authority is replaced: what each waits for, and what interrupts it."""

from collections.abc import Sequence

import pytest
from tests.unit.cluster import support_state

from traefikee.cluster import pki, rotation, state
from traefikee.cluster.authorities import Authorities, Rotation, RotationPhase
from traefikee.cluster.records import CertificateReport, NodeRecord, Phase, Report
from traefikee.cluster.rotation import Advance, Wait
from traefikee.cluster.state import ClusterState
from traefikee.cluster.store import KeyValue
from traefikee.cluster.tokens import authority_digest
from traefikee.errors import RefusedError

OLD, NEW = (pki.new_authority("cluster", mark).chain_pem for mark in ("1", "2"))
D, N = authority_digest(OLD), authority_digest(NEW)
NODES = [support_state.control("a"), support_state.control("b"), support_state.control("c"), support_state.data("d")]
START = Authorities(
    trusted=(OLD, NEW),
    rotation=Rotation(phase=RotationPhase.TRUST, started_at=1.0, started_by="user root", grace=60.0),
)


def report(trusts: Sequence[str], issuer: str, store: Sequence[str] | None = None) -> Report:
    told = CertificateReport(
        not_after="2030-01-01T00:00:00+00:00",
        issuer=issuer,
        trusts=tuple(trusts),
        store_trusts=tuple(trusts if store is None else store),
    )
    return Report(agent_version="1", certificate=told)


def cluster(
    known: Authorities | None,
    reports: dict[str, Report | None],
    nodes: list[NodeRecord] = NODES,
    phase: Phase = Phase.FORMED,
    more: dict[str, str] | None = None,
) -> ClusterState:
    info = support_state.info().model_copy(update={"ca_pem": known.signing if known else OLD})
    values = {state.INFO: info.stored(), state.PHASE: phase.encode()}
    if known is not None:
        values[state.AUTHORITIES] = known.stored()
    for record in nodes:
        values[state.NODES + record.id] = record.stored()
        told = reports.get(record.name)
        if told is not None:
            values[state.ALIVE + record.id] = told.stored()
    values |= {key: value.encode() for key, value in (more or {}).items()}
    return state.from_keys(7, {key: KeyValue(key, value, 3, 5) for key, value in values.items()})


def at(phase: RotationPhase, trusted: tuple[str, ...], retire_after: float | None = None) -> Authorities:
    assert START.rotation is not None
    changed = START.rotation.model_copy(update={"phase": phase, "retire_after": retire_after})
    return Authorities(trusted=trusted, rotation=changed)


def everybody(one: Report) -> dict[str, Report | None]:
    return {record.name: one for record in NODES}


BOTH = report([D, N], D)
REISSUED = report([N, D], N)
ALONE = report([N], N)
ISSUE = at(RotationPhase.ISSUE, (NEW, OLD), retire_after=1000.0)
RETIRE = at(RotationPhase.RETIRE, (NEW,))


def test_without_a_rotation_there_is_nothing_to_decide() -> None:
    assert rotation.decide(cluster(None, everybody(report([D], D))), 0.0) is None


@pytest.mark.parametrize(
    ("known", "done", "to"),
    [
        (START, BOTH, RotationPhase.ISSUE),
        (ISSUE, REISSUED, RotationPhase.RETIRE),
        (RETIRE, ALONE, None),
    ],
)
def test_a_phase_ends_when_every_live_node_has_confirmed_it(
    known: Authorities, done: Report, to: RotationPhase | None
) -> None:
    decision = rotation.decide(cluster(known, everybody(done)), 2000.0)
    assert isinstance(decision, Advance)
    assert decision.to is to
    assert decision.reason.startswith("all 4 live nodes ")


@pytest.mark.parametrize(
    ("known", "done", "one", "name", "reason"),
    [
        (START, BOTH, report([D], D), "d", "d does not trust the new authority yet"),
        (START, BOTH, report([D, N], D, [D]), "b", "b does not trust the new authority yet in its etcd"),
        (START, BOTH, Report(agent_version="0"), "d", "d does not say whom it trusts"),
        (ISSUE, REISSUED, report([N, D], D), "c", "c has a certificate of the old authority"),
        (ISSUE, REISSUED, report([N], N), "d", "d does not trust the new authority yet"),
        (RETIRE, ALONE, report([N, D], N), "d", "d still trusts the old authority"),
        (RETIRE, ALONE, report([N], N, [N, D]), "a", "a still trusts the old authority in its etcd"),
        (RETIRE, ALONE, report([N], D), "d", "d has a certificate of the old authority"),
    ],
)
def test_one_that_has_not_is_waited_for_and_named(
    known: Authorities, done: Report, one: Report, name: str, reason: str
) -> None:
    decision = rotation.decide(cluster(known, {**everybody(done), name: one}), 2000.0)
    assert decision == Wait(f"waiting for 1 of 4 nodes: {reason}")


def test_who_is_away_is_not_waited_for() -> None:
    assert isinstance(rotation.decide(cluster(START, {**everybody(BOTH), "d": None}), 0.0), Advance)
    left = [*NODES, support_state.control("e", bootstrap=True, left=True)]
    seen = cluster(START, {**everybody(BOTH), "e": report([D], D)}, left)
    assert isinstance(rotation.decide(seen, 0.0), Advance)


def test_a_newcomer_is_waited_for_too() -> None:
    more = [*NODES, support_state.data("new")]
    decision = rotation.decide(cluster(ISSUE, {**everybody(REISSUED), "new": report([D, N], D)}, more), 2000.0)
    assert decision == Wait("waiting for 1 of 5 nodes: new has a certificate of the old authority")


def test_the_grace_is_waited_for_even_if_all_have_confirmed() -> None:
    decision = rotation.decide(cluster(ISSUE, everybody(REISSUED)), 999.0)
    assert isinstance(decision, Wait)
    assert "stays trusted until 1970-01-01 at 00:16:40 UTC" in decision.reason
    assert isinstance(rotation.decide(cluster(ISSUE, everybody(REISSUED)), 1000.0), Advance)


def test_a_control_node_that_is_down_is_named_as_what_holds_etcd_up() -> None:
    stale = report([D, N], D, [D])
    decision = rotation.decide(cluster(START, {**everybody(BOTH), "a": stale, "b": None}), 0.0)
    assert decision == Wait(
        "waiting for 1 of 3 nodes: a does not trust the new authority yet in its etcd; "
        "etcd is not restarted while b is DOWN"
    )


def test_many_are_counted() -> None:
    nodes = [support_state.data(f"d{number}") for number in range(9)]
    seen = cluster(START, {one.name: report([D], D) for one in nodes}, nodes)
    decision = rotation.decide(seen, 0.0)
    assert isinstance(decision, Wait)
    assert decision.reason.startswith("waiting for 9 of 9 nodes: d0 does not trust")
    assert decision.reason.endswith(", and 6 more")


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (cluster(None, everybody(report([D], D)), phase=Phase.FORMING), "still forming"),
        (cluster(START, everybody(BOTH)), "being replaced already"),
        (cluster(None, {**everybody(report([D], D)), "d": Report(agent_version="0")}), "^d runs a version that cannot"),
    ],
)
def test_when_it_cannot_begin(seen: ClusterState, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason):
        rotation.check_start(seen)


def test_it_can_begin_with_nodes_away() -> None:
    rotation.check_start(cluster(None, {**everybody(report([D], D)), "d": None}))


# --- etcd is restarted on one control node at a time ---

STALE = report([D, N], D, [D])


def why_not(reports: dict[str, Report | None], more: dict[str, str] | None = None, *, leads: bool = False) -> str:
    seen = cluster(START, {**everybody(STALE), **reports}, more=more)
    return rotation.why_not_restart_store(seen, "id-a", [D, N], leads=leads)


def test_a_store_restarts_only_while_all_others_are_ready_and_none_does_the_same() -> None:
    assert why_not({}) == ""
    assert why_not({"b": None}) == "b is DOWN"
    assert why_not({"d": None}) == "", "a data node has no store"
    assert why_not({}, {state.RESTARTING: "id-b"}) == "b restarts its etcd"
    assert why_not({}, {state.RESTARTING: "id-a"}) == ""
    assert why_not({}, {state.JOINING: "id-x"}) == "a control node joins"


def test_etcds_leader_goes_last() -> None:
    assert why_not({}, leads=True) == "b restarts its etcd first"
    assert why_not({"b": BOTH}, leads=True) == "c restarts its etcd first"
    assert why_not({"b": BOTH, "c": BOTH}, leads=True) == ""


def test_a_single_control_node_may_restart_its_store() -> None:
    alone = [NODES[0]]
    seen = cluster(START, {"a": STALE}, alone)
    assert rotation.why_not_restart_store(seen, "id-a", [D, N], leads=True) == ""


def test_every_interruption_is_survived() -> None:
    """Walk through the phases with each node confirming after the others: nobody signs or retires too early."""
    known = START
    reports: dict[str, Report | None] = everybody(report([D], D))
    steps = {RotationPhase.TRUST: BOTH, RotationPhase.ISSUE: REISSUED, RotationPhase.RETIRE: ALONE}
    following = {RotationPhase.TRUST: ISSUE, RotationPhase.ISSUE: RETIRE, RotationPhase.RETIRE: None}
    while known.rotation is not None:
        for record in NODES:
            assert isinstance(rotation.decide(cluster(known, reports), 2000.0), Wait)
            reports[record.name] = steps[known.rotation.phase]
        assert isinstance(rotation.decide(cluster(known, reports), 2000.0), Advance)
        after = following[known.rotation.phase]
        if after is None:
            break
        known = after
    assert all(one == ALONE for one in reports.values())
