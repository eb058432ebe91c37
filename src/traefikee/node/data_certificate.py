"""A data node's certificate, and whom it trusts: renewed over its connection, or, once it has ended, with its key.

The connections that are open stay; those that are made later show the new certificate.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from traefikee import log
from traefikee.cluster import authorities, certificate_request, peers, validity, x509_fields
from traefikee.cluster.certificate_request import Proof
from traefikee.cluster.joining import left_behind, own_pair
from traefikee.cluster.messages import RenewAnswer
from traefikee.cluster.peers import Peer
from traefikee.cluster.records import CertificateReport
from traefikee.errors import TraefikeeError, UnreachableError
from traefikee.node.own_certificate import own_report, why_renew
from traefikee.node.statedir import Identity, StateDir

AGAIN_AT_MOST_EVERY = 3600.0
"""Seconds between two renewals by this node's own clock, which may be far ahead."""
AGAIN = 1.0
"""Seconds until the next try, if a control node did not answer."""
TELL_EVERY = 600.0
"""Seconds between two lines of the log about a node that was left behind."""

_log = log.get("certificates")


class DataCertificate:
    """Keeps a data node's certificate.

    :param changed: called when something of it has changed.
    :ivar identity: the node's identity, with the certificate that it has by now.
    """

    def __init__(self, statedir: StateDir, identity: Identity, changed: Callable[[], None]) -> None:
        self._statedir = statedir
        self._changed = changed
        self._spread = random.random()  # noqa: S311 - not a secret
        self._first = True
        self._renewing = asyncio.Lock()
        self._trusted: tuple[str, ...] = ()
        """Whom the cluster trusts, the one that signs first."""
        self._news = asyncio.Event()
        self._report: tuple[Identity, CertificateReport | None] | None = None
        self._renewed_at: float | None = None
        self._told_at = float("-inf")
        self.identity = identity

    def report(self) -> CertificateReport | None:
        """Return what is said of it in this node's report."""
        if self._report is None or self._report[0] is not self.identity:
            self._report = (self.identity, own_report(self.identity))
        return self._report[1]

    def _save(self, identity: Identity) -> None:
        self._statedir.save_identity(identity)
        self.identity = identity
        self._changed()

    # --- over a connection ---

    def hear(self, event: dict[str, Any]) -> None:
        """Take note of whom the cluster trusts, as a control node tells it; :meth:`keep` follows."""
        told = event.get("trusted")
        trusted = tuple(str(one) for one in told) if isinstance(told, list) else ()
        if trusted and trusted != self._trusted:  # the version before tells nothing
            self._trusted = trusted
            self._news.set()

    async def keep(self, connection: Callable[[], Peer | None]) -> None:
        """Trust whom the cluster trusts, and renew in time, over whatever connection there is; until cancelled."""
        failed = False
        while True:
            fields = x509_fields.read(self.identity.certificate_pem)
            pause = validity.pause(fields.not_before, fields.not_after)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(pause, AGAIN) if failed else pause):
                    await self._news.wait()
                    # Not all data nodes of a cluster at once.
                    await asyncio.sleep(self._spread)
            self._news.clear()
            peer = connection()
            failed = peer is None or not self._trusted
            if peer is None or not self._trusted:
                continue
            try:
                if set(authorities.digests(self.identity.ca_pem)) != set(self._trusted):
                    known = await peers.trusted_authorities(peer, self._trusted)
                    self._save(self.identity.model_copy(update={"ca_pem": known}))
                    peer.show(own_pair(self.identity), known)
                    _log.info("the trusted authorities have changed", authorities=len(self._trusted))
                await self._renew_if_due(peer)
            except UnreachableError as error:
                # Whoever trusts others by now ends the connections that were idle, and this may have been one.
                failed = True
                _log.info("this node's certificate is brought up to date in a moment", reason=str(error))
            except TraefikeeError as error:
                _log.error("this node's certificate cannot be kept up to date now", reason=str(error))

    def _why(self) -> str:
        """Say why the certificate is to be renewed now, or return an empty text."""
        identity = self.identity
        if authorities.issuer_digest(identity.certificate_pem, identity.ca_pem) != self._trusted[0]:
            return "another authority signs now"
        why = why_renew(identity.certificate_pem, datetime.now(UTC), self._spread, first=self._first)
        if why and self._renewed_at is not None:
            fields = x509_fields.read(identity.certificate_pem)
            least = min(AGAIN_AT_MOST_EVERY, validity.life(fields.not_before, fields.not_after).total_seconds() / 4)
            if asyncio.get_running_loop().time() - self._renewed_at < least:
                return ""  # our clock is far ahead of the one that has signed
        return why

    async def _renew_if_due(self, peer: Peer) -> None:
        async with self._renewing:
            why = self._why()
            self._first = False
            if why:
                made = await certificate_request.make_apart()
                self._take(
                    made.key_pem, await peer.request("POST", "/v1/renew", {"request_pem": made.request_pem}), why
                )
                peer.show(own_pair(self.identity), self.identity.ca_pem)

    def _take(self, key_pem: str, answer: Any, why: str) -> None:
        try:
            got = RenewAnswer.model_validate(answer)
        except ValidationError as error:
            raise UnreachableError("the control node's answer cannot be read", kind="peer") from error
        fields = x509_fields.read(got.certificate_pem)
        self._save(
            self.identity.model_copy(
                update={
                    "ca_pem": "".join(got.authorities),
                    "certificate_pem": got.certificate_pem,
                    "certificate_serial": got.serial,
                    "key_pem": key_pem,
                }
            )
        )
        self._renewed_at = asyncio.get_running_loop().time()
        _log.info("certificate renewed", reason=why, until=fields.not_after.isoformat(timespec="seconds"))

    # --- without one ---

    def ended(self) -> bool:
        """Tell whether the certificate has ended, by this node's clock."""
        return x509_fields.read(self.identity.certificate_pem).not_after <= datetime.now(UTC)

    async def come_back(self, address: str) -> None:
        """Get a new certificate for one that has ended, from the control node at an address, without showing it.

        :raises TraefikeeError: if there is none to be had.
        """
        async with self._renewing, Peer(address, self.identity.ca_pem) as peer:
            content = await peer.request("GET", "/v1/renew")
            nonce = str(content.get("nonce", "")) if isinstance(content, dict) else ""
            made = await certificate_request.make_apart(Proof(key_pem=self.identity.key_pem, nonce=nonce))
            body = {
                "request_pem": made.request_pem,
                "certificate_pem": self.identity.certificate_pem,
                "nonce": nonce,
                "signature": made.signature,
            }
            self._take(made.key_pem, await peer.request("POST", "/v1/renew", body), "it had ended")

    async def catch_up(self, address: str) -> None:
        """Learn of an authority that took over while this node was away; where nobody vouches for it, say so."""
        known = await peers.learn_authorities(address, self.identity.ca_pem)
        if not set(authorities.digests(known)) - set(authorities.digests(self.identity.ca_pem)):
            self.tell(left_behind([address]))
            return
        self._save(self.identity.model_copy(update={"ca_pem": known}))
        _log.info("the cluster's authority is being replaced: this node trusts the new one too", through=address)

    def tell(self, error: TraefikeeError) -> None:
        """Say, now and then, why this node cannot come back by itself."""
        now = asyncio.get_running_loop().time()
        if now - self._told_at >= TELL_EVERY:
            self._told_at = now
            _log.error("what is in force is served on, but changes cannot be followed", reason=str(error))


def has_ended(error: TraefikeeError) -> bool:
    """Tell whether a control node has refused the handshake because this node's certificate has ended."""
    return "CERTIFICATE_EXPIRED" in error.cause.upper().replace(" ", "_")
