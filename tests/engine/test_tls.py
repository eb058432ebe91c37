"""TLS: which certificate is shown, who is let in, and TLS towards servers."""

import asyncio
import datetime
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp
from websockets.asyncio.client import connect

from tests.conftest import StartOrigin
from tests.support.certificates import Authority, Certificate, authority
from tests.support.engine import EngineProcess
from tests.support.http1 import Answer, Connection
from tests.support.origin import Origin
from tests.support.snapshots import entry_point, route, service, snapshot, tls
from tests.support.wait import SLOWNESS

PORT = 8443


@pytest.fixture(scope="module")
def ca() -> Authority:
    return authority()


@pytest.fixture(scope="module")
def certificates(ca: Authority) -> dict[str, Certificate]:
    return {
        "default": ca.issue("default.example"),
        "exact": ca.issue("a.example", "www.a.example"),
        "wildcard": ca.issue("*.a.example"),
        "upper": ca.issue("UPPER.example"),
    }


def client(ca: Authority | None = None, identity: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    """A client's context; without a CA it accepts every certificate."""
    context = ssl.create_default_context(cadata=ca.chain_pem if ca else None)
    if ca is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if identity is not None:
        context.load_cert_chain(*identity)
    return context


def shown(address: str, server_name: str) -> bytes | None:
    """The certificate that a client gets to see."""
    with Connection(address, PORT, client(), server_name) as connection:
        assert isinstance(connection.socket, ssl.SSLSocket)
        return connection.socket.getpeercert(binary_form=True)


def ask(address: str, context: ssl.SSLContext, server_name: str = "a.example", *headers: str) -> Answer | None:
    """One request; None when the handshake fails, wherever TLS 1.3 shows it."""
    try:
        with Connection(address, PORT, context, server_name) as connection:
            connection.send("\r\n".join(["GET / HTTP/1.1", f"Host: {server_name}", *headers, "", ""]))
            return connection.answer()
    except (ssl.SSLError, ConnectionError):
        return None


@pytest.mark.parametrize(
    ("server_name", "expected"),
    [
        ("a.example", "exact"),
        ("A.EXAMPLE", "exact"),
        ("www.a.example", "exact"),
        ("x.a.example", "wildcard"),
        ("x.y.a.example", "default"),
        ("upper.example", "upper"),
        ("default.example", "default"),
        ("unknown.example", "default"),
        ("", "default"),
    ],
)
def test_the_certificate_by_name(
    engine: EngineProcess,
    address: str,
    certificates: dict[str, Certificate],
    origin: Origin,
    server_name: str,
    expected: str,
) -> None:
    point = entry_point(f"{address}:{PORT}", tls=tls("default", ["wildcard", "exact", "upper"]))
    entries = [certificate.for_snapshot(id) for id, certificate in certificates.items()]  # noqa: A001
    engine.apply(snapshot([point], [route()], [service(origin.url)], certificates=entries))
    assert shown(address, server_name) == certificates[expected].der


def test_strict_names(
    engine: EngineProcess, address: str, certificates: dict[str, Certificate], origin: Origin
) -> None:
    point = entry_point(f"{address}:{PORT}", tls=tls("default", ["exact"], sni_strict=True))
    entries = [certificates[id].for_snapshot(id) for id in ("default", "exact")]  # noqa: A001
    engine.apply(snapshot([point], [route()], [service(origin.url)], certificates=entries))
    assert shown(address, "a.example") == certificates["exact"].der
    for refused in ("unknown.example", ""):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            shown(address, refused)
    origin.assert_untouched()


def test_a_renewed_certificate_is_shown_and_open_connections_live_on(
    engine: EngineProcess, address: str, ca: Authority, origin: Origin
) -> None:
    old, new = ca.issue("a.example"), ca.issue("a.example")
    point = entry_point(f"{address}:{PORT}", tls=tls("c", ["c"]))
    engine.apply(snapshot([point], [route()], [service(origin.url)], certificates=[old.for_snapshot("c")]))
    with Connection(address, PORT, client(ca), "a.example") as connection:
        engine.apply(
            snapshot([point], [route()], [service(origin.url)], certificates=[new.for_snapshot("c")], revision=2)
        )
        assert shown(address, "a.example") == new.der
        connection.send("GET /status/200 HTTP/1.1\r\nHost: a.example\r\n\r\n")
        answer = connection.answer()
        assert answer is not None
        assert answer.status == 200


def test_versions(engine: EngineProcess, address: str, certificates: dict[str, Certificate], origin: Origin) -> None:
    entries = [certificates["exact"].for_snapshot("c")]
    only_12 = client()
    only_12.maximum_version = ssl.TLSVersion.TLSv1_2
    for revision, (version, expected) in enumerate({"1.2": True, "1.3": False}.items(), 1):
        point = entry_point(f"{address}:{PORT}", tls=tls("c", ["c"], min_version=version))
        engine.apply(snapshot([point], [route()], [service(origin.url)], certificates=entries, revision=revision))
        assert (ask(address, only_12) is not None) is expected
        assert ask(address, client()) is not None


def test_an_ocsp_response_is_stapled(engine: EngineProcess, address: str, ca: Authority, origin: Origin) -> None:
    certificate = ca.issue("a.example")
    now = datetime.datetime.now(datetime.UTC)
    builder = ocsp.OCSPResponseBuilder().add_response(
        certificate.certificate, ca.certificate, hashes.SHA256(), ocsp.OCSPCertStatus.GOOD, now, now, None, None
    )
    response = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, ca.certificate).sign(ca.key, hashes.SHA256())
    point = entry_point(f"{address}:{PORT}", tls=tls("c", ["c"]))
    for revision, (der, told) in enumerate(
        ((response.public_bytes(serialization.Encoding.DER), "Cert Status: good"), (b"", "no response sent")), 1
    ):
        entry = certificate.for_snapshot("c", der)
        engine.apply(snapshot([point], [route()], [service(origin.url)], certificates=[entry], revision=revision))
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"{address}:{PORT}", "-servername", "a.example", "-status"],
            input="",
            capture_output=True,
            text=True,
            timeout=20 * SLOWNESS,
            check=False,
        )
        assert told in done.stdout


def test_cipher_suites(
    engine: EngineProcess, address: str, certificates: dict[str, Certificate], origin: Origin
) -> None:
    entries = [certificates["exact"].for_snapshot("c")]
    offered = ["TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"]
    point = entry_point(f"{address}:{PORT}", tls=tls("c", ["c"], cipher_suites=offered))
    engine.apply(snapshot([point], [route()], [service(origin.url)], certificates=entries))

    def chosen(ciphers: str) -> str | None:
        context = client()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(ciphers)
        try:
            with Connection(address, PORT, context, "a.example") as connection:
                assert isinstance(connection.socket, ssl.SSLSocket)
                cipher = connection.socket.cipher()
                return cipher[0] if cipher else None
        except (ssl.SSLError, ConnectionError):
            return None

    assert chosen("ECDHE-ECDSA-AES128-GCM-SHA256") is None
    assert chosen("ECDHE-ECDSA-AES256-GCM-SHA384") == "ECDHE-ECDSA-AES256-GCM-SHA384"
    both = "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305"
    assert chosen(both) == "ECDHE-ECDSA-CHACHA20-POLY1305", "who names suites has put them in order"
    assert ask(address, client()) is not None, "TLS 1.3 has suites of its own"

    bad = entry_point(f"{address}:{PORT}", tls=tls("c", ["c"], cipher_suites=["TLS_RSA_WITH_RC4_128_SHA"]))
    problems = engine.check(snapshot([bad], [route()], [service(origin.url)], certificates=entries))
    assert "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256" in problems[0]["error"]


def test_https_headers(
    engine: EngineProcess, address: str, ca: Authority, certificates: dict[str, Certificate], origin: Origin
) -> None:
    point = entry_point(f"{address}:{PORT}", tls=tls("c", ["c"]))
    entries = [certificates["exact"].for_snapshot("c")]
    engine.apply(snapshot([point], [route()], [service(origin.url)], certificates=entries))
    assert ask(address, client(ca)) is not None
    assert origin.last().header("X-Forwarded-Proto") == "https"
    assert origin.last().header("X-Forwarded-Port") == "443"

    # Not the client with threads: before Python 3.13 two of them may not use one TLS connection at once.
    async def echo() -> str | bytes:
        url = f"wss://{address}:{PORT}/x"
        async with connect(url, ssl=client(ca), server_hostname="a.example", proxy=None) as socket:
            await socket.send("hello")
            return await socket.recv()

    assert asyncio.run(echo()) == "hello"
    assert origin.last().header("X-Forwarded-Proto") == "wss"


def test_plain_http_on_a_tls_port_reaches_nobody(
    engine: EngineProcess, address: str, certificates: dict[str, Certificate], origin: Origin
) -> None:
    point = entry_point(f"{address}:{PORT}", tls=tls("c", ["c"]))
    entries = [certificates["exact"].for_snapshot("c")]
    engine.apply(snapshot([point], [route()], [service(origin.url)], certificates=entries))
    with Connection(address, PORT) as connection:
        connection.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
        while connection.socket.recv(65536):
            pass
    origin.assert_untouched()
    assert ask(address, client()) is not None


@pytest.fixture
def people(ca: Authority, tmp_path: Path) -> dict[str, tuple[Path, Path]]:
    """Client identities, as files."""
    return {
        "control": ca.issue(common_name="node-1", organisation="control").write(tmp_path, "control"),
        "data": ca.issue(common_name="node-2", organisation="data").write(tmp_path, "data"),
        "nobody": ca.issue(common_name="node-3").write(tmp_path, "nobody"),
        "stranger": authority("other CA")
        .issue(common_name="node-1", organisation="control")
        .write(tmp_path, "stranger"),
    }


def test_a_required_client_certificate(
    engine: EngineProcess,
    address: str,
    ca: Authority,
    certificates: dict[str, Certificate],
    origin: Origin,
    people: dict[str, tuple[Path, Path]],
) -> None:
    point = entry_point(f"{address}:{PORT}", tls=tls("c", ["c"], client_ca=ca.chain_pem))
    entries = [certificates["exact"].for_snapshot("c")]
    engine.apply(snapshot([point], [route()], [service(origin.url)], certificates=entries))
    assert ask(address, client()) is None
    assert ask(address, client(identity=people["stranger"])) is None
    origin.assert_untouched()
    answer = ask(address, client(identity=people["nobody"]))
    assert answer is not None
    assert answer.status == 200


def test_roles_and_identity(
    engine: EngineProcess,
    address: str,
    ca: Authority,
    certificates: dict[str, Certificate],
    origin: Origin,
    people: dict[str, tuple[Path, Path]],
) -> None:
    point = entry_point(f"{address}:{PORT}", tls=tls("c", ["c"], client_ca=ca.chain_pem, client_optional=True))
    entries = [certificates["exact"].for_snapshot("c")]
    only = route(client_roles=["control", "api"], forward_client_identity=True)
    engine.apply(snapshot([point], [only], [service(origin.url)], certificates=entries))
    lies = ("X-Traefikee-Peer-Id: liar", "x-traefikee-peer-role: control")

    for refused in (None, "data", "nobody"):
        answer = ask(address, client(identity=people[refused] if refused else None), "a.example", *lies)
        assert answer is not None
        assert answer.status == 403
    assert ask(address, client(identity=people["stranger"])) is None
    origin.assert_untouched()

    answer = ask(address, client(identity=people["control"]), "a.example", *lies)
    assert answer is not None
    assert answer.status == 200
    assert origin.last().values("X-Traefikee-Peer-Id") == ["node-1"]
    assert origin.last().values("X-Traefikee-Peer-Role") == ["control"]

    anybody = route(forward_client_identity=True)
    engine.apply(snapshot([point], [anybody], [service(origin.url)], certificates=entries, revision=2))
    assert ask(address, client(), "a.example", *lies) is not None
    assert origin.last().values("X-Traefikee-Peer-Id") == []
    assert origin.last().values("X-Traefikee-Peer-Role") == []


def test_roles_on_a_plain_entry_point_let_nobody_in(engine: EngineProcess, address: str, origin: Origin) -> None:
    only = route(client_roles=["control"])
    problems = engine.check(snapshot([entry_point(f"{address}:8000")], [only], [service(origin.url)]))
    answer = engine.put(snapshot([entry_point(f"{address}:8000")], [only], [service(origin.url)]))
    if problems:
        assert answer.status_code == 422
        return
    with Connection(address, 8000) as connection:
        connection.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        refusal = connection.answer()
        assert refusal is not None
        assert refusal.status == 403
    origin.assert_untouched()


def test_tls_towards_a_server(
    engine: EngineProcess, address: str, ca: Authority, start_origin: StartOrigin, tmp_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*ca.issue("127.0.0.1").write(tmp_path, "server"))
    server = start_origin(tls=context)
    point = entry_point(f"{address}:8000")

    def status(revision: int, **settings: Any) -> int:
        engine.apply(snapshot([point], [route()], [service(server.url)], revision=revision, **settings))
        with Connection(address, 8000) as connection:
            connection.send("GET /status/200 HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = connection.answer()
            assert answer is not None
            return answer.status

    assert status(1) in {500, 502}, "an unknown CA is not trusted"
    assert status(2, root_ca_pem=authority("other CA").chain_pem) in {500, 502}
    assert not server.requests
    assert status(3, root_ca_pem=ca.chain_pem) == 200
    assert status(4, insecure_skip_verify=True) == 200
    assert status(5) in {500, 502}, "a connection that was trusted on other terms is not used"


def test_a_certificate_that_servers_are_shown(
    engine: EngineProcess, address: str, ca: Authority, start_origin: StartOrigin, tmp_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*ca.issue("127.0.0.1").write(tmp_path, "server"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=ca.chain_pem)
    server = start_origin(tls=context)
    point = entry_point(f"{address}:8000")
    own, strange = ca.issue("gateway.example"), authority("other CA").issue("gateway.example")

    def status(revision: int, certificate: Certificate | None, roots: str = "", **settings: Any) -> int:
        shown = {"certificate": "own", "root_ca_pem": roots} if certificate else None
        entries = [certificate.for_snapshot("own")] if certificate else []
        one = route(client_tls=shown)
        engine.apply(
            snapshot([point], [one], [service(server.url)], certificates=entries, revision=revision, **settings)
        )
        with Connection(address, 8000) as connection:
            connection.send("GET /status/200 HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = connection.answer()
            assert answer is not None
            return answer.status

    assert status(1, own, ca.chain_pem) == 200
    assert status(2, strange, ca.chain_pem) == 502, "another certificate does not use the first one's connection"
    assert status(3, own, authority("other CA").chain_pem) == 502, "these authorities count"
    assert status(4, own, root_ca_pem=ca.chain_pem) == 200, "without others it is those of all servers"
    assert status(5, None, root_ca_pem=ca.chain_pem) == 502, "who shows nothing does not use them either"

    missing = route(client_tls={"certificate": "missing", "root_ca_pem": ""})
    (problem,) = engine.check(snapshot([point], [missing], [service(server.url)], revision=6))
    assert (problem["kind"], problem["error"]) == ("route", "client_tls: there is no certificate missing")
