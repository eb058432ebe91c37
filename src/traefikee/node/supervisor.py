"""Children of the agent: started, watched, restarted with back-off, their output in the node's log."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from traefikee import log
from traefikee.errors import TraefikeeError
from traefikee.node.troubles import Troubles

SHORTEST_PAUSE = 0.2
LONGEST_PAUSE = 5.0
HEALTHY_AFTER = 10.0
"""Seconds after which a run counts as healthy: the next failure starts at the shortest pause again."""
KEPT_LINES = 20


class Child:
    """One supervised child process.

    :param quiet: its warnings are of interest only to who debugs it.
    :param troubles: where it is told that it ends again and again.
    :ivar last_lines: the newest lines of its output, for an error message.
    :ivar last_words: the last line of the run before, for one that ends again and again.
    :ivar failed_starts: how often in a row it has ended soon after it was started.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        cwd: Path,
        *,
        environment: Mapping[str, str] | None = None,
        quiet: bool = False,
        on_end: Callable[[Child], None] | None = None,
        on_restart: Callable[[], Awaitable[None]] | None = None,
        troubles: Troubles | None = None,
    ) -> None:
        self.name = name
        self.argv = list(argv)
        self._cwd = cwd
        self._environment = environment
        self._quiet = quiet
        self._on_end = on_end
        self._on_restart = on_restart
        self._troubles = troubles
        self._process: asyncio.subprocess.Process | None = None
        self._log = log.get(name)
        self.last_lines: deque[str] = deque(maxlen=KEPT_LINES)
        self.last_words = ""
        self.failed_starts = 0
        self.stopping = False
        self._restarting: asyncio.Event | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> None:
        """Start the process.

        :raises TraefikeeError: if it cannot be started at all.
        """
        self.last_lines.clear()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self.argv,
                cwd=self._cwd,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                limit=1 << 20,
            )
        except OSError as error:
            raise TraefikeeError(f"{self.argv[0]} cannot be started: {error.strerror}", kind="child") from error

    async def supervise(self) -> None:
        """Watch the process and start it again whenever it ends, until :meth:`stop`.

        ``on_end`` is called first and may raise to end the supervision; ``on_restart`` once it runs again.
        """
        self.failed_starts = 0
        while True:
            started = time.monotonic()
            healthy = asyncio.get_running_loop().call_later(HEALTHY_AFTER, self._tell, "")
            await self.wait()
            healthy.cancel()
            if self.stopping:
                return
            if self._on_end:
                self._on_end(self)
            if self._restarting is not None:
                await self._start_again()
                continue
            self.last_words = self.last_lines[-1] if self.last_lines else ""
            if time.monotonic() - started > HEALTHY_AFTER:
                self.failed_starts = 0
            # Once is put right at once; the pauses are for what ends again and again.
            crashes = self.failed_starts
            pause = min(SHORTEST_PAUSE * 2**crashes, LONGEST_PAUSE) if crashes else 0.0
            self.failed_starts += 1
            self._log.error("ended unexpectedly; starting it again", code=self.exit_code, pause=pause)
            if self.failed_starts > 1:
                self._tell(_trouble(self.name, self.exit_code, self.last_lines))
            await asyncio.sleep(pause)
            await self._start_again()

    async def _start_again(self) -> None:
        try:
            await self.start()
        except TraefikeeError as error:
            self._log.error(error.cause)
            return
        if self._restarting is not None:
            self._restarting.set()
            self._restarting = None
        if self._on_restart:
            await self._on_restart()

    def _tell(self, sentence: str) -> None:
        if self._troubles is not None:
            self._troubles.note(self.name, sentence)

    async def wait(self) -> int:
        """Pass the process's output to the log until it ends; return its exit code."""
        process = self._process
        if process is None or process.stdout is None:
            raise TraefikeeError(f"{self.name} was not started", kind="child")
        with contextlib.suppress(ValueError):  # a line beyond the limit: the rest of the output is not worth more
            async for raw in process.stdout:
                self._relay(raw.decode(errors="replace").rstrip())
        return await process.wait()

    @property
    def exit_code(self) -> int | None:
        """The exit code of the last run, once it has ended."""
        return self._process.returncode if self._process else None

    def _relay(self, line: str) -> None:
        if not line:
            return
        self.last_lines.append(line)
        event, level, fields = _read_line(line)
        if self._quiet and level != "error":
            level = "debug"
        write = getattr(self._log, level)
        write(event, **fields)

    async def restart(self, grace: float) -> None:
        """End the process as :meth:`stop` does, and return once :meth:`supervise` has started it again."""
        again = self._restarting = asyncio.Event()
        await self._end(grace)
        await again.wait()

    async def stop(self, grace: float) -> None:
        """End the process: SIGTERM, then SIGKILL after ``grace`` seconds."""
        self.stopping = True
        await self._end(grace)

    async def _end(self, grace: float) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), grace)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


DISK_FULL = "no space left on device"


def _trouble(name: str, code: int | None, last_lines: Sequence[str]) -> str:
    """Say that a child ends again and again, and why if its last words tell."""
    if any(DISK_FULL in line.lower() for line in last_lines):
        return f"{name} cannot write: the disk of the state directory is full; free space on that disk"
    return f"{name} ends again and again (last exit code {code}); its last lines in this node's log say why"


def _read_line(line: str) -> tuple[str, str, dict[str, str]]:
    """Read a child's line: JSON as etcd (zap) and the engine write it, else as it is, at level info."""
    try:
        entry = json.loads(line)
    except ValueError:
        return line, "info", {}
    if not isinstance(entry, dict):
        return line, "info", {}
    level = str(entry.pop("level", "info")).lower()
    level = {"warn": "warning", "fatal": "error", "panic": "error", "trace": "debug"}.get(level, level)
    event = str(entry.pop("msg", entry.pop("message", line)))
    for noise in ("ts", "timestamp", "caller", "component", "event", "stacktrace"):
        entry.pop(noise, None)
    known = level in {"debug", "info", "warning", "error"}
    return event, level if known else "info", {str(key): str(value) for key, value in entry.items()}
