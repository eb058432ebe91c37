"""What a node tells the service manager that started it: sd_notify(3), without libsystemd.

Each message is a datagram of ``NAME=value`` lines to the socket that ``NOTIFY_SOCKET`` names. Without one nothing is
told, and nothing fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping

from traefikee import log
from traefikee.errors import TraefikeeError

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
SOUND_WITHIN = 0.4
"""Which part of the watchdog's time a node may take to answer whether it is sound."""

PATIENCE = 0.5
"""Seconds that a message may wait for the manager."""

_log = log.get("systemd")


class Manager:
    """The service manager, if there is one.

    :param address: as ``NOTIFY_SOCKET`` has it: a path, or a name in the abstract namespace after ``@``.
    :param watchdog: seconds after which the manager takes a silent node for hung; 0: it does not watch.
    """

    def __init__(self, address: str = "", watchdog: float = 0.0, variables: Mapping[str, str] | None = None) -> None:
        self._address = address
        self._watchdog = watchdog
        self._variables = dict(variables or {})
        self._status = ""
        self._ready = False

    @classmethod
    def from_environment(cls) -> Manager:
        """Return the manager that the environment names, and take it out of there: children are not to speak for us."""
        variables = {name: os.environ.pop(name) for name in VARIABLES if name in os.environ}
        microseconds, pid = variables.get("WATCHDOG_USEC", ""), variables.get("WATCHDOG_PID", "")
        watched = microseconds.isdigit() and (not pid or pid == str(os.getpid()))
        return cls(variables.get("NOTIFY_SOCKET", ""), int(microseconds) / 1e6 if watched else 0.0, variables)

    def restore(self) -> None:
        """Put back what was taken out of the environment, for a program that takes this one's place."""
        os.environ.update(self._variables)

    def ready(self) -> None:
        """Tell, once, that the node does what it was started for."""
        if not self._ready:
            self._ready = True
            self._send(f"READY=1\nSTATUS={self._status}" if self._status else "READY=1")

    def status(self, sentence: str) -> None:
        """Tell how the node is, in one line that ``systemctl status`` shows; the same is not told twice."""
        if sentence != self._status:
            self._status = sentence
            self._send(f"STATUS={sentence}")

    def reloading(self) -> None:
        """Tell that another program takes this one's place, which tells READY again."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}\nSTATUS=starting again")

    def stopping(self) -> None:
        """Tell that the node ends."""
        self._send("STOPPING=1\nSTATUS=stopping")

    async def watch(self, is_sound: Callable[[], Awaitable[bool]]) -> None:
        """Give signs of life at half of the watchdog's time, as long as the node is sound; runs until cancelled.

        They come from the event loop, so that one which hangs gives none.
        """
        if not self._watchdog:
            await asyncio.Event().wait()
        while True:
            try:
                async with asyncio.timeout(self._watchdog * SOUND_WITHIN):
                    sound = await is_sound()
            except (TraefikeeError, TimeoutError) as error:
                _log.warning("no sign of life for the service manager", reason=str(error) or "no answer in time")
                sound = False
            if sound:
                # A node that waits for others to be ready is not to be ended for that; one that hangs is.
                more = "" if self._ready else f"\nEXTEND_TIMEOUT_USEC={round(self._watchdog * 2e6)}"
                self._send(f"WATCHDOG=1{more}")
            await asyncio.sleep(self._watchdog / 2)

    def _send(self, message: str) -> None:
        if not self._address:
            return
        where = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out,
        ):
            # Its queue may be full for a moment; but no node waits long for who manages it.
            out.settimeout(PATIENCE)
            out.sendto(message.encode(), where)


def logs_to_journal(stream: int = 2) -> bool:
    """Whether a file descriptor is the journal: ``JOURNAL_STREAM`` then has its device and inode (systemd.exec(5))."""
    try:
        told = os.fstat(stream)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{told.st_dev}:{told.st_ino}"
