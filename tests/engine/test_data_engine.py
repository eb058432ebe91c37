"""What a data node's agent does with its engine: the class itself, with real engines and without a cluster."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.engine.test_take_over import Clients
from tests.support.engine import engine_binary
from tests.support.http1 import Connection, get
from tests.support.origin import Origin
from tests.support.snapshots import entry_point, route, service, snapshot
from tests.support.wait import SLOWNESS
from traefikee.api import serving
from traefikee.cluster import pki
from traefikee.cluster.roles import Role
from traefikee.compile import changes
from traefikee.compile.changes import State
from traefikee.errors import UnreachableError
from traefikee.node import data_engine, engine
from traefikee.node.data import DataNode, DataOptions
from traefikee.node.data_engine import DataEngine
from traefikee.node.engine import BusyError, SnapshotRefusedError
from traefikee.node.held_sockets import PROTOCOL
from traefikee.node.journal import Journal
from traefikee.node.statedir import Identity, StateDir
from traefikee.node.troubles import Troubles

PORT = 8000


class Installed:
    """A node's state directory, and a binary that can be installed again."""

    def __init__(self, folder: Path, address: str, origin: Origin) -> None:
        self.statedir = StateDir(folder / "s")
        self.binary = folder / "traefikee-engine"
        self.address = address
        self._origin = origin
        self.started: list[subprocess.Popen[bytes]] = []
        self.troubles = Troubles()
        self.install(engine_binary())

    def install(self, program: Path) -> None:
        """Put another file in the binary's place."""
        fresh = self.binary.with_suffix(".new")
        shutil.copy2(program, fresh)
        fresh.replace(self.binary)

    def snapshot(self, revision: int) -> bytes:
        """One that routes everything to the origin."""
        point = entry_point(f"{self.address}:{PORT}")
        services = [service(self._origin.url)]
        return json.dumps(snapshot([point], [route()], services, revision=revision, grace_timeout_ms=500)).encode()

    def ended(self, number: int) -> bool:
        """Wait for the end of an engine, and whether it was a good one."""
        return next(one for one in self.started if one.pid == number).wait(20) == 0

    def agent(self) -> DataEngine:
        """What a fresh agent has."""
        return DataEngine(self.statedir, "text", self.troubles)


@pytest.fixture
def installed(tmp_path: Path, address: str, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installed]:
    """An installed engine; whatever runs at the end is stopped."""
    made = Installed(tmp_path, address, origin)
    monkeypatch.setattr(engine, "find", lambda: str(made.binary))
    monkeypatch.setattr(data_engine, "REPLACE_AGAIN", 0.2)

    class Remembered(subprocess.Popen[bytes]):
        """That a process outlives its `Popen` is what it is for here; Python warns of it."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            made.started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Remembered)
    yield made

    async def stop() -> None:
        agent = made.agent()
        await agent.stop()
        await agent.close()

    asyncio.run(stop())
    for process in made.started:
        process.wait(20)
    made.statedir.close()


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run it to its end."""
    asyncio.run(work)


async def pid(agent: DataEngine) -> int:
    """Which engine carries the traffic."""
    return int((await agent.client.status())["pid"])


async def until_another(agent: DataEngine, first: int) -> None:
    """Wait until another engine carries the traffic."""
    async with asyncio.timeout(20):
        while await pid(agent) == first:  # noqa: ASYNC110 - it is another process that changes it
            await asyncio.sleep(0.05)


async def an_agents_life(installed: Installed, revision: int) -> int:
    """An agent starts, applies and is gone; returns its engine's pid."""
    agent = installed.agent()
    await agent.find_or_start()
    await agent.apply(installed.snapshot(revision))
    number = await pid(agent)
    await agent.close()
    return number


def test_it_is_kept_unless_another_is_installed(installed: Installed) -> None:
    async def lives() -> None:
        first = await an_agents_life(installed, 1)
        clients = Clients(installed.address, PORT)
        with clients:
            clients.more_answers(50)
            assert await an_agents_life(installed, 2) == first
            installed.install(engine_binary())
            second = await an_agents_life(installed, 3)
            assert second != first
            assert await an_agents_life(installed, 4) == second
            clients.more_answers(50)
        assert clients.failures == []

    run(lives())


@pytest.mark.parametrize("what", ["no program", "ends at once"])
def test_an_installed_engine_that_does_not_work(installed: Installed, tmp_path: Path, what: str) -> None:
    """The old one stays and follows changes; a working one takes over by itself later."""
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\nexit 1\n" if what == "ends at once" else "nothing")
    broken.chmod(0o755)

    async def lives() -> None:
        first = await an_agents_life(installed, 1)
        installed.install(broken)
        agent = installed.agent()
        await agent.find_or_start()
        await agent.apply(installed.snapshot(2))
        assert await pid(agent) == first
        assert (await agent.client.status())["revision"] == 2
        assert get(installed.address, PORT).status == 200

        async def apply_last() -> None:
            await agent.apply(installed.snapshot(2))

        keeping = asyncio.create_task(agent.keep(apply_last))
        installed.install(engine_binary())
        await until_another(agent, first)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        assert get(installed.address, PORT).status == 200
        await agent.close()

    run(lives())


def test_a_snapshot_that_both_refuse(installed: Installed) -> None:
    async def lives() -> None:
        first = await an_agents_life(installed, 1)
        installed.install(engine_binary())
        agent = installed.agent()
        await agent.find_or_start()
        with pytest.raises(SnapshotRefusedError):
            await agent.apply(installed.snapshot(2).replace(b'"service": "origin"', b'"service": "nowhere"'))
        assert await pid(agent) == first
        await asyncio.sleep(data_engine.REPLACE_AGAIN)
        await agent.apply(installed.snapshot(3))
        assert await pid(agent) != first
        await agent.close()

    run(lives())


def test_an_agent_that_died_while_it_replaced_its_engine(installed: Installed) -> None:
    """It has left an engine that is to take over and hears nothing more."""

    new_socket = installed.statedir.engine_socket.with_suffix(".new")

    async def lives() -> None:
        first = await an_agents_life(installed, 1)
        installed.install(engine_binary())
        agent = installed.agent()
        await agent.find_or_start()
        new, old = str(new_socket), str(installed.statedir.engine_socket)
        left = agent._run("--control", new, "--take-over", old)
        earlier = engine.Engine(new_socket)
        await earlier.wait_until_it_answers(10)
        await earlier.close()
        await agent.close()
        second = await an_agents_life(installed, 2)
        assert second not in (first, left.pid)
        assert left.wait(10) == 0

    run(lives())


def test_stopping_ends_the_replaced_one_too(installed: Installed) -> None:
    async def lives() -> None:
        first = await an_agents_life(installed, 1)
        with Connection(installed.address, PORT) as connection:
            connection.send("GET /stream?chunks=1000&pause=0.1 HTTP/1.1\r\nHost: a\r\n\r\n")
            assert connection.socket.recv(1)
            installed.install(engine_binary())
            agent = installed.agent()
            await agent.find_or_start()
            await agent.apply(installed.snapshot(2))
            assert await pid(agent) != first
            await agent.stop()
            await agent.close()
            assert installed.ended(first)

    run(lives())


# --- crashes ---


class Arrivals:
    """Clients that connect without a pause, and ask once they are connected. `refused` is what nobody may meet."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._arrive) for _ in range(4)]
        self.refused: list[str] = []
        self.cut = 0
        self.answered = 0
        self.longest = 0.0

    def _arrive(self) -> None:
        while not self._stopping.wait(0.005):
            began = time.monotonic()
            try:
                with Connection(self._address, PORT) as connection:
                    connection.send("GET /bytes/10 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                    answer = connection.answer()
            except ConnectionRefusedError as error:
                self.refused.append(repr(error))
            except OSError:
                self.cut += 1  # the crashed engine had accepted it
            else:
                if answer is None:
                    self.cut += 1
                else:
                    self.answered += answer.status == 200
            self.longest = max(self.longest, time.monotonic() - began)

    def __enter__(self) -> "Arrivals":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()


@asynccontextmanager
async def kept(installed: Installed, revision: int = 1) -> AsyncIterator[DataEngine]:
    """An agent that looks after its engine, as a data node's does."""
    agent = installed.agent()
    await agent.find_or_start()

    async def apply_last() -> None:
        content = installed.snapshot(revision)
        points = json.dumps(json.loads(content)["entry_points"]).encode()
        await agent.tell(points, lambda: agent.apply(content))

    await apply_last()
    keeping = asyncio.create_task(agent.keep(apply_last))
    try:
        yield agent
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await agent.close()


async def until_it_answers_again(agent: DataEngine, first: int) -> None:
    async with asyncio.timeout(20):
        while agent._pid in (0, first):  # noqa: ASYNC110 - another task changes it
            await asyncio.sleep(0.01)
        while True:
            try:
                if await pid(agent) == agent._pid:
                    return
            except UnreachableError:
                pass
            await asyncio.sleep(0.01)


def test_nobody_is_refused_when_it_crashes(installed: Installed) -> None:
    async def lives() -> None:
        async with kept(installed) as agent:
            with Arrivals(installed.address) as arrivals:
                for _ in range(2):
                    first, before = await pid(agent), arrivals.answered
                    os.kill(first, signal.SIGKILL)
                    await until_it_answers_again(agent, first)
                    async with asyncio.timeout(20):
                        while arrivals.answered < before + 50:  # noqa: ASYNC110 - threads change it
                            await asyncio.sleep(0.01)
                    agent._crashes = 0  # as after ten healthy seconds
            assert arrivals.refused == []
            assert arrivals.longest < 1.0 * SLOWNESS, "it is back within a second"
            assert (await agent.client.status())["revision"] == 1

    run(lives())


def test_an_agent_that_finds_its_engine_holds_the_sockets_too(installed: Installed) -> None:
    async def lives() -> None:
        first = await an_agents_life(installed, 1)
        async with kept(installed) as agent:
            assert await pid(agent) == first
            with Arrivals(installed.address) as arrivals:
                os.kill(first, signal.SIGKILL)
                await until_it_answers_again(agent, first)
            assert arrivals.refused == []
        # The next agent keeps that one as well.
        assert await an_agents_life(installed, 2) != first

    run(lives())


def test_one_that_hangs_is_replaced(installed: Installed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "TIMEOUT", 1.0)

    async def lives() -> None:
        async with kept(installed) as agent:
            first = await pid(agent)
            with Arrivals(installed.address) as arrivals:
                os.kill(first, signal.SIGSTOP)
                await until_it_answers_again(agent, first)
                before = arrivals.answered
                async with asyncio.timeout(20):
                    while arrivals.answered < before + 20:  # noqa: ASYNC110 - threads change it
                        await asyncio.sleep(0.01)
            assert arrivals.refused == []
            with pytest.raises(ProcessLookupError):
                os.kill(first, 0)

    run(lives())


def listened_on(address: str) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((address, PORT)) == 0


def test_an_entry_point_that_goes_is_not_held(installed: Installed) -> None:
    """A socket that is held and that nobody serves would leave clients waiting."""

    async def lives() -> None:
        async with kept(installed) as agent:
            assert listened_on(installed.address)
            nothing = json.dumps(snapshot([], [], [], revision=2)).encode()
            await agent.tell(b"[]", lambda: agent.apply(nothing))
            assert not listened_on(installed.address)
            again = installed.snapshot(3)
            await agent.tell(b"other", lambda: agent.apply(again))
            # Told by somebody else, to the engine alone.
            await agent.client.apply(nothing)
            async with asyncio.timeout(10):
                while listened_on(installed.address):  # noqa: ASYNC110 - it is another process that changes it
                    await asyncio.sleep(0.05)
            await agent.client.apply(again)
            await agent.stop()
            assert not listened_on(installed.address)

    run(lives())


def borrow(path: Path) -> socket.socket:
    """Ask an engine for its sockets, as who holds them does, and say nothing of what becomes of them."""
    stream = socket.socket(socket.AF_UNIX)
    stream.settimeout(5)
    stream.connect(str(path))
    stream.sendall(
        f"GET /listeners HTTP/1.1\r\nHost: engine\r\nConnection: Upgrade\r\nUpgrade: {PROTOCOL}\r\n\r\n".encode()
    )
    assert stream.recv(13) == b"HTTP/1.1 101 "
    return stream


def test_what_it_is_told_while_its_sockets_are_lent_waits_for_a_moment(
    installed: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lives() -> None:
        async with kept(installed) as agent:
            with borrow(installed.statedir.engine_socket) as stream:
                telling = asyncio.create_task(agent.tell(b"other", lambda: agent.apply(installed.snapshot(2))))
                with pytest.raises(BusyError, match="another one is taking over"):
                    await agent.client.apply(installed.snapshot(2))
                assert not telling.done()
                stream.sendall(b"holds\n")
                await telling
            assert (await agent.client.status())["revision"] == 2
            monkeypatch.setattr(data_engine, "BUSY", 0.2)
            with borrow(installed.statedir.engine_socket), pytest.raises(BusyError):
                await agent.tell(b"more", lambda: agent.apply(installed.snapshot(3)))

    run(lives())


def test_one_that_crashes_in_a_loop_is_told_and_refuses(installed: Installed, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\nexit 7\n")
    broken.chmod(0o755)

    async def lives() -> None:
        async with kept(installed) as agent:
            first = await pid(agent)
            installed.install(broken)
            began = time.monotonic()
            os.kill(first, signal.SIGKILL)
            async with asyncio.timeout(20):
                while listened_on(installed.address):  # noqa: ASYNC110 - it is another process that changes it
                    await asyncio.sleep(0.05)
                while "crashes again and again" not in installed.troubles.get("engine"):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            assert len(installed.started) < 20, "with pauses that grow"
            installed.install(engine_binary())
            await until_it_answers_again(agent, first)
            async with asyncio.timeout(10):
                while not listened_on(installed.address):  # noqa: ASYNC110 - it is another process that changes it
                    await asyncio.sleep(0.02)
            assert time.monotonic() - began < 30 * SLOWNESS

    run(lives())


# --- what an agent that starts puts in force ---


def data_node_identity() -> Identity:
    """One of a cluster that nobody has seen."""
    authority = pki.new_authority("c")
    pair = pki.issue_for_new_key(authority, identity="d1", role=Role.DATA)
    return Identity(
        id="d1",
        name="data-node-1",
        role=Role.DATA,
        cluster_id="c",
        advertise="",
        ca_pem=authority.chain_pem,
        certificate_pem=pair.chain_pem,
        certificate_serial=pki.serial(pair.chain_pem),
        key_pem=pair.key_pem,
    )


def in_force_after_start(installed: Installed, saved: int) -> tuple[int, int]:
    """The engine's revision, and what a fresh agent says of it, once it has begun with what is saved."""

    def objects(revision: int) -> dict[str, bytes]:
        whole = json.loads(installed.snapshot(revision))
        named = {key: json.dumps(whole[key]).encode() for key in (changes.SETTINGS, changes.ENTRY_POINTS)}
        for prefix, kind in changes.KINDS.items():
            named |= {prefix + one["id"]: json.dumps(one).encode() for one in whole[kind]}
        return named

    async def work(options: DataOptions, control: socket.socket) -> tuple[int, int]:
        agent = installed.agent()
        await agent.find_or_start()
        await agent.apply(installed.snapshot(7))
        await agent.close()
        Journal(installed.statedir).save(State(f"n{saved}", saved, objects(saved)))
        node = DataNode(installed.statedir, data_node_identity(), options, [])
        restarting = asyncio.Event()
        running = asyncio.create_task(node.run(asyncio.Event(), restarting, control))
        try:
            async with asyncio.timeout(20):
                while node._applied is None:
                    assert not running.done(), running
                    await asyncio.sleep(0.02)
            return int((await node._engine.client.status())["revision"]), node._applied
        finally:
            restarting.set()
            await running

    options = DataOptions(None, installed.statedir.path / "t.sock", "text")
    with serving.listen(options.socket, "--traefikeesocket") as control:
        return asyncio.run(work(options, control))


def test_what_is_saved_is_put_in_force(installed: Installed) -> None:
    assert in_force_after_start(installed, saved=8) == (8, 8)


def test_an_engine_that_has_something_newer_keeps_it(installed: Installed) -> None:
    assert in_force_after_start(installed, saved=5) == (7, 7)
