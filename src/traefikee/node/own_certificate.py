"""A control node's own certificate, and whom it trusts: renewed and put in force everywhere while it runs.

The agent signs for itself, with the authority's key that the store holds sealed. A copy of that is kept on the disk, so
that a node whose certificate has ended while the control plane was away can come back without a quorum.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from traefikee import log
from traefikee.cluster import etcd, rotation, state, validity, x509_fields
from traefikee.cluster.authorities import digests, issuer_digest
from traefikee.cluster.records import CertificateReport, Secrets
from traefikee.cluster.roles import Role
from traefikee.cluster.store import Compare, Delete, Put
from traefikee.config.certificates import CertificatePair
from traefikee.errors import TraefikeeError, UnreachableError
from traefikee.node.statedir import Identity, StateDir

if TYPE_CHECKING:
    from traefikee.node.control import ControlNode

AUTHORITY_FILE = "authority.json"
RESTART_DEADLINE = 60.0
PAUSE = 1.0

_log = log.get("certificates")


class AuthorityFile(BaseModel):
    """What a control node keeps on its disk of the authority that signs.

    :ivar sealed: the store's sealed secrets, in hexadecimal.
    """

    model_config = ConfigDict(frozen=True)

    ca_pem: str
    sealed: str = Field(repr=False)


def own_report(identity: Identity, store_trusts: tuple[str, ...] = ()) -> CertificateReport | None:
    """Return what a node says of its certificate; None if it cannot be read."""
    try:
        return CertificateReport(
            not_after=x509_fields.read(identity.certificate_pem).not_after.isoformat(),
            issuer=issuer_digest(identity.certificate_pem, identity.ca_pem),
            trusts=digests(identity.ca_pem),
            store_trusts=store_trusts,
        )
    except TraefikeeError as error:
        _log.error("this node's own certificate cannot be read", reason=error.cause)
        return None


def why_renew(certificate_pem: str, now: datetime, spread: float, *, first: bool = False) -> str:
    """Say why a certificate is to be renewed now, or return an empty text.

    :param spread: see :func:`traefikee.cluster.validity.renew_at`.
    :param first: this is the first look since the start, at a certificate of whatever version.
    """
    fields = x509_fields.read(certificate_pem)
    if fields.not_after <= now:
        return "it has ended"
    if validity.renew_at(fields.not_before, fields.not_after, spread) <= now:
        return "two thirds of its life are over"
    if first and validity.too_long(fields.not_before, fields.not_after, validity.node()):
        return "it is valid for longer than certificates are by now"
    return ""


def signed_for_itself(identity: Identity, ca_pem: str, secrets: Secrets) -> Identity:
    """Return a control node's identity with a fresh key and certificate of the authority."""
    from traefikee.cluster import pki

    host = identity.advertise.rpartition(":")[0].strip("[]")
    authority = CertificatePair(chain_pem=ca_pem, key_pem=secrets.ca_key_pem)
    pair = pki.issue_for_new_key(authority, identity=identity.id, role=Role.CONTROL, hosts=(host,))
    return identity.model_copy(
        update={
            "certificate_pem": pair.chain_pem,
            "certificate_serial": pki.serial(pair.chain_pem),
            "key_pem": pair.key_pem,
        }
    )


def renewed_from_disk(statedir: StateDir, identity: Identity) -> Identity:
    """Return the identity with which a control node starts: renewed, if it is time, with what its disk holds.

    :raises TraefikeeError: if its certificate has ended and cannot be renewed so.
    """
    why = why_renew(identity.certificate_pem, datetime.now(UTC), 0.0)
    if not why:
        return identity
    from cryptography.exceptions import InvalidTag

    from traefikee.cluster import pki

    try:
        content = statedir.read(AUTHORITY_FILE)
        if content is None:
            # Written as soon as the node is in the cluster: a node without it has just joined, or is of a version
            # before, whose certificates are valid for ten years.
            return identity
        kept = AuthorityFile.model_validate_json(content)
        opened = pki.unseal(bytes.fromhex(identity.cluster_key), bytes.fromhex(kept.sealed))
        renewed = signed_for_itself(identity, kept.ca_pem, Secrets.model_validate_json(opened))
    except (OSError, ValidationError, ValueError, InvalidTag) as error:
        _log.error(
            "the authority's key on the disk cannot be used; the certificate is renewed once the store answers",
            file=str(statedir.path / AUTHORITY_FILE),
            reason=type(error).__name__,
        )
        return identity
    statedir.save_identity(renewed)
    _log.info("certificate renewed at the start", reason=why, until=_until(renewed))
    return renewed


def _until(identity: Identity) -> str:
    return x509_fields.read(identity.certificate_pem).not_after.isoformat(timespec="seconds")


class OwnCertificate:
    """Keeps a control node's certificate and trust as the agreed state asks for.

    :ivar store_trusts: digests of whom its etcd trusts.
    """

    def __init__(self, node: ControlNode) -> None:
        self._node = node
        self._spread = random.random()  # noqa: S311 - not a secret
        self._first = True
        self._in_force = node.identity
        self._kept = b""
        with contextlib.suppress(OSError):
            self._kept = node.statedir.read(AUTHORITY_FILE) or b""
        self._told = ""
        self.store_trusts: tuple[str, ...] = ()
        self._report: tuple[Identity, tuple[str, ...], CertificateReport | None] | None = None

    def report(self) -> CertificateReport | None:
        """Return what is said of it in this node's report."""
        identity = self._in_force
        if self._report is None or self._report[:2] != (identity, self.store_trusts):
            self._report = (identity, self.store_trusts, own_report(identity, self.store_trusts))
        return self._report[2]

    async def keep(self) -> None:
        """Renew, follow the authorities, and restart etcd where that takes it; runs for ever."""
        while True:
            seen = self._node.mirror.state
            try:
                pause = await self._look()
            except TraefikeeError as error:
                _log.error("the node's certificate cannot be kept up to date now", reason=str(error))
                pause = PAUSE * 5
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._node.mirror.wait_for(lambda now, last=seen: _differs(now, last))  # type: ignore[misc]

    async def _look(self) -> float:
        """Do what is to be done; return the seconds until the next look, if nothing changes before."""
        node = self._node
        seen = node.mirror.state
        if seen.info is None or state.SECRETS not in seen.keys:
            return PAUSE
        authorities = seen.authorities
        self._keep_authority(seen.info.ca_pem, seen.keys[state.SECRETS].value)
        identity = node.identity
        why = why_renew(identity.certificate_pem, datetime.now(UTC), self._spread, first=self._first)
        self._first = False
        if issuer_digest(identity.certificate_pem, authorities.signing) == "":
            why = "another authority signs now"
        if why:
            identity = await asyncio.to_thread(
                signed_for_itself, identity, authorities.signing, node.admission.secrets()
            )
        if identity.ca_pem != authorities.bundle:
            identity = identity.model_copy(update={"ca_pem": authorities.bundle})
        if identity is not node.identity:
            node.statedir.save_identity(identity)
            node.identity = identity
        if self._in_force is not node.identity:
            await self._put_in_force(why)
        await self._follow_in_store()
        behind = set(self.store_trusts) != set(digests(authorities.bundle))
        fields = x509_fields.read(node.identity.certificate_pem)
        return PAUSE if behind else validity.pause(fields.not_before, fields.not_after)

    def _keep_authority(self, ca_pem: str, sealed: bytes) -> None:
        content = AuthorityFile(ca_pem=ca_pem, sealed=sealed.hex()).model_dump_json().encode()
        if content != self._kept:
            self._node.statedir.write(AUTHORITY_FILE, content)
            self._kept = content

    async def _put_in_force(self, why: str) -> None:
        node = self._node
        identity = node.identity
        etcd.write_certificates(node.statedir.etcd, identity)
        await node.apply_again()
        self._in_force = identity
        from traefikee.cluster.renewal import note_serial

        with contextlib.suppress(UnreachableError):
            await note_serial(node.store, identity.id, identity.certificate_serial)
        if why:
            _log.info("certificate renewed", reason=why, until=_until(identity))
        else:
            _log.info("the trusted authorities have changed", authorities=len(x509_fields.split(identity.ca_pem)))

    # --- etcd reads whom it trusts only when it starts ---

    async def _follow_in_store(self) -> None:
        node = self._node
        wanted = digests(node.identity.ca_pem)
        if set(self.store_trusts) == set(wanted):
            return
        status = await node.store.status()
        me = node.mirror.state.node(node.identity.id)
        leads = me is not None and me.record.member != 0 and int(status.get("leader", 0)) == me.record.member
        why_not = rotation.why_not_restart_store(node.mirror.state, node.identity.id, wanted, leads=leads)
        if why_not:
            if why_not != self._told:
                _log.info("etcd is to be restarted, to trust other authorities; it waits", reason=why_not)
                self._told = why_not
            return
        if not node.presence.lease:
            return  # nothing would end its turn if this node died in the middle of it
        mine = Put(state.RESTARTING, node.identity.id.encode(), node.presence.lease)
        held = await node.store.transact([Compare.absent(state.RESTARTING)], [mine])
        if held is None:
            return
        try:
            _log.info("etcd is restarted, to trust other authorities")
            began = time.monotonic()
            await node.restart_store()
            self.store_trusts = wanted
            async with asyncio.timeout(RESTART_DEADLINE):
                await node.wait_for_store()
            self._told = ""
            _log.info("etcd is back", seconds=round(time.monotonic() - began, 1))
        except TimeoutError:
            _log.error("etcd does not answer since it was restarted", seconds=RESTART_DEADLINE)
        finally:
            with contextlib.suppress(UnreachableError):
                await node.store.transact([Compare.same_creation(state.RESTARTING, held)], [Delete(state.RESTARTING)])


def _differs(now: state.ClusterState, last: state.ClusterState) -> bool:
    """Tell whether something of that which is looked at here has changed."""
    keys = (state.AUTHORITIES, state.SECRETS, state.INFO, state.RESTARTING)
    return any(now.keys.get(key) != last.keys.get(key) for key in keys)
