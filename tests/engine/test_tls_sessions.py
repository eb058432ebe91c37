"""TLS sessions: resumed on another engine and after changes, and not where a client must show more than it did."""

import base64
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.engine.test_tls import client
from tests.support.certificates import Authority, Certificate, authority
from tests.support.engine import EngineProcess
from tests.support.http1 import Connection
from tests.support.origin import Origin
from tests.support.ports import loopback_address
from tests.support.snapshots import Json, entry_point, route, service, snapshot, tls

PORT = 8443
NAME = "a.example"


def key(number: int) -> str:
    return base64.b64encode(bytes([number]) * 48).decode()


@dataclass
class Engine:
    """An engine, and how it is told what to serve."""

    process: EngineProcess
    address: str
    origin: Origin
    certificate: Certificate
    revision: int = 0

    def apply(self, keys: Sequence[str], certificates: Sequence[Certificate] = (), **options: object) -> None:
        self.revision += 1
        all_of_them = [self.certificate, *certificates]
        ids = [f"c{number}" for number in range(len(all_of_them))]
        points = [
            entry_point(f"{self.address}:{PORT}", "https", tls=tls("c0", ids, **options)),  # type: ignore[arg-type]
            entry_point(f"{self.address}:{PORT + 1}", "open", tls=tls("c0", ids)),
        ]
        documents = [one.for_snapshot(id) for id, one in zip(ids, all_of_them, strict=True)]  # noqa: A001
        identified = route(entry_points=["https", "open"], forward_client_identity=True)
        document: Json = snapshot(
            points,
            [identified],
            [service(self.origin.url)],
            certificates=documents,
            ticket_keys=list(keys),
            revision=self.revision,
        )
        self.process.apply(document)


Start = Callable[[], Engine]


@pytest.fixture(scope="module")
def ca() -> Authority:
    return authority()


@pytest.fixture
def start(tmp_path: Path, origin: Origin, ca: Authority) -> Iterator[Start]:
    """Starts engines that serve the same."""
    certificate = ca.issue(NAME)
    running: list[EngineProcess] = []

    def begin() -> Engine:
        folder = tmp_path / f"engine{len(running)}"
        folder.mkdir()
        running.append(EngineProcess(folder))
        running[-1].start()
        return Engine(running[-1], loopback_address(), origin, certificate)

    try:
        yield begin
    finally:
        for process in running:
            process.cleanup()


def visit(
    engine: Engine, context: ssl.SSLContext, session: ssl.SSLSession | None = None, port: int = PORT
) -> tuple[bool, ssl.SSLSession]:
    """One request on a connection of its own: whether the session was resumed, and the one to resume next."""
    with (
        Connection(engine.address, port) as plain,
        context.wrap_socket(plain.socket, server_hostname=NAME, session=session) as connection,
    ):
        connection.sendall(f"GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode())
        # Tickets of TLS 1.3 come before the answer.
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        assert connection.session is not None
        return bool(connection.session_reused), connection.session


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def context(request: pytest.FixtureRequest) -> ssl.SSLContext:
    made = client()
    made.minimum_version = made.maximum_version = request.param
    return made


def test_on_another_engine_and_while_the_keys_change(start: Start, context: ssl.SSLContext) -> None:
    one, other = start(), start()
    one.apply([key(1)])
    other.apply([key(1)])
    reused, session = visit(one, context)
    assert not reused
    # As often as there are workers, and more.
    assert all(visit(one, context, session)[0] for _ in range(6))
    assert all(visit(other, context, session)[0] for _ in range(6))
    for engine in (one, other):
        engine.apply([key(2), key(1)])
        assert visit(engine, context, session)[0]
        engine.apply([key(3), key(2)])
        assert not visit(engine, context, session)[0]
    reused, session = visit(one, context)
    assert not reused
    assert visit(other, context, session)[0]


def test_engines_with_other_keys_do_not_resume(start: Start, context: ssl.SSLContext) -> None:
    one, other = start(), start()
    one.apply([key(1)])
    other.apply([key(2)])
    _, session = visit(one, context)
    assert not visit(other, context, session)[0]


def test_without_keys_an_engine_resumes_its_own(start: Start, context: ssl.SSLContext) -> None:
    one, other = start(), start()
    one.apply([])
    other.apply([])
    _, session = visit(one, context)
    assert all(visit(one, context, session)[0] for _ in range(6))
    assert not visit(other, context, session)[0]


@pytest.mark.parametrize("keys", [[key(1)], []])
def test_a_change_of_certificates_costs_no_session(
    start: Start, ca: Authority, context: ssl.SSLContext, keys: list[str]
) -> None:
    engine = start()
    engine.apply(keys)
    _, session = visit(engine, context)
    engine.apply(keys, [ca.issue("b.example")])
    assert visit(engine, context, session)[0]


def test_a_resumed_session_has_its_client_certificate(start: Start, ca: Authority, tmp_path: Path) -> None:
    engine, other = start(), start()
    for one in (engine, other):
        one.apply([key(1)], client_ca=ca.chain_pem)
    known = client(identity=ca.issue(common_name="node-1", organisation="control").write(tmp_path, "control"))
    _, session = visit(engine, known)
    for one in (engine, other):
        assert visit(one, known, session)[0]
        assert one.origin.last().values("X-Traefikee-Peer-Id") == ["node-1"]


@pytest.mark.parametrize("keys", [[key(1)], []])
def test_a_session_without_a_certificate_opens_no_door_that_asks_for_one(
    start: Start, ca: Authority, context: ssl.SSLContext, keys: list[str]
) -> None:
    engine = start()
    engine.apply(keys, client_ca=ca.chain_pem)
    _, session = visit(engine, context, port=PORT + 1)
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
        visit(engine, context, session)
    # Nor after the same door began to ask.
    engine.apply(keys)
    _, session = visit(engine, context)
    assert visit(engine, context, session)[0]
    engine.apply(keys, client_ca=ca.chain_pem)
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
        visit(engine, context, session)
    engine.apply(keys, client_ca=authority("other").chain_pem, client_optional=True)
    assert not visit(engine, context, session)[0]


def test_bad_keys_are_refused(start: Start) -> None:
    engine = start()
    with pytest.raises(AssertionError, match="ticket_keys"):
        engine.apply(["nonsense"])
