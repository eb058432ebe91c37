"""Reading what is published while it changes."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.views import view

from traefikee.api import view as views
from traefikee.api.view import read_view
from traefikee.cluster.records import Link
from traefikee.compile.changes import State
from traefikee.errors import UnreachableError
from traefikee.node.publishing import Runtime, text

SEEN = view({"backends/app/servers/one/url": "http://h", "frontends/web/backend": "app"})


class Snapshots:
    """A store in which the first readings find that a part is gone."""

    def __init__(self, gone: int, kind: str = "superseded") -> None:
        self.gone = gone
        self.kind = kind

    async def read(self, links: Any) -> State:
        if self.gone > 0:
            self.gone -= 1
            raise UnreachableError("part 1 of the change is gone", kind=self.kind)
        runtime = {key: text(item) for key, item in SEEN.runtime.objects().items()}
        return State("x", 7, runtime if links[0].name == "runtime" else SEEN.objects)


def read(snapshots: Snapshots) -> views.View:
    assert SEEN.pointer is not None
    links = {name: (Link(name=name, blob="b", parts=1, size=1),) for name in ("snapshot", "runtime")}
    pointer = SEEN.pointer.model_copy(update=links)
    state = SimpleNamespace(
        pointer=pointer, deployment=SEEN.deployment, providers=SEEN.providers, with_role=lambda _role: ()
    )
    return asyncio.run(read_view(SimpleNamespace(state=state), snapshots))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "PAUSE", 0)


def test_a_snapshot_that_was_replaced_while_it_was_read_is_read_again() -> None:
    seen = read(Snapshots(2))
    assert seen.objects == SEEN.objects
    assert seen.runtime == SEEN.runtime
    assert (seen.data_nodes, seen.down) == (0, {})


def test_what_cannot_be_read_is_told() -> None:
    with pytest.raises(UnreachableError, match="is gone"):
        read(Snapshots(views.ATTEMPTS))
    damaged = Snapshots(1, kind="store")
    with pytest.raises(UnreachableError):
        read(damaged)
    assert damaged.gone == 0, "it was not tried again"


def test_before_anything_is_published() -> None:
    state = SimpleNamespace(pointer=None, deployment=None, providers={}, with_role=lambda _role: ())
    seen = asyncio.run(read_view(SimpleNamespace(state=state), Snapshots(9)))  # type: ignore[arg-type]
    assert seen.runtime == Runtime({}, {})
