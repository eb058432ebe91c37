"""The newcomer's side of a join: find a control node that answers, check whom it talks to, get an identity."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from traefikee import log
from traefikee.cluster import authorities, peers, tokens, validity
from traefikee.cluster.messages import JoinAnswer, JoinRequest, MemberRequest, Standing
from traefikee.cluster.peers import Peer
from traefikee.cluster.roles import Role
from traefikee.config.certificates import CertificatePair
from traefikee.errors import RefusedError, TraefikeeError, UnreachableError
from traefikee.node.statedir import Identity

PAUSE = 1.0
PROGRESS_EVERY = 5.0
STANDING_DEADLINE = 10.0
"""Seconds that a control node may take to say what the cluster knows of this one."""

T = TypeVar("T")

_log = log.get("join")


def own_pair(identity: Identity) -> CertificatePair:
    """Return the certificate and key that a node shows to others."""
    return CertificatePair(chain_pem=identity.certificate_pem, key_pem=identity.key_pem)


async def ask_any(
    addresses: Sequence[str], deadline: float, what: str, ask: Callable[[str], Awaitable[T]]
) -> tuple[str, T]:
    """Ask the addresses in turn until one answers, telling from time to time what it waits for.

    :param deadline: seconds to go on trying.
    :param what: what is asked for, for the log.
    :returns: the address that answered, and its answer.
    :raises TraefikeeError: the first answer that trying again would not change; or, at the deadline, the last failure.
    """
    until = time.monotonic() + deadline
    told = 0.0
    failures: dict[str, UnreachableError] = {}
    while True:
        for address in addresses:
            try:
                return address, await ask(address)
            except UnreachableError as error:
                failures[address] = error
        now = time.monotonic()
        if now >= until:
            reasons = "; ".join(error.cause for error in failures.values())
            raise UnreachableError(
                f"no control node answers after {deadline:.0f} s: {reasons}", peers.RECONNECT_HINT, kind="peer"
            )
        if now - told > PROGRESS_EVERY:
            told = now
            _log.info(
                f"waiting for a control node to {what}",
                tried=", ".join(addresses),
                last=list(failures.values())[-1].cause,
                gives_up_in=f"{until - now:.0f}s",
            )
        await asyncio.sleep(min(PAUSE, max(0.05, until - now)))


async def obtain_identity(
    token_text: str, addresses: Sequence[str], role: Role, name: str, advertise: str, deadline: float
) -> Identity:
    """Join with a token: verify the cluster by its CA's digest, then send the secret and a certificate request.

    :raises TraefikeeError: a wrong or foreign token, a taken name, nobody there.
    """
    from traefikee.cluster import pki  # only a newcomer needs it

    token = tokens.parse(token_text)
    address, ca_pem = await ask_any(
        addresses, deadline, "let this node in", lambda peer: peers.fetch_authority(peer, token.digest)
    )
    key = pki.new_key()
    request = JoinRequest(
        role=role, name=name, advertise=advertise, request_pem=pki.new_request(key), secret=token.secret
    )

    async def ask(peer_address: str) -> JoinAnswer:
        async with Peer(peer_address, ca_pem) as peer:
            return JoinAnswer.model_validate(await peer.request("POST", "/v1/join", request.model_dump(mode="json")))

    others = [other for other in addresses if other != address]
    address, answer = await ask_any([address, *others], deadline, "let this node in", ask)
    _log.info("joined the cluster", cluster=answer.cluster_id, through=address, id=answer.id)
    return Identity(
        id=answer.id,
        name=name,
        role=role,
        cluster_id=answer.cluster_id,
        advertise=advertise,
        ca_pem=ca_pem,
        certificate_pem=answer.certificate_pem,
        certificate_serial=pki.serial(answer.certificate_pem),
        key_pem=pki.key_to_pem(key),
        cluster_key=answer.cluster_key,
    )


async def return_to_list(identity: Identity, addresses: Sequence[str], deadline: float) -> Identity:
    """Join afresh with the node's own certificate, after it was cleaned away; the id stays.

    :raises TraefikeeError: as :func:`obtain_identity`.
    """
    from traefikee.cluster import pki  # only a node that was cleaned away needs it

    key = pki.new_key()
    request = JoinRequest(
        role=identity.role, name=identity.name, advertise=identity.advertise, request_pem=pki.new_request(key)
    )

    async def ask(address: str) -> JoinAnswer:
        async with Peer(address, identity.ca_pem, own_pair(identity)) as peer:
            return JoinAnswer.model_validate(await peer.request("POST", "/v1/join", request.model_dump(mode="json")))

    _, answer = await ask_any(addresses, deadline, "take this node back", ask)
    return identity.model_copy(
        update={
            "certificate_pem": answer.certificate_pem,
            "certificate_serial": pki.serial(answer.certificate_pem),
            "key_pem": pki.key_to_pem(key),
            "bootstrap": False,
        }
    )


async def ask_standing(
    identity: Identity, addresses: Sequence[str], generation: int = 0
) -> tuple[Standing, str] | None:
    """Ask the other control nodes what the cluster knows of this one, all at once; None if nobody can say.

    Of several clusters that answer the one of the highest generation counts: the others were left behind by it.

    :param generation: what an earlier one says does not count.
    :returns: what was answered, and the address that did.
    :raises RefusedError: if all of them have certificates of an authority that this node does not trust.
    :raises TraefikeeError: if this version cannot be in the cluster.
    """
    foreign: list[str] = []
    refused: list[TraefikeeError] = []

    async def ask(address: str) -> Standing | None:
        try:
            async with asyncio.timeout(STANDING_DEADLINE), Peer(address, identity.ca_pem, own_pair(identity)) as peer:
                return Standing.model_validate(await peer.request("GET", "/v1/self"))
        except (TraefikeeError, ValidationError, TimeoutError) as error:
            if isinstance(error, TraefikeeError) and error.kind == "foreign":
                foreign.append(address)
            if isinstance(error, TraefikeeError) and error.kind == "version":
                refused.append(error)
            _log.debug("cannot ask", peer=address, error=str(error))
            return None

    answers = zip(await asyncio.gather(*map(ask, addresses)), addresses, strict=True)
    if addresses and len(foreign) == len(addresses):
        raise left_behind(addresses)
    found = [(standing, address) for standing, address in answers if standing and standing.generation >= generation]
    if refused and not found:
        raise refused[0]
    return max(found, key=lambda one: one[0].generation, default=None)


def left_behind(addresses: Sequence[str]) -> RefusedError:
    """Return the error of a node that was away while the authority was replaced."""
    return RefusedError(
        f"this node does not trust the authority of {', '.join(addresses)}: the cluster's was replaced while this node "
        "was away",
        validity.JOIN_AGAIN,
        kind="foreign",
    )


async def caught_up(identity: Identity, addresses: Sequence[str]) -> Identity:
    """Return the identity with the authorities that were added while the node was away, if it may trust them.

    All addresses are asked at once, and the first answer counts: some of them may be of machines that are gone.
    """
    asked = [asyncio.create_task(peers.learn_authorities(address, identity.ca_pem)) for address in addresses]
    try:
        for one in asyncio.as_completed(asked):
            try:
                known = await one
            except TraefikeeError as error:
                _log.debug("cannot ask", error=str(error))
                continue
            if set(authorities.digests(known)) - set(authorities.digests(identity.ca_pem)):
                _log.info("the cluster's authority is being replaced: this node trusts the new one too")
                return identity.model_copy(update={"ca_pem": known})
            return identity
        return identity
    finally:
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


async def store_steps(identity: Identity, address: str, *, started: bool) -> AsyncIterator[dict[str, Any]]:
    """Yield the steps of this control node's way into etcd, as the control node at the address tells them.

    :param started: whether this node's etcd runs already, from a try through another control node.
    """
    request = MemberRequest(started=started).model_dump(mode="json")
    async with Peer(address, identity.ca_pem, own_pair(identity)) as peer:
        async for step in peer.stream("POST", "/v1/members", request):
            if step.get("event") != "still_here":
                yield step
