"""The listening sockets of a data node's engine, held open by its agent as well.

When the engine crashes, the kernel keeps taking connections into the queues of sockets that somebody still holds:
nobody is refused while it is started again. The agent gets the sockets as a new engine does that takes over, and gives
them to the one that it starts in the same way (``engine/src/control/handover.rs``).

A socket that is held and that no engine serves would leave clients waiting. So they are given up before an engine
closes its own: when entry points change, when it ends, and when it does not come back.
"""

from __future__ import annotations

import array
import json
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from traefikee.errors import UnreachableError

PROTOCOL = "traefikee-listeners"
ANSWER = 5.0
"""Seconds that the engine may take for each answer."""
BATCH = 64
"""Sockets in one message, as the engine sends and takes them."""
LONGEST_LINE = 1 << 20

_DESCRIPTOR = array.array("i").itemsize


class HeldSockets:
    """The sockets that are held; all of the engine's, or none."""

    def __init__(self) -> None:
        self._offer: list[dict[str, Any]] = []
        self._sockets: list[int] = []
        self._lock = threading.Lock()
        self._releases = 0

    def __bool__(self) -> bool:
        return bool(self._sockets)

    @property
    def entry_points(self) -> list[str]:
        """The names of the entry points that they belong to, sorted."""
        return sorted(str(one["entry_point"]) for one in self._offer)

    def release(self) -> None:
        """Hold them no longer; nor those that are being taken at this moment."""
        with self._lock:
            self._releases += 1
            for descriptor in self._sockets:
                os.close(descriptor)
            self._sockets, self._offer = [], []

    def take(self, path: Path) -> None:
        """Get the sockets of the engine that answers on a control socket, in the place of those that are held.

        :raises UnreachableError: if it does not give them: then none are held.
        """
        self.release()
        releases, received = self._releases, _Received()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
                stream.settimeout(ANSWER)
                stream.connect(str(path))
                stream.sendall(
                    "GET /listeners HTTP/1.1\r\nHost: engine\r\nConnection: Upgrade\r\n"
                    f"Upgrade: {PROTOCOL}\r\n\r\n".encode()
                )
                head = received.until(stream, b"\r\n\r\n")
                if not head.startswith(b"HTTP/1.1 101 "):
                    status = head.partition(b"\r")[0].decode(errors="replace")
                    raise UnreachableError(f"the engine keeps its sockets to itself: {status}", kind="engine")
                offer: list[dict[str, Any]] = json.loads(received.until(stream, b"\n"))["listeners"]
                while len(received.sockets) < sum(int(one["sockets"]) for one in offer):
                    received.more(stream)
                stream.sendall(b"holds\n")
        except (OSError, ValueError, KeyError, TypeError) as error:
            for descriptor in received.sockets:
                os.close(descriptor)
            raise UnreachableError(f"the engine's sockets cannot be held: {error}", kind="engine") from error
        with self._lock:
            if self._releases == releases:
                self._offer, self._sockets = offer, received.sockets
                return
        for descriptor in received.sockets:
            os.close(descriptor)

    def lender(self, path: Path) -> Callable[[float], None]:
        """Take the place of the engine that was found at a control socket and is gone; return what lends the sockets.

        That waits for one engine, which is started with ``--take-over`` and this path; it returns when that one serves
        the sockets, and has the path for itself. It is to run in a thread of its own.

        :raises OSError: if the place is taken; what is returned raises it if no engine comes within so many seconds.
        """
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(path))
            path.chmod(0o600)
            listener.listen(1)
        except OSError:
            listener.close()
            raise

        def lend(deadline: float) -> None:
            with listener:
                listener.settimeout(deadline)
                stream, _ = listener.accept()
                with stream:
                    stream.settimeout(deadline)
                    self._lend(stream)

        return lend

    def _lend(self, stream: socket.socket) -> None:
        received = _Received()
        received.until(stream, b"\r\n\r\n")
        offer = {"version": "", "pid": os.getpid(), "listeners": self._offer}
        head = f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {PROTOCOL}\r\n\r\n"
        stream.sendall(head.encode() + json.dumps(offer).encode() + b"\n")
        for start in range(0, len(self._sockets), BATCH):
            socket.send_fds(stream, [b"."], self._sockets[start : start + BATCH])
        if received.until(stream, b"\n") != b"leave\n":
            raise OSError("the engine said something else than that it serves the sockets")
        stream.sendall(b"left\n")


class _Received:
    """What came over a connection: bytes, and sockets beside them."""

    def __init__(self) -> None:
        self._bytes = b""
        self.sockets: list[int] = []

    def until(self, stream: socket.socket, end: bytes) -> bytes:
        """Take off the bytes up to and with ``end``."""
        while end not in self._bytes:
            if len(self._bytes) > LONGEST_LINE:
                raise OSError("the answer is too long")
            self.more(stream)
        found, _, self._bytes = self._bytes.partition(end)
        return found + end

    def more(self, stream: socket.socket) -> None:
        data, beside, _, _ = stream.recvmsg(4096, socket.CMSG_SPACE(BATCH * _DESCRIPTOR), socket.MSG_CMSG_CLOEXEC)
        for level, kind, content in beside:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors = array.array("i")
                descriptors.frombytes(content[: len(content) - len(content) % _DESCRIPTOR])
                self.sockets += descriptors
        if not data:
            raise OSError("the connection was closed")
        self._bytes += data
