"""What processes use, as the kernel counts it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")
SESSION, USER_TIME, SYSTEM_TIME = 3, 11, 12
"""Places of fields in /proc/<pid>/stat, counted from behind the process's name (proc(5))."""


@dataclass(frozen=True)
class Cpu:
    """Seconds of processor time."""

    user: float
    system: float

    @property
    def total(self) -> float:
        """Both kinds together."""
        return self.user + self.system

    def __sub__(self, other: "Cpu") -> "Cpu":
        return Cpu(self.user - other.user, self.system - other.system)


def _processes(session: int) -> Iterator[tuple[Path, list[str]]]:
    """The processes of a session: what was started as its leader, and everything that this has started."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[SESSION]) == session:
                yield folder, fields


def cpu(session: int) -> Cpu:
    """Processor time of all processes of a session until now."""
    user = system = 0
    for _, fields in _processes(session):
        user += int(fields[USER_TIME])
        system += int(fields[SYSTEM_TIME])
    return Cpu(user * TICK, system * TICK)


def memory(session: int) -> int:
    """Bytes of memory of all processes of a session; pages that several share are divided among them (PSS)."""
    total = 0
    for folder, _ in _processes(session):
        for line in (folder / "smaps_rollup").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "Pss":
                total += int(value.split()[0]) * 1024
    return total
