"""A service manager, as far as a node tells it things: the socket of sd_notify(3), and everything that came."""

import socket
import threading
import time
from pathlib import Path


class ServiceManager:
    """Listens for one node.

    :ivar told: each message as its lines, the oldest first.
    """

    def __init__(self, path: Path, watchdog: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._path = path
        self.told: list[dict[str, str]] = []
        self.watchdog = watchdog
        # The kernel keeps ten messages that nobody reads; who sends another one waits.
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        self.environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": str(round(watchdog * 1e6))}

    def _listen(self) -> None:
        while message := self._socket.recv(4096).decode():
            self.told.append(dict(line.split("=", 1) for line in message.splitlines()))

    def count(self, name: str) -> int:
        """How often something was told."""
        return sum(name in message for message in self.told)

    def order(self, *names: str) -> list[str]:
        """Those of the names that were told, in the order in which they were."""
        return [name for message in self.told for name in message if name in names]

    def status(self) -> str:
        """The newest sentence."""
        return next((message["STATUS"] for message in reversed(self.told) if "STATUS" in message), "")

    def is_silent(self) -> bool:
        """Whether no sign of life comes for as long as the watchdog allows."""
        before = self.count("WATCHDOG")
        time.sleep(self.watchdog)
        return self.count("WATCHDOG") == before

    def close(self) -> None:
        """Listen no more."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", str(self._path))
        self._thread.join()
        self._socket.close()
