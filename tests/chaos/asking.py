"""HTTP over the nodes' unix sockets, with deadlines that suit a cluster under faults."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class UnixConnection(http.client.HTTPConnection):
    """A connection to a unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = str(path)

    def connect(self) -> None:
        """Connect, or raise what the socket says."""
        self.sock = socket.socket(socket.AF_UNIX)
        try:
            self.sock.settimeout(self.timeout)
            self.sock.connect(self._path)
        except OSError:
            self.sock.close()
            raise


def ask(path: Path, target: str, body: Any = None, timeout: float = 2) -> Any:
    """GET, or POST a JSON body; the JSON answer.

    :raises OSError: if nobody answers in time, or with another status than 200.
    """
    connection = UnixConnection(path, timeout)
    try:
        content = None if body is None else json.dumps(body)
        connection.request("GET" if body is None else "POST", target, body=content)
        answer = connection.getresponse()
        read = answer.read()
        if answer.status != http.client.OK:
            raise OSError(f"{target}: {answer.status} {read[:200]!r}")
        return json.loads(read)
    except (http.client.HTTPException, ValueError) as error:
        raise OSError(f"{target}: {error!r}") from error
    finally:
        connection.close()


def lines(path: Path, target: str, body: Any, timeout: float) -> Iterator[Any]:
    """POST a JSON body, and yield the JSON lines of the answer as they come.

    :param timeout: seconds to wait for each.
    :raises OSError: as `ask`.
    """
    connection = UnixConnection(path, timeout)
    try:
        connection.request("POST", target, body=json.dumps(body))
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise OSError(f"{target}: {answer.status} {answer.read()[:200]!r}")
        while line := answer.readline():
            if line.strip():
                yield json.loads(line)
    except (http.client.HTTPException, ValueError) as error:
        raise OSError(f"{target}: {error!r}") from error
    finally:
        connection.close()
