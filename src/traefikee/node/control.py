"""A control node: its engine, its etcd, its APIs and, when it is elected, the leader's duties."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from traefikee import __version__, formats, log
from traefikee.api import serving
from traefikee.api.cluster import Cluster
from traefikee.api.control import ControlAPI
from traefikee.api.dashboard import Dashboard
from traefikee.api.logs import sources_of
from traefikee.api.parts import Parts
from traefikee.cluster import election, etcd, upgrade
from traefikee.cluster.admission import Admission
from traefikee.cluster.authorities import digests
from traefikee.cluster.election import Presence
from traefikee.cluster.messages import Standing
from traefikee.cluster.mirror import Mirror
from traefikee.cluster.records import Phase, Report
from traefikee.cluster.store import Store
from traefikee.cluster.upkeep import QUOTA
from traefikee.errors import ClusterAbortedError, TraefikeeError, UnreachableError
from traefikee.node import engine as engines
from traefikee.node.engine import Engine, SnapshotRefusedError
from traefikee.node.internal import (
    API_ENTRY_POINT,
    CLUSTER_ENTRY_POINT,
    DASHBOARD_ENTRY_POINT,
    Addresses,
    Sockets,
    compile_internal,
)
from traefikee.node.leader import Leader
from traefikee.node.lifecycle import raise_file_limit
from traefikee.node.log_desk import LogDesk
from traefikee.node.lookout import Lookout
from traefikee.node.own_certificate import OwnCertificate
from traefikee.node.publishing import SnapshotStore
from traefikee.node.removed import leave_when_removed
from traefikee.node.standing import control_sentence
from traefikee.node.statedir import Identity, StateDir
from traefikee.node.store_upkeep import OwnMember, StoreUpkeep
from traefikee.node.succession import watch_leader
from traefikee.node.supervisor import Child
from traefikee.node.systemd import Manager
from traefikee.node.troubles import Troubles, unwritten

ENGINE_START = 10.0
ENGINE_AGAIN = 0.5
FAILED_STARTS = 3
"""Ends of etcd in a row, each soon after its start, after which it is told that it does not start."""
STORE_START = 60.0
ENGINE_GRACE = 4.0
STORE_GRACE = 5.0
STATUS_EVERY = 1.0
"""Seconds between two looks at what the service manager is told; the same is not told twice."""
REMOVED = "permanently removed"
"""Part of what etcd says when its member was removed from the cluster while it was away."""

_log = log.get("node")


@dataclass(frozen=True)
class ControlOptions:
    """How a control node is started.

    :ivar listen: ``host:port`` of the cluster's port.
    :ivar api: the same for traefikeectl's port; ``dashboard`` for the dashboard's.
    :ivar api_chosen: whether that address was asked for: then it must be free. The default is given up with a warning
        where another node of the same machine holds it. ``dashboard_chosen`` likewise.
    :ivar socket: where the local commands reach this node.
    :ivar manager: the service manager, who is told how the node is.
    """

    listen: str
    api: str
    dashboard: str
    api_chosen: bool
    dashboard_chosen: bool
    socket: Path
    manager: Manager = field(default_factory=Manager)
    store_quota: int = QUOTA
    """Bytes that etcd's file may have."""


class CleanedAwayError(Exception):
    """This node was removed from the membership while it was away: it is to join afresh.

    :ivar found: what a control node of a later generation of the cluster says, and its address, if one was found.
    """

    def __init__(self, found: tuple[Standing, str] | None = None) -> None:
        super().__init__()
        self.found = found


class _EndedError(Exception):
    """The node is to end: what cancels the tasks beside the main one."""


class ControlNode:
    """One run of a control node, from its engine's start to its end."""

    def __init__(self, statedir: StateDir, identity: Identity, options: ControlOptions) -> None:
        self.statedir = statedir
        self.identity = identity
        """Whoever needs its certificate asks for it here each time: it is renewed while the node runs."""
        self.options = options
        self.engine = Engine(statedir.engine_socket)
        self.store = Store(statedir.etcd / etcd.CLIENT_SOCKET)
        self.mirror = Mirror(self.store)
        self.presence = Presence(self.store, self.mirror, identity.id, self._report)
        self.admission = Admission(self.store, self.mirror, bytes.fromhex(identity.cluster_key), identity.name)
        self.snapshots = SnapshotStore(self.store)
        self.troubles = Troubles()
        self.own_member = OwnMember(self.store, options.store_quota)
        self.leaving = asyncio.Event()
        """Set when the node has left the cluster and is to end."""
        self.certificate = OwnCertificate(self)
        self.lookout = Lookout(lambda: self.identity, self.mirror, self._highest_generation)
        self._log_desk = LogDesk()
        self._log_sources = sources_of(identity.id, self._log_desk)
        self._cluster_api = Cluster(lambda: self.identity.ca_pem, identity.id, self._log_desk, self._log_sources)
        self._cluster_api.on_later_generation = self.lookout.hear_of_later
        self._applying = asyncio.Lock()
        self._addresses = Addresses(options.listen, options.api, None)
        self._wanted_dashboard: str | None = None
        self._engine_child: Child | None = None
        self._engine_version = ""
        self._etcd_child: Child | None = None
        self.removal = ""
        """Who removed this node from the cluster, as soon as it knows that somebody did."""

    def _highest_generation(self) -> int:
        return max(self.statedir.load_generation(), self.mirror.state.generation)

    def look_out(self, addresses: Sequence[str], *, joined: bool) -> None:
        """From now on, end this run with :class:`CleanedAwayError` when a later generation of the cluster is found.

        :param joined: this node has just joined: which generation that is it learns from its store first.
        """

        async def look() -> None:
            if joined:
                await self.mirror.wait_for(lambda seen: seen.info is not None)
            raise CleanedAwayError(await self.lookout.run())

        self.lookout.hear(addresses)
        self._tasks.create_task(look(), name="lookout")

    def _report(self) -> Report:
        return Report(
            agent_version=__version__,
            engine_version=self._engine_version,
            formats=formats.OWN,
            certificate=self.certificate.report(),
            troubles=self.troubles.all(),
        )

    async def run(
        self,
        enter: Callable[[ControlNode], Coroutine[Any, Any, None]],
        duties: Callable[[ControlNode], Coroutine[Any, Any, None]] | None,
        stopping: asyncio.Event,
    ) -> None:
        """Run until ``stopping``, or until the node has left the cluster.

        :param enter: brings etcd up (a new cluster, a join, or a return) once the engine listens.
        :param duties: what this node has to do besides once it is in, or None.
        :raises CleanedAwayError: if the node must join afresh.
        :raises TraefikeeError: whatever keeps it from running.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                main = tasks.create_task(self._come_up(tasks, enter, duties), name="start")
                ends = [tasks.create_task(event.wait()) for event in (stopping, self.leaving)]
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                main.cancel()
                self.options.manager.stopping()
                await self._bow_out()
                raise _EndedError
        except* _EndedError:
            pass
        except* (TraefikeeError, CleanedAwayError) as group:
            raise _first(group) from None
        finally:
            await self._stop_children()
            await self.store.close()
            await self.engine.close()

    async def _come_up(
        self,
        tasks: asyncio.TaskGroup,
        enter: Callable[[ControlNode], Coroutine[Any, Any, None]],
        duties: Callable[[ControlNode], Coroutine[Any, Any, None]] | None,
    ) -> None:
        raise_file_limit()
        run = self.statedir.run
        control = ControlAPI(
            Parts(
                lambda: self.identity,
                self.mirror,
                self.store,
                self.engine,
                self.admission,
                self.presence.has_quorum,
                self.snapshots,
                self._log_sources,
                self.troubles,
            )
        )
        dashboard = Dashboard(self.identity, self.mirror, self.snapshots, self.presence.has_quorum)
        # The sockets first: their conflicts are the cheapest to find.
        local, remote = serving.listen(self.options.socket, "--traefikeesocket"), serving.listen(run / "api.sock")
        tasks.create_task(serving.serve(control.app(), [local], local=True))
        tasks.create_task(serving.serve(control.app(), [remote]))
        tasks.create_task(serving.serve(self._cluster_api.app(), [serving.listen(run / "cluster.sock")]))
        tasks.create_task(serving.serve(dashboard.app(), [serving.listen(run / "dashboard.sock")]))
        await self._start_engine(tasks)
        tasks.create_task(self.options.manager.watch(self._is_sound), name="watchdog")
        self._tasks = tasks
        await enter(self)
        tasks.create_task(self.mirror.run(), name="mirror")
        upgrade.check_own(await self.mirror.wait_for(lambda seen: seen.info is not None))
        leader = Leader(self.store, self.mirror, self.snapshots, self.admission, self.engine)
        tasks.create_task(self.presence.run(), name="presence")
        answering = self._cluster_api.run(
            self.store, self.mirror, self.admission, self.snapshots, self.presence.has_quorum, self.own_member
        )
        tasks.create_task(answering, name="data nodes")
        upkeep = StoreUpkeep(self.store, self.mirror, self.own_member, lambda: self.identity, self.troubles)
        tasks.create_task(upkeep.run(), name="store upkeep")
        tasks.create_task(election.while_leading(self.mirror, self.identity.id, leader.lead), name="leading")
        tasks.create_task(watch_leader(self.store, self.mirror, lambda: self.identity), name="succession")
        tasks.create_task(self.certificate.keep(), name="certificate")
        tasks.create_task(self._follow_state(), name="followers")
        tasks.create_task(leave_when_removed(self), name="removal")
        if duties is not None:
            tasks.create_task(duties(self), name="duties")
        await self.mirror.wait_for(lambda seen: (me := seen.node(self.identity.id)) is not None and me.ready)
        tasks.create_task(self._tell_manager(), name="status")
        self.options.manager.ready()
        _log.info("control node ready", name=self.identity.name, id=self.identity.id, address=self.identity.advertise)

    async def _tell_manager(self) -> None:
        while True:
            sentence = control_sentence(self.mirror.state, self.identity.id, has_quorum=self.presence.has_quorum())
            self.options.manager.status(sentence)
            await asyncio.sleep(STATUS_EVERY)

    async def _is_sound(self) -> bool:
        """Whether the engine answers, without which nobody reaches this node: what the watchdog wants to know."""
        await self.engine.status()
        return True

    # --- the engine ---

    async def _start_engine(self, tasks: asyncio.TaskGroup) -> None:
        argv = engines.command(engines.find(), self.statedir.engine_socket, log_format="json", die_with_parent=True)
        self._engine_child = Child(
            "engine",
            argv,
            self.statedir.path,
            environment=engines.environment(),
            on_restart=self._engine_again,
            troubles=self.troubles,
        )
        await self._engine_child.start()
        tasks.create_task(self._engine_child.supervise(), name="engine")
        self._engine_version = str((await self.engine.wait_until_it_answers(ENGINE_START))["version"])
        await self._apply(self._addresses)

    async def _engine_again(self) -> None:
        """Tell an engine that was started again what to do, until it knows or is gone as well."""

        def alive() -> bool:
            return self._engine_child is not None and self._engine_child.pid is not None

        while alive():
            try:
                await self.engine.wait_until_it_answers(ENGINE_START, alive)
                await self._apply(self._addresses)
            except TraefikeeError as error:
                # Somebody may have taken the port at this moment: a node that runs waits until it is free again.
                self.troubles.note("engine's ports", f"{error.cause}; {error.next_step or 'it is tried again'}")
                await asyncio.sleep(ENGINE_AGAIN)
            else:
                self.troubles.note("engine's ports", "")
                return

    async def apply_again(self) -> None:
        """Put the internal entry points in force with the certificate that the node has by now.

        :raises TraefikeeError: if the engine does not take them.
        """
        await self._apply(self._addresses)

    async def _apply(self, addresses: Addresses) -> None:
        """Put the internal entry points in force, without those that are optional and cannot be bound.

        :raises TraefikeeError: if a port that is needed is in use.
        """
        async with self._applying:
            await self._apply_now(addresses)

    async def _apply_now(self, addresses: Addresses) -> None:
        run = self.statedir.run
        sockets = Sockets(
            self.statedir.etcd / etcd.PEER_SOCKET, run / "cluster.sock", run / "api.sock", run / "dashboard.sock"
        )
        while True:
            try:
                await self.engine.apply(compile_internal(self.identity, addresses, sockets).to_json())
                self._addresses = addresses
                return
            except SnapshotRefusedError as error:
                failed = {problem.id: problem.error for problem in error.problems if problem.kind == "entry_point"}
                optional = []
                if API_ENTRY_POINT in failed and not self.options.api_chosen:
                    optional.append(API_ENTRY_POINT)
                    addresses = replace(addresses, api=None)
                if DASHBOARD_ENTRY_POINT in failed and not self.options.dashboard_chosen:
                    optional.append(DASHBOARD_ENTRY_POINT)
                    addresses = replace(addresses, dashboard=None)
                if CLUSTER_ENTRY_POINT in failed or not optional:
                    raise TraefikeeError(
                        f"this node cannot listen: {'; '.join(failed.values()) or error.cause}",
                        "stop what uses the port, or choose another with --listen (--apilisten, --dashboardlisten)",
                        kind="port",
                    ) from error
                for entry_point in optional:
                    _log.warning(
                        f"this node serves no {entry_point}: its default port is in use; "
                        f"give --{entry_point}listen for one of its own",
                        reason=failed[entry_point],
                    )

    # --- etcd ---

    @property
    def store_started(self) -> bool:
        """Whether the etcd child was started in this run: it then has what the membership knows of it."""
        return self._etcd_child is not None

    async def start_store(self, cluster: Sequence[tuple[str, str]], *, existing: bool, generation: int = 0) -> None:
        """Start the etcd child, if it does not run yet; returns at once.

        :param cluster: as in :func:`traefikee.cluster.etcd.command`, and so is ``generation``.
        """
        if self._etcd_child is not None:
            return
        etcd.write_certificates(self.statedir.etcd, self.identity)
        self.certificate.store_trusts = digests(self.identity.ca_pem)
        etcd.remove_stale_sockets(self.statedir.etcd)
        binary = etcd.find()
        argv = etcd.command(
            binary,
            self.identity,
            cluster,
            existing=existing,
            generation=generation,
            quota=self.options.store_quota,
        )
        self._etcd_child = Child(
            "etcd",
            argv,
            self.statedir.etcd,
            environment=etcd.environment(),
            quiet=True,
            on_end=self._store_ended,
            troubles=self.troubles,
        )
        await self._etcd_child.start()
        self._tasks.create_task(self._etcd_child.supervise(), name="etcd")

    async def restart_store(self, *, quota: int | None = None) -> None:
        """End etcd and start it again: it reads whom it trusts, and its quota, only then.

        :param quota: bytes that its file may have from now on, until the node is started again.
        :raises TraefikeeError: if it was not started, or cannot be.
        """
        if self._etcd_child is None:
            raise TraefikeeError("etcd was not started", kind="etcd")
        etcd.write_certificates(self.statedir.etcd, self.identity)
        if quota is not None:
            self._etcd_child.argv = etcd.with_quota(self._etcd_child.argv, quota)
        await self._etcd_child.restart(STORE_GRACE)

    def _store_ended(self, child: Child) -> None:
        if any(REMOVED in line for line in child.last_lines):
            raise CleanedAwayError
        etcd.remove_stale_sockets(self.statedir.etcd)

    def expect_store_to_end(self) -> None:
        """Take the end of the etcd child for what it is when this node leaves: etcd ends once it is removed."""
        if self._etcd_child is not None:
            self._etcd_child.stopping = True

    async def wait_for_store(self, *, alone: bool = False) -> None:
        """Wait until the store answers, telling what is waited for.

        :param alone: this is the only member: then there is a deadline.
        :raises TraefikeeError: at the deadline, with etcd's last words.
        """
        waited = 0.0
        while True:
            try:
                await self.store.probe()
            except UnreachableError as error:
                await asyncio.sleep(0.1)
                waited += 0.1
                if alone and waited > STORE_START:
                    words = self._etcd_child.last_lines[-1] if self._etcd_child and self._etcd_child.last_lines else ""
                    raise TraefikeeError(f"etcd does not come up: {words or error.cause}", kind="etcd") from error
                child = self._etcd_child
                if child is not None and child.failed_starts >= FAILED_STARTS:
                    self.troubles.note("store start", self._does_not_start(child))
                elif waited % 5 < 0.1:
                    _log.info("waiting for the store to have a quorum", seconds=round(waited))
            else:
                self.troubles.note("store start", "")
                return

    async def hand_raft_over(self) -> None:
        """Make another member etcd's leader, if this node's is: the others then need not notice that it is gone.

        :raises UnreachableError: if the store does not answer, or has nobody else.
        """
        members = await self.store.members()
        mine = next((one for one in members if etcd.peer_url(self.identity.advertise) in one.peer_urls), None)
        others = [one for one in members if mine is not None and one.id != mine.id and not one.is_learner]
        if mine is not None and others and int((await self.store.status()).get("leader", 0)) == mine.id:
            await self.store.move_leadership(others[0].id)

    def _does_not_start(self, child: Child) -> str:
        words = child.last_words or "it says nothing"
        return (
            f"etcd does not start ({words}); if its data is damaged, stop this node, move {self.statedir.etcd}/data "
            "away and start it again: it gets everything from the other control nodes, if a majority of them is well"
        )

    # --- what follows the agreed state ---

    async def _follow_state(self) -> None:
        peers: tuple[str, ...] = ()
        generation = 0
        async for seen in self.mirror.states():
            upgrade.check_own(seen)
            if seen.phase is Phase.ABORTED and not self.identity.bootstrap:
                await self.presence.end()
                raise ClusterAbortedError("the cluster was given up before all control nodes had joined")
            self.lookout.hear(seen.control_addresses)
            addresses = tuple(one for one in seen.control_addresses if one != self.identity.advertise)
            if addresses and addresses != peers:
                try:
                    self.statedir.save_peers(addresses)
                except TraefikeeError as error:
                    self.troubles.note("peers file", unwritten(error, "older addresses"))
                else:
                    peers = addresses
                    self.troubles.note("peers file", "")
            if seen.generation > generation:
                try:
                    self.statedir.save_generation(seen.generation)
                except TraefikeeError as error:
                    self.troubles.note("generation file", unwritten(error, "an older generation of the cluster"))
                else:
                    generation = seen.generation
                    self.troubles.note("generation file", "")
            dashboard = self.options.dashboard if seen.dashboard else None
            if dashboard != self._wanted_dashboard:
                self._wanted_dashboard = dashboard
                try:
                    await self._apply(replace(self._addresses, dashboard=dashboard))
                except (TraefikeeError, UnreachableError) as error:
                    _log.error("the dashboard cannot be served", reason=str(error))

    # --- the end ---

    async def _bow_out(self) -> None:
        """Give up leadership and the sign of life while the store still answers."""
        with contextlib.suppress(UnreachableError, TimeoutError):
            async with asyncio.timeout(3):
                await self.presence.resign()
                await self.presence.end()

    async def _stop_children(self) -> None:
        children = [(self._engine_child, ENGINE_GRACE), (self._etcd_child, STORE_GRACE)]
        await asyncio.gather(*(child.stop(grace) for child, grace in children if child is not None))


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    """Return the first error of a group: the others are its consequences."""
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    if not isinstance(first, Exception):
        raise first
    return first
