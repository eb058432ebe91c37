"""Websockets through the engine, with a real client."""

from contextlib import ExitStack

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.engine.conftest import Router
from tests.support.wait import wait_for


def test_echo(router: Router) -> None:
    address = f"ws://{router.address}:{router.port}/chat/%2Fx?room=1"
    with connect(address, proxy=None, subprotocols=[Subprotocol("chat")], additional_headers={"Cookie": "a=1"}) as ws:
        assert ws.subprotocol == "chat"
        for message in ("text", b"\x00\xff", "ä" * 100_000, b"x" * 1_000_000):
            ws.send(message)
            assert ws.recv() == message
        assert ws.ping().wait(10)
        seen = router.origin.last()
        assert seen.path == "/chat/%2Fx?room=1"
        assert seen.header("Cookie") == "a=1"
        assert seen.header("X-Forwarded-Proto") == "ws"
        assert seen.header("X-Forwarded-Port") == "8000"
    wait_for(lambda: router.engine.counters()["connections"]["open"] == 0, "the connection is closed")


def test_many_at_once(router: Router) -> None:
    with ExitStack() as stack:
        sockets = [stack.enter_context(connect(f"ws://{router.address}:{router.port}/", proxy=None)) for _ in range(20)]
        for number, socket in enumerate(sockets):
            socket.send(str(number))
        assert [socket.recv() for socket in sockets] == [str(number) for number in range(20)]


def test_a_refusal_comes_back_as_it_is(router: Router) -> None:
    with (
        pytest.raises(InvalidStatus) as caught,
        connect(f"ws://{router.address}:{router.port}/status/403", proxy=None),
    ):
        pass
    assert caught.value.response.status_code == 403
