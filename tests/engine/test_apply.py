"""Snapshots: applied whole or refused whole, without a request noticing."""

import http.client
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import StartOrigin
from tests.engine.conftest import Router
from tests.support.engine import EngineProcess
from tests.support.http1 import Connection, get
from tests.support.origin import Origin
from tests.support.ports import HeldPort
from tests.support.snapshots import entry_point, route, service, snapshot, tls
from tests.support.wait import SLOWNESS, wait_for

Json = dict[str, Any]


def test_no_request_fails_while_snapshots_change(
    engine: EngineProcess, address: str, start_origin: StartOrigin
) -> None:
    origins = [start_origin("a"), start_origin("b")]

    def change(revision: int) -> None:
        points = [entry_point(f"{address}:8000")]
        if revision % 3 == 0:
            points.append(entry_point(f"{address}:8001", "sometimes"))
        unrelated = [route([{"type": "host", "hosts": [f"h{number}.example"]}], id=str(number)) for number in range(50)]
        engine.apply(
            snapshot(
                points,
                [*unrelated[: revision % 50], route(id=f"all{revision % 2}")],
                [service(*[origin.url for origin in origins][: 1 + revision % 2])],
                revision=revision,
                response_header_timeout_ms=30_000 + revision % 2,
            )
        )

    change(1)
    ending = threading.Event()
    counts = [0, 0]
    failures: list[str] = []

    def client(number: int) -> None:
        connection = http.client.HTTPConnection(address, 8000, timeout=10 * SLOWNESS)
        while not ending.is_set():
            try:
                connection.request("POST", "/echo", b"12345")
                body = connection.getresponse().read()
                if body != b"12345":
                    failures.append(repr(body))
            except (OSError, http.client.HTTPException) as error:
                failures.append(repr(error))
            counts[number] += 1
            if number == 1 and counts[number] % 5 == 0:
                connection.close()
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    revision = 1
    end = time.monotonic() + 3
    while time.monotonic() < end:
        revision += 1
        change(revision)
        time.sleep(0.01)
    ending.set()
    for thread in threads:
        thread.join()

    assert not failures, f"{len(failures)} of {sum(counts)} over {revision} snapshots: {failures[:5]}"
    assert min(counts) > 50
    assert revision > 20
    assert engine.status()["revision"] == revision


def test_a_running_request_ends_as_it_began(router: Router, start_origin: StartOrigin) -> None:
    with Connection(router.address, router.port) as connection:
        connection.send("GET /slow?seconds=1000 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert router.origin.waiting.wait(10 * SLOWNESS)
        other = start_origin("other")
        point = entry_point(f"{router.address}:{router.port}")
        router.engine.apply(snapshot([point], [route()], [service(other.url)], revision=2))
        assert get(router.address, router.port, "/status/200").header("X-Origin") == "other"
        router.origin.ending.set()
        answer = connection.answer()
        assert answer is not None
        assert answer.body == b"slow\n"


def refuses(address: str, port: int) -> bool:
    try:
        Connection(address, port).close()
    except ConnectionRefusedError:
        return True
    return False


def test_entry_points_open_and_close(engine: EngineProcess, address: str, origin: Origin) -> None:
    def apply(revision: int, *ports: int) -> None:
        points = [entry_point(f"{address}:{port}", f"p{port}") for port in ports]
        names = [point["name"] for point in points]
        engine.apply(snapshot(points, [route(entry_points=names)], [service(origin.url)], revision=revision))
        listeners = engine.status()["listeners"]
        assert sorted(listener["entry_point"] for listener in listeners) == sorted(names)
        assert {listener["address"] for listener in listeners} == {f"{address}:{port}" for port in ports}

    apply(1, 8000, 8001)
    assert get(address, 8001, "/status/200").status == 200
    apply(2, 8000)
    wait_for(lambda: refuses(address, 8001), "the entry point is closed")
    assert get(address, 8000, "/status/200").status == 200
    apply(3, 8001)
    assert get(address, 8001, "/status/200").status == 200
    wait_for(lambda: refuses(address, 8000), "the entry point is closed")


def test_an_entry_point_turns_to_another_address_with_its_name_kept(
    engine: EngineProcess, address: str, origin: Origin
) -> None:
    for revision, port in enumerate((8000, 8001, 8000), 1):
        point = entry_point(f"{address}:{port}")
        engine.apply(snapshot([point], [route()], [service(origin.url)], revision=revision))
        assert get(address, port, "/status/200").status == 200


def test_two_names_may_swap_their_addresses(engine: EngineProcess, address: str, start_origin: StartOrigin) -> None:
    origins = [start_origin("x"), start_origin("y")]
    routes = [route([], name, id=name, entry_points=[name]) for name in ("x", "y")]
    services = [service(origin.url, id=origin.name) for origin in origins]
    for revision, (x, y) in enumerate(((8000, 8001), (8001, 8000)), 1):
        points = [entry_point(f"{address}:{x}", "x"), entry_point(f"{address}:{y}", "y")]
        engine.apply(snapshot(points, routes, services, revision=revision))
        assert get(address, x, "/status/200").header("X-Origin") == "x"
        assert get(address, y, "/status/200").header("X-Origin") == "y"


def good(address: str, origin: Origin) -> Json:
    return snapshot([entry_point(f"{address}:8000")], [route()], [service(origin.url)])


def broken(change: Callable[[Json], object]) -> Callable[[Json], object]:
    return change


CERTIFICATE = {"id": "c", "chain_pem": "nonsense", "key_pem": "nonsense", "ocsp_response": ""}

# What is wrong, how it is made so, the kind of the problem that must be named, and its id.
BAD: list[tuple[str, Callable[[Json], object], str, str]] = [
    ("unknown service", lambda s: s["routes"].append(route([], "none", id="bad")), "route", "bad"),
    ("unknown entry point", lambda s: s["routes"].append(route(id="bad", entry_points=["none"])), "route", "bad"),
    (
        "bad regular expression",
        lambda s: s["routes"].append(route([{"type": "host_regexp", "patterns": ["("]}], id="bad")),
        "route",
        "bad",
    ),
    (
        "bad pattern in a modifier",
        lambda s: s["routes"].append(route(modifiers=[{"type": "strip_prefix_regex", "patterns": ["["]}], id="bad")),
        "route",
        "bad",
    ),
    ("bad server", lambda s: s["services"].append(service("ftp://x", id="bad")), "service", "bad"),
    ("relative socket", lambda s: s["services"].append(service("unix:x.sock", id="bad")), "service", "bad"),
    ("same service twice", lambda s: s["services"].append(service(id="origin")), "service", "origin"),
    ("bad address", lambda s: s["entry_points"].append(entry_point("nonsense", "bad")), "entry_point", "bad"),
    ("bad port", lambda s: s["entry_points"].append(entry_point("127.0.0.1:70000", "bad")), "entry_point", "bad"),
    (
        "bad trusted address",
        lambda s: s["entry_points"].append(entry_point("127.0.0.1:0", "bad", trusted_ips=["10.0.0.0/99"])),
        "entry_point",
        "bad",
    ),
    (
        "unknown certificate",
        lambda s: s["entry_points"].append(entry_point("127.0.0.1:0", "bad", tls=tls("none", ["none"]))),
        "entry_point",
        "bad",
    ),
    ("bad certificate", lambda s: s["certificates"].append(CERTIFICATE), "certificate", "c"),
    ("bad roots", lambda s: s["settings"].update(root_ca_pem="nonsense"), "settings", ""),
]


@pytest.mark.parametrize(("change", "kind", "id_"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_bad_snapshot_is_refused_whole(
    engine: EngineProcess,
    address: str,
    origin: Origin,
    change: Callable[[Json], object],
    kind: str,
    id_: str,
) -> None:
    engine.apply(good(address, origin))
    bad = good(address, origin)
    bad["revision"] = 2
    bad["entry_points"].append(entry_point(f"{address}:8001", "new"))
    change(bad)

    answer = engine.put(bad)
    assert answer.status_code == 422, answer.text
    problems = answer.json()["problems"]
    assert answer.json()["error"]
    assert [problem["kind"] for problem in problems] == [kind]
    assert problems[0]["error"]
    if id_:
        assert problems[0]["id"] == id_
    assert engine.check(bad) == problems

    assert engine.status()["revision"] == 1
    assert get(address, 8000, "/status/200").status == 200
    assert refuses(address, 8001)


def test_all_problems_at_once(engine: EngineProcess, address: str, origin: Origin) -> None:
    bad = good(address, origin)
    bad["routes"].append(route([], "none", id="bad route"))
    bad["services"].append(service("ftp://x", id="bad service"))
    bad["certificates"].append(CERTIFICATE)
    problems = engine.check(bad)
    assert {(problem["kind"], problem["id"]) for problem in problems} == {
        ("route", "bad route"),
        ("service", "bad service"),
        ("certificate", "c"),
    }
    assert engine.status()["revision"] is None


def test_check_applies_nothing(engine: EngineProcess, address: str, origin: Origin) -> None:
    assert engine.check(good(address, origin)) == []
    assert engine.status()["revision"] is None
    assert refuses(address, 8000)


UNREADABLE: list[Callable[[Json], object]] = [
    lambda s: s.update(surprise=1),
    lambda s: s["routes"][0].update(surprise=1),
    lambda s: s["settings"].pop("server_name"),
    lambda s: s.update(revision="1"),
    lambda s: s.update(format=2),
    lambda s: s["routes"][0]["matchers"].append({"type": "unknown"}),
    lambda s: s["routes"][0]["matchers"].append({"type": "host", "hosts": ["a"], "surprise": 1}),
    lambda s: s["services"][0]["servers"][0].update(weight=-1),
    lambda s: s["services"][0].update(balancer="unknown"),
]


@pytest.mark.parametrize("change", UNREADABLE)
def test_what_is_no_snapshot_is_refused(
    engine: EngineProcess, address: str, origin: Origin, change: Callable[[Json], object]
) -> None:
    bad = good(address, origin)
    change(bad)
    answer = engine.put(bad)
    assert answer.status_code in {400, 422}
    assert answer.json()["error"]
    assert engine.control.post("/check", json=bad).status_code in {200, 400}
    assert engine.status()["revision"] is None


def test_the_control_socket_refuses_what_it_does_not_know(engine: EngineProcess) -> None:
    for method, path, body, expected in (
        ("PUT", "/snapshot", b"{", {400, 422}),
        ("POST", "/check", b"nonsense", {400}),
        ("GET", "/unknown", b"", {404}),
        ("DELETE", "/status", b"", {404, 405}),
    ):
        answer = engine.control.request(method, path, content=body)
        assert answer.status_code in expected, (method, path)
        assert answer.json()["error"]


def test_a_port_in_use_is_named_and_the_old_snapshot_stays(engine: EngineProcess, address: str, origin: Origin) -> None:
    engine.apply(good(address, origin))
    with HeldPort(address) as taken:
        taken.listen()
        wanted = good(address, origin)
        wanted["revision"] = 2
        wanted["entry_points"] += [entry_point(f"{address}:8001", "free"), entry_point(str(taken), "taken")]
        answer = engine.put(wanted)
        assert answer.status_code == 422
        (problem,) = answer.json()["problems"]
        assert (problem["kind"], problem["id"]) == ("entry_point", "taken")
        assert str(taken.port) in problem["error"]
        assert engine.check(wanted) == [], "a check binds nothing"
        assert refuses(address, 8001)
        assert engine.status()["revision"] == 1
        assert get(address, 8000, "/status/200").status == 200
    engine.apply(wanted)
    assert get(address, 8001, "/status/404").status == 404
