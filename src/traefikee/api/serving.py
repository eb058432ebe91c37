"""uvicorn on unix sockets: the engine is in front, so the agent speaks plain HTTP to it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from traefikee.errors import TraefikeeError

BACKLOG = 2048
"""Connections that may wait: as many data nodes may come at once as were with a control node that ended."""
STOP_GRACE = 1
"""Seconds that open requests may take when the agent stops; streams are cut then."""


LOCAL_USER = "local user"
"""The host of ``scope["client"]`` where a user of this machine is connected; the port is then the user's number."""
_CREDENTIALS = struct.Struct("3i")


def is_a_failure(record: logging.LogRecord) -> bool:
    """Tell whether what uvicorn logs is one: a request that is cut because this process ends is none."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


logging.getLogger("uvicorn.error").addFilter(is_a_failure)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process's signals to the node."""
        yield


class _LocalProtocol(H11Protocol):
    """Names the user at the other end of a unix socket, as the kernel knows it (unix(7), ``SO_PEERCRED``)."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Note the user in the place of an address."""
        super().connection_made(transport)
        raw = transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        self.client = (LOCAL_USER, _CREDENTIALS.unpack(raw)[1])


def listen(path: Path, flag: str = "") -> socket.socket:
    """Bind a unix socket (mode 0600), replacing one that nobody answers on.

    :param flag: the option that names the path, for the error.
    :raises TraefikeeError: if a process answers there, or the path cannot be used.
    """
    hint = f"give this node its own {flag}" if flag else "stop the process that holds it"
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists():
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.settimeout(1)
                try:
                    probe.connect(str(path))
                except (ConnectionRefusedError, FileNotFoundError):
                    path.unlink(missing_ok=True)
                else:
                    raise TraefikeeError(f"another process answers on the socket {path}", hint, kind="socket")
        bound.bind(str(path))
        path.chmod(0o600)
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise TraefikeeError(
            f"the socket {path} cannot be made: {error.strerror or error}", hint, kind="socket"
        ) from error
    except TraefikeeError:
        bound.close()
        raise
    bound.setblocking(False)
    return bound


async def serve(app: Starlette, sockets: Sequence[socket.socket], *, local: bool = False) -> None:
    """Serve an application on bound sockets until cancelled.

    :param local: users of this machine are connected, not the engine: requests tell which (:data:`LOCAL_USER`).
    """
    config = uvicorn.Config(
        app,
        http=_LocalProtocol if local else "auto",
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=STOP_GRACE,
    )
    server = _Server(config)
    try:
        await server.serve(sockets=list(sockets))
    except asyncio.CancelledError:
        server.should_exit = True
        server.force_exit = True
        raise
    finally:
        for one in sockets:
            one.close()
