"""A data node's engine: found or started, started again, and replaced by a newer one while it carries traffic.

It outlives its agent: an agent that starts finds it through its socket and keeps it. If another engine has been
installed meanwhile, that one takes over (``docs/internals/engine.md``) with the first snapshot, and nobody notices. If
it crashes, the next one is started at once and gets the listening sockets, which the agent holds open
(:mod:`traefikee.node.held_sockets`): who connects meanwhile waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from traefikee import log
from traefikee.errors import TraefikeeError, UnreachableError
from traefikee.node import engine as engines
from traefikee.node.engine import BusyError, Engine, SnapshotRefusedError
from traefikee.node.held_sockets import HeldSockets
from traefikee.node.statedir import StateDir
from traefikee.node.troubles import Troubles

NAME = "traefikee-engine"
START = 10.0
WATCH = 1.0
STOP_DEADLINE = 15.0
REAP_DEADLINE = 2.0
SHORTEST_PAUSE = 0.2
LONGEST_PAUSE = 5.0
HEALTHY_AFTER = 10.0
"""Seconds after which an engine counts as healthy: the next crash is the first one again."""
HOLDING = 3
"""Crashes in a row up to which clients are kept waiting; after the next they are refused, so that they go elsewhere."""
BUSY = 5.0
"""Seconds for which an engine that takes nothing now is told again."""
BUSY_PAUSE = 0.05
REPLACE_AGAIN = 60.0
"""Seconds after which a replacement that failed is tried again."""

_log = log.get("engine")


class ReplacementError(TraefikeeError):
    """A new engine could not take over; the one that runs goes on as before."""


class DataEngine:
    """The engine of a data node, whichever process it is.

    :param log_format: ``text`` or ``json``.
    :param troubles: where it is told that the engine crashes again and again.
    :ivar client: asks the engine that carries the traffic.
    :ivar version: its version.
    :ivar drained: whether an engine that is started begins without listening.
    :ivar documents: the oldest and the newest document (``docs/internals/snapshot.md``) that it reads.
    :ivar found_revision: the snapshot in force in the engine that was found, or None.
    """

    def __init__(self, statedir: StateDir, log_format: str, troubles: Troubles) -> None:
        self._statedir = statedir
        self._log_format = log_format
        self._new_socket = statedir.engine_socket.with_suffix(".new")
        self._old_socket = statedir.engine_socket.with_suffix(".old")
        self._process: subprocess.Popen[bytes] | None = None
        self._found = 0
        self._outdated = False
        self._replace_after = 0.0
        self._troubles = troubles
        self._held = HeldSockets()
        self._held_for = b""
        """The entry points whose sockets are held, as the engine was told them."""
        self._telling = asyncio.Lock()
        """Held while the engine is told something: its sockets are asked for before or after that."""
        self._gone = False
        """It has crashed, and the next one is to get the sockets with its first snapshot."""
        self._pid = 0
        self._started = 0.0
        self._crashes = 0
        self._stopping = False
        self.client = Engine(statedir.engine_socket)
        self.version = ""
        self.drained = False
        self.documents = (1, 1)
        self.found_revision: int | None = None

    async def find_or_start(self) -> None:
        """Keep the engine that runs, or start one.

        :raises TraefikeeError: if there is none and none can be started.
        """
        try:
            status = await self.client.status()
        except UnreachableError:
            await self._start()
            return
        self._is_told(status)
        self._found = self._pid = int(status.get("pid", 0))
        self.found_revision = status.get("revision")
        self._outdated = not await asyncio.to_thread(_is_installed, status)
        if self._outdated:
            _log.info(
                "running engine found; the installed one is another and will take over with the first snapshot",
                pid=status.get("pid"),
                version=self.version,
                revision=status.get("revision"),
            )
        else:
            _log.info("running engine found and kept", pid=status.get("pid"), revision=status.get("revision"))

    async def tell(self, entry_points: bytes, work: Callable[[], Awaitable[None]]) -> None:
        """Have the engine told something by ``work``, and hold the sockets that it listens on then.

        :param entry_points: those that it has then.
        """
        async with self._telling:
            if entry_points != self._held_for:
                # It may close some of them.
                self._held.release()
                self._held_for = b""
            try:
                await self._once_it_listens(work)
            except TraefikeeError:
                if not self._held:
                    await self._hold()
                raise
            if entry_points != self._held_for:
                await self._hold()
                self._held_for = entry_points

    async def _once_it_listens(self, work: Callable[[], Awaitable[None]]) -> None:
        """Tell the engine something; again, as long as it takes nothing because it has just lent its sockets."""
        until = time.monotonic() + BUSY
        while True:
            try:
                await work()
            except BusyError:
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(BUSY_PAUSE)
            else:
                return

    async def drain(self) -> None:
        """Have the engine accept nothing more.

        :raises UnreachableError: if none answers.
        """
        self._held.release()
        await self.client.drain()

    async def _hold(self) -> None:
        if self._stopping:
            return
        try:
            await asyncio.to_thread(self._held.take, self._statedir.engine_socket)
        except UnreachableError as error:
            _log.debug("clients will be refused if the engine crashes", reason=error.cause)

    async def apply(self, snapshot: bytes) -> None:
        """Put a snapshot in force; replace the engine on this occasion if another one is installed, or if it is gone.

        :raises SnapshotRefusedError: if the engine will not have it.
        :raises UnreachableError: if no engine answers.
        """
        if self._gone:
            await self._succeed(snapshot)
            return
        if self._outdated and time.monotonic() >= self._replace_after:
            try:
                await self._replace(snapshot)
            except TraefikeeError as error:
                self._replace_after = time.monotonic() + REPLACE_AGAIN
                _log.error("the engine could not be replaced; the old one stays", reason=error.cause)
            else:
                return
        await self.client.apply(snapshot)

    async def keep(self, apply_last: Callable[[], Awaitable[None]]) -> None:
        """Start the engine again whenever it is gone, and try again to replace it, until cancelled or stopped.

        :param apply_last: puts the last snapshot in force by :meth:`apply`, if there is one.
        """
        while not self._stopping:
            await self._until_it_ends()
            if self._stopping:
                return
            try:
                status = await self.client.status()
            except UnreachableError as error:
                await self._again(error.cause, apply_last)
                continue
            self._bury()
            if time.monotonic() - self._started > HEALTHY_AFTER:
                self._crashes = 0
                self._troubles.note("engine", "")
            others = self._held.entry_points != sorted(one["entry_point"] for one in status["listeners"])
            if others and not self._telling.locked():
                # It was told to close some, or all, or to listen again.
                async with self._telling:
                    await self._hold()
            # Without a revision it was told nothing yet: the first snapshot will come, and with it the replacement.
            if self._outdated and status.get("revision") is not None and 0 < self._replace_after <= time.monotonic():
                with contextlib.suppress(UnreachableError):
                    await apply_last()

    async def _until_it_ends(self) -> None:
        """Return as soon as the engine's process ends, or after some time."""
        try:
            descriptor = os.pidfd_open(self._pid)
        except OSError:
            await asyncio.sleep(WATCH if self._pid == 0 else SHORTEST_PAUSE)
            return
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(descriptor, ended.set)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WATCH):
                    await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    async def _again(self, reason: str, apply_last: Callable[[], Awaitable[None]]) -> None:
        """Start the engine again, at once if this is the first crash for a while."""
        self._end_hanging()
        code = self._process.poll() if self._process else None
        self._bury()
        if time.monotonic() - self._started > HEALTHY_AFTER:
            self._crashes = 0
        pause = min(SHORTEST_PAUSE * 2**self._crashes, LONGEST_PAUSE) if self._crashes else 0.0
        self._crashes += 1
        _log.error("the engine is gone; starting it again", reason=reason, code=code, pause=pause)
        if self._crashes > 1:
            self._troubles.note(
                "engine",
                f"the engine crashes again and again (last exit code {code}): requests fail; its last lines in the "
                "node's log say why, and a rollback of the last change may help",
            )
        if self._crashes > HOLDING:
            self._held.release()
        await asyncio.sleep(pause)
        self._started = time.monotonic()
        self._gone = bool(self._held)
        try:
            if not self._gone:
                await self._start()
            await apply_last()
            if self._gone:
                # There was nothing to tell it.
                self._held.release()
                await self._start()
        except TraefikeeError as failure:
            _log.error("the engine cannot be started", reason=str(failure))
        finally:
            self._gone = False

    def _end_hanging(self) -> None:
        """End an engine that lives and does not answer: beside its successor it would go on with what it knew."""
        with contextlib.suppress(OSError):
            # Only what is one: the number may be another process's by now.
            if self._pid and NAME in Path(f"/proc/{self._pid}/exe").readlink().name:
                _log.error("the engine hangs; it is ended", pid=self._pid)
                os.kill(self._pid, signal.SIGKILL)
                if self._process is not None and self._process.pid == self._pid:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        self._process.wait(REAP_DEADLINE)

    async def _succeed(self, snapshot: bytes) -> None:
        """Start an engine in the place of the one that is gone, and have it serve the sockets that are held.

        :raises TraefikeeError: if there is no engine then.
        """
        self._gone = False
        try:
            await self._end_earlier_attempt()
            current = self._statedir.engine_socket
            lending = asyncio.ensure_future(asyncio.to_thread(self._held.lender(current), START))
            process = self._run("--control", str(self._new_socket), "--take-over", str(current))
            new = Engine(self._new_socket)
            try:
                status = await new.wait_until_it_answers(START, lambda: process.poll() is None)
                await new.apply(snapshot)
                await lending
            except (TraefikeeError, OSError, asyncio.CancelledError) as error:
                # An answer that was lost does not say that it does not serve.
                if isinstance(error, SnapshotRefusedError) or not await self._is(process.pid):
                    process.terminate()
                    raise
            finally:
                await new.close()
                lending.cancel()
        except SnapshotRefusedError:
            self._held.release()
            await self._start()
            raise
        except (TraefikeeError, OSError) as error:
            _log.warning("the sockets could not be given to the new engine; it binds its own", reason=str(error))
            self._held.release()
            await self._start()
            await self.client.apply(snapshot)
            return
        await self.client.reconnect()
        self._process, self._outdated, self._pid = process, False, process.pid
        self.version = str(status.get("version", ""))
        _log.info("the engine is back; nobody who connected meanwhile was refused", pid=process.pid)

    async def stop(self) -> None:
        """End the engine gracefully, and one that was replaced and still finishes what it had."""
        self._stopping = True
        self._held.release()
        replaced = Engine(self._old_socket)
        with contextlib.suppress(UnreachableError):
            await replaced.stop()
        await replaced.close()
        try:
            await self.client.stop()
            async with asyncio.timeout(STOP_DEADLINE):
                while True:
                    if self._process is not None:
                        self._process.poll()
                    await self.client.status()
                    await asyncio.sleep(0.05)
        except UnreachableError:
            if self._process is not None:
                # It no longer answers: it is about to end, and wants to be waited for.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    await asyncio.to_thread(self._process.wait, REAP_DEADLINE)
        except TimeoutError:
            _log.warning("the engine still finishes requests; it ends by itself")

    async def open(self) -> tuple[bool, int, int]:
        """Return whether it accepts connections, and how many connections and requests are open.

        Those of an engine that was replaced, and finishes what it had, count too.

        :raises UnreachableError: if no engine answers.
        """
        status = await self.client.status()
        connections, requests = int(status.get("connections", 0)), int(status.get("requests", 0))
        if self._old_socket.exists():
            replaced = Engine(self._old_socket)
            with contextlib.suppress(UnreachableError):
                old = await replaced.status()
                connections += int(old.get("connections", 0))
                requests += int(old.get("requests", 0))
            await replaced.close()
        return bool(status.get("listeners")), connections, requests

    async def close(self) -> None:
        """Ask nothing any more; the engine goes on."""
        self._held.release()
        await self.client.close()

    async def _start(self) -> None:
        process = self._process = self._run("--control", str(self._statedir.engine_socket))
        self._outdated, self._pid, self._held_for = False, process.pid, b""
        self._is_told(await self.client.wait_until_it_answers(START, lambda: process.poll() is None))
        if self.drained:
            await self.client.drain()

    def _is_told(self, status: Mapping[str, Any]) -> None:
        """Take note of what the engine that carries the traffic says of itself."""
        self.version = str(status.get("version", ""))
        self.documents = engines.documents(status)

    def _run(self, *sockets: str) -> subprocess.Popen[bytes]:
        argv = [engines.find(), *sockets, "--log-format", self._log_format]
        try:
            # A session of its own, and the agent's standard error: it is to outlive the agent.
            return subprocess.Popen(
                argv,
                cwd=self._statedir.path,
                env=engines.environment(),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise TraefikeeError(f"{argv[0]} cannot be started: {error.strerror}", kind="engine") from error

    async def _replace(self, snapshot: bytes) -> None:
        """Start the installed engine, and have it take over with this snapshot.

        :raises TraefikeeError: if it did not; the old one goes on as before.
        """
        await self._end_earlier_attempt()
        current = str(self._statedir.engine_socket)
        process = self._run("--control", str(self._new_socket), "--take-over", current)
        new = Engine(self._new_socket)
        try:
            status = await new.wait_until_it_answers(START, lambda: process.poll() is None)
            if self.drained:
                await new.drain()
            await new.apply(snapshot)
        except (TraefikeeError, asyncio.CancelledError) as error:
            # An answer that was lost does not say that it has not taken over.
            if isinstance(error, SnapshotRefusedError) or not await self._is(process.pid):
                process.terminate()
                raise
        finally:
            await new.close()
        await self.client.reconnect()
        self._process, self._outdated, self._pid = process, False, process.pid
        self._held_for = b""
        before = self.version
        self._is_told(status)
        _log.info("the installed engine has taken over", before=before, version=self.version, pid=process.pid)

    async def _end_earlier_attempt(self) -> None:
        """End an engine that an agent has started to take over, and that was told nothing more."""
        earlier = Engine(self._new_socket)
        try:
            await earlier.stop()
            async with asyncio.timeout(START):
                while True:
                    await earlier.status()
                    await asyncio.sleep(0.05)
        except UnreachableError:
            pass
        except TimeoutError:
            raise ReplacementError("an earlier attempt does not end", kind="engine") from None
        finally:
            await earlier.close()

    def _bury(self) -> None:
        """Take note of the end of the engine that was found, if an earlier program of this same process started it."""
        if self._found > 0:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._found, os.WNOHANG)

    async def _is(self, pid: int) -> bool:
        """Whether the engine that carries the traffic is this process."""
        await self.client.reconnect()
        with contextlib.suppress(UnreachableError):
            return bool((await self.client.status()).get("pid") == pid)
        return False


def _is_installed(status: Mapping[str, Any]) -> bool:
    """Whether the engine that says this of itself runs from the binary that is installed."""
    binary = engines.find()
    try:
        return Path(binary).samefile(f"/proc/{status.get('pid')}/exe")
    except OSError:
        # Not ours to look at: its version has to do.
        told = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False).stdout
        return told.split()[-1:] == [str(status.get("version"))]
