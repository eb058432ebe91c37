"""A server that does what a test says with each connection, however wrong."""

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tests.support.wait import SLOWNESS

Behaviour = Callable[[socket.socket], None]


class RawServer:
    """Gives each connection to `behaviour`, on a thread of its own, and closes it after that."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.ending = threading.Event()
        self.connections = 0
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if self.ending.is_set():
                connection.close()
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            self._open.add(connection)
            connection.settimeout(20 * SLOWNESS)
            try:
                self._behaviour(connection)
            finally:
                self._open.discard(connection)

    def hold(self, _connection: socket.socket) -> None:
        """A behaviour, or its end: keep the connection open until the test is over."""
        self.ending.wait(60 * SLOWNESS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.ending.set()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5):
            pass
        self._listener.close()
        for connection in list(self._open):
            # The engine keeps its connections, and a behaviour may be reading.
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()


def read_head(connection: socket.socket) -> bytes:
    """Everything until the end of a head, and what came with it."""
    read = b""
    while b"\r\n\r\n" not in read:
        piece = connection.recv(4096)
        if not piece:
            raise ConnectionError
        read += piece
    return read
