"""How far data nodes are with what was deployed, and what is told of it."""

import asyncio
from typing import Any

import pytest
from tests.unit.cluster.support_state import cluster, control, data

from traefikee.cluster import state
from traefikee.cluster.mirror import Mirror
from traefikee.cluster.records import Report
from traefikee.cluster.state import ClusterState
from traefikee.cluster.store import KeyValue
from traefikee.node import deployment
from traefikee.node.deployment import MOST_NAMED, Outcome, _applied, outcome, some_of


def reported(seen: ClusterState, **reports: Report | None) -> ClusterState:
    changes: list[tuple[str, KeyValue | None]] = []
    for name, report in reports.items():
        key = f"{state.ALIVE}id-{name}"
        changes.append((key, None if report is None else KeyValue(key, report.stored(), 1, 9)))
    return state.advance(seen, seen.revision + 1, changes)


HAS = Report(agent_version="1", revision=5)
REFUSES = Report(agent_version="1", revision=4, refused_revision=5, refusal="port in use")


def test_outcome() -> None:
    seen = cluster([control("c"), *(data(name) for name in "abd")], [data("gone")])
    assert outcome(reported(seen, a=HAS, b=REFUSES), 5) == Outcome(("a",), {"b": "port in use"}, ("d",))
    later = Report(agent_version="1", revision=6)
    assert outcome(reported(seen, a=later, b=HAS, d=None), 5) == Outcome(("a", "b"), {}, ())


def test_some_of_many_names() -> None:
    names = [f"n{number}" for number in range(MOST_NAMED)]
    assert some_of(names) == ", ".join(names)
    assert some_of([*names, "last"]) == f"{', '.join(names[: MOST_NAMED // 2])} and {MOST_NAMED // 2 + 1} others"


def steps(names: list[str], *then: tuple[str, dict[str, Report | None]]) -> list[dict[str, Any]]:
    """The steps that are told while reports come in, each group as soon as something with these words was told."""

    async def main() -> list[dict[str, Any]]:
        nowhere: Any = None
        mirror = Mirror(nowhere)
        mirror.state = cluster([control("c"), *map(data, names)])
        told: list[dict[str, Any]] = []

        async def come_in() -> None:
            for words, reports in then:
                while words and not any(words in step["message"] for step in told):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                await mirror._set(reported(mirror.state, **reports))

        coming = asyncio.create_task(come_in())
        async with asyncio.timeout(20):
            async for step in _applied(mirror, 5):
                told.append(dict(step))  # noqa: PERF401 - what was told is looked at meanwhile
            await coming
        return told

    return asyncio.run(main())


def test_few_nodes_are_named_one_by_one() -> None:
    told = steps(["a", "b"], ("", {"a": HAS}), ("a: applied", {"b": REFUSES}))
    assert [step["message"] for step in told] == ["a: applied", "b: refused: port in use", "Refused by b."]
    assert told[-1]["ok"] is False


def test_of_many_only_the_exceptions_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployment, "PROGRESS_EVERY", 0.05)
    names = [f"n{number:03}" for number in range(300)]
    told = steps(
        names,
        ("", dict.fromkeys(names[:100], HAS)),
        ("100 of 300", {"n200": REFUSES}),
        ("n200", {name: HAS for name in names if name != "n200"}),
    )
    nodes = [step["message"] for step in told if step["event"] == "node"]
    assert nodes == ["n200: refused: port in use"]
    progress = [step for step in told if step["event"] == "progress"]
    assert {"applied": 100, "of": 300, "message": "Applied by 100 of 300 data nodes.", "event": "progress"} in progress
    assert told[-1]["message"] == "Refused by n200."
    told = steps(names, ("", dict.fromkeys(names, HAS)))
    assert told[-1] == {"event": "done", "ok": True, "message": "Applied by 300 data nodes."}


def test_who_does_not_answer_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployment, "APPLY_DEADLINE", 0.3)
    monkeypatch.setattr(deployment, "BEAT", 0.1)
    told = steps(["a", "b"], ("", {"a": HAS}))
    assert "Waiting for b." in [step["message"] for step in told]
    assert told[-1]["message"] == "No answer within 0 s from b."
