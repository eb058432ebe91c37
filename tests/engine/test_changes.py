"""Changes of a snapshot: whatever came before, requests are answered as by an engine that was told the result whole."""

import random
from pathlib import Path
from typing import Any

from tests.engine.conftest import Router
from tests.support.engine import EngineProcess
from tests.support.http1 import get
from tests.support.middlewares import errors, headers, redirect_regex, white_list
from tests.support.origin import Origin
from tests.support.ports import loopback_address
from tests.support.snapshots import change, entry_point, route, service, snapshot

Json = dict[str, Any]

HOSTS = ["a.example", "b.example", "c.b.example", "other"]
PATHS = ["/status/201", "/status/202", "/status/203", "/status/202/"]
MATCHERS: list[Json] = [
    *({"type": "host", "hosts": [host]} for host in HOSTS),
    {"type": "host_regexp", "patterns": ["(?i)^(?:[a-z]+)\\.example$"]},
    {"type": "host_regexp", "patterns": ["(?i)^(?:.+)\\.b\\.example$"]},
    {"type": "path", "paths": [{"exact": "/status/202"}], "redirect_slash": True},
    {"type": "path_prefix", "prefixes": [{"exact": "/status/20"}]},
    {"type": "path_prefix", "prefixes": [{"regexp": "^/status/20[13]"}]},
    {"type": "method", "methods": ["POST"]},
]
MODIFIERS: list[Json] = [
    {"type": "replace_path", "path": "/status/204"},
    {"type": "add_prefix", "prefix": "/missing"},
]
SERVICES = ["one", "two", "three"]
MIDDLEWARES: list[Json] = [
    white_list("192.0.2.7"),
    redirect_regex("/status/201", "/elsewhere"),
    headers({}, {"X-Origin": "changed"}),
    *(errors(([(404, 404), (503, 503)], name, "/status/404")) for name in SERVICES),
]


class Model:
    """What a snapshot holds, changed at random."""

    def __init__(self, rng: random.Random, urls: list[str]) -> None:
        self.rng, self.urls = rng, urls
        self.services = {name: service(urls[0], id=name) for name in SERVICES}
        self.routes: dict[str, Json] = {}
        self.settings: Json = {}
        self.on_entry_point: list[Json] = []
        # Of its own, so that what they are does not change the rest.
        self.more = random.Random(1)

    def step(self) -> None:
        rng = self.rng
        for _ in range(rng.choice([1, 1, 2, 8])):
            name = f"r{rng.randrange(30)}"
            if rng.random() < 0.3:
                self.routes.pop(name, None)
            else:
                made = route(
                    rng.sample(MATCHERS, rng.choice([0, 1, 1, 2])),
                    rng.choice(SERVICES),
                    modifiers=rng.choices(MODIFIERS, k=rng.choice([0, 0, 1])),
                    middlewares=self.more.choices(MIDDLEWARES, k=self.more.choice([0, 0, 0, 0, 1, 2])),
                    chain=self.more.choice(["a", "b"]),
                    id=name,
                )
                self.routes[name] = made | {"priority": rng.randrange(4)}
        if rng.random() < 0.3:
            name = rng.choice(SERVICES)
            self.services[name] = service(*rng.sample(self.urls, rng.choice([0, 1])), id=name)
        if rng.random() < 0.1:
            self.settings = {"idle_timeout_ms": rng.randrange(100_000, 200_000)}
        if self.more.random() < 0.2:
            self.on_entry_point = self.more.choice(
                [[], [headers({}, {"X-Entry": "1"})], [redirect_regex("/203", "/302")]]
            )

    def snapshot(self, address: str, revision: int) -> Json:
        routes, services = list(self.routes.values()), list(self.services.values())
        self.rng.shuffle(routes)
        point = entry_point(f"{address}:8000", middlewares=self.on_entry_point)
        made = snapshot([point], (), services, revision=revision, **self.settings)
        return made | {"routes": routes}


def answers(address: str) -> list[tuple[Any, ...]]:
    found = []
    for host in HOSTS:
        for path in PATHS:
            answer = get(address, 8000, path, host=host)
            told = [answer.header(name) for name in ("X-Origin", "X-Entry", "Location")]
            found.append((host, path, answer.status, *told))
    return found


def test_what_changes_have_made_answers_as_a_new_engine(
    tmp_path: Path, address: str, origin: Origin, engine: EngineProcess
) -> None:
    other = Origin("other")
    model = Model(random.Random(4), [origin.url, other.url])
    try:
        before = model.snapshot(address, 0)
        engine.apply(before)
        seen: set[int] = set()
        for revision in range(1, 31):
            model.step()
            after = model.snapshot(address, revision)
            if revision % 5:
                assert engine.change(change(before, after)).json() == {"revision": revision}
            else:
                engine.apply(after)
            before = after
            if revision % 3:
                continue
            folder = tmp_path / f"fresh{revision}"
            folder.mkdir()
            fresh = EngineProcess(folder)
            try:
                fresh.start()
                there = loopback_address()
                fresh.apply(model.snapshot(there, revision))
                expected = answers(there)
                assert answers(address) == expected, f"after change {revision}"
                seen |= {answer[2] for answer in expected}
            finally:
                fresh.cleanup()
        assert {201, 204, 301, 302, 403, 404, 503} <= seen, "the random snapshots are worth comparing"
    finally:
        other.close()


def test_a_change_is_for_the_snapshot_in_force_only(router: Router) -> None:
    point = entry_point(f"{router.address}:{router.port}")
    one = snapshot([point], [route()], [service(router.origin.url)])
    two = snapshot([point], [route(), route(id="more")], [service(router.origin.url)], revision=2)
    three = snapshot([point], [], [], revision=3)

    early = router.engine.change(change(two, three))
    assert early.status_code == 409
    assert "revision 2" in early.json()["error"]
    assert "send the whole snapshot" in early.json()["error"]
    assert router.engine.change(change(one, two)).status_code == 200
    assert router.engine.change(change(one, two)).status_code == 409
    assert router.engine.status()["revision"] == 2

    broken = router.engine.change(change(two, three) | {"routes": {"put": [], "remove": []}})
    assert broken.status_code == 422
    assert {problem["id"] for problem in broken.json()["problems"]} == {"test/route", "more"}
    nothing = router.engine.change(change(two, three) | {"routes": {"put": [], "remove": ["nobody"]}})
    assert nothing.status_code == 400
    assert '"nobody"' in nothing.json()["error"]
    unknown = router.engine.change(change(two, three) | {"more": 1})
    assert unknown.status_code == 400
    assert get(router.address, router.port, "/status/200").status == 200
    assert router.engine.status()["revision"] == 2


def test_what_a_change_does_not_name_stays(router: Router) -> None:
    point = entry_point(f"{router.address}:{router.port}")
    one = snapshot([point], [route()], [service(router.origin.url)])
    for _ in range(3):
        get(router.address, router.port, "/status/200")
    unrelated = route([{"type": "host", "hosts": ["x"]}], "new", id="new", entry_points=["http"])
    two = snapshot([point], [unrelated, route()], [service(router.origin.url), service(id="new")], revision=2)
    assert router.engine.change(change(one, two)).status_code == 200
    assert router.engine.counters()["services"]["origin"]["requests"] == 3
    assert get(router.address, router.port, "/", host="x").status == 503
