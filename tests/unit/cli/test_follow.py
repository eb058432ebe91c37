"""Following a deployment whose answer breaks off: what is known of its outcome."""

import json
from collections.abc import Iterator

import httpx
import pytest

from traefikee.api import answers
from traefikee.cli import deploy
from traefikee.cli.client import Client
from traefikee.cli.deploy import follow
from traefikee.errors import TraefikeeError, UnreachableError, UsageError

STORED = {"event": "stored", "number": 4, "message": "Configuration 4 stored."}
DONE = {"event": "done", "ok": True, "message": "Applied by 1 data node."}


class _Body(httpx.SyncByteStream):
    def __init__(self, *lines: object) -> None:
        self.lines = lines

    def __iter__(self) -> Iterator[bytes]:
        for line in self.lines:
            if isinstance(line, Exception):
                raise line
            yield json.dumps(line).encode() + b"\n"


def outcome(*lines: object) -> int:
    def answer(_request: httpx.Request) -> httpx.Response:
        if lines and isinstance(lines[0], httpx.ConnectError):
            raise lines[0]
        return httpx.Response(200, stream=_Body(*lines))

    client = httpx.Client(transport=httpx.MockTransport(answer), base_url="http://node")
    return follow(Client(client, "node", "hint"), "/v1/deploy", {})


def test_the_exit_code_is_the_outcome() -> None:
    assert outcome(STORED, DONE) == 0
    assert outcome(STORED, {**DONE, "ok": False}) == 1


@pytest.mark.parametrize("end", [[], [httpx.ReadError("reset")], [httpx.ReadTimeout("late")]])
def test_what_is_stored_is_not_to_be_deployed_again(end: list[Exception]) -> None:
    with pytest.raises(UnreachableError) as lost:
        outcome(STORED, *end)
    assert lost.value.cause.startswith("configuration 4 is stored and will be applied")
    assert "no need to deploy it again" in lost.value.next_step
    assert lost.value.exit_code == 1


@pytest.mark.parametrize("end", [[], [httpx.ReadError("reset")]])
def test_what_may_be_stored_is_told_so(end: list[Exception]) -> None:
    with pytest.raises(UnreachableError, match="it is not known whether the configuration was stored") as lost:
        outcome(*end)
    assert "history" in lost.value.next_step


def test_what_was_never_asked_is_not_unknown() -> None:
    with pytest.raises(UnreachableError, match="no control node answers on node"):
        outcome(httpx.ConnectError("refused"))


def test_what_the_control_node_says_counts() -> None:
    refusal = {
        "error": "configuration 3 is in force, not 2",
        "next_step": "",
        "kind": "precondition",
        "retriable": False,
    }
    with pytest.raises(TraefikeeError) as refused:
        outcome(refusal)
    assert refused.value.exit_code == 3


def test_what_no_cluster_takes_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    assert answers.LARGEST_BODY == deploy.LARGEST
    monkeypatch.setattr(deploy, "LARGEST", deploy.LONGEST_REST + 500)

    def connect() -> Client:
        raise AssertionError("nobody is asked")

    with pytest.raises(UsageError, match="the configuration with its files is larger than"):
        deploy.run_deploy(connect, [("entryPoints", "Name:http Address::80")])
