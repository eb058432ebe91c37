"""Requests that run all the while something else happens, and every one that failed."""

import http.client
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from tests.cluster.places import Place, enter_network
from tests.support.wait import wait_for

PAUSE = 0.01
TIMEOUT = 10.0


class Traffic:
    """Sends requests to each address, on new connections and on one that is kept alive, until the block ends.

    A request has failed unless it was answered 200: it was refused, lost, cut, too late or routed wrongly. With `told`
    an answer may say that its connection ends.
    """

    def __init__(
        self, client: Place, addresses: Sequence[str], host: str, *, told: bool = False, port: int = 80
    ) -> None:
        self._client = client
        self._port = port
        self._told = told
        self._host = host
        self._ended = threading.Event()
        self._began = time.monotonic()
        self._threads = [
            threading.Thread(target=self._work, args=(address, keep), daemon=True)
            for address in addresses
            for keep in (False, True)
        ]
        self._counts = dict.fromkeys([thread.name for thread in self._threads], 0)
        self.failures: list[str] = []

    @property
    def sent(self) -> int:
        """Requests that were answered until now."""
        return sum(self._counts.values())

    def _work(self, address: str, keep: bool) -> None:
        enter_network(self._client)
        name = threading.current_thread().name
        connection = http.client.HTTPConnection(address, self._port, timeout=TIMEOUT)
        try:
            while not self._ended.wait(PAUSE):
                try:
                    connection.request("GET", "/", headers={"Host": self._host})
                    answer = connection.getresponse()
                    answer.read()
                    failure = "" if answer.status == 200 else str(answer.status)
                    if keep and answer.will_close and not self._told:
                        failure = failure or "the connection was not kept alive"
                except (OSError, http.client.HTTPException) as error:
                    failure = repr(error)
                    connection.close()
                if failure:
                    at = time.monotonic() - self._began
                    kind = "kept" if keep else "new"
                    self.failures.append(f"after {at:.2f} s, {address}, {kind} connection: {failure}")
                else:
                    self._counts[name] += 1
                if not keep:
                    connection.close()
        finally:
            connection.close()

    def more(self, count: int = 20) -> None:
        """Wait until each sender has got so many more answers."""
        before = dict(self._counts)
        wait_for(
            lambda: self.failures or all(now - before[name] >= count for name, now in self._counts.items()),
            f"{count} more requests of each sender",
            30,
        )

    def assert_none_failed(self) -> None:
        """Fail with what went wrong."""
        assert not self.failures, f"{len(self.failures)} of {self.sent} requests failed: {self.failures[:10]}"

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.more()
        self.assert_none_failed()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            self.more()
        self._ended.set()
        for thread in self._threads:
            thread.join()
        if error is None:
            self.assert_none_failed()
