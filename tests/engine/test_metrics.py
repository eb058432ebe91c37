"""What Prometheus reads at /metrics, with the names and labels of Traefik 1.7."""

import threading
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.sync.client import connect

from tests.engine.conftest import Router
from tests.support.engine import EngineProcess
from tests.support.http1 import Connection, get
from tests.support.origin import Origin
from tests.support.snapshots import entry_point, route, service, snapshot
from tests.support.wait import wait_for

BUCKETS = [0.1, 0.3, 1.2, 5.0]
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def document(router: Router, *services: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Entry points `http` and `metrics`, a frontend for each backend at /<backend>."""
    entry_points = [
        entry_point(f"{router.address}:{router.port}"),
        entry_point(f"{router.address}:8100", "m", metrics=True),
    ]
    routes = [
        route([{"type": "path_prefix", "prefixes": [{"exact": f"/{one['id']}"}]}], one["id"], id=one["id"])
        for one in services
    ]
    for one in routes:
        one["modifiers"] = [{"type": "strip_prefix", "prefixes": [f"/{one['id']}"]}]
    settings = {"revision": 2, "metrics": {"buckets": BUCKETS}, **more}
    return snapshot(entry_points, routes, services, **settings)


def scrape(address: str) -> Samples:
    """Every sample of the text, which has to be valid."""
    answer = get(address, 8100, "/metrics")
    assert answer.status == 200
    assert answer.header("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
    text = answer.body.decode()
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        assert family.type != "unknown"
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    names = [line.split(" ")[2] for line in text.splitlines() if line.startswith("# TYPE ")]
    assert len(names) == len(set(names))
    return found


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))


def labels_of(samples: Samples, name: str) -> list[dict[str, str]]:
    return [dict(labels) for known, labels in samples if known == name]


@pytest.fixture
def measured(router: Router) -> Router:
    router.engine.apply(document(router, service(router.origin.url, id="consul/b1"), service(id="consul/none")))
    return router


def test_requests(measured: Router) -> None:
    address, port = measured.address, measured.port
    for target in ("/consul/b1/status/200", "/consul/b1/status/200", "/consul/b1/status/404", "/nowhere"):
        get(address, port, target)
    get(address, port, "/consul/b1/status/200", "a.example", "POST", "Content-Length: 0")
    get(address, port, "/consul/b1/status/200", "a.example", "BREW")
    get(address, port, "/consul/b1/slow?seconds=0.15", "a.example", "GET", "Accept: text/event-stream")
    get(address, port, "/consul/none/")
    samples = scrape(address)

    def entry(code: str, method: str = "GET", protocol: str = "http", name: str = "requests_total", **more: str) -> Any:
        labels = {"code": code, "method": method, "protocol": protocol, "entrypoint": "http", **more}
        return value(samples, f"traefik_entrypoint_{name}", **labels)

    def backend(
        code: str, method: str = "GET", protocol: str = "http", name: str = "requests_total", **more: str
    ) -> Any:
        labels = {"code": code, "method": method, "protocol": protocol, "backend": "b1", **more}
        return value(samples, f"traefik_backend_{name}", **labels)

    assert (entry("200"), backend("200")) == (2, 2)
    assert (entry("404"), backend("404")) == (2, 1)
    assert entry("200", "POST") == backend("200", "POST") == 1
    assert entry("200", "EXTENSION_METHOD") == backend("200", "EXTENSION_METHOD") == 1
    assert entry("200", protocol="sse") == 1
    assert entry("503") == 1

    name = "request_duration_seconds"
    for ask in (entry, backend):
        counts = [ask("200", protocol="sse", name=f"{name}_bucket", le=le) for le in ("0.1", "0.3", "1.2", "5", "+Inf")]
        assert counts[0] == 0
        assert counts == sorted(counts)
        assert counts[-1] == ask("200", protocol="sse", name=f"{name}_count") == 1
        assert ask("200", protocol="sse", name=f"{name}_sum") > 0.1

    # The engine's own pages are not measured, and every request that was there is over.
    assert all(labels["entrypoint"] == "http" for labels in labels_of(samples, "traefik_entrypoint_requests_total"))
    assert value(samples, "traefik_entrypoint_open_connections", entrypoint="http", method="GET", protocol="http") == 0


def test_open_connections(measured: Router) -> None:
    address, port = measured.address, measured.port
    labels = {"method": "GET", "protocol": "websocket"}

    def open_now() -> tuple[float | None, float | None]:
        samples = scrape(address)
        entry = value(samples, "traefik_entrypoint_open_connections", entrypoint="http", **labels)
        return entry, value(samples, "traefik_backend_open_connections", backend="b1", **labels)

    with connect(f"ws://{address}:{port}/consul/b1/x") as websocket:
        websocket.send("hello")
        websocket.recv()
        assert open_now() == (1, 1)
    wait_for(lambda: open_now() == (0, 0), "the websocket is over")
    samples = scrape(address)
    assert value(samples, "traefik_backend_requests_total", backend="b1", code="101", **labels) == 1

    with Connection(address, port) as connection:
        connection.send("GET /consul/b1/slow?seconds=20 HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(measured.origin.waiting.is_set, "the request has arrived")
    plain = {"backend": "b1", "method": "GET", "protocol": "http"}
    wait_for(
        lambda: value(scrape(address), "traefik_backend_requests_total", code="499", **plain) == 1,
        "the request of a client that left is over",
    )
    assert value(scrape(address), "traefik_backend_open_connections", **plain) == 0


def test_servers_and_retries(router: Router) -> None:
    dead, live = "http://127.0.0.1:1", router.origin.url
    router.engine.apply(document(router, service(dead, live, id="consul/b1")))
    for _ in range(4):
        assert get(router.address, router.port, "/consul/b1/status/200").status == 200
    samples = scrape(router.address)
    assert value(samples, "traefik_backend_retries_total", backend="b1") in {1, 2, 3, 4}
    for url in (dead, live):
        assert value(samples, "traefik_backend_server_up", backend="b1", url=url) == 1


def test_reloads(measured: Router) -> None:
    samples = scrape(measured.address)
    # The fixtures have applied two snapshots.
    assert value(samples, "traefik_config_reloads_total") == 2
    assert value(samples, "traefik_config_reloads_failure_total") == 0
    last_success = value(samples, "traefik_config_last_reload_success")
    assert last_success is not None
    assert last_success > 1_700_000_000
    assert value(samples, "traefik_config_last_reload_failure") == 0
    assert value(samples, "traefikee_snapshot_revision") == 2
    broken = document(measured, service("ftp://nowhere", id="consul/b1"))
    assert measured.engine.put(broken).status_code == 422
    samples = scrape(measured.address)
    assert value(samples, "traefik_config_reloads_total") == 3
    assert value(samples, "traefik_config_reloads_failure_total") == 1
    assert value(samples, "traefik_config_last_reload_failure") >= last_success  # type: ignore[operator]


def test_what_stays_and_what_goes_with_a_snapshot(measured: Router) -> None:
    address, url = measured.address, measured.origin.url
    labels = {"code": "200", "method": "GET", "protocol": "http"}

    def count(backend: str) -> float | None:
        return value(scrape(address), "traefik_backend_requests_total", backend=backend, **labels)

    get(address, measured.port, "/consul/b1/status/200")
    both = [service(url, "http://127.0.0.1:1", id="consul/b1"), service(url, id="consul/b2")]
    measured.engine.apply(document(measured, *both, revision=3))
    get(address, measured.port, "/consul/b2/status/200")
    assert (count("b1"), count("b2")) == (1, 1)
    measured.engine.apply(document(measured, both[1], revision=4))
    samples = scrape(address)
    assert all(one["backend"] == "b2" for one in labels_of(samples, "traefik_backend_requests_total"))
    assert all(one["backend"] == "b2" for one in labels_of(samples, "traefik_backend_server_up"))
    # Other buckets begin anew.
    measured.engine.apply(document(measured, both[1], revision=5, metrics={"buckets": [0.5]}))
    get(address, measured.port, "/consul/b2/status/200")
    samples = scrape(address)
    buckets = labels_of(samples, "traefik_backend_request_duration_seconds_bucket")
    assert {one["le"] for one in buckets} == {"0.5", "+Inf"}
    assert count("b2") == 1


def test_backends_of_one_name_are_one(router: Router) -> None:
    url = router.origin.url
    router.engine.apply(document(router, service(url, id="consul/b"), service(url, id="file/b")))
    for provider in ("consul", "file"):
        get(router.address, router.port, f"/{provider}/b/status/200")
    labels = {"code": "200", "method": "GET", "protocol": "http", "backend": "b"}
    assert value(scrape(router.address), "traefik_backend_requests_total", **labels) == 2


def test_strange_names(router: Router) -> None:
    name = 'b"\\\n'
    router.engine.apply(document(router, service(router.origin.url, id=f"consul/{name}")))
    assert value(scrape(router.address), "traefik_backend_server_up", backend=name, url=router.origin.url) == 1


def test_the_engine_itself(measured: Router) -> None:
    get(measured.address, measured.port, "/nowhere")
    samples = scrape(measured.address)
    assert value(samples, "traefikee_failures_total", cause="no_route") == 1
    assert value(samples, "traefikee_access_log_lines_dropped_total") == 0
    for name in (
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_open_fds",
        "process_max_fds",
        "process_start_time_seconds",
        "traefikee_connections_accepted_total",
        "traefikee_connections_open",
    ):
        found = value(samples, name)
        assert found is not None, name
        assert found > 0 or name == "process_cpu_seconds_total", name


def test_where_it_is_served(engine: EngineProcess, address: str, origin: Origin) -> None:
    points = [entry_point(f"{address}:8000"), entry_point(f"{address}:8100", "m", metrics=True)]
    routes = [route(entry_points=["http", "m"])]
    engine.apply(snapshot(points, routes, [service(origin.url)], metrics={"buckets": BUCKETS}))
    for port, target, method in ((8000, "/metrics", "GET"), (8100, "/metrics", "POST"), (8100, "/metrics/x", "GET")):
        assert get(address, port, target, "a", method).header("X-Origin") == origin.name
    head = get(address, 8100, "/metrics", "a", "HEAD")
    assert (head.status, head.body) == (200, b"")
    assert int(head.header("Content-Length") or 0) > 100


def test_a_scrape_of_thousands_of_backends(router: Router) -> None:
    """Every one of them with its own labels, while traffic goes on."""
    backends = [service(router.origin.url, id=f"consul/backend{number}") for number in range(2000)]
    router.engine.apply(document(router, *backends))
    stop = threading.Event()
    statuses: set[int] = set()

    def load() -> None:
        with Connection(router.address, router.port) as connection:
            while not stop.is_set():
                connection.send("GET /consul/backend7/status/204 HTTP/1.1\r\nHost: a\r\n\r\n")
                answer = connection.answer()
                statuses.add(answer.status if answer else 0)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        for _ in range(3):
            assert len(labels_of(scrape(router.address), "traefik_backend_server_up")) == 2000
    finally:
        stop.set()
        thread.join()
    assert statuses == {204}
