"""The Consul KV provider: one recursive blocking query on the prefix (Traefik 1.7, ``[consul]``)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import ssl
import time
from pathlib import Path
from urllib.parse import quote

import httpx

from traefikee import log
from traefikee.config.static import ClientTLS, ConsulOptions
from traefikee.errors import UnreachableError
from traefikee.providers import kv
from traefikee.providers.base import Emitted, Failed, Listener, Provider
from traefikee.providers.files import load_files
from traefikee.providers.kv.reader import Counts, everyone
from traefikee.providers.steadiness import Steadiness
from traefikee.tls import load_pair

WAIT = 55
"""Seconds that Consul holds a blocking query without a change."""
CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 10.0
"""Seconds that Consul may take for an answer that it need not hold."""
SHORTEST_PAUSE = 0.25
LONGEST_PAUSE = 5.0
SETTLE = 0.05
"""Seconds in which further changes are waited for before a configuration is read: writers set several keys."""


class ConsulProvider(Provider):
    """Reads frontends, backends and certificates from Consul's key-value store.

    :param options: the deployed ``consul`` options.
    :ivar counts: tells by its tags whether a server counts.
    """

    name = "consul"

    def __init__(self, options: ConsulOptions, counts: Counts = everyone) -> None:
        self._options = options
        self.counts = counts
        self._prefix = options.prefix.strip("/")
        self._endpoints = options.endpoints
        self._log = log.get(self.name)

    async def run(self, listener: Listener) -> None:
        """See :meth:`Provider.run`; endpoints are tried in turn."""
        pause, turn, failed = SHORTEST_PAUSE, 0, ""
        steadiness = Steadiness()
        while True:
            endpoint = self._endpoints[turn % len(self._endpoints)]
            progressed = False

            def heard(emitted: Emitted | Failed, endpoint: str = endpoint) -> None:
                nonlocal progressed, failed
                if failed and not steadiness.steady_in(time.monotonic()):
                    self._log.info("Consul answers again", endpoint=endpoint)
                progressed, failed = True, ""
                listener(emitted)

            try:
                async with self._client(endpoint) as client:
                    await self._follow(client, heard)
                if not self._options.watch:
                    return
            except UnreachableError as error:
                if progressed:
                    pause = SHORTEST_PAUSE
                message = f"{endpoint}: {error.cause}"
                if message != failed:
                    steady = not steadiness.steady_in(time.monotonic())
                    steadiness.failed(time.monotonic())
                    if steadiness.steady_in(time.monotonic()) and steady:
                        self._log.warning("Consul comes and goes; its last configuration stays, and this is not told "
                                          "again until it is steady for a minute", reason=message)  # fmt: skip
                    elif steady:
                        self._log.warning("Consul cannot be read; its last configuration stays", reason=message)
                    listener(Failed(message))
                    failed = message
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
            turn += 1

    def _client(self, endpoint: str) -> httpx.AsyncClient:
        options = self._options
        scheme, verify = "http", True  # type: tuple[str, bool | ssl.SSLContext]
        if options.tls is not None:
            scheme, verify = "https", client_context(options.tls)
        auth = httpx.BasicAuth(options.username, options.password) if options.username else None
        return httpx.AsyncClient(
            base_url=endpoint if "://" in endpoint else f"{scheme}://{endpoint}",
            auth=auth,
            verify=verify,
            timeout=httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT),
            trust_env=False,
        )

    async def _follow(self, client: httpx.AsyncClient, listener: Listener) -> None:
        """Read, emit, wait for a change; returns after the first read where nothing is to be watched."""
        emitted: dict[str, bytes] | None = None
        reading, aliased_reading = _Reading(), _Reading()
        decoder = kv.Decoder(self._prefix, self.name, self.counts)
        while True:
            index, pairs = await self._read(client, self._prefix, reading)
            alias = kv.alias_of(pairs, self._prefix)
            # An alias outside of what was just read needs a read of its own; only the prefix is watched (as in 1.7),
            # and since Consul watches string prefixes, `traefik` covers `traefik_configurations/1` too.
            if alias is not None and not alias.startswith(self._prefix):
                _, aliased = await self._read(client, alias, aliased_reading)
                pairs |= aliased
            if pairs != emitted:
                emitted = pairs
                decoded = await asyncio.to_thread(decoder.decode, pairs)
                unusable = [error.message for error in decoded.errors if error.kind == "provider"]
                if unusable:
                    raise UnreachableError("; ".join(unusable))
                configuration, more = await asyncio.to_thread(load_files, decoded.configuration, _read_file, self.name)
                errors = decoded.errors + tuple(more)
                listener(Emitted(configuration, errors, decoded.notes, source=decoded.source))
            if not self._options.watch:
                return
            await self._wait(client, index)
            await asyncio.sleep(SETTLE)

    async def _wait(self, client: httpx.AsyncClient, index: int) -> None:
        """Wait until something below the prefix is newer than an index, or for a while.

        Asks for nothing but the names of the first level: the answer stays small whatever is below them.
        """
        query = {"keys": "true", "separator": "/"}
        while True:
            query |= {"index": str(index), "wait": f"{WAIT}s"} if index else {}
            # Consul adds up to a sixteenth of the wait, so that not all its clients come back at once.
            timeout = httpx.Timeout(WAIT * 17 / 16 + READ_TIMEOUT, connect=CONNECT_TIMEOUT)
            new_index, _ = await self._ask(client, self._prefix, query, timeout)
            if new_index != index or not index:
                return

    async def _read(self, client: httpx.AsyncClient, prefix: str, reading: _Reading) -> tuple[int, dict[str, bytes]]:
        """Return Consul's index and all keys below a prefix. What is the same as before is the same object.

        Read consistently (Consul's HTTP API, "Consistency Modes"), as Traefik 1.7 does: a leader of Consul that has
        just started would otherwise answer from before its log is read again, and frontends would go and come.
        """
        index, content = await self._ask(client, prefix, {"recurse": "true", "consistent": "true"}, client.timeout)
        return index, await asyncio.to_thread(reading.take, content, index)

    async def _ask(
        self, client: httpx.AsyncClient, prefix: str, query: dict[str, str], timeout: httpx.Timeout
    ) -> tuple[int, bytes]:
        """Return Consul's index and its answer (a JSON list)."""
        try:
            # Compressing takes Consul longer than a local network takes for what it saves.
            answer = await client.get(
                f"/v1/kv/{quote(prefix)}", params=query, timeout=timeout, headers={"Accept-Encoding": "identity"}
            )
        except httpx.HTTPError as error:
            raise UnreachableError(str(error) or type(error).__name__) from error
        index = _index(answer.headers.get("X-Consul-Index", ""))
        if answer.status_code == httpx.codes.NOT_FOUND:
            return max(index, 1), b"[]"
        if answer.status_code != httpx.codes.OK:
            raise UnreachableError(f"answered {answer.status_code}: {answer.text.strip()[:200]}")
        return index, answer.content


class _Reading:
    """What was read below a prefix: of a key that was not modified since, the value is kept."""

    def __init__(self) -> None:
        self._index = 0
        self._known: dict[str, tuple[int, bytes]] = {}

    def take(self, content: bytes, index: int) -> dict[str, bytes]:
        """Return all pairs of an answer.

        :raises UnreachableError: if it cannot be read.
        """
        # Consul's documentation: an index that goes backwards means starting over.
        known = self._known if index >= self._index else {}
        now: dict[str, tuple[int, bytes]] = {}
        try:
            for raw in json.loads(content):
                key, modified = str(raw["Key"]), int(raw["ModifyIndex"])
                old = known.get(key)
                if old is None or old[0] != modified:
                    old = (modified, base64.b64decode(raw["Value"] or ""))
                now[key] = old
        except (ValueError, KeyError, TypeError, binascii.Error) as error:
            raise UnreachableError(f"its answer cannot be read: {error}") from error
        self._index, self._known = index, now
        return {key: value for key, (_, value) in now.items()}


def _index(text: str) -> int:
    return int(text) if text.isdigit() else 0


def _read_file(path: str) -> bytes:
    return Path(path).read_bytes()


def client_context(tls: ClientTLS) -> ssl.SSLContext:
    """Return the TLS context for the options ``tls.{ca,cert,key,insecureSkipVerify}`` of a provider."""
    context = ssl.create_default_context(cadata=tls.ca or None)
    if tls.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert and tls.key:
        load_pair(context, tls.cert, tls.key)
    return context
