"""What a node tells systemd, over real sockets of both kinds."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from traefikee.errors import UnreachableError
from traefikee.node import systemd
from traefikee.node.systemd import Manager


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    name = f"@traefikee-test-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(f"\0{name[1:]}" if name.startswith("@") else name)
        bound.setblocking(False)
        yield bound, name


def heard(bound: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(bound.recv(4096).decode())
        except BlockingIOError:
            return found


def test_what_is_told(listener: tuple[socket.socket, str]) -> None:
    bound, name = listener
    manager = Manager(name)
    manager.status("joins")
    manager.status("joins")
    manager.ready()
    manager.ready()
    manager.stopping()
    assert heard(bound) == ["STATUS=joins", "READY=1\nSTATUS=joins", "STOPPING=1\nSTATUS=stopping"]
    manager.reloading()
    (told,) = heard(bound)
    assert told.startswith("RELOADING=1\nMONOTONIC_USEC=")


def test_the_environment_is_taken_from_children_and_given_to_a_successor(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}
    for key, value in values.items():
        monkeypatch.setenv(key, value)
    manager = Manager.from_environment()
    assert not values.keys() & os.environ.keys()
    manager.restore()
    assert {key: os.environ[key] for key in values} == values


def test_nobody_listens() -> None:
    for manager in (Manager(), Manager("/nowhere/at/all"), Manager("@nobody-is-here")):
        manager.ready()


def test_signs_of_life_come_only_while_the_node_is_sound(listener: tuple[socket.socket, str]) -> None:
    bound, name = listener
    sound = True

    async def is_sound() -> bool:
        if not sound:
            raise UnreachableError("the engine does not answer")
        return True

    async def one() -> None:
        async with asyncio.timeout(10):
            assert (await asyncio.get_running_loop().sock_recv(bound, 100)).startswith(b"WATCHDOG=1")

    async def run() -> None:
        nonlocal sound
        watching = asyncio.create_task(Manager(name, 0.1).watch(is_sound))
        await one()
        await one()
        sound = False
        await asyncio.sleep(0.1)
        heard(bound)
        await asyncio.sleep(0.3)
        assert heard(bound) == []
        sound = True
        await one()
        watching.cancel()

    asyncio.run(run())


def test_a_node_that_is_not_ready_asks_for_more_time(listener: tuple[socket.socket, str]) -> None:
    bound, name = listener
    manager = Manager(name, 0.1)

    async def is_sound() -> bool:
        return True

    async def heard_next() -> bytes:
        async with asyncio.timeout(10):
            return await asyncio.get_running_loop().sock_recv(bound, 100)

    async def run() -> None:
        watching = asyncio.create_task(manager.watch(is_sound))
        assert await heard_next() == b"WATCHDOG=1\nEXTEND_TIMEOUT_USEC=200000"
        manager.ready()
        messages = [await heard_next() for _ in range(3)]
        assert messages[-1] == b"WATCHDOG=1"
        watching.cancel()

    asyncio.run(run())


def test_a_manager_that_watches_somebody_else_gets_no_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")
    monkeypatch.setenv("WATCHDOG_USEC", "1000")
    monkeypatch.setenv("WATCHDOG_PID", "1")

    async def never() -> bool:
        raise AssertionError

    async def run() -> None:
        watching = asyncio.create_task(Manager.from_environment().watch(never))
        done, _ = await asyncio.wait({watching}, timeout=0.2)
        assert not done, "it goes on until the node ends: an end of it would end the node"
        watching.cancel()

    asyncio.run(run())


def test_the_journal_is_known_by_its_device_and_inode(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "stream").open("w") as stream:
        told = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{told.st_dev}:{told.st_ino}")
        assert systemd.logs_to_journal(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{told.st_dev}:{told.st_ino + 1}")
        assert not systemd.logs_to_journal(stream.fileno())
        monkeypatch.delenv("JOURNAL_STREAM")
        assert not systemd.logs_to_journal(stream.fileno())
