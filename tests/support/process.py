"""Child processes of the tests: watched, signalled, and never left behind."""

import contextlib
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.wait import SLOWNESS, wait_for

MARK = "TRAEFIKEE_TEST_RUN"
"""Every process of a test run has this in its environment, and so have their children."""

RUN = f"run-{os.getpid()}"
"""This run's value of it."""

os.environ[MARK] = RUN

TAIL = 60
"""Lines of output in a failure's report."""

started: list["Process"] = []
"""Processes that were started and not yet cleaned up, for the reports of failed tests."""


class Process:
    """A child in a session of its own, with its output (both streams) in a file."""

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        output: Path | None = None,
        name: str | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        """Start `argv`. `env` is added to the environment; the output goes to a temporary file by default."""
        self.argv = [str(argument) for argument in argv]
        self.name = name or Path(self.argv[0]).name
        self._temporary = output is None
        if output is None:
            handle, path = tempfile.mkstemp(prefix=f"{self.name}-", suffix=".log")
            os.close(handle)
            output = Path(path)
        self.output_file = output
        with output.open("ab") as stream:
            self._child = subprocess.Popen(
                self.argv,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=pass_fds,
            )
        self._last_output = ""
        started.append(self)

    def __repr__(self) -> str:
        return f"<{self.name}, pid {self.pid}, exit code {self.exit_code}>"

    @property
    def pid(self) -> int:
        """The process's id, as seen from the tests."""
        return self._child.pid

    @property
    def main_pid(self) -> int:
        """The process that signals go to; differs from `pid` where a wrapper stands before it."""
        return self.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; a negative number is the signal that ended it."""
        return self._child.poll()

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.exit_code is None

    @property
    def output(self) -> str:
        """Everything that it has printed until now."""
        if self.output_file.exists():
            self._last_output = self.output_file.read_text(errors="replace")
        return self._last_output

    def tail(self) -> str:
        """The end of its output."""
        return "\n".join(self.output.splitlines()[-TAIL:])

    def wait_for_output(self, pattern: str, deadline: float = 10) -> re.Match[str]:
        """Wait until `pattern` (a regular expression, multi-line) is found in the output.

        Fails at once when the process has ended without printing it.
        """
        expression = re.compile(pattern, re.MULTILINE)

        def found() -> list[re.Match[str] | None]:
            ended = not self.running
            match = expression.search(self.output)
            return [match] if match or ended else []

        match = wait_for(found, f"{self.name} prints /{pattern}/", deadline)[0]
        assert match, f"{self.name} ended ({self.exit_code}) without printing /{pattern}/\n{self.tail()}"
        return match

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process alone, not to its children."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.main_pid, number)

    def terminate(self, deadline: float = 15) -> int:
        """SIGTERM, and its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(deadline)

    def kill9(self) -> None:
        """SIGKILL to the process alone: what it started lives on, as on a real machine, until the test's end."""
        self.signal(signal.SIGKILL)
        self.wait()

    def pause(self) -> None:
        """SIGSTOP: the process hangs."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: the end of `pause`."""
        self.signal(signal.SIGCONT)

    def wait(self, deadline: float = 15) -> int:
        """Wait for its end, and return the exit code."""
        try:
            return self._child.wait(deadline * SLOWNESS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} has not ended within {deadline * SLOWNESS:g} s\n{self.tail()}") from None

    def cleanup(self) -> None:
        """Kill the whole process group, and forget it. Safe to call twice."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._child.wait()
        self.output  # noqa: B018 - reads it while the file is there
        if self._temporary:
            self.output_file.unlink(missing_ok=True)
        if self in started:
            started.remove(self)


def left_over() -> dict[int, str]:
    """Processes of this run that are still there, with their command lines."""
    mark = f"{MARK}={RUN}".encode()
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            environment = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            if mark in environment and command:
                found[int(folder.name)] = command
    return found


def kill_left_over() -> dict[int, str]:
    """Kill them and return what they were."""
    found = left_over()
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return found
