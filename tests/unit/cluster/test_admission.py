"""How a newcomer's member is promoted, with an etcd that says what real ones have said."""

import asyncio
from typing import Any

import pytest

from traefikee.cluster import admission
from traefikee.cluster.admission import Admission
from traefikee.cluster.store import StoreMember, StoreRefusedError
from traefikee.errors import TraefikeeError

NEVER: Any = None
LEARNER = StoreMember({"ID": "7", "isLearner": True})


class Etcd:
    """Answers promotions with these errors in turn, the last one for ever; from one on, the member votes."""

    def __init__(self, *errors: str, votes_after: int) -> None:
        self._errors = errors
        self._votes_after = votes_after
        self.asked = 0

    async def promote(self, member: int) -> None:
        assert member == LEARNER.id
        self.asked += 1
        error = self._errors[min(self.asked, len(self._errors)) - 1]
        if error:
            raise StoreRefusedError(f"etcdserver: {error}")

    async def members(self) -> list[StoreMember]:
        return [StoreMember({"ID": "3"}), StoreMember({"ID": "7", "isLearner": self.asked < self._votes_after})]


def promote(etcd: Etcd, deadline: float) -> list[str]:
    """What is told meanwhile."""
    told: list[str] = []
    store: Any = etcd
    work = Admission(store, NEVER, b"")._promote(LEARNER, deadline, lambda step: told.append(step["event"]))
    asyncio.run(work)
    return told


NOT_YET = "can only promote a learner member which is in sync with leader"
NOT_ANY_MORE = "can only promote a learner member"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "RETRY", 0.0)


@pytest.mark.parametrize(
    ("errors", "votes_after", "asked"),
    [
        (("", ), 1, 1),
        ((NOT_YET, NOT_YET, ""), 3, 3),
        # The answer to the one that worked was lost.
        ((NOT_YET, NOT_ANY_MORE), 2, 2),
        ((NOT_YET, "request cancelled"), 2, 2),
    ],
)  # fmt: skip
def test_a_member_that_votes_is_promoted_whatever_etcd_says(
    errors: tuple[str, ...], votes_after: int, asked: int
) -> None:
    etcd = Etcd(*errors, votes_after=votes_after)
    assert promote(etcd, float("inf")) == ["catching_up"]
    assert etcd.asked == asked


def test_one_that_does_not_catch_up_is_given_up() -> None:
    with pytest.raises(TraefikeeError, match="did not catch up"):
        promote(Etcd(NOT_YET, votes_after=99), float("-inf"))
    with pytest.raises(StoreRefusedError, match="something else"):
        promote(Etcd("something else", votes_after=99), float("inf"))
