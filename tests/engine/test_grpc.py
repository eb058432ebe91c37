"""gRPC through the engine, with gRPC's own client and server."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NoReturn

import grpc
import pytest

from tests.support.certificates import authority
from tests.support.engine import EngineProcess
from tests.support.ports import loopback_address
from tests.support.snapshots import entry_point, route, service, snapshot, tls
from tests.support.wait import SLOWNESS, wait_for

OPTIONS = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", -1)]
LIMIT = 20 * SLOWNESS


@dataclass
class Calls:
    """What the server does, with bytes for messages."""

    ended: threading.Event = field(default_factory=threading.Event)
    """Set when a call of /test/Wait was given up by its client."""

    def unary(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        told = dict(context.invocation_metadata()).get("told", "-")
        context.set_trailing_metadata((("seen", told),))
        return message[::-1]

    def fail(self, _message: bytes, context: grpc.ServicerContext) -> NoReturn:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now: ä")

    def collect(self, messages: Iterator[bytes], _context: grpc.ServicerContext) -> bytes:
        return b",".join(messages)

    def count(self, message: bytes, _context: grpc.ServicerContext) -> Iterator[bytes]:
        return (b"%d" % number for number in range(int(message)))

    def echo(self, messages: Iterator[bytes], _context: grpc.ServicerContext) -> Iterator[bytes]:
        yield from messages

    def wait(self, _message: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        context.add_callback(self.ended.set)
        yield b"first"
        self.ended.wait(LIMIT)

    def handlers(self) -> grpc.GenericRpcHandler:
        """All of them, as /test/<Name>."""
        return grpc.method_handlers_generic_handler(
            "test",
            {
                "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
                "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
                "Collect": grpc.stream_unary_rpc_method_handler(self.collect),
                "Count": grpc.unary_stream_rpc_method_handler(self.count),
                "Echo": grpc.stream_stream_rpc_method_handler(self.echo),
                "Wait": grpc.unary_stream_rpc_method_handler(self.wait),
            },
        )


@dataclass
class Through:
    """A way from a client to a server."""

    channel: Any
    calls: Calls
    engine: EngineProcess


@pytest.fixture(scope="module", params=["h2c to h2c", "tls to h2c", "tls to https"])
def through(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Through]:
    """A client and a server with the engine between."""
    client, _, server = request.param.split()
    address = loopback_address()
    ca = authority()
    certificate = ca.issue("localhost", address)
    calls = Calls()
    pool = ThreadPoolExecutor(8)
    origin = grpc.server(pool, handlers=[calls.handlers()], options=OPTIONS)
    if server == "https":
        pair = (certificate.key_pem.encode(), certificate.chain_pem.encode())
        port = origin.add_secure_port(f"{address}:0", grpc.ssl_server_credentials([pair]))
    else:
        port = origin.add_insecure_port(f"{address}:0")
    origin.start()
    engine = EngineProcess(tmp_path_factory.mktemp("engine"))
    try:
        engine.start()
        engine.apply(
            snapshot(
                [entry_point(f"{address}:8000"), entry_point(f"{address}:8443", "https", tls=tls("c"))],
                [route(entry_points=["http", "https"])],
                [service(f"{server}://{address}:{port}")],
                certificates=[certificate.for_snapshot("c")],
                root_ca_pem=ca.chain_pem,
            )
        )
        if client == "tls":
            credentials = grpc.ssl_channel_credentials(ca.chain_pem.encode())
            channel = grpc.secure_channel(f"{address}:8443", credentials, OPTIONS)
        else:
            channel = grpc.insecure_channel(f"{address}:8000", OPTIONS)
        with channel:
            yield Through(channel, calls, engine)
    finally:
        engine.cleanup()
        origin.stop(0).wait(LIMIT)
        pool.shutdown()


def test_unary_with_metadata_both_ways(through: Through) -> None:
    call = through.channel.unary_unary("/test/Unary")
    for message in (b"", b"abc", bytes(range(256)) * 8192):
        answer, done = call.with_call(message, timeout=LIMIT, metadata=[("told", "this")])
        assert answer == message[::-1]
        assert done.code() is grpc.StatusCode.OK
        assert ("seen", "this") in [tuple(pair) for pair in done.trailing_metadata()]


def test_a_failure_keeps_its_code_and_its_words(through: Through) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        through.channel.unary_unary("/test/Fail")(b"x", timeout=LIMIT)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert caught.value.details() == "not now: ä"
    with pytest.raises(grpc.RpcError) as unknown:
        through.channel.unary_unary("/test/Nothing")(b"x", timeout=LIMIT)
    assert unknown.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_client_stream(through: Through) -> None:
    messages = [b"%d" % number for number in range(200)]
    assert through.channel.stream_unary("/test/Collect")(iter(messages), timeout=LIMIT) == b",".join(messages)


def test_server_stream(through: Through) -> None:
    found = list(through.channel.unary_stream("/test/Count")(b"500", timeout=LIMIT))
    assert found == [b"%d" % number for number in range(500)]


def test_both_stream_at_once_and_nothing_is_held_back(through: Through) -> None:
    answered = threading.Semaphore(0)

    def messages() -> Iterator[bytes]:
        for number in range(20):
            yield b"%d" % number * (1 + 5000 * (number % 3))
            # The next one only once this one has come back.
            assert answered.acquire(timeout=LIMIT)

    count = 0
    for number, answer in enumerate(through.channel.stream_stream("/test/Echo")(messages(), timeout=LIMIT)):
        assert answer == b"%d" % number * (1 + 5000 * (number % 3))
        count += 1
        answered.release()
    assert count == 20


def test_a_call_that_is_given_up_ends_at_the_server(through: Through) -> None:
    through.calls.ended.clear()
    call = through.channel.unary_stream("/test/Wait")(b"", timeout=LIMIT)
    assert next(call) == b"first"
    call.cancel()
    assert through.calls.ended.wait(LIMIT)
    wait_for(lambda: through.engine.counters()["requests"]["open"] == 0, "no request is open")


def test_a_deadline_ends_the_call(through: Through) -> None:
    through.calls.ended.clear()
    with pytest.raises(grpc.RpcError) as caught:
        list(through.channel.unary_stream("/test/Wait")(b"", timeout=0.3))
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert through.calls.ended.wait(LIMIT)
