"""A control node's side of certificates that are renewed: whom it gives a new one, and what its own are made of."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from datetime import UTC, datetime

from traefikee import log
from traefikee.cluster import pki, state, validity
from traefikee.cluster.admission import Admission
from traefikee.cluster.certificate_request import message
from traefikee.cluster.messages import AuthorityAnswer, RenewAnswer, RenewRequest
from traefikee.cluster.mirror import Mirror
from traefikee.cluster.records import NodeRecord
from traefikee.cluster.removed import refuse_removed
from traefikee.cluster.roles import Role
from traefikee.cluster.state import ClusterState
from traefikee.cluster.store import Compare, Put, Store
from traefikee.errors import RefusedError

NONCE_SECONDS = 600.0
"""How long a nonce is good. It need not be short: what is signed names the new key, and only its owner can use it."""

_log = log.get("certificates")


def told_authorities(seen: ClusterState | None, own_bundle: tuple[str, ...]) -> AuthorityAnswer:
    """Return what is said of the authorities.

    :param seen: the agreed state, once this node knows it.
    :param own_bundle: whom this node trusts.
    """
    if seen is None or seen.info is None:
        return AuthorityAnswer(ca_pem=own_bundle[0], authorities=own_bundle)
    known = seen.authorities
    endorsements = known.rotation.endorsements if known.rotation is not None else ()
    return AuthorityAnswer(ca_pem=known.signing, authorities=known.trusted, endorsements=endorsements)


class Renewal:
    """Gives data nodes new certificates, on behalf of one control node."""

    def __init__(self, store: Store, mirror: Mirror, admission: Admission) -> None:
        self._store = store
        self._mirror = mirror
        self._admission = admission

    def nonce(self) -> str:
        """Return a fresh nonce: its time, and a tag that any control node can check."""
        at = f"{time.time():.0f}"
        return f"{at}.{self._tag(at)}"

    def _tag(self, at: str) -> str:
        return hmac.new(self._admission.cluster_key, b"renew " + at.encode(), hashlib.sha256).hexdigest()

    async def renew(self, request: RenewRequest, peer_id: str) -> RenewAnswer:
        """Sign a new certificate for a data node, and note its serial number.

        :param peer_id: the id in the certificate that was shown in the handshake; empty if none was.
        :raises RefusedError: if it may not have one.
        """
        identity = peer_id or self._ended(request)
        seen = self._mirror.state
        refuse_removed(seen, identity)
        certificate = self._admission.issue(request.request_pem, identity, Role.DATA)
        serial = pki.serial(certificate)
        # A node that is not in the list is recognised by its next report.
        await note_serial(self._store, identity, serial)
        _log.info("certificate renewed", id=identity, had_ended=not peer_id)
        return RenewAnswer(certificate_pem=certificate, serial=serial, authorities=seen.authorities.trusted)

    def _ended(self, request: RenewRequest) -> str:
        """Return the id in a certificate that has ended, once it is clear that its owner asks.

        :raises RefusedError: if it is not.
        """
        at, _, tag = request.nonce.partition(".")
        fresh = at.isdigit() and abs(time.time() - int(at)) < NONCE_SECONDS
        if not fresh or not hmac.compare_digest(tag, self._tag(at)):
            raise RefusedError("the nonce is not a fresh one of this cluster", kind="nonce")
        trusted = self._mirror.state.authorities.trusted
        identity, role = pki.ended_certificate(request.certificate_pem, trusted, datetime.now(UTC))
        if role != Role.DATA.value:
            raise RefusedError(f"a certificate of the role {role} is not renewed so", kind="role")
        try:
            signature = base64.b64decode(request.signature, validate=True)
        except binascii.Error:
            signature = b""
        if not pki.signed_by(request.certificate_pem, message(request.nonce, request.request_pem), signature):
            raise RefusedError("the request is not signed by the certificate's key", kind="proof")
        return identity


async def note_serial(store: Store, identity: str, serial: str) -> None:
    """Write the serial number of a node's new certificate into its record, if it is in the list."""
    found = await store.get(state.NODES + identity)
    if found is None:
        return
    record = NodeRecord.model_validate_json(found.value)
    if record.certificate_serial == serial:
        return
    changed = record.model_copy(update={"certificate_serial": serial})
    # Whoever has changed the record meanwhile (a member id, for example) counts more than a number for readers.
    await store.transact(
        [Compare.unchanged(found.key, found.mod_revision)], [Put(state.NODES + identity, changed.stored())]
    )


def ends_soon(not_after: str, now: datetime) -> bool:
    """Tell whether a certificate of a report ends so soon that somebody should look; an unreadable time does not."""
    try:
        return validity.ends_soon(datetime.fromisoformat(not_after), now)
    except ValueError:
        return False
