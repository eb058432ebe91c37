"""Rates: who asks too often is told when to come back."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.engine.conftest import Router
from tests.engine.test_middleware_requests import apply, ask, wait_for_causes
from tests.support.http1 import Connection, over_http2
from tests.support.middlewares import headers, rate_limit, white_list
from tests.support.snapshots import change, entry_point, route, service, snapshot

Json = dict[str, Any]

HOUR = 3_600_000


def statuses(router: Router, count: int, *lines: str, port: int | None = None) -> list[int]:
    with Connection(router.address, port or router.port) as connection:
        found = []
        for _ in range(count):
            connection.send("\r\n".join(["GET / HTTP/1.1", "Host: a.example", *lines, "", ""]))
            answer = connection.answer()
            assert answer is not None
            found.append(answer.status)
        return found


def test_a_burst_and_no_more(router: Router) -> None:
    apply(router, rate_limit((40_000, 4, 3)))
    assert statuses(router, 5) == [200, 200, 200, 429, 429]
    answer = ask(router)
    assert (answer.status, answer.body) == (429, b"max rate reached: retry-in 10s")
    assert (answer.header("Retry-After"), answer.header("X-Retry-In")) == ("10", "10s")
    assert over_http2(router.url).status == 429
    assert len(router.origin.requests) == 3
    wait_for_causes(router, rate_limited=4)


def test_what_is_refused_by_one_rate_takes_nothing_of_another(router: Router) -> None:
    apply(router, rate_limit((HOUR, 1, 4), (300, 1, 2)))
    assert statuses(router, 3) == [200, 200, 429]
    answers: list[int] = []
    while answers.count(200) < 2:
        answers += statuses(router, 1)
        assert len(answers) < 10_000
    assert ask(router).header("Retry-After") == "3600"


def test_workers_count_together(router: Router) -> None:
    apply(router, rate_limit((HOUR, 1, 50)))
    with ThreadPoolExecutor(8) as pool:
        found = [status for one in pool.map(lambda _: statuses(router, 20), range(8)) for status in one]
    assert (found.count(200), found.count(429)) == (50, 110)


def test_clients_by_header(router: Router) -> None:
    apply(router, rate_limit((HOUR, 1, 1), source={"type": "request_header", "name": "X-Key"}))
    assert statuses(router, 2, "X-Key: a") == [200, 429]
    assert statuses(router, 2, "x-key: b") == [200, 429]


def test_limits_survive_snapshots_and_changes(router: Router) -> None:
    limit = rate_limit((HOUR, 1, 2))

    def made(revision: int, *middlewares: Json, chain: str = "chain", more: int = 0) -> Json:
        point = entry_point(f"{router.address}:{router.port}")
        routes = [
            route([{"type": "host", "hosts": [f"r{number}.example"]}], id=f"r{number}", chain=chain)
            for number in range(more)
        ]
        routes.append(route(middlewares=middlewares, chain=chain))
        return snapshot([point], routes, [service(router.origin.url)], revision=revision)

    first = made(1, limit)
    router.engine.apply(first)
    assert statuses(router, 3) == [200, 200, 429]
    second = made(2, limit, more=3)
    assert router.engine.change(change(first, second)).status_code == 200
    assert statuses(router, 1) == [429]
    # Another middleware behind it is no other chain.
    router.engine.apply(made(3, limit, headers({"X-A": "1"})))
    assert statuses(router, 1) == [429]
    router.engine.apply(made(4, white_list(), limit))
    assert statuses(router, 3) == [200, 200, 429]
    router.engine.apply(made(5, white_list(), limit, chain="other"))
    assert statuses(router, 3) == [200, 200, 429]
    router.engine.apply(made(6, white_list(), rate_limit((HOUR, 1, 1)), chain="other"))
    assert statuses(router, 2) == [200, 429]


def test_routes_of_a_chain_count_together_on_each_entry_point(router: Router) -> None:
    points = [
        entry_point(f"{router.address}:{router.port}"),
        entry_point(f"{router.address}:{router.port + 1}", "other"),
    ]
    names = [point["name"] for point in points]
    limit = [rate_limit((HOUR, 1, 3))]
    one = route(
        [{"type": "host", "hosts": ["b.example"]}], id="b", entry_points=names, middlewares=limit, chain="chain"
    )
    two = route(id="a", entry_points=names, middlewares=limit, chain="chain")
    router.engine.apply(snapshot(points, [one, two], [service(router.origin.url)]))
    assert statuses(router, 2) == [200, 200]
    assert [ask(router, host="b.example").status for _ in range(2)] == [200, 429]
    assert statuses(router, 4, port=router.port + 1) == [200, 200, 200, 429]


def test_rates_that_are_none_are_refused(router: Router) -> None:
    point = entry_point(f"{router.address}:{router.port}")
    bad = [rate_limit((0, 1, 1)), rate_limit((1, 1, 1), source={"type": "request_header", "name": ""})]
    problems = router.engine.check(snapshot([point], [route(middlewares=bad)], [service(router.origin.url)]))
    assert len(problems) == 2, problems
