"""Which server gets a request, and what is counted."""

from collections import Counter

import pytest

from tests.conftest import StartOrigin
from tests.support.engine import EngineProcess
from tests.support.http1 import get
from tests.support.origin import Origin
from tests.support.snapshots import entry_point, route, service, snapshot
from tests.support.wait import wait_for


def names(address: str, count: int) -> list[str]:
    return [get(address, 8000, "/status/200").header("X-Origin") or "" for _ in range(count)]


def test_weights_1_to_3(engine: EngineProcess, address: str, start_origin: StartOrigin) -> None:
    one, two = start_origin("1"), start_origin("2")
    engine.apply(snapshot([entry_point(f"{address}:8000")], [route()], [service((one.url, 1), (two.url, 3))]))
    assert names(address, 8) == ["2", "1", "2", "2"] * 2


@pytest.mark.parametrize("weights", [(1, 1), (2, 1), (5, 3), (0, 1), (100, 200)])
def test_shares_are_exact(
    engine: EngineProcess, address: str, start_origin: StartOrigin, weights: tuple[int, int]
) -> None:
    servers = [start_origin("1"), start_origin("2")]
    pairs = [(server.url, weight) for server, weight in zip(servers, weights, strict=True)]
    engine.apply(snapshot([entry_point(f"{address}:8000")], [route()], [service(*pairs)]))
    total = min(sum(weights), 24)
    counted = Counter(names(address, total))
    assert [counted["1"], counted["2"]] == [weight * total // sum(weights) for weight in weights]


def test_all_weights_0_is_500(engine: EngineProcess, address: str, origin: Origin) -> None:
    engine.apply(snapshot([entry_point(f"{address}:8000")], [route()], [service((origin.url, 0))]))
    assert get(address, 8000).status == 500
    origin.assert_untouched()


def test_counters(engine: EngineProcess, address: str, origin: Origin) -> None:
    engine.apply(
        snapshot(
            [entry_point(f"{address}:8000"), entry_point(f"{address}:8001", "other")],
            [
                route([{"type": "path", "paths": [{"exact": "/none"}], "redirect_slash": False}], "empty", id="none"),
                route([{"type": "host", "hosts": ["a.example"]}], id="all", entry_points=["http", "other"]),
            ],
            [service(origin.url), service(id="empty")],
        )
    )
    for target in ("/bytes/1000", "/status/404", "/none"):
        get(address, 8000, target)
    get(address, 8000, "/", "unknown.example")
    get(address, 8001, "/status/200")

    wait_for(lambda: engine.counters()["connections"]["open"] == 0, "all connections are closed")
    counters = engine.counters()
    connections = {"accepted": 5, "refused": 0, "accept_failed": 0, "open": 0, "panicked": 0}
    assert counters["connections"] == connections
    requests = counters["requests"]
    assert requests["total"] == 5
    assert requests["open"] == 0
    assert {status: count for status, count in requests["by_status"].items() if count} == {
        "200": 2,
        "404": 2,
        "503": 1,
    }
    assert requests["by_entry_point"] == {"http": 4, "other": 1}
    assert requests["response_bytes_total"] >= 1000
    assert requests["duration_seconds_total"] > 0
    assert counters["failures"]["no_route"] == 1
    assert counters["failures"]["no_server"] == 1
    assert counters["services"]["origin"] == {"requests": 3, "failures": 0, "down": []}
