"""Requests that two readers could understand differently, one YAML file a case.

A file in `malformed/` holds:

why      one sentence
request  what the client sends: a text, or a list of texts and {repeat: text, times: number}. Characters up to U+00FF
         stand for the byte of that number
status   what must be answered: a number, or a list of allowed ones; `closed` is a connection closed without an answer
server   what the server may see: `nothing` (the default) is not one byte, `incomplete` no whole request, `request`
         exactly one
body     with `server: request`: the body that it sees
technique  the published attack that it belongs to, and by whom
nginx    for `test_differential.py`: why nginx lets less of it through

A request that is refused also costs its connection: what follows on it cannot be trusted.
"""

import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.engine.conftest import Router
from tests.support.http1 import Connection

FOLDER = Path(__file__).parent / "malformed"
FILES = sorted(FOLDER.glob("*.yaml"))


def load(file: Path) -> dict[str, Any]:
    case: dict[str, Any] = yaml.safe_load(file.read_text())
    unknown = set(case) - {"why", "request", "status", "server", "body", "technique", "nginx"}
    assert not unknown, f"{file.name}: unknown {unknown}"
    return case


def raw(request: str | list[Any]) -> bytes:
    parts = request if isinstance(request, list) else [request]
    return b"".join(
        (part if isinstance(part, str) else part["repeat"] * part["times"]).encode("latin-1") for part in parts
    )


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_malformed(shared_router: Router, file: Path) -> None:
    case = load(file)
    record = shared_router.origin.record
    record.clear()
    expected = case["status"] if isinstance(case["status"], list) else [case["status"]]
    server = case.get("server", "nothing")

    with Connection(shared_router.address, shared_router.port) as connection:
        try:
            connection.send(raw(case["request"]))
            if server != "request":
                connection.socket.shutdown(socket.SHUT_WR)
        except OSError:
            assert server != "request"  # refused before all of it was sent
        answer = connection.answer()
        assert (answer.status if answer else "closed") in expected, answer
        if server == "nothing":
            shared_router.origin.assert_untouched()
        if server == "request":
            (seen,) = record.requests
            assert seen.body == case.get("body", "").encode("latin-1")
        else:
            assert connection.closed()
            assert not record.requests
    if server == "incomplete":
        # What the server has got of it must not be taken for the next case's.
        shared_router.origin.settle()
    assert shared_router.engine.process.running


def test_there_are_cases() -> None:
    assert len(FILES) > 50
