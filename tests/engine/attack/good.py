"""Well-behaved clients: one request after the other, on connections that last and on new ones. Each must succeed.

`python -m tests.engine.attack.good ADDRESS PORT SOURCE SECONDS` prints `result` and JSON: latencies in milliseconds,
and what failed.
"""

import json
import socket
import sys
import time

LASTING = 4
NEW_EVERY = 8
PAUSE = 0.001
REQUEST = b"GET /good HTTP/1.1\r\nHost: good.example\r\nUser-Agent: good\r\n\r\n"


def connect(address: str, port: int, source: str) -> socket.socket:
    connection = socket.create_connection((address, port), 10, (source, 0))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def ask(connection: socket.socket) -> None:
    connection.sendall(REQUEST)
    answer = b""
    while not answer.endswith(b"fine"):
        piece = connection.recv(4096)
        if not piece:
            raise ConnectionError(f"closed after {answer!r}")
        answer += piece
    if not answer.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(f"answered {answer!r}")


def main(address: str, port: int, source: str, seconds: float) -> None:
    lasting = [connect(address, port, source) for _ in range(LASTING)]
    latencies, failures = [], []
    end = time.perf_counter() + seconds
    number = 0
    while time.perf_counter() < end:
        number += 1
        begun = time.perf_counter()
        try:
            if number % NEW_EVERY == 0:
                with connect(address, port, source) as connection:
                    ask(connection)
            else:
                ask(lasting[number % LASTING])
        except OSError as error:
            failures.append(repr(error))
            if number % NEW_EVERY:
                lasting[number % LASTING] = connect(address, port, source)
        latencies.append((time.perf_counter() - begun) * 1000)
        time.sleep(PAUSE)
    latencies.sort()
    result = {
        "count": len(latencies),
        "p50": latencies[len(latencies) // 2],
        "p99": latencies[len(latencies) * 99 // 100],
        "failures": failures[:10],
    }
    sys.stdout.write(f"result {json.dumps(result)}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4]))
