"""Middlewares that look at a request: white lists, redirects, headers, certificates of clients."""

import base64
import json
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, unquote_plus

import pytest
from websockets.sync.client import connect

from tests.engine.conftest import Router
from tests.support.certificates import authority
from tests.support.engine import EngineProcess
from tests.support.http1 import Answer, Connection, get, over_http2
from tests.support.middlewares import (
    client_cert,
    headers,
    redirect_entry_point,
    redirect_regex,
    security_headers,
    white_list,
)
from tests.support.origin import Origin
from tests.support.snapshots import access_log, entry_point, route, service, snapshot, tls
from tests.support.wait import wait_for

Json = dict[str, Any]


def apply(
    router: Router,
    *middlewares: Json,
    on_entry_point: tuple[Json, ...] = (),
    modifiers: tuple[Json, ...] = (),
    insecure: bool = True,
    **settings: Any,
) -> None:
    """One route with these middlewares."""
    router.origin.record.clear()
    point = entry_point(f"{router.address}:{router.port}", middlewares=on_entry_point, insecure=insecure)
    one = route(middlewares=middlewares, modifiers=modifiers, chain="chain")
    router.engine.apply(snapshot([point], [one], [service(router.origin.url)], **settings))


def ask(router: Router, target: str = "/", *lines: str, method: str = "GET", host: str = "a.example") -> Answer:
    return get(router.address, router.port, target, host, method, *lines)


def wait_for_causes(router: Router, **expected: int) -> None:
    """A request is counted when it is over, which is a moment after its answer has come."""

    def found() -> dict[str, int]:
        causes = router.engine.counters()["causes"]
        return {name: causes[name] for name in expected}

    wait_for(lambda: found() == expected, f"the causes are {expected}")


@pytest.mark.parametrize("where", ["route", "entry point"])
def test_who_is_not_in_the_white_list_is_refused(router: Router, where: str) -> None:
    def lists(*ranges: str, use_x_forwarded_for: bool = False) -> None:
        made = (white_list(*ranges, use_x_forwarded_for=use_x_forwarded_for),)
        if where == "route":
            apply(router, *made)
        else:
            apply(router, on_entry_point=made)

    lists("192.0.2.0/24")
    answer = ask(router)
    assert (answer.status, answer.body) == (403, b"Forbidden")
    router.origin.assert_untouched()
    assert over_http2(router.url).status == 403
    wait_for_causes(router, not_in_white_list=2)
    lists("192.0.2.0/24", "127.0.0.0/8")
    assert ask(router).status == 200
    lists("192.0.2.0/24", use_x_forwarded_for=True)
    assert ask(router, "/", "X-Forwarded-For: 198.51.100.1, 192.0.2.7").status == 200
    assert ask(router, "/", "X-Forwarded-For: nonsense, 192.0.2.7").status == 403


def test_a_white_list_does_not_believe_everybody(router: Router) -> None:
    apply(router, white_list("192.0.2.7", use_x_forwarded_for=True), insecure=False)
    assert ask(router, "/", "X-Forwarded-For: 192.0.2.7").status == 403


def test_a_refused_body_does_not_reach_the_next_request(router: Router) -> None:
    apply(router, white_list("192.0.2.7"))
    with Connection(router.address, router.port) as connection:
        connection.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
        answer = connection.answer()
        assert answer is not None
        assert answer.status == 403
        connection.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = connection.answer()
        assert answer is not None
        assert answer.status == 403


@pytest.mark.parametrize(
    ("method", "permanent", "status"),
    [("GET", False, 302), ("GET", True, 301), ("POST", False, 307), ("HEAD", True, 308)],
)
def test_to_another_entry_point(router: Router, method: str, permanent: bool, status: int) -> None:
    apply(router, on_entry_point=(redirect_entry_point(permanent=permanent),))
    answer = ask(router, "/x//y/?a=%20", method=method, host="a.example:80")
    assert (answer.status, answer.header("Location")) == (status, "https://a.example:443/x//y/?a=%20")
    router.origin.assert_untouched()


def test_a_redirect_leads_to_the_path_that_the_client_asked_for(router: Router) -> None:
    strip: Json = {"type": "strip_prefix", "prefixes": ["/pre"]}
    apply(router, redirect_entry_point(), modifiers=(strip,))
    assert ask(router, "/pre/api//").header("Location") == "https://a.example:443/pre/api//"
    apply(router, redirect_regex("^http://a.example/(.*)", "http://b.example/$1"), modifiers=(strip,))
    assert ask(router, "/pre/api//?q").header("Location") == "http://b.example/pre/api//?q"
    apply(router, security_headers(ssl_redirect=True), modifiers=(strip,))
    answer = ask(router, "/pre/api/?q")
    assert (answer.status, answer.header("Location")) == (301, "https://a.example/api/?q")


def test_redirects_with_templates(router: Router) -> None:
    apply(router, redirect_regex("^http://[^/]+/old(.*)", "http://{{ .Request.Host }}/new$1", permanent=True))
    answer = ask(router, "/old/x?y")
    assert (answer.status, answer.header("Location")) == (301, "http://a.example/new/x?y")
    assert answer.body == b"Moved Permanently"
    assert ask(router, "/other").status == 200
    answer = over_http2(f"{router.url}/old/x")
    assert (answer.status, answer.header("Location")) == (301, f"http://{router.address}:{router.port}/new/x")


def test_a_redirect_precedes_the_white_list_of_an_entry_point_but_not_of_a_route(router: Router) -> None:
    both = (redirect_entry_point(), white_list("192.0.2.7"))
    apply(router, on_entry_point=both)
    assert ask(router).status == 302
    apply(router, *reversed(both))
    assert ask(router).status == 403


def test_headers(router: Router) -> None:
    changed = headers(
        {"X-New": "1", "X-Old": "2", "X-Gone": "", "Host": "other", "Content-Length": "9"},
        {"X-Origin": "", "X-Answer": "3", "Content-Type": "text/x", "Content-Length": "9"},
    )
    apply(router, changed)
    answer = ask(router, "/bytes/5", "X-Old: 1", "x-old: 0", "X-Gone: 1", "X-Kept: 1", method="POST")
    seen = router.origin.last()
    assert (seen.values("X-New"), seen.values("X-Old"), seen.values("X-Gone")) == (["1"], ["2"], [])
    assert (seen.header("X-Kept"), seen.header("Host"), seen.header("Content-Length")) == ("1", "a.example", None)
    assert (answer.header("X-Origin"), answer.header("X-Answer")) == (None, "3")
    assert (answer.header("Content-Type"), answer.header("Content-Length"), len(answer.body)) == ("text/x", "5", 5)
    told = over_http2(f"{router.url}/", "x-gone: 1")
    assert told.header("x-answer") == "3"
    assert router.origin.last().values("X-Gone") == []


def test_a_client_cannot_have_added_headers_taken_away(router: Router) -> None:
    apply(router, headers({"X-New": "1"}, {"X-Answer": "1"}))
    with Connection(router.address, router.port) as connection:
        connection.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: X-New, X-Own\r\nX-Own: 1\r\nX-New: 2\r\n\r\n")
        assert connection.answer() is not None
    assert (router.origin.last().values("X-New"), router.origin.last().values("X-Own")) == (["1"], [])


def test_websockets_pass_beside_changed_headers(router: Router) -> None:
    apply(router, headers({"X-New": "1"}), white_list("127.0.0.0/8"))
    with connect(f"ws://{router.address}:{router.port}/chat", proxy=None) as websocket:
        websocket.send("hello")
        assert websocket.recv() == "hello"
    assert router.origin.last().header("X-New") == "1"


def test_a_body_passes_beside_changed_headers(router: Router) -> None:
    apply(router, headers({"X-New": "1"}, {"X-Answer": "1"}))
    with Connection(router.address, router.port) as connection:
        for _ in range(2):
            connection.send(
                "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
            )
            answer = connection.answer()
            assert answer is not None
            assert (answer.body, answer.header("X-Answer")) == (b"hello", "1")


def test_answers_of_the_engine_are_not_changed(router: Router) -> None:
    apply(router, headers({}, {"X-Answer": "1"}), security_headers(frame_deny=True), white_list("192.0.2.7"))
    answer = ask(router)
    assert (answer.status, answer.header("X-Answer"), answer.header("X-Frame-Options")) == (403, None, None)


def test_forwarded_headers_that_are_set_are_believed(router: Router) -> None:
    apply(router, headers({"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"}), insecure=False)
    ask(router, "/", "X-Forwarded-Host: evil", "X-Real-Ip: 9.9.9.9", "X-Forwarded-For: 9.9.9.9")
    seen = router.origin.last()
    assert seen.header("X-Forwarded-Proto") == "https"
    assert seen.header("X-Forwarded-For") == "192.0.2.1, 127.0.0.1"
    assert (seen.header("X-Forwarded-Host"), seen.header("X-Real-Ip")) == ("a.example", "127.0.0.1")


def test_security_headers(router: Router) -> None:
    apply(
        router,
        headers({"X-Secure": "yes"}, {"Referrer-Policy": "mine"}),
        security_headers(
            ssl_proxy_headers=[["X-Secure", "yes"]],
            ssl_redirect=True,
            sts_seconds=60,
            frame_deny=True,
            referrer_policy="none",
            content_security_policy="default-src 'none'",
        ),
    )
    answer = ask(router)
    assert answer.status == 200
    assert answer.header("Strict-Transport-Security") == "max-age=60"
    assert answer.header("X-Frame-Options") == "DENY"
    assert answer.header("Content-Security-Policy") == "default-src 'none'"
    assert answer.header("Referrer-Policy") == "mine"
    apply(router, security_headers(allowed_hosts=["b.example"]))
    answer = ask(router)
    assert (answer.status, answer.body, answer.header("Content-Type")) == (
        500,
        b"Bad Host\n",
        "text/plain; charset=utf-8",
    )
    assert ask(router, host="B.example").status == 200
    wait_for_causes(router, bad_host=1)


def test_certificates_of_clients(engine: EngineProcess, address: str, origin: Origin, tmp_path: Path) -> None:
    ca = authority()
    server, client = ca.issue("a.example"), ca.issue("client", common_name="me", organisation="us")
    names = dict.fromkeys(["country", "province", "locality", "serial_number", "domain_component"], False)
    infos = {
        "not_after": False,
        "not_before": True,
        "sans": True,
        "subject": names | {"common_name": True, "organization": True},
        "issuer": None,
    }
    point = entry_point(f"{address}:8443", tls=tls("c", client_ca=ca.chain_pem, client_optional=True))
    one = route(middlewares=[client_cert(infos=infos)])
    engine.apply(snapshot([point], [one], [service(origin.url)], certificates=[server.for_snapshot("c")]))

    def ask(context: ssl.SSLContext) -> None:
        with Connection(address, 8443, context, "a.example") as connection:
            claim = "X-Forwarded-Tls-Client-Cert: mine\r\nX-Forwarded-Tls-Client-Cert-Infos: mine\r\n"
            connection.send(f"GET / HTTP/1.1\r\nHost: a.example\r\n{claim}\r\n")
            answer = connection.answer()
            assert answer is not None
            assert answer.status == 200

    context = ssl.create_default_context(cadata=ca.chain_pem)
    ask(context)
    assert origin.last().values("X-Forwarded-Tls-Client-Cert") == []
    assert origin.last().values("X-Forwarded-Tls-Client-Cert-Infos") == []
    certificate, key = client.write(tmp_path, "client")
    context.load_cert_chain(certificate, key)
    ask(context)
    # The client shows its CA's certificate too.
    shown = [quote_plus(base64.b64encode(one.der).decode()) for one in (client, ca)]
    assert origin.last().header("X-Forwarded-Tls-Client-Cert") == ",".join(shown)
    told = unquote_plus(origin.last().header("X-Forwarded-Tls-Client-Cert-Infos") or "").split(";")
    begin = int(client.certificate.not_valid_before_utc.timestamp())
    assert told[0] == f'Subject="O=us,CN=me",NB={begin},SAN=client'
    assert told[1].startswith('Subject="CN=test CA",NB=')


def test_all_problems_are_told(router: Router) -> None:
    point = entry_point(f"{router.address}:{router.port}", middlewares=[white_list("1.2.3")])
    bad = [
        redirect_regex("(", ""),
        redirect_regex("", "{{ .Nothing }}"),
        redirect_entry_point("ftp"),
        headers({"a b": "x"}),
        headers({}, {"a": "x\r\nb: c"}),
    ]
    problems = router.engine.check(snapshot([point], [route(middlewares=bad)], [service(router.origin.url)]))
    kinds = [problem["kind"] for problem in problems]
    assert kinds == ["entry_point", *["route"] * len(bad)], problems
    assert '"1.2.3"' in problems[0]["error"]
    unknown = snapshot([point], [route(middlewares=[{"type": "compres"}])], [])
    answer = router.engine.put(unknown)
    assert answer.status_code == 400
    assert "compres" in answer.text


def test_the_access_log_names_who_answered(router: Router, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    apply(router, white_list("192.0.2.7"), access_log=access_log(path, format="json"))
    ask(router)
    wait_for(lambda: path.exists() and path.read_text().endswith("\n"), "the line is there")
    line = json.loads(path.read_text())
    assert (line["FrontendName"], line["BackendName"]) == ("ipwhitelister for route", "Traefik")
    assert (line["OriginStatus"], line["OriginContentSize"], line["DownstreamStatus"]) == (403, 9, 403)
