"""What services do beside taking turns: sticky clients, health checks, retries, limits, circuit breakers, buffering."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.conftest import StartOrigin
from tests.support.engine import EngineProcess
from tests.support.http1 import Answer, Connection, get
from tests.support.origin import Origin, pattern
from tests.support.ports import HeldPort
from tests.support.snapshots import change, entry_point, route, service, snapshot
from tests.support.wait import wait_for

Json = dict[str, Any]
STICKY = {"cookie_name": "_82b5f", "secure": False, "http_only": False, "same_site": ""}
CHECK = {
    "path": "/health?deep=1",
    "scheme": "",
    "port": 0,
    "host": "",
    "interval_ms": 100,
    "timeout_ms": 1000,
    "headers": [["X-Check", "yes"]],
}
CLIENT_IP = {"type": "client_ip"}
BUFFERING = {
    "max_request_body_bytes": 0,
    "mem_request_body_bytes": 0,
    "max_response_body_bytes": 0,
    "mem_response_body_bytes": 0,
    "retry_expression": "",
}


def serve(address: str, one: Json, **settings: Any) -> Json:
    return snapshot([entry_point(f"{address}:8000")], [route()], [one], **settings)


def caused(engine: EngineProcess, cause: str, times: int = 1) -> None:
    """Wait until a cause was counted so often: that is done when the answer has left."""
    wait_for(lambda: engine.counters()["causes"][cause] >= times, f"{cause} is counted")


def ask(address: str, path: str = "/", *headers: str) -> Answer:
    return get(address, 8000, path, "a.example", "GET", *headers)


def who(address: str) -> str | None:
    return ask(address, "/status/200").header("X-Origin")


class TestSticky:
    def test_a_client_stays_with_its_server(
        self, engine: EngineProcess, address: str, start_origin: StartOrigin
    ) -> None:
        servers = {origin.name: origin for origin in (start_origin("1"), start_origin("2"))}
        engine.apply(serve(address, service(*(origin.url for origin in servers.values()), sticky=STICKY)))
        first = ask(address, "/status/200")
        name = first.header("X-Origin") or ""
        cookie = f"_82b5f={servers[name].url}"
        assert first.header("Set-Cookie") == f"{cookie}; Path=/"
        for _ in range(3):
            answer = ask(address, "/status/200", f"Cookie: a=b; {cookie}")
            assert (answer.header("X-Origin"), answer.header("Set-Cookie")) == (name, None)
        # The others take turns as ever.
        assert {who(address) for _ in range(2)} == {"1", "2"}

    def test_a_cookie_of_a_server_that_is_gone(self, engine: EngineProcess, address: str, origin: Origin) -> None:
        engine.apply(serve(address, service(origin.url, sticky=STICKY)))
        answer = ask(address, "/", "Cookie: _82b5f=http://127.0.0.9:1")
        assert answer.status == 200
        assert answer.header("Set-Cookie") == f"_82b5f={origin.url}; Path=/"

    def test_a_server_that_cannot_be_reached(self, engine: EngineProcess, address: str, origin: Origin) -> None:
        with HeldPort() as dead:
            url = f"http://127.0.0.1:{dead.port}"
            engine.apply(serve(address, service(url, origin.url, sticky=STICKY)))
            answer = ask(address, "/", f"Cookie: _82b5f={url}")
        assert answer.header("Set-Cookie") == f"_82b5f={origin.url}; Path=/"

    def test_attributes_of_the_cookie(self, engine: EngineProcess, address: str, origin: Origin) -> None:
        sticky = STICKY | {"secure": True, "http_only": True, "same_site": "lax"}
        engine.apply(serve(address, service(origin.url, sticky=sticky)))
        expected = f"_82b5f={origin.url}; Path=/; HttpOnly; Secure; SameSite=Lax"
        assert ask(address).header("Set-Cookie") == expected


class TestHealthChecks:
    def test_a_server_that_fails_is_left_alone_until_it_is_well(
        self, engine: EngineProcess, address: str, start_origin: StartOrigin
    ) -> None:
        good, bad = start_origin("good"), start_origin("bad")
        bad.statuses["/health"] = 503
        before = serve(address, service(good.url, bad.url, health_check=CHECK))
        engine.apply(before)
        wait_for(lambda: {who(address) for _ in range(4)} == {"good"}, "the failing server gets nothing")
        checked = next(seen for seen in bad.requests if seen.path.startswith("/health"))
        assert (checked.method, checked.path, checked.header("X-Check")) == ("GET", "/health?deep=1", "yes")
        assert checked.header("Host") == bad.url.removeprefix("http://")

        # What is known of a server outlives changes of its service, even of the check.
        bad.statuses["/other"] = 503
        after = serve(
            address,
            service(good.url, (bad.url, 3), health_check=CHECK | {"path": "/other", "interval_ms": 50}),
            revision=2,
        )
        assert engine.change(change(before, after)).status_code == httpx.codes.OK
        assert {who(address) for _ in range(8)} == {"good"}

        del bad.statuses["/other"]
        wait_for(lambda: {who(address) for _ in range(8)} == {"good", "bad"}, "the server is used again")

    def test_without_a_healthy_server_it_is_503(self, engine: EngineProcess, address: str, origin: Origin) -> None:
        origin.statuses["/health"] = 500
        engine.apply(serve(address, service(origin.url, health_check=CHECK)))
        wait_for(lambda: ask(address, "/status/200").status == 503, "no server is left")
        caused(engine, "no_healthy_server")
        assert engine.counters()["services"]["origin"]["down"] == [origin.url]
        origin.statuses["/health"] = 301
        wait_for(lambda: ask(address, "/status/200").status == 200, "a status below 400 is healthy")

    def test_port_host_and_redirects(self, engine: EngineProcess, address: str, start_origin: StartOrigin) -> None:
        traffic, health = start_origin("traffic"), start_origin("health")
        traffic.statuses["/health"] = 500
        check = CHECK | {"port": health.port, "host": "check.example"}
        engine.apply(serve(address, service(traffic.url, health_check=check)))
        wait_for(lambda: health.requests, "the other port is asked")
        assert health.last().header("Host") == "check.example"
        assert who(address) == "traffic"
        assert not any(seen.path.startswith("/health") for seen in traffic.requests)

    def test_a_server_that_hangs_is_down(self, engine: EngineProcess, address: str, start_origin: StartOrigin) -> None:
        good, slow = start_origin("good"), start_origin("slow")
        check = CHECK | {"path": "/slow?seconds=30", "timeout_ms": 200}
        good.statuses["/slow"] = 204
        engine.apply(serve(address, service(good.url, slow.url, health_check=check)))
        wait_for(lambda: {who(address) for _ in range(4)} == {"good"}, "the server that hangs gets nothing")

    @pytest.mark.parametrize(
        ("wrong", "what"),
        [
            ({"path": "x"}, "path is not a path"),
            ({"interval_ms": 0}, "have to be above 0"),
            ({"scheme": "ftp"}, 'scheme "ftp" is neither'),
            ({"host": "a b"}, "host is not a host"),
            ({"headers": [["a b", "c"]]}, "headers has a name"),
        ],
    )
    def test_mistakes(self, engine: EngineProcess, address: str, wrong: Json, what: str) -> None:
        problems = engine.check(serve(address, service("http://127.0.0.1:1", health_check=CHECK | wrong)))
        assert [(it["kind"], it["id"]) for it in problems] == [("service", "origin")]
        assert what in problems[0]["error"]


class TestDynamicRoundRobin:
    def test_it_takes_turns_as_the_weights_say(
        self, engine: EngineProcess, address: str, start_origin: StartOrigin
    ) -> None:
        one, two = start_origin("1"), start_origin("2")
        engine.apply(serve(address, service((one.url, 1), (two.url, 3), balancer="drr")))
        assert [who(address) for _ in range(8)] == ["2", "1", "2", "2"] * 2

    def test_an_unknown_balancer_is_refused(self, engine: EngineProcess, address: str, origin: Origin) -> None:
        problems = engine.check(serve(address, service(origin.url, balancer="random")))
        assert [it["error"] for it in problems] == ['balancer "random" is unknown']


class TestRetry:
    @pytest.mark.parametrize(("retry", "status"), [(None, 200), (0, 200), (1, 502), (2, 502), (3, 200)])
    def test_how_many_servers_are_tried(
        self, engine: EngineProcess, address: str, origin: Origin, retry: int | None, status: int
    ) -> None:
        with HeldPort() as first, HeldPort() as second:
            dead = [f"http://127.0.0.1:{held.port}" for held in (first, second)]
            settings = {"retry": None if retry is None else {"attempts": retry}}
            engine.apply(serve(address, service(*dead, origin.url), **settings))
            assert ask(address).status == status

    def test_one_server_may_be_tried_often(self, engine: EngineProcess, address: str) -> None:
        with HeldPort() as dead:
            url = f"http://127.0.0.1:{dead.port}"
            engine.apply(serve(address, service(url), retry={"attempts": 5}, metrics={"buckets": [1.0]}))
            assert ask(address).status == 502
        wait_for(lambda: engine.counters()["services"]["origin"]["requests"] == 1, "the request is counted")


class TestMaxConnections:
    def test_each_client_has_its_own(self, engine: EngineProcess, address: str, origin: Origin) -> None:
        limit = {"amount": 1, "source": {"type": "request_header", "name": "X-Client"}}
        engine.apply(serve(address, service(origin.url, max_connections=limit)))

        def of(client: str, path: str) -> tuple[int, bytes]:
            answer = ask(address, path, f"X-Client: {client}")
            return answer.status, answer.body

        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(of, "a", "/slow?seconds=30")
            assert origin.waiting.wait(10)
            assert of("a", "/status/200") == (429, b"max connections reached: 1")
            assert of("b", "/status/200")[0] == 200
            origin.ending.set()
            assert slow.result()[0] == 200
        wait_for(lambda: of("a", "/status/200")[0] == 200, "the client's share is given back")
        caused(engine, "too_many_connections")

    def test_a_body_that_was_not_read_does_not_disturb(
        self, engine: EngineProcess, address: str, origin: Origin
    ) -> None:
        engine.apply(serve(address, service(origin.url, max_connections={"amount": 0, "source": CLIENT_IP})))
        with httpx.Client() as client:
            for _ in range(3):
                assert client.post(f"http://{address}:8000/", content=b"x" * 100_000).status_code == 429
        origin.assert_untouched()


class TestCircuitBreaker:
    def test_it_opens(self, engine: EngineProcess, address: str, origin: Origin) -> None:
        breaker = {"expression": "ResponseCodeRatio(500, 600, 0, 600) > 0.5"}
        before = serve(address, service(origin.url, circuit_breaker=breaker))
        engine.apply(before)
        wait_for(lambda: ask(address, "/status/500").status == 503, "the breaker opens")
        origin.record.clear()
        answer = ask(address, "/status/200")
        assert (answer.status, answer.body) == (503, b"Service Unavailable")
        # What it has seen outlives a change that does not touch it.
        after = serve(address, service((origin.url, 2), circuit_breaker=breaker), revision=2)
        assert engine.change(change(before, after)).status_code == httpx.codes.OK
        assert ask(address, "/status/200").status == 503
        origin.assert_untouched()
        caused(engine, "breaker_open", 2)
        other = {"expression": "NetworkErrorRatio() > 0.5"}
        engine.apply(serve(address, service(origin.url, circuit_breaker=other), revision=3))
        assert ask(address, "/status/200").status == 200

    def test_mistakes_are_told(self, engine: EngineProcess, address: str, origin: Origin) -> None:
        one = service(origin.url, circuit_breaker={"expression": "NetworkErrorRatio() > 1"})
        (problem,) = engine.check(serve(address, one))
        assert "NetworkErrorRatio is a ratio" in problem["error"]


def client(address: str) -> httpx.Client:
    return httpx.Client(base_url=f"http://{address}:8000", timeout=20)


class TestBuffering:
    @pytest.mark.parametrize("memory", [0, 1000])
    @pytest.mark.parametrize("chunked", [False, True])
    def test_bodies_pass_whole(
        self, engine: EngineProcess, address: str, origin: Origin, memory: int, chunked: bool
    ) -> None:
        buffering = BUFFERING | {"mem_request_body_bytes": memory, "mem_response_body_bytes": memory}
        engine.apply(serve(address, service(origin.url, buffering=buffering)))
        body = pattern(300_000)
        with client(address) as http:
            for _ in range(2):
                answer = http.post("/echo", content=iter([body[:1000], body[1000:]]) if chunked else body)
                assert (answer.status_code, answer.content == body) == (200, True)
                # The server is told a length, whatever the client has told.
                assert origin.last().header("Content-Length") == "300000"
            assert http.get("/stream?chunks=3").content.count(b"chunk") == 3
            assert http.head("/bytes/10").headers["Content-Length"] == "10"
            assert http.get("/status/204").status_code == 204

    def test_too_long_bodies(self, engine: EngineProcess, address: str, origin: Origin) -> None:
        buffering = BUFFERING | {"max_request_body_bytes": 100, "max_response_body_bytes": 100}
        engine.apply(serve(address, service(origin.url, buffering=buffering)))
        with client(address) as http:
            for content in (b"x" * 101, iter([b"x" * 50, b"x" * 51])):
                answer = http.post("/echo", content=content)
                assert (answer.status_code, answer.text) == (413, "Request Entity Too Large")
            origin.assert_untouched()
            assert http.post("/echo", content=b"x" * 100).content == b"x" * 100
            for path in ("/bytes/101", "/stream?chunks=50"):
                answer = http.get(path)
                assert (answer.status_code, answer.text) == (500, "Internal Server Error")
            assert http.get("/bytes/100").content == pattern(100)
        caused(engine, "body_too_long", 2)
        caused(engine, "answer_too_long", 2)

    def test_a_client_that_waits_for_100_is_asked(self, engine: EngineProcess, address: str, origin: Origin) -> None:
        engine.apply(serve(address, service(origin.url, buffering=BUFFERING)))
        with Connection(address, 8000) as connection:
            connection.send(
                "POST /echo HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
            )
            assert connection.socket.recv(100).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
            connection.send("hello")
            answer = connection.answer("POST")
            assert answer is not None
            assert answer.body == b"hello"

    def test_retry_expression(self, engine: EngineProcess, address: str, origin: Origin) -> None:
        buffering = BUFFERING | {"retry_expression": "ResponseCode() == 503 && Attempts() <= 2"}
        engine.apply(serve(address, service(origin.url, buffering=buffering)))
        with client(address) as http:
            assert http.post("/status/503", content=b"again").status_code == 503
        assert [seen.body for seen in origin.requests] == [b"again"] * 3

    def test_a_network_error_is_tried_again_with_the_body(
        self, engine: EngineProcess, address: str, origin: Origin
    ) -> None:
        buffering = BUFFERING | {"retry_expression": "IsNetworkError() && Attempts() < 3"}
        engine.apply(serve(address, service(origin.url, buffering=buffering)))
        with client(address) as http:
            assert http.post("/drop", content=b"again").status_code == 502
        assert [seen.body for seen in origin.requests] == [b"again"] * 3

    def test_a_client_that_leaves(self, engine: EngineProcess, address: str, origin: Origin) -> None:
        """A client that leaves while its answer is kept ends the exchange."""
        engine.apply(serve(address, service(origin.url, buffering=BUFFERING)))

        def leave() -> None:
            with pytest.raises(httpx.ReadTimeout), httpx.Client(timeout=0.5) as http:
                http.get(f"http://{address}:8000/slow?seconds=60")

        leaving = threading.Thread(target=leave)
        leaving.start()
        leaving.join()
        wait_for(lambda: engine.counters()["requests"]["open"] == 0, "the request has ended")
        caused(engine, "client_gone")
