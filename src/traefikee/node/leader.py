"""What the leader does: form the cluster, clean its list, and turn what providers say into published snapshots."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from traefikee import log
from traefikee.cluster import membership, state, upgrade
from traefikee.cluster.admission import Admission
from traefikee.cluster.fencing import DeposedError, FencedStore
from traefikee.cluster.membership import Forget
from traefikee.cluster.mirror import Mirror
from traefikee.cluster.records import Deployment, Phase
from traefikee.cluster.state import ClusterState
from traefikee.cluster.store import Compare, Put, Store, StoreRefusedError
from traefikee.errors import UnreachableError
from traefikee.node import authority_rotation, housekeeping, licensing
from traefikee.node.engine import Engine
from traefikee.node.publishing import SnapshotStore
from traefikee.node.retry import insist
from traefikee.node.routing import Routing

CLEAN_EVERY = 1.0
DUTY_PAUSE = 3.0
"""Seconds before a duty that failed is started again."""
ROTATE_EVERY = 60.0
"""How often the age of the ticket keys is looked at, in seconds."""

_log = log.get("leader")


class Leader:
    """One control node's duties while it leads; made once, used for every term."""

    def __init__(
        self, store: Store, mirror: Mirror, snapshots: SnapshotStore, admission: Admission, engine: Engine
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._snapshots = snapshots
        self._admission = admission
        self._engine = engine

    async def lead(self, won: ClusterState) -> None:
        """Carry out all duties until cancelled, or until a write says that the term is over."""
        term = FencedStore(self._store, won.leader_creation)
        duties: dict[str, Callable[[], Awaitable[None]]] = {
            "forming": lambda: self._form(term),
            "cleaning": lambda: self._clean(term),
            "format": lambda: upgrade.keep_raising(term, self._mirror),
            "ticket keys": lambda: self._rotate(term),
            "authority": lambda: self._replace_authority(term),
            "routing": lambda: self._route(term),
            "housekeeping": lambda: housekeeping.tidy(term),
            "licence": lambda: licensing.keep_checking(term, self._mirror),
        }
        try:
            async with asyncio.TaskGroup() as tasks:
                for name, duty in duties.items():
                    tasks.create_task(keep(name, duty), name=name)
        except* DeposedError:
            # The mirror has yet to hear of it: it ends what waits for the end of the term.
            _log.info("a write was refused: another node leads by now")
            await self._mirror.wait_for(lambda seen: seen.leader_creation != won.leader_creation)

    async def _form(self, term: FencedStore) -> None:
        told = ""
        async for seen in self._mirror.states():
            if seen.phase is not Phase.FORMING:
                return
            complete, sentence = membership.formation(seen)
            if sentence != told:
                _log.debug(sentence)
                told = sentence
            if complete:
                forming = Compare.unchanged(state.PHASE, seen.keys[state.PHASE].mod_revision)
                formed = Put(state.PHASE, Phase.FORMED.encode())
                if await insist(lambda held=forming, put=formed: term.transact([held], [put])) is not None:  # type: ignore[misc]
                    _log.info("the cluster is formed")

    async def _clean(self, term: FencedStore) -> None:
        down_since: dict[str, float] = {}
        told: dict[str, str] = {}
        while True:
            await asyncio.sleep(CLEAN_EVERY)
            if self._mirror.lost_since is not None:
                # Nothing that was seen can be trusted to be still so: DOWN has to be seen afresh.
                down_since = {}
                continue
            seen, now = self._mirror.state, time.monotonic()
            down_since = membership.observe_down(seen, down_since, now)
            decisions = membership.decide_removals(seen)
            if not any(isinstance(one, Forget) for one in decisions):
                # Of members one leaves at a time: each decision is for a state in which the one before has happened.
                decisions += membership.decide_cleaning(seen, down_since, now)
            for decision in decisions:
                record = decision.node.record
                if isinstance(decision, Forget):
                    try:
                        if await self._admission.forget(record, term, decision.reason):
                            _log.info("node forgotten", name=record.name, id=record.id, reason=decision.reason)
                    except (StoreRefusedError, UnreachableError) as error:
                        _log.warning("node cannot be forgotten now", name=record.name, reason=str(error))
                elif told.get(record.id) is None:
                    _log.warning("node is kept in the list", name=record.name, reason=decision.reason)
                    told[record.id] = decision.reason

    async def _replace_authority(self, term: FencedStore) -> None:
        me = self._mirror.state.node(self._mirror.state.leader or "")
        name = me.record.name if me is not None else ""
        await authority_rotation.carry_on(term, self._mirror, self._admission, name)

    async def _rotate(self, term: FencedStore) -> None:
        """Change the keys of TLS session tickets in time. What they are is published with the snapshot."""
        while True:
            try:
                if await self._admission.rotate_ticket_keys(time.time(), term):
                    _log.info("the keys of TLS session tickets were changed")
            except (StoreRefusedError, UnreachableError) as error:
                _log.warning("the keys of TLS session tickets cannot be changed now", reason=str(error))
            await asyncio.sleep(ROTATE_EVERY)

    async def _route(self, term: FencedStore) -> None:
        """Run the routing of the current deployment, and start over with each new one."""
        running: asyncio.Task[None] | None = None
        number = 0
        try:
            async for seen in self._mirror.states():
                if seen.deployment is None or seen.deployment.number == number:
                    continue
                if running is not None:
                    running.cancel()
                    await asyncio.gather(running, return_exceptions=True)
                number = seen.deployment.number
                _log.info("deployment in force", number=number, by=seen.deployment.by)
                running = asyncio.create_task(self._keep_routing(seen.deployment, term), name="routing")
        finally:
            if running is not None:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

    async def _keep_routing(self, deployment: Deployment, term: FencedStore) -> None:
        """Run one deployment's routing. What is published stays in force if it fails."""

        def routing() -> Awaitable[None]:
            return Routing(
                term,
                self._mirror,
                self._snapshots,
                self._engine,
                deployment,
                self._admission.secrets,
                self._admission.ticket_keys,
            ).run()

        try:
            await keep("routing", routing)
        except* DeposedError:
            _log.info("routing ended: another node leads by now")


async def keep(name: str, duty: Callable[[], Awaitable[None]]) -> None:
    """Carry a duty out, and start it again if it fails: a defect in one must not cost the cluster its leader.

    :raises DeposedError: if the term is over; in a group if the duty has tasks.
    """
    ended = False
    while not ended:
        try:
            await duty()
            ended = True
        except* DeposedError:
            raise
        except* Exception:  # noqa: BLE001 - whatever it is, it is logged whole
            _log.exception("a duty of the leader failed; it is started again", duty=name, pause=DUTY_PAUSE)
            await asyncio.sleep(DUTY_PAUSE)
