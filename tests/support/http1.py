"""HTTP/1.1 by hand: bytes in, bytes out, for what no decent client would send or show."""

import socket
import ssl
import subprocess
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.support.wait import SLOWNESS


@dataclass(frozen=True)
class Answer:
    """One response."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """A header's only value, or None."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) <= 1, f"{name} was sent {len(values)} times: {values}"
        return values[0] if values else None


class Connection:
    """A connection; `answer` reads one response, whatever its framing."""

    def __init__(self, address: str, port: int, tls: ssl.SSLContext | None = None, server_name: str = "") -> None:
        plain = socket.create_connection((address, port), timeout=10 * SLOWNESS)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.socket: socket.socket = (
                tls.wrap_socket(plain, server_hostname=server_name or None) if tls is not None else plain
            )
        except BaseException:
            plain.close()
            raise
        self._file = self.socket.makefile("rb")

    def send(self, data: bytes | str) -> None:
        """Send exactly this."""
        self.socket.sendall(data.encode("latin-1") if isinstance(data, str) else data)

    def answer(self, method: str = "GET") -> Answer | None:
        """The next final response; None when the connection was closed instead."""
        while True:
            try:
                first = self._file.readline()
            except ConnectionError:
                return None
            if not first:
                return None
            status = int(first.split(b" ")[1])
            headers = self._headers()
            if status >= 200 or status == 101:
                return Answer(status, headers, self._body(method, status, headers))

    def exactly(self, size: int) -> bytes:
        """So many bytes, of a protocol that was switched to; fewer if the connection was closed before."""
        return self._file.read(size)

    def closed(self) -> bool:
        """Whether the other side has closed the connection; waits for it."""
        try:
            return self._file.read(1) == b""
        except ConnectionError:
            return True
        except TimeoutError:
            return False

    def _headers(self) -> list[tuple[str, str]]:
        headers = []
        while line := self._file.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers.append((name, value.strip()))
        return headers

    def _body(self, method: str, status: int, headers: list[tuple[str, str]]) -> bytes:
        fields = {name.lower(): value for name, value in headers}
        if method == "HEAD" or status in {101, 204, 304}:
            return b""
        if "chunked" in fields.get("transfer-encoding", ""):
            body = b""
            while size := int(self._file.readline(), 16):
                body += self._file.read(size)
                self._file.readline()
            headers += self._headers()
            return body
        if "content-length" in fields:
            return self._file.read(int(fields["content-length"]))
        return self._file.read()

    def close(self) -> None:
        """Close it."""
        self._file.close()
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def get(
    address: str, port: int, target: str = "/", host: str = "a.example", method: str = "GET", *headers: str
) -> Answer:
    """One request on a connection of its own. `headers` are whole lines."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *headers, "Connection: close", "", ""]
    with Connection(address, port) as connection:
        connection.send("\r\n".join(lines))
        answer = connection.answer(method)
        assert answer is not None, "the connection was closed without an answer"
        return answer


def over_http2(url: str, *headers: str, method: str = "GET") -> Answer:
    """One request of HTTP/2 without TLS, by curl. `headers` are whole lines."""
    lines = [argument for line in headers for argument in ("-H", line)]
    verb = ["--head"] if method == "HEAD" else ["-X", method]
    command = ["curl", "-s", "--noproxy", "*", "--http2-prior-knowledge", "-D", "/dev/stderr", *verb, *lines, url]
    done = subprocess.run(command, capture_output=True, timeout=60 * SLOWNESS, check=True)
    first, *rest = done.stderr.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")
    version, status = first.split()[:2]
    assert version == "HTTP/2", first
    pairs = [line.partition(":")[::2] for line in rest]
    return Answer(
        int(status), [(name, value.strip()) for name, value in pairs], b"" if method == "HEAD" else done.stdout
    )
