"""A quick origin: every request without a body gets `fine`; whoever sends a body is listened to and not answered.

Prints its port.
"""

import asyncio
import sys


class Origin(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._listens_only = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        if self._listens_only:
            return
        *heads, self._buffer = (self._buffer + data).split(b"\r\n\r\n")
        for head in heads:
            if b"POST" in head[:4]:
                self._listens_only = True
                return
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine")


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Origin, "127.0.0.1", 0, backlog=4096)
    sys.stdout.write(f"port {server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
