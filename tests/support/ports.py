"""Loopback addresses and ports that no other test has."""

import itertools
import os
import random
import socket
from types import TracebackType
from typing import Self

_claims: list[socket.socket] = []
_candidates = itertools.count(random.Random(os.getpid()).randrange(1 << 22))


def loopback_address() -> str:
    """A 127.x.y.z that no other caller has got, in this or another running test process: every port on it is free.

    The claim is a name in the kernel's abstract socket namespace, which ends with this process.
    """
    while True:
        number = next(_candidates) % (1 << 22)
        address = f"127.{64 + (number >> 16)}.{number >> 8 & 0xFF}.{number & 0xFF}"
        if address.endswith((".0", ".255")):
            continue
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind(f"\0traefikee-test-{address}")
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        return address


class HeldPort:
    """A free TCP port, kept bound (but not listening) until `release` hands it over.

    Between the release and the new owner's own bind there is a moment in which somebody else could take it; on an
    address of `loopback_address` there is nobody else.
    """

    def __init__(self, address: str = "127.0.0.1") -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.bind((address, 0))
        self.address = address
        self.port: int = self._socket.getsockname()[1]

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"

    def listen(self) -> None:
        """Become a port that is in use: it accepts connections and never answers."""
        self._socket.listen()

    def release(self) -> int:
        """Give the port up, and return its number."""
        self._socket.close()
        return self.port

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()


def release_all_addresses() -> None:
    """Close the claims on all addresses; for the end of the session."""
    while _claims:
        _claims.pop().close()
