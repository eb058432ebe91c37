"""Each invariant finds what it is there for, in histories that were made up for it, and nothing in a good one."""

from dataclasses import replace

import pytest

from tests.chaos import invariants
from tests.chaos.excuses import windows
from tests.chaos.history import (
    Backup,
    Deploy,
    EngineSeen,
    Final,
    History,
    ListSeen,
    Outcome,
    Request,
    Stored,
    Struck,
    Write,
)
from tests.chaos.invariants.agreement import REVISION
from tests.chaos.invariants.crashes import found_in
from tests.chaos.made_up import GOOD, NODE, TRUST, aftermath, config, leader, pointer, spoilt
from traefikee.cluster import state

NOTHING: dict[str, list[str]] = {name: [] for name in invariants.ALL}


def found(history: History) -> dict[str, list[str]]:
    """What each invariant says, if it says something."""
    return {one.name: list(one.violations) for one in invariants.judge(history) if not one.holds}


def test_nothing_is_wrong_with_a_good_history() -> None:
    assert found(History(GOOD)) == {}
    assert found(spoilt()) == {}
    assert invariants.missing(spoilt()) == []


@pytest.mark.parametrize(
    ("history", "name", "sentence"),
    [
        pytest.param(
            spoilt(Deploy(5, "control-node-1", 8, 9, Outcome.OK, 4), kept=[[1, 0], [2, 1], [3, 3], [4, 5]]),
            "deploys",
            "deploy 5 was acknowledged as configuration 4 and is not in the store",
            id="an acknowledged deployment is lost",
        ),
        pytest.param(
            spoilt(*config(4, 5, 14), Deploy(5, "control-node-1", 8, 9, Outcome.OK, 3), kept=[[1, 0], [2, 1], [3, 5]]),
            "deploys",
            "deploy 5 was acknowledged as configuration 3 and is stored as [4]",
            id="acknowledged under another number",
        ),
        pytest.param(
            spoilt(*config(4, 3, 14)), "deploys", "deploy 3 (unknown) is stored 2 times: as [3, 4]", id="stored twice"
        ),
        pytest.param(
            spoilt(*config(4, 2, 14)),
            "deploys",
            "deploy 2 failed (refused) and is stored as [4]",
            id="a failed deployment is there",
        ),
        pytest.param(
            spoilt(
                Deploy(5, "control-node-1", 2.5, 3.5, Outcome.OK, 4),
                *config(4, 5, 14),
                kept=[[1, 0], [2, 1], [3, 3], [4, 5]],
            ),
            "deploys",
            "deploy 3 began after deploy 5 was acknowledged as 4, and is stored as 3",
            id="out of order",
        ),
        pytest.param(
            spoilt(kept=[[1, 0], [3, 3]]),
            "deploys",
            "deploy 1 was acknowledged as configuration 2, of which the history says nothing",
            id="forgotten by the history",
        ),
        pytest.param(spoilt(*config(5, 4, 14)), "numbers", "configuration 5 came after 3, at revision 14", id="a gap"),
        pytest.param(
            spoilt(Stored(14, f"{state.CONFIGS}2", 8, "{}")),
            "numbers",
            "configuration 2 was changed at revision 14",
            id="history is changed",
        ),
        pytest.param(
            spoilt(Stored(14, state.CURRENT, 6, "4")),
            "numbers",
            "configuration 4 came into force at revision 14 without being written",
            id="in force and not there",
        ),
        pytest.param(
            spoilt(Stored(14, f"{state.CONFIGS}4", 14, "{}")),
            "numbers",
            "configurations [4] were written without coming into force",
            id="written alone",
        ),
        pytest.param(
            spoilt(Stored(14, state.CURRENT, 6, None)),
            "numbers",
            "the pointer to the configuration in force was deleted at revision 14",
            id="nothing in force any more",
        ),
        pytest.param(
            spoilt(pointer(2, 14, 3, term=11, name="n2")),
            "revisions",
            "snapshot 2 was published after 3",
            id="published revision goes back",
        ),
        pytest.param(
            spoilt(pointer(4, 14, 2, term=11)),
            "revisions",
            "a snapshot of configuration 2 was published after one of 3",
            id="published configuration goes back",
        ),
        pytest.param(
            spoilt(pointer(3, 14, 3, term=11, name="other")),
            "revisions",
            "two snapshots were published as revision 3",
            id="one number for two snapshots",
        ),
        pytest.param(
            spoilt(EngineSeen(NODE, 12, 101, 2)),
            "revisions",
            f"the engine of {NODE} went back from 3 to 2 after 12.0 s",
            id="an engine goes back",
        ),
        pytest.param(
            spoilt(EngineSeen(NODE, 30, 101, 2), Struck("disk-full", NODE, 20, 21)),
            "revisions",
            f"the engine of {NODE} went back from 3 to 2 after 30.0 s",
            id="an engine goes back further than a full disk explains",
        ),
        pytest.param(
            spoilt(ListSeen("control-node-1", 12, {NODE: 1})),
            "revisions",
            f"control-node-1's list has {NODE} go back from 3 to 1 after 12.0 s",
            id="a list goes back",
        ),
        pytest.param(
            spoilt(leader(14, None, 11), pointer(4, 15, 3, term=11)),
            "writers",
            f"{state.SNAPSHOT} was written at revision 15, while nobody led",
            id="nobody leads and somebody writes",
        ),
        pytest.param(
            spoilt(pointer(4, 14, 3, term=5)),
            "writers",
            "snapshot 4 was written at revision 14 in the term 5, while that of 11 was in force",
            id="a deposed leader writes",
        ),
        pytest.param(
            spoilt(stores={"control-node-1": {REVISION: 7, state.LEADER: 5, state.CURRENT: 6, state.SNAPSHOT: 7}}),
            "agreement",
            "the store of control-node-1 differs from its history in 1 keys: "
            f"{state.CONFIGS}1 (6 in the history, None held)",
            id="a store has lost a key",
        ),
        pytest.param(
            spoilt(converged=None, disagreement="control-node-1 lists nobody"),
            "convergence",
            "not within 10 s after everything was healed: control-node-1 lists nobody",
            id="no rest",
        ),
        pytest.param(
            spoilt(ports={NODE: [2]}),
            "served",
            f"{NODE} has deploy 3 in force and listens for [2]",
            id="the snapshot before is served",
        ),
        pytest.param(
            spoilt(ports={NODE: [2, 3]}),
            "served",
            f"{NODE} has deploy 3 in force and listens for [2, 3]",
            id="something of the snapshot before is left",
        ),
        pytest.param(
            spoilt(consul=0, served={NODE: 0}), "consul", "Consul holds 0 and had acknowledged 1", id="Consul forgets"
        ),
        pytest.param(
            spoilt(served={NODE: 1}), "consul", f"{NODE} routes by 1, and Consul says 2", id="Consul is not followed"
        ),
        pytest.param(
            spoilt(Request(NODE, kept=True, begin=7, end=7.1, mark=1)),
            "consul",
            f"{NODE} went back in what it routes by, from 2 to 1 after 7.1 s",
            id="routed by an older write",
        ),
        pytest.param(
            spoilt(Backup(3, "control-node-1", 2.5, 3, Outcome.OK, [[1, 0]], 1)),
            "backups",
            "backup 3 was begun after deploy 1 was acknowledged as 2, and lacks it",
            id="a backup lacks a deployment",
        ),
        pytest.param(
            spoilt(Backup(3, "control-node-1", 2.5, 3, Outcome.OK, [[1, 0], [2, 1]], 3)),
            "backups",
            "backup 3 has configuration 3 in force and holds [1, 2]",
            id="a backup of two moments",
        ),
        pytest.param(
            spoilt(Backup(3, "control-node-1", 2.5, 3, Outcome.UNKNOWN, damage="no secrets")),
            "backups",
            "backup 3 is damaged: no secrets",
            id="a damaged backup",
        ),
        pytest.param(
            spoilt(Request(NODE, kept=True, begin=2.5, end=3, failure="502")),
            "traffic",
            f"a request to {NODE} on a kept connection failed after 2.50 s (0.50 s long): 502",
            id="a request fails while a control node hangs",
        ),
        pytest.param(
            spoilt(
                Request(NODE, kept=False, begin=2.5, end=3, failure="502"), Struck("kill-node", "data-node-2", 2, 4)
            ),
            "traffic",
            f"a request to {NODE} on a new connection failed after 2.50 s (0.50 s long): 502",
            id="another data node's fault is no excuse",
        ),
        pytest.param(
            spoilt(Request(NODE, kept=False, begin=2.5, end=3, failure="502"), Struck("kill-agent", NODE, 2, 4)),
            "traffic",
            f"a request to {NODE} on a new connection failed after 2.50 s (0.50 s long): 502",
            id="the agent's fault is no excuse",
        ),
        pytest.param(
            spoilt(trust={"control-node-1": TRUST, "control-node-2": replace(TRUST, tokens={"control": "x"})}),
            "trust",
            "control-node-2 has other tokens than control-node-1",
            id="two control nodes have other tokens",
        ),
        pytest.param(
            spoilt(trust={"control-node-1": TRUST, "control-node-2": replace(TRUST, trusted=["a2"])}),
            "trust",
            "control-node-2 trusts other authorities than control-node-1",
            id="two control nodes trust other authorities",
        ),
        pytest.param(
            spoilt(trust={"control-node-1": replace(TRUST, trusted=["a1", "a0"])}),
            "trust",
            "control-node-1 trusts 2 authorities",
            id="the old authority is trusted for ever",
        ),
        pytest.param(
            spoilt(trust={"control-node-1": replace(TRUST, foreign=[NODE])}),
            "trust",
            f"{NODE} are told by control-node-1 to have no certificate of the authority",
            id="a certificate of the old authority",
        ),
        pytest.param(
            spoilt(audited={"rotate-ca": 4}),
            "trust",
            "rotate-tokens was acknowledged 1 times, and the audit log has 0 entries",
            id="an action that nobody logged",
        ),
        pytest.param(
            spoilt(audited={"rotate-ca": 4, "rotate-tokens": 3}),
            "trust",
            "rotate-tokens was asked for 2 times, and the audit log has 3 entries",
            id="an action that was carried out twice",
        ),
        pytest.param(
            spoilt(*config(4, 5, 14, rollback_of=2), ports={NODE: [5]}),
            "served",
            f"{NODE} has deploy 1 in force and listens for [5]",
            id="a rollback that serves something else",
        ),
        pytest.param(
            spoilt(aftermath(whole=None, disagreement="nobody leads")),
            "aftermath",
            "after restore no agreement within 60 s: nobody leads",
            id="a cluster that does not come back",
        ),
        pytest.param(
            spoilt(aftermath(ports=[{NODE: [3]}, {NODE: [4]}])),
            "aftermath",
            f"after restore {NODE} listens for [4], and for [3] before",
            id="it comes back with another configuration",
        ),
        pytest.param(
            spoilt(aftermath(trust=[TRUST, replace(TRUST, tokens={})])),
            "aftermath",
            "after restore the tokens are others",
            id="it comes back with other tokens",
        ),
        pytest.param(
            spoilt(aftermath(trust=[TRUST, replace(TRUST, trusted=["a2"])])),
            "aftermath",
            "after restore another authority is trusted",
            id="it comes back with another authority",
        ),
        pytest.param(
            spoilt(aftermath(served={NODE: []})),
            "aftermath",
            f"after restore deploy 9 was acknowledged, and {NODE} listens for none",
            id="it comes back and serves nothing new",
        ),
        pytest.param(spoilt(crashes=["n: Traceback"]), "crashes", "n: Traceback", id="a traceback in a log"),
        pytest.param(spoilt(left=["process 7: etcd"]), "leftovers", "process 7: etcd", id="a process is left"),
    ],
)
def test_a_violation_is_found(history: History, name: str, sentence: str) -> None:
    violations = found(history)
    assert sentence in violations.get(name, []), violations
    assert len(violations[name]) == 1, violations


@pytest.mark.parametrize(
    "history",
    [
        pytest.param(
            spoilt(EngineSeen(NODE, 12, 101, 2), Struck("disk-full", NODE, 8.5, 10)), id="what a full disk did not keep"
        ),
        pytest.param(
            spoilt(Request(NODE, kept=False, begin=1.9, end=2, failure="x"), Struck("kill-node", NODE, 2, 4)),
            id="a request that a fault has cut",
        ),
        pytest.param(
            spoilt(Request(NODE, kept=True, begin=6, end=6.1, failure="x"), Struck("drain", NODE, 5, 7)),
            id="while an operator has drained it",
        ),
        pytest.param(
            spoilt(Request(NODE, kept=False, begin=6, end=6.1, failure="x"), Struck("kill-engine", NODE, 2, 2)),
            id="while the engine comes back",
        ),
        pytest.param(
            spoilt(Write(3, 8, 9, Outcome.FAIL), Request(NODE, kept=False, begin=7, end=7.1, mark=2)),
            id="a write that failed",
        ),
        pytest.param(
            spoilt(
                EngineSeen(NODE, 12, 101, 2), ListSeen("control-node-1", 12, {NODE: 1}), Struck("replace", NODE, 10, 11)
            ),
            id="a machine that has taken the place of another one",
        ),
        pytest.param(
            spoilt(*config(4, 5, 14, rollback_of=2), *config(5, 6, 15, rollback_of=4), ports={NODE: [1]}),
            id="a rollback to a rollback",
        ),
        pytest.param(
            spoilt(Backup(3, "control-node-1", 2.5, 3, Outcome.OK, [[102, 7]], 102)),
            id="deployments that are too old to be kept",
        ),
    ],
)
def test_what_is_no_violation(history: History) -> None:
    assert found(history) == {}


@pytest.mark.parametrize(
    ("output", "sentences"),
    [
        ("all is well\nError: no token is given; take one\n", []),
        (
            'one\nTraceback (most recent call last):\n  File "x", line 1\n    f()\nValueError: too late\ntwo\n',
            ["n: Traceback (most recent call last): ... ValueError: too late"],
        ),
        ("thread 'main' panicked at src/main.rs:3:5:\n", ["n: panicked at src/main.rs:3:5:"]),
        ("12:00 [error    ] a duty of the leader failed; duty=x\n", ["n: a duty of the leader failed; duty=x"]),
    ],
)
def test_unexpected_errors_in_logs(output: str, sentences: list[str]) -> None:
    assert found_in("n", output) == sentences


def test_an_engine_is_not_expected_while_nobody_could_start_it() -> None:
    killed = Struck("kill-engine", NODE, 10, 10)
    assert windows([killed]) == [(10, 15)]
    assert windows([killed, Struck("pause-agent", NODE, 12, 20)]) == [(10, 25)]
    assert windows([killed, Struck("pause-agent", NODE, 16, 20)]) == [(10, 15)]
    assert windows([killed, Struck("disk-full", NODE, 2, 9)]) == [(10, 15)]
    assert windows([Struck("pause-agent", NODE, 12, 20), Struck("disk-full", NODE, 12, 20)]) == []


@pytest.mark.parametrize(
    ("history", "sentence"),
    [
        (spoilt(without=Final), "nothing was observed at the end"),
        (spoilt(without=Request), "no request was answered"),
        (spoilt(without=Write), "Consul took no write"),
        (spoilt(without=Deploy), "no deployment was acknowledged"),
        (History(one for one in GOOD if not isinstance(one, Stored)), "nothing of the store's history was seen"),
        (
            History(replace(one, outcome=Outcome.UNKNOWN) if isinstance(one, Deploy) else one for one in GOOD),
            "no deployment was acknowledged",
        ),
    ],
)
def test_a_history_that_proves_nothing(history: History, sentence: str) -> None:
    assert invariants.missing(history) == [sentence]
