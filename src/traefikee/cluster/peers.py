"""A client of other control nodes' ``:4242``: the cluster's own API, over TLS that pins the cluster's CA."""

from __future__ import annotations

import json
import os
import secrets
import ssl
from collections.abc import AsyncIterator, Collection, Sequence
from types import TracebackType
from typing import Any, Self

import httpx

from traefikee.cluster import authorities, protocol, roles, tokens, validity
from traefikee.config.certificates import CertificatePair
from traefikee.errors import RefusedError, Source, TraefikeeError, UnreachableError
from traefikee.tls import load_pair

CONNECT_TIMEOUT = 3.0
READ_TIMEOUT = 30.0

_FAILURES = (httpx.HTTPError, OSError)
"""httpx passes a TLS alert that comes after the handshake on as it is: in TLS 1.3, that of a refused certificate."""

RECONNECT_HINT = "check --peeraddresses, and that its port is open from here"


def tls_context(ca_pem: str | None, own: CertificatePair | None = None) -> ssl.SSLContext:
    """Return a client context that trusts the CA alone; without one it trusts anybody (for fetching the CA)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_pem is None:
        # The CA that comes over this connection is checked against the token's digest before anything is said.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(cadata=ca_pem)
    if own is not None:
        load_pair(context, own.chain_pem, own.key_pem)
    return context


def answer_error(content: Any, status: int, where: str) -> TraefikeeError:
    """Turn the JSON error of a traefikee API into the error that it stands for."""
    if not isinstance(content, dict) or "error" not in content:
        return UnreachableError(f"{where} answered with status {status} and no reason", kind="peer")
    cause, next_step = str(content["error"]), str(content.get("next_step", ""))
    kind = str(content.get("kind", "refused"))
    if content.get("retriable"):
        return UnreachableError(cause, next_step, kind=kind)
    return TraefikeeError(cause, next_step, source=Source.CLIENT, kind=kind)


class Peer:
    """One control node at an address, as this node sees it.

    :param ca_pem: the cluster's CA; None only to fetch it.
    :param own: this node's certificate and key, once it has them.
    """

    def __init__(self, address: str, ca_pem: str | None, own: CertificatePair | None = None) -> None:
        self.address = address
        self._context = tls_context(ca_pem, own)
        self._client = httpx.AsyncClient(
            base_url=f"https://{address}",
            verify=self._context,
            timeout=httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT),
            trust_env=False,
            headers={**protocol.own_headers(), protocol.CONNECTION_HEADER: secrets.token_hex(8)},
        )
        self._extensions = {"sni_hostname": roles.SERVER_NAME}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    def show(self, own: CertificatePair, ca_pem: str) -> None:
        """Show another certificate on the connections that are made from now on, and trust these authorities too.

        Those that are open stay.
        """
        load_pair(self._context, own.chain_pem, own.key_pem)
        self._context.load_verify_locations(cadata=ca_pem)

    async def request(self, method: str, path: str, body: Any = None, *, timeout: float = READ_TIMEOUT) -> Any:
        """Send a request with a JSON body and return the JSON answer.

        :param timeout: seconds that the peer may take.
        :raises UnreachableError: if nobody answers, or what answers is not a control node of this cluster.
        :raises TraefikeeError: what the peer answered.
        """
        if self._client.is_closed:
            raise UnreachableError(f"the connection to {self.address} has ended", kind="peer")
        try:
            answer = await self._client.request(
                method,
                path,
                json=body,
                extensions=self._extensions,
                timeout=httpx.Timeout(timeout, connect=CONNECT_TIMEOUT),
            )
            content: Any = answer.json()
        except (*_FAILURES, ValueError) as error:
            raise self._unreachable(error) from error
        if answer.is_error:
            raise answer_error(content, answer.status_code, self.address)
        return content

    async def fetch(self, path: str) -> bytes:
        """Return a binary answer's body.

        :raises TraefikeeError: as :meth:`request`.
        """
        try:
            answer = await self._client.get(path, extensions=self._extensions)
        except _FAILURES as error:
            raise self._unreachable(error) from error
        if answer.is_error:
            content: Any = None
            try:
                content = answer.json()
            except ValueError:
                content = None
            raise answer_error(content, answer.status_code, self.address)
        return answer.content

    async def stream(self, method: str, path: str, body: Any = None, *, silence: float = 10.0) -> AsyncIterator[Any]:
        """Yield the JSON lines of a streamed answer.

        :param silence: seconds without a line after which the peer counts as gone (it sends one more often).
        :raises TraefikeeError: as :meth:`request`; an ``{"error": ...}`` line is raised too.
        """
        timeout = httpx.Timeout(silence, connect=CONNECT_TIMEOUT)
        try:
            async with self._client.stream(
                method, path, json=body, extensions=self._extensions, timeout=timeout
            ) as answer:
                if answer.is_error:
                    raise answer_error(json.loads(await answer.aread() or b"null"), answer.status_code, self.address)
                async for line in answer.aiter_lines():
                    if line:
                        content: Any = json.loads(line)
                        if "error" in content:
                            raise answer_error(content, answer.status_code, self.address)
                        yield content
        except (*_FAILURES, ValueError) as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> TraefikeeError:
        words = _words(error)
        if "certificate has expired" in words or "certificate is not yet valid" in words:
            return UnreachableError(
                f"the certificate of {self.address} is not valid by this machine's clock: {words}",
                "compare the clocks of both machines; a control node that runs renews its certificate by itself",
                kind="peer",
            )
        if "UNKNOWN_CA" in words:
            return UnreachableError(
                f"{self.address} does not trust the authority that this node's certificate is from",
                validity.JOIN_AGAIN,
                kind="foreign",
            )
        if "CERTIFICATE_VERIFY_FAILED" in words:
            return UnreachableError(
                f"{self.address} is not a control node of this cluster (its certificate is from another authority)",
                RECONNECT_HINT,
                kind="foreign",
            )
        refused = isinstance(error, httpx.ConnectError)
        return UnreachableError(
            f"{self.address} does not answer: {words}", RECONNECT_HINT, kind="refused_connection" if refused else "peer"
        )


def adopted(content: Any, known: Sequence[str]) -> tuple[str, ...]:
    """Return the authorities of an answer to ``GET /v1/ca`` that may be trusted by who knows some of them."""
    if not isinstance(content, dict):
        return ()
    texts = {name: content.get(name) or [] for name in ("authorities", "endorsements")}
    offered = [str(one) for one in texts["authorities"]] or [str(content.get("ca_pem", ""))]

    def endorsed(authority: str, by: str, proof: str) -> bool:
        from traefikee.cluster import pki  # only while one authority takes another's place

        return pki.endorsed(authority, by, proof)

    return authorities.adopt(known, offered, [str(one) for one in texts["endorsements"]], endorsed)


def _words(error: Exception) -> str:
    """Return what went wrong: of a connection that failed what the system says, which the client library hides."""
    words = str(error) or type(error).__name__
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError) and cause.strerror:
            # asyncio says "Connect call failed" for whatever it is; names that are not found have numbers below 0.
            words = os.strerror(cause.errno) if cause.errno and cause.errno > 0 else cause.strerror
        cause = cause.__cause__ or cause.__context__
    return words


async def fetch_authority(address: str, digest: str) -> str:
    """Return the authorities of the cluster at an address, as one PEM text, after checking them with a token's digest.

    :raises RefusedError: if the cluster there is another one than the token's.
    :raises UnreachableError: if nobody answers.
    """
    async with Peer(address, None) as peer:
        known = adopted(await peer.request("GET", "/v1/ca"), [digest])
    if not known:
        raise RefusedError(
            f"the token is for another cluster than the one at {address}, or for its authority before `rotate-ca`",
            "take the token from `traefikee env` on a control node of the cluster to join",
            kind="token",
        )
    return "".join(known)


async def learn_authorities(address: str, ca_pem: str) -> str:
    """Return whom the control node at an address trusts, as far as whom this node trusts vouches for them.

    For a node that was away while another authority took over: while both are trusted, the old one endorses the new.

    :returns: a PEM text; empty if nobody that this node trusts vouches for them.
    :raises TraefikeeError: if nobody answers.
    """
    async with Peer(address, None) as peer:
        return "".join(adopted(await peer.request("GET", "/v1/ca"), authorities.digests(ca_pem)))


async def trusted_authorities(peer: Peer, wanted: Collection[str]) -> str:
    """Return the authorities of these digests, as one PEM text, from a control node whose certificate was verified.

    :raises UnreachableError: if it does not know all of them (any more).
    """
    content = await peer.request("GET", "/v1/ca")
    offered = content.get("authorities") or [] if isinstance(content, dict) else []
    found = [one for one in map(str, offered) if tokens.authority_digest(one) in wanted]
    if len(found) != len(wanted):
        raise UnreachableError(f"{peer.address} tells other authorities than it did", kind="superseded")
    return "".join(found)
