"""What the file provider emits: what was deployed, and the leader's own copy where it is watched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.wait import SLOWNESS

from traefikee.config.static import FileOptions
from traefikee.providers.base import Emitted, Failed
from traefikee.providers.file import provider
from traefikee.providers.file.content import Content
from traefikee.providers.file.provider import FileProvider
from traefikee.providers.file.source import read_source

BACKEND = '[backends.{0}.servers.one]\nurl = "http://10.0.0.7"\n'


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider, "EVERY", 0.01)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rules.toml"


def told(heard: Emitted | Failed) -> str:
    return heard.message if isinstance(heard, Failed) else ",".join(heard.configuration.backends)


def watched(path: Path, deployed: Content, steps: list[tuple[Callable[[], object], str]], **options: bool) -> list[str]:
    """All that is emitted, while each step is taken once the one before was heard of."""
    heard: list[str] = []

    async def run() -> None:
        news = asyncio.Event()

        def listen(one: Emitted | Failed) -> None:
            heard.append(told(one))
            news.set()

        watching = FileProvider(FileOptions(filename=str(path), watch=True), deployed, **options)
        task = asyncio.create_task(watching.run(listen))
        try:
            for act, wanted in steps:
                act()
                while not heard or wanted not in heard[-1]:
                    news.clear()
                    async with asyncio.timeout(5 * SLOWNESS):
                        await news.wait()
        finally:
            task.cancel()

    asyncio.run(run())
    return heard


def content(path: Path, name: str) -> Content:
    path.write_text(BACKEND.format(name))
    return read_source(FileOptions(filename=str(path)))


def test_what_was_deployed_is_emitted_once(path: Path) -> None:
    heard: list[Emitted | Failed] = []
    deployed = content(path, "deployed")
    path.write_text(BACKEND.format("changed"))
    asyncio.run(FileProvider(FileOptions(filename=str(path)), deployed).run(heard.append))
    assert [told(one) for one in heard] == ["deployed"]
    (one,) = heard
    assert isinstance(one, Emitted)
    assert one.places["backends.deployed"] == f"{path}:1"


def test_the_leaders_own_copy_counts_and_a_broken_one_changes_nothing(path: Path) -> None:
    heard = watched(
        path,
        content(path, "deployed"),
        [
            (lambda: None, "deployed"),
            (lambda: path.write_text(BACKEND.format("two")), "two"),
            (lambda: path.write_text("[backends"), "rules.toml:1: is not TOML"),
            (path.unlink, "there is no such file"),
            (lambda: path.write_text(BACKEND.format("two")), "two"),
        ],
    )
    assert len(heard) == 5, "an unchanged file is not emitted again"


def test_a_copy_that_is_not_there_leaves_what_was_deployed(path: Path) -> None:
    deployed = content(path, "deployed")
    path.unlink()
    assert watched(path, deployed, [(lambda: None, "no such file")]) == [
        "deployed",
        f"{path}: there is no such file or directory",
    ]


def test_the_next_leader_goes_on_with_what_was_heard_last(path: Path) -> None:
    deployed = content(path, "deployed")
    path.unlink()
    heard = watched(
        path,
        deployed,
        [(lambda: None, "no such file"), (lambda: path.write_text(BACKEND.format("new")), "new")],
        resuming=True,
    )
    assert len(heard) == 2, "what was deployed is older than what was heard"
