"""How a command reaches a control node's operator API: the local socket, or mutual TLS on ``:55055``."""

from __future__ import annotations

import getpass
import json
import socket as sockets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from traefikee.cluster.peers import answer_error
from traefikee.cluster.protocol import own_headers
from traefikee.errors import UnreachableError

TIMEOUT = 30.0


def says() -> str:
    """Return who runs this command, and where, as it knows itself: ``user@host``."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "?"
    return f"{user}@{sockets.gethostname()}"


class Client:
    """A client of the operator API.

    :param where: the address for messages.
    :param hint: the next step when nobody answers.
    """

    def __init__(self, client: httpx.Client, where: str, hint: str, extensions: dict[str, Any] | None = None) -> None:
        self._client = client
        # The control node knows who is connected; this is kept beside it, for the audit log.
        client.headers["X-Traefikee-Says"] = says().encode("ascii", "replace").decode()
        self._where = where
        self._hint = hint
        self._extensions = extensions or {}

    def get(self, path: str) -> Any:
        """Return the JSON answer.

        :raises UnreachableError: if nobody answers.
        :raises TraefikeeError: what was answered instead.
        """
        return self._checked(self._send(path))

    def post(self, path: str, body: Any) -> Any:
        """Post a JSON body and return the JSON answer.

        :raises TraefikeeError: as :meth:`get`.
        """
        try:
            answer = self._client.post(path, json=body, extensions=self._extensions)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        return self._checked(answer)

    def ask(self, path: str) -> tuple[int, Any]:
        """Return status and JSON answer, whatever the status is.

        :raises UnreachableError: if nobody answers.
        """
        answer = self._send(path)
        try:
            return answer.status_code, answer.json()
        except ValueError as error:
            raise self._unreachable(error) from error

    def _send(self, path: str) -> httpx.Response:
        try:
            return self._client.get(path, extensions=self._extensions)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _checked(self, answer: httpx.Response) -> Any:
        try:
            content = answer.json()
        except ValueError as error:
            if answer.is_error:
                raise answer_error(None, answer.status_code, self._where) from error
            raise self._unreachable(error) from error
        if answer.is_error:
            raise answer_error(content, answer.status_code, self._where)
        return content

    def stream(self, path: str, body: Any) -> Iterator[dict[str, Any]]:
        """Post a JSON body and yield the JSON lines of the answer.

        :raises TraefikeeError: as :meth:`get`; also for an error line.
        """
        try:
            with self._client.stream("POST", path, json=body, extensions=self._extensions) as answer:
                if answer.is_error:
                    answer.read()
                    self._checked(answer)
                for line in answer.iter_lines():
                    if line:
                        content = json.loads(line)
                        if "error" in content:
                            raise answer_error(content, answer.status_code, self._where)
                        yield content
        except (httpx.HTTPError, ValueError) as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> UnreachableError:
        reason = str(error) or type(error).__name__
        # Anything but a failure to connect leaves open what became of a request.
        kind = "unreachable" if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)) else "connection"
        return UnreachableError(f"no control node answers on {self._where}: {reason}", self._hint, kind=kind)


def local(socket: str) -> Client:
    """Return a client of the node behind a local socket.

    :raises UnreachableError: if there is no such socket.
    """
    hint = "start a node on this machine, or name its socket with --traefikeesocket"
    if not Path(socket).exists():
        raise UnreachableError(f"there is no socket {socket}: no node runs with it", hint)
    client = httpx.Client(
        transport=httpx.HTTPTransport(uds=socket), base_url="http://node", timeout=TIMEOUT, headers=own_headers()
    )
    return Client(client, socket, hint)
