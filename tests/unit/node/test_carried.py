"""What a data node reports of its engine, and how much of it at most."""

import asyncio
from typing import Any

import pytest

from traefikee.node import carried
from traefikee.node.carried import MOST_DOWN, MOST_URLS, Carried, listed


def test_all_that_is_down_is_listed_as_long_as_it_fits() -> None:
    few = {f"s{number}": ("http://a", "http://b") for number in range(10)}
    assert listed(few) == few


def test_a_report_stays_small() -> None:
    many = {f"s{number:05}": ("http://a",) for number in range(2 * MOST_DOWN)}
    assert list(listed(many)) == sorted(many)[:MOST_DOWN]
    large = {"a": ("u",) * (MOST_URLS - 1), "b": ("u",), "c": ("u",)}
    assert list(listed(large)) == ["a", "b"], "each that is listed is whole"


def test_other_servers_that_are_down_are_news_and_more_requests_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carried, "EVERY", 0)
    answers = [(["http://b", "http://a"], 1), (["http://a", "http://b"], 2), ([], 3)]
    seen: list[Any] = []

    class Engine:
        client: Any

        async def counters(self) -> dict[str, Any]:
            if not answers:
                raise asyncio.CancelledError
            down, count = answers.pop(0)
            requests = {"by_status": {"200": count}, "duration_seconds_total": 0, "response_bytes_total": 9}
            return {"requests": requests, "services": {"s": {"down": down}, "t": {"down": []}}}

    engine: Any = Engine()
    engine.client = engine
    one = Carried(engine, lambda: seen.append((one.down, one.counters.by_status)))
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(one.run())
    assert seen == [({"s": ("http://a", "http://b")}, {"200": 1}), ({}, {"200": 3})]
