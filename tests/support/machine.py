"""Machines of a network, made of the kernel's namespaces: what the install guide calls virtual machines.

A machine has an address on a bridge, a host name, processes, mounts and loopback of its own. The bridge lives in a
namespace of its own too, so the host's network is never touched. Each namespace is held by its process 1, a shell that
reads from a pipe whose other end this process holds: whatever becomes of the tests, the pipe closes, process 1 ends,
and the kernel takes its processes, mounts and links with it.
"""

import atexit
import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

from tests.support import BIN, ROOT
from tests.support.process import Process
from tests.support.wait import SLOWNESS, wait_for

SUBNET = "10.10.0"
CLIENT = f"{SUBNET}.100"

# Process 1 reaps orphans, as bash does while it waits for input. Its command line is what `ps` shows on the machine.
_INIT = ["bash", "-c", "echo up; while read -r _; do :; done", "init"]

_PRIVATE = ("/var/lib", "/run", "/tmp")
"""Where a machine has files of its own, in memory. `/var/run` is `/run`."""

_HOME = "/tmp/home"


class _Namespaces:
    """Process 1 of a set of namespaces; gone when this process is."""

    def __init__(self, flags: Iterable[str]) -> None:
        self._unshare = subprocess.Popen(
            ["unshare", "--fork", "--kill-child", "--net", "--pid", *flags, *_INIT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert self._unshare.stdout is not None
        said = self._unshare.stdout.readline()
        if said != b"up\n":
            rest = said + self._unshare.stdout.read()
            self._unshare.wait()
            self._close_pipes()
            raise RuntimeError(f"the kernel refused new namespaces: {rest.decode(errors='replace').strip()}")
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children").read_text().split()
        self.pid = int(children[0])

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self._unshare.wait()
        self._close_pipes()

    def _close_pipes(self) -> None:
        for pipe in (self._unshare.stdin, self._unshare.stdout):
            if pipe is not None:
                pipe.close()


class Network:
    """A bridge, and the machines on it."""

    def __init__(self) -> None:
        require()
        self.machines: dict[str, Machine] = {}
        self._switch = _Namespaces(())
        self._ports = 0
        atexit.register(self.destroy)
        self.switch("ip link add bridge0 type bridge forward_delay 0 && ip link set bridge0 up")

    def switch(self, line: str) -> None:
        """Run a shell line where the bridge and the machines' links are."""
        _check(["nsenter", f"--net=/proc/{self._switch.pid}/ns/net", "sh", "-c", line])

    def machine(self, name: str, address: str, *, disk: str = "512m") -> "Machine":
        """Start a machine. `disk` is the size of each of its file systems."""
        assert name not in self.machines, f"there is a machine {name} already"
        self._ports += 1
        machine = Machine(self, name, address, f"port{self._ports}", disk)
        self.machines[name] = machine
        return machine

    def client(self) -> "Machine":
        """The machine of somebody who has no node: where curl is typed."""
        return self.machines.get("client") or self.machine("client", CLIENT)

    def destroy(self) -> None:
        """End all machines and the bridge. Safe to call twice."""
        for machine in list(self.machines.values()):
            machine.destroy()
        self._switch.end()
        atexit.unregister(self.destroy)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.destroy()


class Machine:
    """One machine; made by `Network.machine`."""

    def __init__(self, network: Network, name: str, address: str, port: str, disk: str) -> None:
        self.network = network
        self.name = name
        self.address = address
        self.port = port
        """The switch's end of its cable."""
        self._started: list[Process] = []
        self._namespaces = _Namespaces(("--mount", "--uts", "--ipc", "--mount-proc"))
        self.root = Path(f"/proc/{self._namespaces.pid}/root")
        """The machine's file system, for the tests to look into: `machine.root / "tmp/x"`."""
        self.home = Path(_HOME)
        """Home and working directory, as the machine sees it."""
        self.env = {
            "HOME": _HOME,
            "PATH": f"{BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
        }
        network.switch(
            f"ip link add {port} type veth peer name eth0 netns {self._namespaces.pid}"
            f" && ip link set {port} master bridge0 up"
        )
        hosts = f"127.0.0.1 localhost\\n{address} {name}\\n"
        set_up = [
            f"hostname {shlex.quote(name)}",
            "ip link set lo up",
            f"ip addr add {address}/24 dev eth0",
            "ip link set eth0 up",
            *_private_file_systems(disk),
            f"mkdir -p {_HOME} /run/lock",
            f"printf {shlex.quote(hosts)} >/run/hosts",
            "mount --bind /run/hosts /etc/hosts",
        ]
        done = self.run("set -e\n" + "\n".join(set_up), cwd="/")
        if done.returncode:
            self.destroy()
            raise RuntimeError(f"could not set up {name}: {done.stdout}{done.stderr}")

    def __repr__(self) -> str:
        return f"<{self.name}, {self.address}>"

    def _enter(self, script: int, cwd: str) -> list[str]:
        # The line is read from a file descriptor and so is in no command line: the guide's
        # `ps -ef | grep traefikee | ... | xargs kill -9` must not find the shell that it is typed into.
        flags = ["--mount", "--uts", "--ipc", "--net", "--pid"]
        shell = ["env", "-C", cwd, "bash", f"/dev/fd/{script}"]
        return ["nsenter", "--target", str(self._namespaces.pid), *flags, "--", *shell]

    def run(
        self, line: str, *, deadline: float = 60, env: Mapping[str, str] | None = None, cwd: str = _HOME
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell line as if it was typed on the machine, and return what it printed."""
        script = _script(line)
        try:
            return subprocess.run(
                self._enter(script, cwd),
                env={**os.environ, **self.env, **(env or {})},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=deadline * SLOWNESS,
                pass_fds=(script,),
                check=False,
            )
        finally:
            os.close(script)

    def check(self, line: str, *, deadline: float = 60, env: Mapping[str, str] | None = None) -> str:
        """The same, but the line must succeed; returns its standard output."""
        done = self.run(line, deadline=deadline, env=env)
        assert done.returncode == 0, f"on {self.name}: {line}\nexit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def install_engine_again(self) -> None:
        """Put another file with the same content in the place of the engine's binary, here alone; what runs goes on."""
        engine, copy = BIN / "traefikee-engine", f"{_HOME}/engine"
        # The one of the time before may run: its mount goes with it. Nothing can be mounted over a file that is gone.
        self.check(f"! mountpoint -q {engine} || umount -l {engine}")
        self.check(f"rm -f {copy} && cp {engine} {copy} && mount --bind {copy} {engine}")

    def start(self, line: str, *, env: Mapping[str, str] | None = None, name: str | None = None) -> Process:
        """Start a shell line in the background. Signals go to the command that it runs, not to the shell."""
        script = _script(line)
        try:
            process = _Inside(
                self._enter(script, _HOME),
                env={**self.env, **(env or {})},
                name=f"{self.name}: {name or line.split()[0]}".replace("/", "-"),
                pass_fds=(script,),
            )
        finally:
            os.close(script)
        self._started.append(process)
        return process

    def outputs(self) -> dict[str, str]:
        """What each command that was started has printed until now, by its number and name."""
        return {f"{number:02} {one.name}": one.output for number, one in enumerate(self._started, 1)}

    def kill_link(self) -> None:
        """Pull the cable: everything that is sent is lost."""
        self.network.switch(f"ip link set {self.port} down")

    def restore_link(self) -> None:
        """Plug it in again."""
        self.network.switch(f"ip link set {self.port} up")

    def processes(self) -> list[str]:
        """The command lines that `ps` shows on the machine, without process 1 and itself."""
        lines = self.check("ps -eo pid=,args=").splitlines()
        commands = [line.strip().partition(" ") for line in lines]
        return [command for pid, _, command in commands if pid != "1" and not command.startswith(("ps ", "bash /dev"))]

    def destroy(self) -> None:
        """Switch it off: all its processes die, its files are gone. Safe to call twice."""
        self._namespaces.end()
        for process in self._started:
            process.cleanup()
        self._started.clear()
        self.network.machines.pop(self.name, None)
        with contextlib.suppress(RuntimeError):
            # The link may be gone with the machine; the kernel takes a moment for it.
            self.network.switch(f"ip link del {self.port} 2>/dev/null")


class _Inside(Process):
    """A command on a machine: nsenter here, below it the shell there, below that the command."""

    @property
    def main_pid(self) -> int:
        pid = self.pid
        for _ in range(2):
            children = wait_for(lambda at=pid: _children(at), f"the command of {self.name} has started")  # type: ignore[misc]
            pid = children[0]
        return pid


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _script(line: str) -> int:
    """A file descriptor that a shell can read `line` from."""
    script = os.memfd_create("line")
    os.write(script, line.encode() + b"\n")
    os.lseek(script, 0, os.SEEK_SET)
    return script


def _private_file_systems(disk: str) -> list[str]:
    """Lines that mount them, and keep the repository and the Python in use in sight if they are below one."""
    below = [
        shlex.quote(str(folder))
        for folder in {ROOT, Path(os.path.realpath(BIN / "python")).parents[1]}
        if any(folder.is_relative_to(private) for private in _PRIVATE)
    ]
    return [
        *(f"exec {{kept{number}}}<{folder}" for number, folder in enumerate(below)),
        *(f"mount -t tmpfs -o size={disk},mode=1777 tmpfs {private}" for private in _PRIVATE),
        *(
            f"mkdir -p {folder}; mount -c --rbind /proc/self/fd/$kept{number} {folder}; exec {{kept{number}}}<&-"
            for number, folder in enumerate(below)
        ),
    ]


def _check(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30 * SLOWNESS, check=False)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(argv)}: {done.stdout}{done.stderr}")


def require() -> None:
    """Say what is missing where there can be no machines."""
    if os.geteuid() != 0:
        raise RuntimeError(
            "tests with machines of their own need root for network namespaces;"
            " next step: run them as root, or leave them out with TRAEFIKEE_TEST_NO_NAMESPACES=1"
        )
