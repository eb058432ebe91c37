"""The replacement of the cluster's authority: begun by an operator, carried on by whoever leads."""

from __future__ import annotations

import asyncio
import contextlib
import secrets as random_source
import time

from traefikee import log
from traefikee.cluster import audit, pki, rotation, state
from traefikee.cluster.admission import Admission
from traefikee.cluster.audit import Actor
from traefikee.cluster.authorities import Authorities, Rotation, RotationPhase
from traefikee.cluster.fencing import DeposedError, FencedStore
from traefikee.cluster.mirror import Mirror
from traefikee.cluster.records import Secrets
from traefikee.cluster.rotation import Advance
from traefikee.cluster.state import ClusterState
from traefikee.cluster.store import OPERATOR_PATIENCE, Compare, Delete, Put, Store
from traefikee.cluster.token_table import when
from traefikee.config.certificates import CertificatePair
from traefikee.errors import RefusedError, TraefikeeError, UnreachableError

LOOK_EVERY = 1.0
LEAST_GRACE = 10.0
"""Seconds for which the old authority is trusted in any case: for whoever is connected at that moment to follow."""
LONGEST_GRACE = 90 * 86400.0
COMMAND = "rotate-ca"

_log = log.get("authority")


def _unchanged(seen: ClusterState, *keys: str) -> list[Compare]:
    return [Compare.unchanged(key, found.mod_revision if (found := seen.keys.get(key)) else 0) for key in keys]


_READ = (state.INFO, state.SECRETS, state.AUTHORITIES)


async def begin(store: Store, mirror: Mirror, admission: Admission, grace: float, actor: Actor, node: str) -> None:
    """Make a new authority and begin to have it trusted beside the one that signs.

    :param grace: seconds for which the old one is trusted at least, from when the new one signs.
    :param node: the control node that was asked, for the audit log.
    :raises TraefikeeError: if it cannot begin now.
    """
    seen = mirror.state
    rotation.check_start(seen)
    if not 0 <= grace <= LONGEST_GRACE:
        raise RefusedError(f"--grace is 0 to {LONGEST_GRACE / 86400:.0f} days", kind="invalid")
    if seen.info is None:
        raise UnreachableError("there is no cluster yet", kind="joining")
    opened = admission.secrets()
    before = CertificatePair(chain_pem=seen.authorities.signing, key_pem=opened.ca_key_pem)
    fresh = pki.new_authority(seen.info.id, random_source.token_hex(4))
    begun = Authorities(
        trusted=(before.chain_pem, fresh.chain_pem),
        rotation=Rotation(
            phase=RotationPhase.TRUST,
            started_at=time.time(),
            started_by=actor.who,
            grace=grace,
            endorsements=(pki.endorse(before, fresh.chain_pem), pki.endorse(fresh, before.chain_pem)),
        ),
    )
    kept = opened.model_copy(update={"next_ca_key_pem": fresh.key_pem})
    told = audit.entry(actor, node, COMMAND, f"a new authority is to replace the one that signs; grace {grace:.0f} s")
    await _write(store, seen, [_authorities(begun), _sealed(admission, kept), told])


async def finish(store: Store, mirror: Mirror, actor: Actor, node: str) -> None:
    """Let the old authority be retired as soon as all live nodes have certificates of the new one.

    :raises TraefikeeError: if no rotation is under way, or that was done already.
    """
    seen = mirror.state
    known = seen.authorities
    if known.rotation is None:
        raise RefusedError("the authority is not being replaced", "begin with `traefikee rotate-ca`")
    if known.rotation.phase is RotationPhase.RETIRE:
        raise RefusedError("the old authority is being retired already", "`traefikee rotate-ca --status` shows how far")
    retire = None if known.rotation.retire_after is None else time.time()
    changed = known.rotation.model_copy(update={"grace": 0.0, "retire_after": retire})
    told = audit.entry(actor, node, COMMAND, "the old authority is to be retired without further grace")
    await _write(store, seen, [_authorities(known.model_copy(update={"rotation": changed})), told])


async def carry_on(term: FencedStore, mirror: Mirror, admission: Admission, node: str) -> None:
    """Carry on the rotation that is under way, while this node leads; runs until cancelled.

    :param node: this node's name, for the audit log.
    :raises DeposedError: if the term is over.
    """
    said = ""
    while True:
        seen = await mirror.wait_for(lambda now: now.info is not None and now.authorities.rotation is not None)
        decision = rotation.decide(seen, time.time())
        if decision is not None and decision.reason != said:
            said = decision.reason
            _log.info(f"the authority is being replaced: {said}")
        if isinstance(decision, Advance):
            try:
                await _advance(term, seen, admission, decision, node)
            except DeposedError:
                raise
            except TraefikeeError as error:
                _log.warning("the replacement of the authority cannot go on now", reason=str(error))
        await _pause(mirror, seen)


async def _pause(mirror: Mirror, seen: ClusterState) -> None:
    """Wait for a change, or for time to pass."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LOOK_EVERY):
            await mirror.wait_for(lambda now: now is not seen)


async def _advance(term: FencedStore, seen: ClusterState, admission: Admission, decision: Advance, node: str) -> None:
    known, running = seen.authorities, seen.authorities.rotation
    if running is None or seen.info is None:
        return
    operations: list[Put | Delete] = []
    match decision.to:
        case RotationPhase.ISSUE:
            old, new = known.trusted
            opened = admission.secrets()
            until = time.time() + max(running.grace, LEAST_GRACE)
            after = Authorities(
                trusted=(new, old),
                rotation=running.model_copy(update={"phase": RotationPhase.ISSUE, "retire_after": until}),
            )
            kept = opened.model_copy(update={"ca_key_pem": opened.next_ca_key_pem, "next_ca_key_pem": ""})
            # The version before reads there who signs.
            operations = [_sealed(admission, kept), _info(seen, new)]
            told = f"the new authority signs; the old one stays trusted until {when(until)}"
        case RotationPhase.RETIRE:
            after = Authorities(
                trusted=(known.signing,),
                rotation=running.model_copy(update={"phase": RotationPhase.RETIRE, "endorsements": ()}),
            )
            told = "the old authority is trusted no more"
        case _:
            after = Authorities(trusted=known.trusted)
            told = "the authority has been replaced"
    entry = audit.entry(Actor(f"node {node}", "cluster"), node, COMMAND, f"{told}: {decision.reason}")
    await _write(term, seen, [_authorities(after), *operations, entry])


async def _write(store: Store | FencedStore, seen: ClusterState, operations: list[Put | Delete]) -> None:
    """Write what follows from a state, unless that has changed.

    :raises UnreachableError: if it has.
    """
    done = await store.transact(_unchanged(seen, *_READ), operations, patience=OPERATOR_PATIENCE)
    if done is None:
        raise UnreachableError("the cluster's authorities were changed at this moment", "try again", kind="conflict")


def _authorities(after: Authorities) -> Put:
    return Put(state.AUTHORITIES, after.stored())


def _sealed(admission: Admission, kept: Secrets) -> Put:
    return Put(state.SECRETS, pki.seal(admission.cluster_key, kept.stored()))


def _info(seen: ClusterState, ca_pem: str) -> Put:
    if seen.info is None:
        raise UnreachableError("there is no cluster yet", kind="joining")
    return Put(state.INFO, seen.info.model_copy(update={"ca_pem": ca_pem}).stored())
