"""A licence server with HTTPS, and a forward proxy that reaches it."""

import contextlib
import http.server
import json
import select
import socket
import ssl
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.certificates import Authority
from tests.support.raw_server import RawServer


class LicenceServer:
    """Judges keys by a test's verdicts; a key without one is answered with status 500.

    :ivar verdicts: what is answered by key.
    :ivar asked: every request's body.
    """

    def __init__(self, authority: Authority, folder: Path, address: str = "127.0.0.1") -> None:
        self.verdicts: dict[str, Any] = {}
        self.asked: list[dict[str, str]] = []
        self._server = http.server.ThreadingHTTPServer((address, 0), self._handler())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # Only its name is certified: who comes by another one, or by an address, does not trust it.
        context.load_cert_chain(*authority.issue("licence.test", address).write(folder, "licence"))
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = int(self._server.server_address[1])
        self.url = f"https://{address}:{self.port}/check"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.asked.append(body)
                verdict = server.verdicts.get(body["key"])
                content = json.dumps(verdict).encode()
                self.send_response(200 if verdict is not None else 500)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class ForwardProxy(RawServer):
    """A proxy that takes CONNECT alone (RFC 9110 section 9.3.6), and leads every name to one address.

    :ivar targets: what it was asked to connect to.
    """

    def __init__(self, leads_to: str = "127.0.0.1") -> None:
        self.targets: list[str] = []
        self._leads_to = leads_to
        super().__init__(self._tunnel)

    def _tunnel(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            more = client.recv(4096)
            if not more:
                return
            head += more
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        if method != "CONNECT":
            client.sendall(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
            return
        self.targets.append(target)
        with socket.create_connection((self._leads_to, int(target.rpartition(":")[2]))) as server:
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with contextlib.suppress(OSError):
                while not self.ending.is_set():
                    for one in select.select([client, server], [], [], 0.2)[0]:
                        data = one.recv(65536)
                        if not data:
                            return
                        (server if one is client else client).sendall(data)
