"""The access log: what is in a line, which requests have one, and what becomes of the file."""

import json
import os
import re
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.engine.conftest import Router
from tests.support.engine import EngineProcess
from tests.support.http1 import Connection, get
from tests.support.origin import Origin
from tests.support.snapshots import access_log, entry_point, route, service, snapshot
from tests.support.wait import wait_for


def apply(router: Router, log: dict[str, Any] | None, revision: int = 2, **more: Any) -> None:
    """Frontends `all` (host a.example), `empty` (b.example, no server) and `dead` (c.example, nobody listens)."""
    dead = more.pop("dead", "http://127.0.0.1:1")
    hosts = [("all", "a.example", "live"), ("empty", "b.example", "empty"), ("dead", "c.example", "dead")]
    routes = [
        route([{"type": "host", "hosts": [host]}], f"consul/{backend}", id=f"consul/{name}")
        for name, host, backend in hosts
    ]
    slash = [{"type": "path", "paths": [{"exact": "/only"}], "redirect_slash": True}]
    routes.append(route(slash, "consul/live", id="consul/slash"))
    services = [
        service(router.origin.url, id="consul/live"),
        service(id="consul/empty"),
        service(dead, id="consul/dead"),
    ]
    address = f"{router.address}:{router.port}"
    document = snapshot(
        [entry_point(address, **more)], routes, services, revision=revision, access_log=log, log_level="error"
    )
    router.engine.apply(document)


def lines(path: Path, count: int) -> list[str]:
    """Wait for exactly this many lines."""

    def there() -> bool:
        return path.exists() and path.read_text().count("\n") >= count

    wait_for(there, f"{count} lines in {path}")
    found = path.read_text().splitlines()
    assert len(found) == count, found
    return found


def in_order(path: Path, count: int) -> list[dict[str, str]]:
    """Lines of the common format, in the order of the requests: workers hand theirs on one after the other."""
    return sorted((parsed(line) for line in lines(path, count)), key=lambda one: int(one["count"]))


def objects(path: Path, count: int) -> list[Any]:
    """The same of lines in JSON."""
    return sorted(map(json.loads, lines(path, count)), key=lambda one: one["RequestCount"])


def ask(router: Router, target: str = "/status/200", host: str = "a.example", *headers: str) -> int:
    return get(router.address, router.port, target, host, "GET", *headers).status


COMMON = re.compile(
    r"(?P<client>\S+(?:, \S+)*) - (?P<user>\S+) \[(?P<time>[^\]]+)\] "
    r'"(?P<request>[^"]*)" (?P<status>\S+) (?P<size>\S+) '
    r'"(?P<referer>(?:[^"\\]|\\.)*)" "(?P<agent>(?:[^"\\]|\\.)*)" (?P<count>\d+) '
    r'(?P<frontend>"[^"]*"|-) (?P<backend>"[^"]*"|-) (?P<duration>\d+)ms'
)


def ask_in_turn(router: Router, target: str, host: str = "a.example", *headers: str) -> int:
    """As `ask`, and wait until the request has ended: its line is made after its answer has left."""
    status = ask(router, target, host, *headers)
    wait_for(lambda: router.engine.counters()["requests"]["open"] == 0, "the request has ended")
    return status


def parsed(line: str) -> dict[str, str]:
    match = COMMON.fullmatch(line)
    assert match, line
    return match.groupdict()


def test_the_common_format(router: Router, tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "access.log"
    apply(router, access_log(path), ping=True)
    assert ask_in_turn(router, "/bytes/10?a=b", "a.example", "User-Agent: test", "Referer: http://from") == 200
    assert ask_in_turn(router, "/ping") == 200
    assert ask_in_turn(router, "/x?y=1", "nobody.example") == 404
    assert ask_in_turn(router, "/x", "b.example") == 503
    assert ask_in_turn(router, "/x", "c.example") == 502
    assert ask_in_turn(router, "/only/", "nobody.example") == 301
    assert ask_in_turn(router, "/status/404", "a.example", "X-Forwarded-For: 192.0.2.1") == 404
    found = in_order(path, 6)

    first = found[0]
    assert re.fullmatch(r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000", first["time"])
    own = first["client"]
    assert own.startswith("127.")
    shown = [(one["request"], one["status"], one["size"], one["frontend"], one["backend"]) for one in found]
    origin = f'"{router.origin.url}"'
    assert shown == [
        ("GET /bytes/10?a=b HTTP/1.1", "200", "10", '"all"', origin),
        ("GET /x?y=1 HTTP/1.1", "404", "19", '"backend not found"', '"/x"'),
        ("GET /x HTTP/1.1", "-", "-", "-", "-"),
        ("GET /x HTTP/1.1", "502", "11", '"dead"', '"http://127.0.0.1:1"'),
        ("GET /only/ HTTP/1.1", "-", "-", "-", "-"),
        ("GET /status/404 HTTP/1.1", "404", "4", '"all"', origin),
    ]
    assert (first["referer"], first["agent"]) == ("http://from", "test")
    assert (found[1]["referer"], found[1]["agent"], found[1]["client"]) == ("-", "-", own)
    assert [one["count"] for one in found] == ["1", "2", "3", "4", "5", "6"]
    assert found[5]["client"] == "192.0.2.1"
    assert path.stat().st_mode & 0o777 == 0o664 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_forwarded_for_counts_only_if_it_is_believed(router: Router, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    apply(router, access_log(path), insecure=False)
    ask(router, "/", "a.example", "X-Forwarded-For: 192.0.2.1")
    assert parsed(lines(path, 1)[0])["client"].startswith("127.")


def test_the_json_format(router: Router, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = access_log(path, format="json", header_names={"authorization": "redact", "X-Origin": "drop"})
    apply(router, log)
    with Connection(router.address, router.port) as connection:
        connection.send(
            "POST /echo?a=b HTTP/1.1\r\nHost: a.example:8000\r\nuser-agent: t\r\nAuthorization: secret\r\n"
            "Content-Length: 5\r\n\r\nhello"
        )
        assert connection.answer() is not None
    entry = json.loads(lines(path, 1)[0])
    server = router.origin.url.removeprefix("http://")
    expected = {
        "BackendAddr": server,
        "BackendName": "live",
        "ClientUsername": "-",
        "DownstreamContentSize": 5,
        "DownstreamStatus": 200,
        "DownstreamStatusLine": "200 OK",
        "FrontendName": "all",
        "OriginContentSize": 5,
        "OriginStatus": 200,
        "OriginStatusLine": "200 OK",
        "RequestAddr": "a.example:8000",
        "RequestContentSize": 5,
        "RequestCount": 1,
        "RequestHost": "a.example",
        "RequestLine": "POST /echo?a=b HTTP/1.1",
        "RequestMethod": "POST",
        "RequestPath": "/echo?a=b",
        "RequestPort": "8000",
        "RequestProtocol": "HTTP/1.1",
        "RetryAttempts": 0,
        "level": "info",
        "msg": "",
        "request_Authorization": "REDACTED",
        "request_User-Agent": "t",
        "origin_Content-Type": "application/octet-stream",
        "downstream_Content-Type": "application/octet-stream",
    }
    assert {key: entry[key] for key in expected} == expected
    assert entry["BackendURL"]["Scheme"] == "http"
    assert entry["BackendURL"]["Host"] == server
    assert entry["ClientAddr"] == f"{entry['ClientHost']}:{entry['ClientPort']}"
    assert entry["Duration"] == entry["Overhead"] + entry["OriginDuration"]
    assert entry["Duration"] > 0
    assert entry["StartUTC"].endswith("Z")
    assert "downstream_Date" in entry
    assert not {"origin_X-Origin", "downstream_X-Origin", "GzipRatio", "request_Host"} & set(entry)


def test_own_answers_in_json(router: Router, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    apply(router, access_log(path, format="json"))
    ask(router, "/x", "nobody.example")
    ask(router, "/x", "b.example")
    missing, empty = objects(path, 2)
    assert (missing["FrontendName"], missing["BackendName"]) == ("backend not found", "Traefik")
    assert (missing["OriginStatus"], missing["DownstreamStatus"]) == (404, 404)
    assert missing["downstream_X-Content-Type-Options"] == "nosniff"
    assert empty["DownstreamStatus"] == 503
    assert not {"OriginStatus", "FrontendName", "BackendURL"} & set(empty)


def test_hostile_text_stays_in_its_field(router: Router, tmp_path: Path) -> None:
    hostile = b'"x" 200 \\ \x1b[31m\xff\xc3\xa4'
    for number, kind in enumerate(("common", "json")):
        path = tmp_path / kind
        apply(router, access_log(path, format=kind), revision=2 + number)
        with Connection(router.address, router.port) as connection:
            head = b"GET /x HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\nUser-Agent: " + hostile + b"\r\n\r\n"
            connection.send(head.replace(b"\x1b", b"\t"))
            answer = connection.answer()
            assert answer is not None
            assert answer.status == 200
        line = lines(path, 1)[0]
        if kind == "common":
            assert parsed(line)["agent"] == r"\"x\" 200 \\ \x09[31m\xff\xc3\xa4"
        else:
            assert json.loads(line)["request_User-Agent"] == '"x" 200 \\ \t[31m\ufffdä'


def test_filters_and_fields(router: Router, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    apply(
        router,
        access_log(path, status_codes=[(404, 404), (500, 599)], fields="drop", field_names={"RequestPath": "keep"}),
    )
    for target in ("/status/200", "/status/404", "/status/403", "/status/503"):
        ask(router, target)
    expected = '- - - [-] "- {} -" - - "-" "-" - - - 0ms'
    assert sorted(lines(path, 2)) == [expected.format("/status/404"), expected.format("/status/503")]

    slow = tmp_path / "slow.log"
    apply(router, access_log(slow, min_duration_ms=50, retry_attempts=True), revision=3)
    ask(router)
    ask(router, "/slow?seconds=0.1")
    assert '"GET /slow?seconds=0.1 HTTP/1.1"' in lines(slow, 1)[0]


def test_a_request_that_took_another_server(router: Router, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    address = f"{router.address}:{router.port}"
    servers = service("http://127.0.0.1:1", router.origin.url)
    log = access_log(path, format="json", retry_attempts=True)
    router.engine.apply(snapshot([entry_point(address)], [route()], [servers], revision=2, access_log=log))
    assert {ask(router) for _ in range(4)} == {200}
    wait_for(lambda: path.exists() and path.read_text().endswith("\n"), "a line")
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert {one["RetryAttempts"] for one in found} == {1}
    assert {one["BackendAddr"] for one in found} == {router.origin.url.removeprefix("http://")}


def test_how_requests_end(router: Router, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    apply(router, access_log(path, format="json"))
    plain = socket.create_connection((router.address, router.port), timeout=10)
    with connect("ws://a.example/x", sock=plain) as websocket:
        websocket.send("hello")
        assert websocket.recv() == "hello"
        assert not path.exists() or not path.read_text()
    assert json.loads(lines(path, 1)[0])["DownstreamStatus"] == 101

    with Connection(router.address, router.port) as connection:
        connection.send("GET /slow?seconds=20 HTTP/1.1\r\nHost: a.example\r\n\r\n")
        wait_for(router.origin.waiting.is_set, "the request has arrived")
    left = objects(path, 2)[1]
    assert (left["DownstreamStatus"], left["OriginStatus"]) == (499, 499)


def test_rotation(router: Router, tmp_path: Path) -> None:
    path, moved = tmp_path / "access.log", tmp_path / "moved.log"
    apply(router, access_log(path))
    for number, reopen in enumerate((by_signal, by_control)):
        ask(router, "/before")
        lines(path, 1)
        path.rename(moved)
        reopen(router.engine)
        wait_for(path.exists, "the file is made anew")
        ask(router, f"/after/{number}")
        assert f"/after/{number}" in lines(path, 1)[0]
        assert "/before" in moved.read_text()
        path.unlink()
        by_control(router.engine)
        wait_for(path.exists, "the file is made anew")


def by_signal(engine: EngineProcess) -> None:
    os.kill(engine.process.pid, signal.SIGUSR1)


def by_control(engine: EngineProcess) -> None:
    assert engine.control.post("/reopen").status_code == 202


def test_the_signal_without_a_log_does_no_harm(router: Router) -> None:
    by_signal(router.engine)
    by_control(router.engine)
    assert get(router.address, router.port, "/status/200").status == 200


def test_standard_output(router: Router) -> None:
    apply(router, access_log())
    ask(router, "/on-stdout")
    wait_for(lambda: '"GET /on-stdout HTTP/1.1" 200' in router.engine.process.output, "a line on standard output")


def test_lines_are_there_when_the_engine_has_stopped(router: Router, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    apply(router, access_log(path, buffering=1000))
    for _ in range(20):
        ask(router)
    router.engine.control.post("/stop")
    router.engine.process.wait()
    assert len(path.read_text().splitlines()) == 20


def test_changes_go_to_the_right_file(router: Router, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"

    def is_written(count: int) -> None:
        wait_for(lambda: router.engine.counters()["access_log"]["written"] == count, f"{count} lines are written")

    for revision, log in enumerate((access_log(one), access_log(one, format="json"), access_log(two), None), 2):
        apply(router, log, revision)
        ask(router, f"/{revision}")
        # The log is that of the moment at which a request ends, which may be after its answer is read.
        is_written(min(revision - 1, 3))
    first, second = lines(one, 2)
    assert parsed(first)["request"] == "GET /2 HTTP/1.1"
    assert json.loads(second)["RequestPath"] == "/3"
    assert parsed(lines(two, 1)[0])["request"] == "GET /4 HTTP/1.1"


def test_a_file_that_cannot_be_opened_refuses_the_snapshot(router: Router, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "access.log"
    document = snapshot(
        [entry_point(f"{router.address}:{router.port}")],
        [route()],
        [service()],
        revision=2,
        access_log=access_log(path),
    )
    assert router.engine.check(document) == []
    answer = router.engine.put(document)
    assert answer.status_code == 422
    (problem,) = answer.json()["problems"]
    assert problem["kind"] == "settings"
    assert problem["error"].startswith(f"the access log {path} cannot be opened: ")
    assert router.engine.status()["revision"] == 1


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"format": "xml"}, 'the access log\'s format "xml" is not common or json'),
        ({"field_names": {"Foo": "keep"}}, "the access log has no field Foo"),
        ({"headers": "hide"}, 'mode "hide" of the access log\'s headers is not keep, drop or redact'),
        ({"status_codes": [(500, 400)]}, "the access log's status codes 500-400 are none"),
    ],
)
def test_what_is_refused(router: Router, change: dict[str, Any], error: str) -> None:
    document = snapshot([entry_point(f"{router.address}:0")], [], [], access_log=access_log(**change))
    assert router.engine.check(document) == [{"kind": "settings", "id": "", "error": error}]


def test_a_full_disk_costs_lines_and_nothing_else(router: Router) -> None:
    apply(router, access_log("/dev/full"))
    for _ in range(3):
        assert ask(router) == 200
    wait_for(lambda: router.engine.counters()["access_log"]["dropped"] == 3, "the lost lines are counted")
    wait_for(lambda: "the access log cannot be written; lines are lost" in router.engine.process.output, "it is told")


def test_a_reader_that_does_not_read_holds_nobody_up(router: Router, tmp_path: Path) -> None:
    """The log is a pipe that nobody empties: requests are answered, what does not fit is dropped and counted."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        apply(router, access_log(path, format="json"))
        stop = threading.Event()
        padding = "x" * 30_000

        def load() -> None:
            with Connection(router.address, router.port) as connection:
                while not stop.is_set():
                    connection.send(f"GET /status/204 HTTP/1.1\r\nHost: a.example\r\nX-Long: {padding}\r\n\r\n")
                    answer = connection.answer()
                    assert answer is not None
                    assert answer.status == 204

        thread = threading.Thread(target=load)
        thread.start()
        try:
            wait_for(lambda: router.engine.counters()["access_log"]["dropped"] > 0, "lines are dropped", deadline=60)
            assert ask(router) == 200
        finally:
            stop.set()
            thread.join()
    finally:
        os.close(reader)


def test_many_clients_and_whole_lines(router: Router, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    apply(router, access_log(path, format="json", buffering=64))

    def load() -> None:
        with Connection(router.address, router.port) as connection:
            for number in range(50):
                connection.send(f"GET /status/200?{number} HTTP/1.1\r\nHost: a.example\r\n\r\n")
                assert connection.answer() is not None

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = [json.loads(line)["RequestCount"] for line in lines(path, 400)]
    assert sorted(counts) == list(range(1, 401))


def test_requests_that_cannot_be_understood_have_no_line(router: Router, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    apply(router, access_log(path))
    with socket.create_connection((router.address, router.port), timeout=10) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nbroken\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 400 ")
    ask(router)
    assert parsed(lines(path, 1)[0])["count"] == "1"


def test_origins_see_no_difference(router: Router, tmp_path: Path, origin: Origin) -> None:
    apply(router, access_log(tmp_path / "access.log"))
    ask(router, "/x?y")
    assert origin.last().path == "/x?y"
