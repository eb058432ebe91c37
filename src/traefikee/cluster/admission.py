"""How a control node lets others in: tokens, names, certificates, and etcd's membership one learner at a time."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from traefikee import log
from traefikee.cluster import audit, etcd, pki, state, token_table
from traefikee.cluster.fencing import FencedStore
from traefikee.cluster.membership import name_conflict
from traefikee.cluster.messages import JoinAnswer, JoinRequest
from traefikee.cluster.mirror import Mirror
from traefikee.cluster.records import ClusterInfo, NodeRecord, Phase, Report, Secrets
from traefikee.cluster.removed import refuse_removed
from traefikee.cluster.roles import Role
from traefikee.cluster.state import ClusterState
from traefikee.cluster.store import (
    OPERATOR_PATIENCE,
    Compare,
    Delete,
    KeyValue,
    Put,
    Store,
    StoreMember,
    StoreRefusedError,
)
from traefikee.cluster.ticket_keys import TicketKeys, rotated
from traefikee.cluster.token_table import TokenRecord, TokenTable, Used
from traefikee.config.certificates import CertificatePair
from traefikee.errors import RefusedError, TraefikeeError, UnreachableError
from traefikee.formats import Understood
from traefikee.node.statedir import new_id

JOIN_LEASE = 6
"""Seconds after which a join whose host node died no longer blocks the others."""
CATCH_UP_DEADLINE = 120.0
"""Seconds that a learner may take to catch up before its join is rolled back."""
RETRY = 0.25
JOIN_TRIES = 10
"""How often a join begins anew because what it depends on was changed at that moment."""
_log = log.get("admission")


class Admission:
    """Answers joins on behalf of one control node.

    :param name: that node's name, for the audit log.
    """

    def __init__(self, store: Store, mirror: Mirror, cluster_key: bytes, name: str = "") -> None:
        self._name = name
        self._store = store
        self._mirror = mirror
        self.cluster_key = cluster_key

    def secrets(self) -> Secrets:
        """Return the cluster's sealed secrets, opened."""
        sealed = self._mirror.state.keys[state.SECRETS].value
        return Secrets.model_validate_json(pki.unseal(self.cluster_key, sealed))

    def ticket_keys(self) -> TicketKeys | None:
        """Return the keys of TLS session tickets, opened; None before the first leader has made any."""
        found = self._mirror.state.keys.get(state.TICKET_KEYS)
        if found is None:
            return None
        return TicketKeys.model_validate_json(pki.unseal(self.cluster_key, found.value))

    async def rotate_ticket_keys(self, now: float, term: FencedStore) -> bool:
        """Change the keys of TLS session tickets if it is time; tell whether they were changed."""
        fresh = rotated(self.ticket_keys(), now)
        if fresh is None:
            return False
        sealed = pki.seal(self.cluster_key, fresh.model_dump_json().encode())
        found = self._mirror.state.keys.get(state.TICKET_KEYS)
        # A leader before, whose last write was not seen yet, may have changed them.
        unchanged = Compare.unchanged(state.TICKET_KEYS, found.mod_revision if found else 0)
        done = await term.transact([unchanged], [Put(state.TICKET_KEYS, sealed)])
        return done is not None

    async def admit(self, request: JoinRequest, peer_id: str = "", peer_role: str = "") -> JoinAnswer:
        """Check a newcomer, record it and sign its certificate.

        :param peer_id: the CN of the client certificate, if it has one: a node that was cleaned away and comes back
            keeps its id and needs no token.
        :raises RefusedError: for a wrong token, a taken name or address.
        """
        seen = self._mirror.state
        info = _formed_enough(seen)
        returning = bool(peer_id) and peer_role == request.role.value
        refuse_removed(seen, peer_id)
        for _ in range(JOIN_TRIES):
            tokens = None if returning else await self._check_token(info, request)
            identity = peer_id or new_id() if tokens is None else tokens.same_join or new_id()
            check_newcomer(seen, request, identity)
            certificate = self.issue(request.request_pem, identity, request.role, request.advertise)
            record = NodeRecord(
                id=identity,
                name=request.name,
                role=request.role,
                advertise=request.advertise,
                certificate_serial=pki.serial(certificate),
            )
            compares, operations = tokens.when_joined(record) if tokens is not None else ([], [])
            how = "with its certificate" if returning else "with a token"
            if await self._record(record, how, compares, operations):
                break
            # Another newcomer has used the token or taken the name at this moment, or the tokens were changed; or this
            # node was removed.
            seen = self._mirror.state
            refuse_removed(seen, peer_id)
        else:
            raise UnreachableError("too many nodes join at this moment", "start this node again", kind="store")
        _log.info("node admitted", name=request.name, role=request.role.value, id=identity)
        return JoinAnswer(
            id=identity,
            cluster_id=info.id,
            certificate_pem=certificate,
            peers=list(seen.control_addresses),
            cluster_key=self.cluster_key.hex() if request.role is Role.CONTROL else "",
        )

    def issue(self, request_pem: str, identity: str, role: Role, advertise: str = "") -> str:
        """Sign a certificate with the authority that signs now.

        :param advertise: ``host:port`` that a control node is reached by.
        :raises RefusedError: if the request is none.
        """
        info = _formed_enough(self._mirror.state)
        authority = CertificatePair(chain_pem=info.ca_pem, key_pem=self.secrets().ca_key_pem)
        hosts = (advertise.rpartition(":")[0].strip("[]"),) if role is Role.CONTROL else ()
        return pki.issue(authority, request_pem, identity=identity, role=role, hosts=hosts)

    async def _check_token(self, info: ClusterInfo, request: JoinRequest) -> _ShownToken:
        """Check the token against what the store holds at this moment.

        :raises RefusedError: if the newcomer may not join with it.
        """
        found = await self._store.get(state.TOKENS)
        table = state.read_tokens(found, info)
        digest = hashlib.sha256(request.request_pem.encode()).hexdigest()
        record = token_table.check(table, request.role, request.secret, time.time(), digest)
        return _ShownToken(found, table, record, digest)

    async def _record(
        self, record: NodeRecord, how: str, compares: Sequence[Compare] = (), more: Sequence[Put | Delete] = ()
    ) -> bool:
        """Write a node's record; False if what was read before has changed.

        :param how: it came in, for the audit log.
        :param compares: what has to be unchanged besides; ``more`` is written with it.
        :raises RefusedError: if another node has its name.
        """
        name_key = state.NAMES + record.name
        holder = await self._store.get(name_key)
        held = [Compare.unchanged(name_key, holder.mod_revision) if holder else Compare.absent(name_key), *compares]
        operations: list[Put | Delete] = [
            Put(name_key, record.id.encode()),
            Put(state.NODES + record.id, record.stored()),
            audit.entry(
                audit.CLUSTER,
                self._name,
                "join",
                f"{record.role.value} node {record.name} admitted {how}",
            ),
            *more,
        ]
        if holder is not None and holder.value.decode() != record.id:
            before = holder.value.decode()
            conflict = name_conflict(self._mirror.state, record.name, record.id)
            if conflict or self._mirror.state.node(before) is None:
                raise RefusedError(
                    conflict or f"the name {record.name!r} is taken",
                    "give this node another one with --name",
                    kind="name",
                )
            operations.append(Delete(state.NODES + before))
            # Nobody lets that one in while its place is given away.
            held.append(Compare.absent(state.ALIVE + before))
        # Removed at this moment: then it does not come back.
        held.append(Compare.absent(state.REMOVED + record.id))
        return await self._store.transact(held, operations, patience=OPERATOR_PATIENCE) is not None

    async def recognise_data_node(self, identity: str, name: str, serial: str) -> None:
        """Record a data node again that was cleaned from the list while it was away.

        :raises RefusedError: if another node has its name by now.
        """
        refuse_removed(self._mirror.state, identity)
        if self._mirror.state.node(identity) is None:
            conflict = name_conflict(self._mirror.state, name, identity)
            if conflict:
                raise RefusedError(conflict, "give one of them another --name", kind="name")
            record = NodeRecord(id=identity, name=name, role=Role.DATA, certificate_serial=serial)
            if not await self._record(record, "again: it had been forgotten while it was away"):
                raise RefusedError(
                    f"the name {name!r} was taken by another node at this moment",
                    "give this node another one with --name",
                    kind="name",
                )

    # --- etcd's membership ---

    async def bring_into_store(
        self,
        identity: str,
        tell: Callable[[dict[str, Any]], None],
        *,
        started: bool,
        version: str,
        understood: Understood,
    ) -> None:
        """Add a control node to etcd as a learner and promote it once it has caught up; roll back if it fails.

        One newcomer at a time: the others wait in line. Safe to repeat, through another control node too.

        :param started: whether its etcd runs already: that member is taken on. Otherwise a member at the newcomer's
            address is one whose data is gone, and is replaced.
        :param version: the newcomer's, and the formats that it understands: its first report.
        :param tell: called with each step: ``{"event": "waiting"|"added"|"catching_up"|"promoted", ...}``.
        :raises TraefikeeError: if it is rolled back.
        """
        node = self._mirror.state.node(identity)
        if node is None:
            raise RefusedError("this node is not in the cluster's list", "join again with a token", kind="unknown")
        record = node.record
        lease = await self._store.grant(JOIN_LEASE)
        keeper = asyncio.create_task(self._keep(lease))
        try:
            report = Report(agent_version=version, formats=understood)
            await self._store.transact([], [Put(state.ALIVE + identity, report.stored(), lease)])
            turn = await self._stand_in_line(record, lease, tell)
            await self._add_and_promote(record, turn, tell, started=started)
        finally:
            keeper.cancel()
            with contextlib.suppress(UnreachableError):
                await self._store.revoke(lease)

    async def _keep(self, lease: int) -> None:
        while True:
            with contextlib.suppress(UnreachableError):
                await self._store.keep_alive(lease)
            await asyncio.sleep(JOIN_LEASE / 3)

    async def _stand_in_line(self, record: NodeRecord, lease: int, tell: Callable[[dict[str, Any]], None]) -> Compare:
        """Wait for this join's turn; return what holds as long as it lasts."""
        told = ""
        while True:
            mine = Put(state.JOINING, record.id.encode(), lease)
            begun = await self._store.transact([Compare.absent(state.JOINING)], [mine])
            if begun is not None:
                return Compare.same_creation(state.JOINING, begun)
            other = self._mirror.state.keys.get(state.JOINING)
            first = self._mirror.state.node(other.value.decode()) if other else None
            sentence = f"waiting in line: {first.record.name if first else 'another node'} joins first"
            if sentence != told:
                tell({"event": "waiting", "message": sentence})
                told = sentence
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2):
                    await self._mirror.wait_for(lambda seen: state.JOINING not in seen.keys)

    async def _confirm(self, turn: Compare) -> None:
        """Make sure that it is still this join's turn: etcd's membership cannot be changed under a comparison.

        :raises UnreachableError: if its lease has ended, as it does while this process hangs.
        """
        found = await self._store.get(turn.key)
        if found is None or found.create_revision != turn.revision:
            raise UnreachableError("this join took too long, and its turn is over", kind="joining")

    async def _add_and_promote(
        self, record: NodeRecord, turn: Compare, tell: Callable[[dict[str, Any]], None], *, started: bool
    ) -> None:
        url = etcd.peer_url(record.advertise)
        deadline = time.monotonic() + CATCH_UP_DEADLINE
        member, members = await self._learner(url, deadline, turn, tell, started=started)
        try:
            tell({"event": "added", "cluster": self._initial_cluster(members, record)})
            if member.is_learner:
                await self._promote(member, deadline, tell)
            await self._note_member(record.id, member.id, turn)
        except BaseException:
            # A promoted member stays: what failed then is only the news of it, and the next try finds it.
            with contextlib.suppress(UnreachableError):
                if any(one.id == member.id and one.is_learner for one in await self._store.members()):
                    await self._store.remove_member(member.id)
            raise
        tell({"event": "promoted", "member": f"{member.id:x}"})
        _log.info("control node joined the store", name=record.name, member=f"{member.id:x}")

    async def _note_member(self, identity: str, member: int, turn: Compare) -> None:
        """Write down which member of etcd a control node is by now.

        :raises RefusedError: if it was removed from the list meanwhile.
        :raises UnreachableError: if the turn is over.
        """
        key = state.NODES + identity
        while True:
            found = await self._store.get(key)
            if found is None:
                raise RefusedError("this node is not in the cluster's list", "join again with a token", kind="unknown")
            now = NodeRecord.model_validate_json(found.value).model_copy(update={"member": member, "left": False})
            compares = [turn, Compare.unchanged(key, found.mod_revision)]
            if await self._store.transact(compares, [Put(key, now.stored())]) is not None:
                return
            await self._confirm(turn)

    async def _learner(
        self, url: str, deadline: float, turn: Compare, tell: Callable[[dict[str, Any]], None], *, started: bool
    ) -> tuple[StoreMember, list[StoreMember]]:
        """Add the learner, or find the one that runs already.

        A member that starts with its data gone would break Raft's promises: it is removed, and added under a new id. A
        stray learner of somebody else is removed too: etcd takes one at a time, and only who joins now has a claim.
        """
        told = ""
        while True:
            members = await self._store.members()
            try:
                for member in members:
                    mine = url in member.peer_urls
                    if mine and started:
                        return member, members
                    if mine or member.is_learner:
                        await self._confirm(turn)
                        await self._store.remove_member(member.id)
                await self._confirm(turn)
                return await self._store.add_learner(url)
            except StoreRefusedError as error:
                if time.monotonic() > deadline:
                    raise
                if error.cause != told:
                    tell({"event": "waiting", "message": f"the store is not ready for a new member ({error.cause})"})
                    told = error.cause
                await asyncio.sleep(RETRY)

    async def _promote(self, member: StoreMember, deadline: float, tell: Callable[[dict[str, Any]], None]) -> None:
        tell({"event": "catching_up", "message": "waiting for it to catch up with the store"})
        while True:
            try:
                await self._store.promote(member.id)
            except StoreRefusedError as error:
                # A member that does not lead passes the promotion on to etcd's leader, and asks again if the answer is
                # lost: by then there may be nothing left to promote, which etcd says in the same words.
                if any(one.id == member.id and not one.is_learner for one in await self._store.members()):
                    return
                if (
                    "not in sync" not in error.message
                    and "learner" not in error.message
                    and "unhealthy" not in (error.message)
                ):
                    raise
                if time.monotonic() > deadline:
                    raise TraefikeeError(
                        "the new member did not catch up with the store in time; its join was rolled back",
                        "check that the control nodes reach its --advertise address, then start it again",
                    ) from error
                await asyncio.sleep(RETRY)
            else:
                return

    def _initial_cluster(self, members: list[StoreMember], record: NodeRecord) -> list[tuple[str, str]]:
        names = {etcd.peer_url(node.record.advertise): node.record.id for node in self._mirror.state.nodes}
        names[etcd.peer_url(record.advertise)] = record.id
        return [
            (names.get(url) or member.name or f"{member.id:x}", url) for member in members for url in member.peer_urls
        ]

    async def forget(self, record: NodeRecord, term: FencedStore | None = None, reason: str = "") -> bool:
        """Remove a node from etcd's membership (if it is in it), then from the list.

        etcd's membership cannot be changed under a comparison. So a compared write says first that this member leaves,
        and is never taken back; whoever carries that out, however late, does what was decided. A node that lives on
        notices that its member was removed, and joins afresh.

        :param term: the leader's, who forgets only nodes without a sign of life, and those that were removed.
        :param reason: why, for the audit log.
        :returns: whether it is gone; False if it has come back or was changed meanwhile.
        :raises DeposedError: if the leader's term is over.
        :raises StoreRefusedError: if etcd sees its quorum in danger.
        """
        store = term or self._store
        key = state.NODES + record.id
        found = await store.get(key)
        if found is None:
            return True
        now = NodeRecord.model_validate_json(found.value)
        decided = now.left or term is None or record.id in self._mirror.state.removed
        silent = [] if decided else [Compare.absent(state.ALIVE + record.id)]
        unchanged = Compare.unchanged(key, found.mod_revision)
        if now.member:
            if not now.left:
                leaves = now.model_copy(update={"left": True})
                marked = await store.transact([unchanged, *silent], [Put(key, leaves.stored())])
                if marked is None:
                    return False
                unchanged, silent = Compare.unchanged(key, marked), []
            if any(member.id == now.member for member in await store.members()):
                await store.remove_member(now.member)
        sentence = f"{record.role.value} node {record.name} forgotten" + (f": {reason}" if reason else "")
        compares = [unchanged, *silent]
        operations: list[Put | Delete] = [
            Delete(key),
            audit.entry(audit.CLUSTER, self._name, "forget", sentence),
        ]
        holder = await store.get(state.NAMES + now.name)
        if holder is not None and holder.value.decode() == record.id:
            compares.append(Compare.unchanged(holder.key, holder.mod_revision))
            operations.append(Delete(holder.key))
        return await store.transact(compares, operations) is not None


def _formed_enough(seen: ClusterState) -> ClusterInfo:
    if seen.info is None:
        raise UnreachableError("this node has not joined the cluster itself yet", kind="joining")
    if seen.phase is Phase.ABORTED:
        raise RefusedError("the cluster was given up while it formed", "run traefikee bootstrap again", kind="aborted")
    return seen.info


@dataclass(frozen=True)
class _ShownToken:
    """A token that was found to be good, and what that was read from."""

    found: KeyValue | None
    table: TokenTable
    record: TokenRecord
    request: str
    """SHA-256 of the certificate request."""

    @property
    def same_join(self) -> str:
        """The id that a join with this token was given whose answer was lost, or an empty text."""
        return self.record.used.node if self.record.used is not None else ""

    def when_joined(self, node: NodeRecord) -> tuple[list[Compare], list[Put | Delete]]:
        """Return what the join depends on, and what it changes: a token for one join is used up with it."""
        unchanged = Compare.unchanged(state.TOKENS, self.found.mod_revision if self.found else 0)
        if not self.record.once or self.record.used is not None:
            return [unchanged], []
        used = Used(node=node.id, name=node.name, at=time.time(), request=self.request)
        return [unchanged], [Put(state.TOKENS, token_table.use(self.table, self.record, used).stored())]


def check_newcomer(seen: ClusterState, request: JoinRequest, identity: str) -> None:
    """Check name and address of a newcomer against the nodes that are there.

    :raises RefusedError: for the first conflict.
    """
    if request.role is Role.API:
        raise RefusedError("only control and data nodes join", kind="role")
    conflict = name_conflict(seen, request.name, identity)
    if conflict:
        raise RefusedError(conflict, "give this node another one with --name", kind="name")
    if request.role is Role.CONTROL:
        if not request.advertise:
            raise RefusedError("a control node needs an address to advertise", "give it with --advertise")
        for node in seen.with_role(Role.CONTROL):
            if node.record.advertise == request.advertise and node.record.id != identity and not node.given_up:
                raise RefusedError(
                    f"the address {request.advertise} belongs to the control node {node.record.name!r}, "
                    f"which is {node.status}",
                    "give this node its own --advertise"
                    if node.ready
                    else "it is forgotten within a minute; then start this node again",
                    kind="address",
                )
