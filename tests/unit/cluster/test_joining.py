"""Whom a control node that comes back believes."""

from __future__ import annotations

import asyncio
from typing import Any, Self

import pytest

from traefikee.cluster import joining
from traefikee.cluster.joining import ask_standing
from traefikee.cluster.messages import Standing
from traefikee.cluster.roles import Role
from traefikee.errors import UnreachableError
from traefikee.node.statedir import Identity

ME = Identity(
    id="me",
    name="me",
    role=Role.CONTROL,
    cluster_id="c",
    ca_pem="",
    certificate_pem="",
    certificate_serial="1",
    key_pem="",
)
ANSWERS: dict[str, dict[str, Any]] = {
    "old-1": {"listed": True, "member": True, "generation": 0},
    "old-2": {"listed": True, "member": True},
    "new": {"listed": False, "member": False, "generation": 9, "something": "of a later version"},
    "strange": {"what": "is this"},
}


class FakePeer:
    def __init__(self, address: str, *_: object) -> None:
        self._address = address

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def request(self, method: str, path: str) -> Any:
        assert (method, path) == ("GET", "/v1/self")
        if self._address not in ANSWERS:
            raise UnreachableError("away")
        return ANSWERS[self._address]


@pytest.mark.parametrize(
    ("asked", "generation", "believed"),
    [
        (["old-1", "new", "old-2"], 0, "new"),
        (["away", "old-1", "strange"], 0, "old-1"),
        (["old-1", "old-2"], 1, None),
        (["old-1", "new"], 9, "new"),
        (["old-1", "new"], 10, None),
        (["away", "strange"], 0, None),
        ([], 0, None),
    ],
)
def test_the_highest_generation_counts(
    monkeypatch: pytest.MonkeyPatch, asked: list[str], generation: int, believed: str | None
) -> None:
    monkeypatch.setattr(joining, "Peer", FakePeer)
    found = asyncio.run(ask_standing(ME, asked, generation))
    if believed is None:
        assert found is None
    else:
        assert found == (Standing.model_validate(ANSWERS[believed]), believed)
