"""Authentication: basic, digest, and by another server."""

import base64
import json
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.engine.conftest import Router
from tests.engine.test_middleware_requests import apply, ask, wait_for_causes
from tests.support.certificates import authority
from tests.support.http1 import Connection, over_http2
from tests.support.middlewares import (
    SHA_OF_TEST,
    basic_auth,
    digest_auth,
    forward_auth,
    headers,
    redirect_entry_point,
    white_list,
)
from tests.support.origin import Origin
from tests.support.ports import HeldPort
from tests.support.raw_server import RawServer, read_head
from tests.support.snapshots import access_log, entry_point, route, service, snapshot
from tests.support.wait import SLOWNESS, wait_for

Json = dict[str, Any]

BCRYPT = "$2y$04$1X1QYTMZL1TdCYDHXXF.bOrKDry3TY834VuNBtl34m2PceL17cBom"
"""Of `test`, as quick as it can be."""
SLOW_BCRYPT = "$2y$12$/DBevZNDZr2SRxG4nd0K.uvhA987FFs8At/KZBjr56SE9YypoOylq"
"""Of `test`, cost 12: takes a quarter of a second and more."""


def basic(name: str, password: str) -> str:
    return "Authorization: Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def hashed(*options: str, password: str = "test") -> str:
    done = subprocess.run(["openssl", "passwd", *options, password], capture_output=True, check=True, text=True)
    return done.stdout.strip()


def test_basic(router: Router) -> None:
    users = [f"sha:{SHA_OF_TEST}", f"apr:{hashed('-apr1')}", f"md5:{hashed('-1')}", "bc:" + BCRYPT]
    apply(router, basic_auth(*users))
    for name in ("sha", "apr", "md5", "bc"):
        for _ in range(2):
            assert ask(router, "/", basic(name, "test")).status == 200, name
        assert router.origin.last().header("Authorization") is not None
        assert ask(router, "/", basic(name, "wrong")).status == 401
    answer = ask(router)
    assert (answer.status, answer.body) == (401, b"401 Unauthorized\n")
    assert answer.header("WWW-Authenticate") == 'Basic realm="traefik"'
    assert over_http2(router.url).status == 401
    assert over_http2(router.url, basic("bc", "test")).status == 200
    wait_for_causes(router, unauthorized=6)


def test_who_is_in_is_told_to_the_server_and_the_access_log(router: Router, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = access_log(path, format="json")
    apply(router, basic_auth(f"test:{SHA_OF_TEST}", remove_header=True, header_field="X-WebAuth-User"), access_log=log)
    assert ask(router, "/", basic("test", "test"), "x-webauth-user: admin").status == 200
    seen = router.origin.last()
    assert (seen.values("Authorization"), seen.values("X-WebAuth-User")) == ([], ["test"])
    ask(router)
    wait_for(lambda: path.exists() and path.read_text().count("\n") == 2, "the lines are there")
    first, second = sorted(map(json.loads, path.read_text().splitlines()), key=lambda line: line["DownstreamStatus"])
    assert (first["ClientUsername"], first["FrontendName"]) == ("test", "route")
    assert (second["ClientUsername"], second["FrontendName"], second["OriginStatus"]) == ("-", "Auth for route", 401)


def test_an_entry_points_auth_comes_before_routes(router: Router, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    apply(
        router, on_entry_point=(basic_auth(f"test:{SHA_OF_TEST}", header_field="X-User"),), access_log=access_log(path)
    )
    assert ask(router).status == 401
    assert ask(router, "/", basic("test", "test")).status == 200
    assert router.origin.last().header("X-User") == "test"
    wait_for(lambda: path.exists() and path.read_text().count("\n") == 2, "the lines are there")
    first, second = sorted(path.read_text().splitlines(), key=lambda line: " - test [" in line)
    assert '"Auth for entrypoint http" "/"' in first
    assert " - test [" in second


def test_an_entry_points_auth_hides_what_routes_there_are(router: Router) -> None:
    point = entry_point(f"{router.address}:{router.port}", middlewares=[basic_auth(f"test:{SHA_OF_TEST}")])
    one = route([{"type": "host", "hosts": ["a.example"]}])
    router.engine.apply(snapshot([point], [one], [service(router.origin.url)]))
    assert [ask(router, host=host).status for host in ("a.example", "b.example")] == [401, 401]
    right = basic("test", "test")
    assert [ask(router, "/", right, host=host).status for host in ("a.example", "b.example")] == [200, 404]


def test_ping_and_metrics(router: Router) -> None:
    chain = [redirect_entry_point(), basic_auth(f"test:{SHA_OF_TEST}"), white_list("127.0.0.0/8")]
    point = entry_point(f"{router.address}:{router.port}", ping=True, metrics=True, middlewares=chain)
    router.engine.apply(snapshot([point], [], [], metrics={"buckets": [0.1]}))
    assert (ask(router, "/ping").status, ask(router, "/metrics").status, ask(router).status) == (200, 401, 302)
    assert ask(router, "/metrics", basic("test", "test")).status == 200
    point["middlewares"][2] = white_list("192.0.2.7")
    router.engine.apply(snapshot([point], [], [], metrics={"buckets": [0.1]}))
    assert (ask(router, "/ping").status, ask(router, "/metrics").status) == (200, 403)


def test_slow_hashes_hold_nobody_up(router: Router) -> None:
    apply(router, basic_auth("slow:" + SLOW_BCRYPT, f"quick:{SHA_OF_TEST}"))
    with ThreadPoolExecutor(4) as pool:
        guesses = [pool.submit(ask, router, "/", basic("slow", str(number))) for number in range(4)]
        quickest = min(timed(router) for _ in range(10))
        assert not all(guess.done() for guess in guesses), "the guesses were too quick to tell"
        assert quickest < 0.1 * SLOWNESS
        assert {guess.result().status for guess in guesses} == {401}


def timed(router: Router) -> float:
    begin = time.monotonic()
    assert ask(router, "/", basic("quick", "test")).status == 200
    return time.monotonic() - begin


def test_what_is_known_to_be_right_is_quick(router: Router) -> None:
    apply(router, basic_auth("slow:" + SLOW_BCRYPT))
    assert ask(router, "/", basic("slow", "test")).status == 200
    begin = time.monotonic()
    for _ in range(20):
        assert ask(router, "/", basic("slow", "test")).status == 200
    assert time.monotonic() - begin < 2 * SLOWNESS


def test_digest(router: Router) -> None:
    apply(router, digest_auth("test", "pass", remove_header=True, header_field="X-User"))
    with httpx.Client(auth=httpx.DigestAuth("test", "pass")) as client:
        for number in range(3):
            assert client.get(f"{router.url}/x?n={number}").status_code == 200
    seen = router.origin.last()
    assert (seen.values("Authorization"), seen.header("X-User")) == ([], "test")
    answer = ask(router)
    assert answer.status == 401
    challenge = answer.header("WWW-Authenticate") or ""
    assert challenge.startswith('Digest realm="traefik", nonce="')
    assert challenge.endswith('algorithm="MD5", qop="auth"')
    assert httpx.get(router.url, auth=httpx.DigestAuth("test", "wrong")).status_code == 401


def test_digest_behind_a_stripped_prefix(router: Router) -> None:
    apply(router, digest_auth("test", "pass"), modifiers=({"type": "strip_prefix", "prefixes": ["/pre"]},))
    assert httpx.get(f"{router.url}/pre/x", auth=httpx.DigestAuth("test", "pass")).status_code == 200
    assert router.origin.last().path == "/x"


def test_nonces_stay_good_across_snapshots(router: Router) -> None:
    apply(router, digest_auth("test", "pass"))
    with httpx.Client(auth=httpx.DigestAuth("test", "pass")) as client:
        assert client.get(router.url).status_code == 200
        apply(router, digest_auth("test", "pass"), headers({"X-A": "1"}))
        answer = client.get(router.url)
        assert (answer.status_code, answer.history) == (200, [])
        # It was not asked for the password again.
        assert [one.header("X-A") for one in router.origin.requests] == ["1"]
        wait_for_causes(router, unauthorized=1)


@pytest.fixture
def gatekeeper() -> Iterator[Origin]:
    made = Origin("gatekeeper")
    yield made
    made.close()


def test_another_server_admits(router: Router, gatekeeper: Origin) -> None:
    strip: Json = {"type": "strip_prefix", "prefixes": ["/pre"]}
    apply(
        router,
        forward_auth(f"{gatekeeper.url}/auth?x", response_headers=["X-Origin", "X-Missing"]),
        modifiers=(strip,),
    )
    for _ in range(3):
        with Connection(router.address, router.port) as connection:
            connection.send(
                "POST /pre/echo?q HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nCookie: c\r\n"
                "X-Origin: mine\r\nX-Missing: mine\r\nX-Forwarded-For: 9.9.9.9\r\n\r\nhello"
            )
            answer = connection.answer()
        assert answer is not None
        assert (answer.status, answer.body) == (200, b"hello")
    asked = gatekeeper.last()
    assert (asked.method, asked.path, asked.body) == ("GET", "/auth?x", b"")
    told = {name: asked.header(f"X-Forwarded-{name}") for name in ("For", "Method", "Proto", "Host", "Uri", "Prefix")}
    assert told == {
        "For": "127.0.0.1",
        "Method": "POST",
        "Proto": "http",
        "Host": "a.example",
        "Uri": "/echo?q",
        "Prefix": "/pre",
    }
    assert (asked.header("Cookie"), asked.header("Content-Length")) == ("c", None)
    seen = router.origin.last()
    assert (seen.values("X-Origin"), seen.values("X-Missing")) == (["gatekeeper"], [])
    # Connections are used again, by each worker.
    assert gatekeeper.record.connections <= 2


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_another_server_refuses(router: Router, gatekeeper: Origin, method: str) -> None:
    apply(router, forward_auth(f"{gatekeeper.url}/status/418"))
    router.origin.record.clear()
    with Connection(router.address, router.port) as connection:
        for _ in range(2):
            connection.send(f"{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
            answer = connection.answer(method)
            assert answer is not None
            assert (answer.status, answer.header("X-Origin")) == (418, "gatekeeper")
            assert answer.body == (b"" if method == "HEAD" else b"418\n")
    router.origin.assert_untouched()
    assert over_http2(router.url, method=method).status == 418
    wait_for_causes(router, auth_refused=3)


def test_a_redirect_of_the_other_server_is_made_absolute(router: Router) -> None:
    answer = b"HTTP/1.1 302 Found\r\nLocation: /login?x\r\nContent-Length: 0\r\nSet-Cookie: a=b\r\n\r\n"

    def redirect(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(answer)

    with RawServer(redirect) as server:
        apply(router, forward_auth(f"{server.url}/auth"))
        told = ask(router)
    assert (told.status, told.header("Location")) == (302, f"{server.url}/login?x")
    assert told.header("Set-Cookie") == "a=b"


def test_a_server_that_is_not_there(router: Router) -> None:
    with HeldPort() as port:
        apply(router, forward_auth(f"http://127.0.0.1:{port.port}/"))
        answer = ask(router)
    assert (answer.status, answer.body) == (500, b"")
    wait_for_causes(router, auth_server=1)
    assert router.engine.counters()["services"]["origin"]["failures"] == 0


def test_over_tls_with_a_certificate(router: Router, tmp_path: Path) -> None:
    ca = authority()
    server = ca.issue("127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=ca.chain_pem)
    context.load_cert_chain(*server.write(tmp_path, "server"))
    context.verify_mode = ssl.CERT_REQUIRED
    gatekeeper = Origin("gatekeeper", tls=context)
    try:
        client = ca.issue("client")
        mutual = {
            "ca_pem": ca.chain_pem,
            "cert_pem": client.chain_pem,
            "key_pem": client.key_pem,
            "insecure_skip_verify": False,
        }
        apply(router, forward_auth(gatekeeper.url, tls=mutual))
        assert ask(router).status == 200
        apply(router, forward_auth(gatekeeper.url, tls=mutual | {"ca_pem": "", "cert_pem": "", "key_pem": ""}))
        assert ask(router).status == 500
        bad = forward_auth(gatekeeper.url, tls=mutual | {"key_pem": "secret"})
        problems = router.engine.check(problematic(router, bad))
        assert [problem["error"] for problem in problems] == ["forward_auth: tls: cannot read the key"]
    finally:
        gatekeeper.close()


def problematic(router: Router, middleware: Json) -> Json:
    point = entry_point(f"{router.address}:{router.port}")
    return snapshot([point], [route(middlewares=[middleware])], [service(router.origin.url)])
