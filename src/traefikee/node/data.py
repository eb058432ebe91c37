"""A data node: its engine, the snapshots that it gets from any control node, and what it reports back.

The engine outlives the agent: an agent that starts finds a running engine through its socket and keeps it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import random
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from traefikee import __version__, formats, known_faults, log
from traefikee.api import serving
from traefikee.api.data import DataAPI
from traefikee.cluster import joining
from traefikee.cluster.joining import own_pair
from traefikee.cluster.messages import LIFE, QUIET, DataReport
from traefikee.cluster.peers import Peer
from traefikee.cluster.records import Phase, Report
from traefikee.cluster.removed import REMOVED
from traefikee.cluster.roles import Role
from traefikee.compile import changes
from traefikee.compile.changes import FormatError, State
from traefikee.errors import ClusterAbortedError, TraefikeeError, UnreachableError
from traefikee.node import engine as engines
from traefikee.node import removed
from traefikee.node.carried import Carried, listed
from traefikee.node.data_certificate import DataCertificate, has_ended
from traefikee.node.data_engine import DataEngine
from traefikee.node.engine import OtherBaseError, SnapshotRefusedError
from traefikee.node.journal import Journal
from traefikee.node.lifecycle import Newcomer, stop_on_signals, until
from traefikee.node.log_reading import Reader
from traefikee.node.log_sending import LogSender
from traefikee.node.service import Service
from traefikee.node.standing import data_sentence
from traefikee.node.statedir import Identity, StateDir, need_no_identity
from traefikee.node.systemd import Manager
from traefikee.node.troubles import Troubles, unwritten

RECONNECT_PAUSE = 0.1
LONGEST_PAUSE = 2.0
MOST_SPREAD = 5.0
RETRY_REFUSED = 3.0
SNAPSHOT_FILE = "snapshot file"
PEERS_FILE = "peers file"
GENERATION_FILE = "generation file"
"""What may be troubled."""
LONGEST_REFUSAL = 2000
"""Characters of it in a report."""

_log = log.get("data")


@dataclass(frozen=True)
class DataOptions:
    """How a data node is started.

    :ivar bind: the address that entry points without a host listen on; None for every address.
    :ivar log_format: ``text``, ``json`` or ``journal``; the engine, whose output is not read here, writes the same.
    :ivar manager: the service manager, who is told how the node is.
    """

    bind: str | None
    socket: Path
    log_format: str
    manager: Manager = field(default_factory=Manager)


class DataNode:
    """One run of a data node."""

    def __init__(self, statedir: StateDir, identity: Identity, options: DataOptions, peers: Sequence[str]) -> None:
        self._statedir = statedir
        self._options = options
        self._remembered = statedir.load_peers()
        self._peers = list(dict.fromkeys([*self._remembered, *peers]))
        self._changed = asyncio.Event()
        self._troubles = Troubles(self._changed.set)
        self._generation = statedir.load_generation()
        """The highest generation of the cluster that this node has seen."""
        self._engine = DataEngine(statedir, options.log_format, self._troubles)
        self._journal = Journal(statedir)
        self._logs = LogSender(Reader(self._engine.client))
        self._heard = State()
        """The last that a control node has sent."""
        self._in_engine: State | None = None
        """What this agent has put into the engine that runs."""
        self._good = State()
        """The last that was in force: for an engine that starts again."""
        self._applied: int | None = None
        self._refused: tuple[int, str] | None = None
        self._to_retry: State | None = None
        self._unanswered = ""
        """The name of a snapshot that the engine was told of without an answer."""
        self._unreadable = ""
        """The name of a snapshot that came and could not be read."""
        self._carried = Carried(self._engine, self._changed.set)
        self._connection: Peer | None = None
        self._certificate = DataCertificate(statedir, identity, self._changed.set)
        self._applying = asyncio.Lock()
        self._sending = asyncio.Lock()
        self._leaving = False
        self._service = Service(statedir, self._engine, self._changed.set)
        self._spread = 0.0
        """Seconds over which the data nodes spread it when they look for another control node, as told by the last."""
        self._nothing_deployed = False
        """Whether a control node has said that there is no snapshot."""

    @property
    def _identity(self) -> Identity:
        """Who this node is, with the certificate that it has by now."""
        return self._certificate.identity

    async def run(self, stopping: asyncio.Event, restarting: asyncio.Event, control: socket.socket) -> None:
        """Run until ``stopping``, or until ``restarting``, which leaves the engine running.

        :param control: the bound socket for local commands.
        :raises TraefikeeError: if the engine cannot be started or the cluster was given up.
        """
        await self._engine.find_or_start()
        self._heard = self._good = await asyncio.to_thread(self._journal.load)
        await self._begin()
        self._tell_manager()
        api = DataAPI(self._identity, self._engine.client, lambda: self._service.mark)
        work = [
            asyncio.create_task(self._options.manager.watch(self._is_sound), name="watchdog"),
            asyncio.create_task(serving.serve(api.app(), [control]), name="control socket"),
            asyncio.create_task(self._engine.keep(self._apply_saved), name="engine"),
            asyncio.create_task(self._follow(), name="snapshots"),
            asyncio.create_task(self._report_changes(), name="reports"),
            asyncio.create_task(self._carried.run(), name="counters"),
            asyncio.create_task(self._service.run(), name="service"),
            asyncio.create_task(self._retry_refused(), name="refused snapshots"),
            asyncio.create_task(self._rotate(), name="log rotation"),
            asyncio.create_task(self._certificate.keep(lambda: self._connection), name="certificate"),
        ]
        stop = asyncio.create_task(stopping.wait())
        restart = asyncio.create_task(restarting.wait())
        try:
            done, _ = await asyncio.wait({*work, stop, restart}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if restart not in done:
                self._options.manager.stopping()
                await self._say_goodbye()
            else:
                self._options.manager.reloading()
        finally:
            for task in (*work, stop, restart):
                task.cancel()
            await asyncio.gather(*work, stop, restart, return_exceptions=True)
            if stopping.is_set() or not restarting.is_set():
                await self._engine.stop()
            await self._engine.close()

    def _tell_manager(self) -> None:
        """Tell the service manager how this node is; it is ready once it serves, or knows that there is nothing to."""
        through = self._connection.address if self._connection else None
        self._options.manager.status(data_sentence(self._applied, self._refused, through))
        if self._applied is not None or self._nothing_deployed:
            self._options.manager.ready()

    async def _is_sound(self) -> bool:
        """Whether this node is, if its event loop runs: the engine is looked after beside."""
        return True

    # --- snapshots ---

    async def _begin(self) -> None:
        """Put what is saved in force, unless the engine that was found has something newer.

        Its agent could not save that, on a full disk for example: to go back would route by what has long changed.
        """
        found = self._engine.found_revision
        if found is None or found <= self._good.revision:
            await self._apply_saved()
            return
        self._applied = found
        _log.warning(
            "the engine that runs has a newer snapshot in force than is saved; it stays",
            revision=found,
            saved=self._good.revision,
        )

    async def _apply_saved(self) -> None:
        if not self._good.name:
            return
        async with self._applying:
            self._in_engine = None
            await self._apply(self._good)
        if self._applied is not None:
            _log.info("serving the saved snapshot", revision=self._applied)

    async def _apply(self, wanted: State) -> bool:
        """Put a snapshot in force; a refusal is kept for the report, and the one before stays."""
        try:
            await self._tell_engine(wanted)
        except (SnapshotRefusedError, ValueError) as error:
            reason = error.cause if isinstance(error, TraefikeeError) else str(error)
            self._to_retry = wanted
            if self._refused != (wanted.revision, reason):
                self._refuse(wanted.revision, reason)
            return False
        self._in_engine = self._good = wanted
        self._unanswered = ""
        self._applied = wanted.revision
        if self._refused is not None and wanted.revision >= self._refused[0]:
            self._refused = None
        if self._to_retry is not None and wanted.revision >= self._to_retry.revision:
            self._to_retry = None
        self._changed.set()
        self._tell_manager()
        return True

    async def _tell_engine(self, wanted: State) -> None:
        """Tell the engine what changed since what this agent told it last, or else everything."""
        local = changes.localised(wanted.objects, self._identity.name, self._options.bind)
        await self._engine.tell(local[changes.ENTRY_POINTS], lambda: self._tell(wanted, local))

    async def _tell(self, wanted: State, local: changes.Texts) -> None:
        before = self._in_engine
        if before is not None and before.document == wanted.document:
            change = await asyncio.to_thread(changes.difference, before.objects, wanted.objects)
            if known_faults.is_on(known_faults.APPLY_WITHOUT_SWAP):
                change, local = changes.Change({}), {}
            try:
                await self._engine.client.change(changes.engine_change(before, wanted, change, local))
            except OtherBaseError as error:
                _log.info("the engine has another snapshot than it was told; it is told everything", reason=str(error))
            else:
                return
        await self._engine.apply(await asyncio.to_thread(changes.engine_snapshot, wanted, local))

    def _refuse(self, revision: int, reason: str) -> None:
        self._refused = (revision, reason)
        _log.error("a snapshot is refused; the one before stays", revision=revision, reason=reason)
        self._changed.set()
        self._tell_manager()

    async def _follow(self) -> None:
        """Hold a stream to one control node; when it breaks, take another one."""
        pause, told = RECONNECT_PAUSE, False
        while True:
            for address in random.sample(self._peers, len(self._peers)):
                was_connected = False
                try:
                    if self._certificate.ended():
                        await self._certificate.come_back(address)
                    async with Peer(address, self._identity.ca_pem, own_pair(self._identity)) as peer:
                        try:
                            async for event in peer.stream("GET", self._subscription(), silence=QUIET):
                                self._compare_generations(event)
                                if self._connection is not peer:
                                    self._connection, pause, told = peer, RECONNECT_PAUSE, False
                                    _log.info("connected to the control plane", through=address)
                                    self._changed.set()
                                    self._tell_manager()
                                await self._hear(peer, event)
                        finally:
                            # Before the connection is closed: a report must not be sent through a closed one.
                            was_connected, self._connection = self._connection is not None, None
                            await self._logs.end()
                except ClusterAbortedError:
                    raise
                except TraefikeeError as error:
                    if error.kind == REMOVED:
                        raise removed.remember(self._statedir, error.cause) from error
                    reason = await self._after_refusal(address, error)
                else:
                    reason = f"{address} ended the stream"
                if was_connected:
                    _log.info("the connection to the control plane ended; another is looked for", reason=reason)
                    self._tell_manager()
                    await asyncio.sleep(random.uniform(0, self._spread))  # noqa: S311 - chance is no secret here
            if not told and pause > RECONNECT_PAUSE:
                told = True
                if self._peers:
                    _log.warning(
                        "no control node can be followed; what is in force stays",
                        tried=", ".join(self._peers),
                        last=reason,
                    )
                else:
                    _log.error("no control node is known; start this node with --peeraddresses to follow changes again")
            # Not all at the same moment: control nodes that come back are met by every data node of the cluster.
            await asyncio.sleep(pause + random.uniform(0, self._spread))  # noqa: S311
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _after_refusal(self, address: str, error: TraefikeeError) -> str:
        """Do what a refusal because of a certificate, ours or theirs, asks for; return its reason for the log."""
        reason = error.cause
        try:
            if has_ended(error):
                await self._certificate.come_back(address)
            elif error.kind == "foreign":
                await self._certificate.catch_up(address)
            elif not error.retriable:
                self._certificate.tell(error)
        except TraefikeeError as failure:
            reason = failure.cause
            if not failure.retriable:
                self._certificate.tell(failure)
        return reason

    def _subscription(self) -> str:
        """Return what is asked for; a control node that was left behind learns from it where the cluster may be."""
        if not self._generation:
            return "/v1/snapshots"
        return f"/v1/snapshots?generation={self._generation}&peers={','.join(self._peers)}"

    def _compare_generations(self, event: dict[str, Any]) -> None:
        """Remember a later generation of the cluster, and do not follow an earlier one.

        :raises UnreachableError: if it is an earlier one.
        """
        if event.get("event") != "cluster":
            return
        generation = int(event.get("generation", 0))
        if generation < self._generation:
            raise UnreachableError("it is of an earlier generation of the cluster", kind="left_behind")
        if generation > self._generation:
            _log.info("the cluster was restored or recovered; its earlier generations are not followed any more")
            self._generation = generation
            self._remember_generation()

    async def _hear(self, peer: Peer, event: dict[str, Any]) -> None:
        if event.get("event") == "logs":
            self._logs.begin(peer, event)
        if event.get("event") != "cluster":
            return
        if event.get("phase") == Phase.ABORTED.value:
            raise ClusterAbortedError("the cluster was given up before all control nodes had joined")
        peers = [str(one) for one in event.get("peers", ())]
        if peers:
            self._peers = peers
        if peers and peers != self._remembered:
            self._remember_peers()
        spread = event.get("spread")
        self._spread = min(MOST_SPREAD, max(0.0, spread)) if isinstance(spread, int | float) else 0.0
        if "drained" in event:
            self._service.hear(str(event["drained"]))
        self._certificate.hear(event)
        await self._hear_of_snapshot(peer, event)

    async def _hear_of_snapshot(self, peer: Peer, event: Mapping[str, Any]) -> None:
        """Put the snapshot that a control node tells of in force, if it is news."""
        name = str(event.get("snapshot", ""))
        if not name:
            self._nothing_deployed = True
            self._tell_manager()
        if not name or name in (self._heard.name, self._unreadable):
            return
        revision, newest = int(event.get("revision", 0)), max(self._heard.revision, self._applied or 0)
        if revision < newest:
            # Its store is behind, or cut off from the others: to follow it would route by what has long changed.
            _log.debug("this control node has an older snapshot; what is in force stays", revision=revision)
            return
        known = self._heard
        told = told_change(event, known)
        if told is not None:
            self._heard, frames = told
            await self._apply_and_save(self._heard, frames)
            return
        while True:
            frames, _ = changes.split(await peer.fetch(f"/v1/snapshots/{name}?have={known.name}"))
            try:
                self._heard = await asyncio.to_thread(changes.follow, known, frames)
            except ValueError as error:
                if known.name:
                    known = State()
                    continue
                self._unreadable = name
                reason = str(error) if isinstance(error, FormatError) else f"it cannot be read ({error})"
                self._refuse(revision, reason)
                return
            await self._apply_and_save(self._heard, frames)
            return

    async def _apply_and_save(self, wanted: State, frames: Sequence[bytes] = ()) -> None:
        async with self._applying:
            self._journal.hear(frames)
            await self._put_in_force(wanted)

    async def _put_in_force(self, wanted: State) -> None:
        """Apply a snapshot and write it down; only who holds the lock may."""
        try:
            if not await self._apply(wanted):
                return
        except UnreachableError as error:
            self._engine_gone(wanted, error)
            return
        routes = sum(key.startswith("route/") for key in wanted.objects)
        _log.info("snapshot applied", revision=wanted.revision, routes=routes)
        await self._save(wanted)

    def _engine_gone(self, wanted: State, error: UnreachableError) -> None:
        """Keep what the engine did not answer to for the next one; but not what kills them all."""
        if self._unanswered != wanted.name:
            self._unanswered, self._to_retry = wanted.name, wanted
            _log.warning("the engine is gone; the next one is told of the change", reason=error.cause)
        else:
            self._to_retry = None
            self._refuse(wanted.revision, "the engine ends, or hangs, when it is told of it")

    async def _save(self, wanted: State) -> None:
        try:
            await asyncio.to_thread(self._journal.save, wanted)
        except TraefikeeError as error:
            self._troubles.note(SNAPSHOT_FILE, unwritten(error, "an older configuration"))
        else:
            self._troubles.note(SNAPSHOT_FILE, "")

    async def _retry_refused(self) -> None:
        """Try again what did not work: a port that was in use may be free by now, and a full disk have room."""
        while True:
            await asyncio.sleep(RETRY_REFUSED)
            async with self._applying:
                # Looked at with the lock: a newer one may be in force by then.
                if self._to_retry is not None:
                    await self._put_in_force(self._to_retry)
            if self._troubles.get(SNAPSHOT_FILE):
                async with self._applying:
                    await self._save(self._good)
            if self._troubles.get(PEERS_FILE):
                self._remember_peers()
            if self._troubles.get(GENERATION_FILE):
                self._remember_generation()

    def _remember_peers(self) -> None:
        """Write down what only the next start needs: a full disk must not disturb this one."""
        try:
            self._statedir.save_peers(self._peers)
        except TraefikeeError as error:
            self._troubles.note(PEERS_FILE, unwritten(error, "older addresses"))
        else:
            self._remembered = list(self._peers)
            self._troubles.note(PEERS_FILE, "")

    def _remember_generation(self) -> None:
        try:
            self._statedir.save_generation(self._generation)
        except TraefikeeError as error:
            self._troubles.note(GENERATION_FILE, unwritten(error, "an older generation of the cluster"))
        else:
            self._troubles.note(GENERATION_FILE, "")

    # --- reports ---

    def _report(self, *, leaving: bool = False) -> DataReport:
        down = listed(self._carried.down)
        return DataReport(
            name=self._identity.name,
            certificate_serial=self._identity.certificate_serial,
            leaving=leaving,
            report=Report(
                agent_version=__version__,
                engine_version=self._engine.version,
                formats=formats.with_engine(self._engine.documents),
                revision=self._applied,
                refused_revision=self._refused[0] if self._refused else None,
                refusal=self._refused[1][:LONGEST_REFUSAL] if self._refused else "",
                counters=self._carried.counters,
                down=down,
                down_unlisted=len(self._carried.down) - len(down),
                emptying=self._service.emptying,
                undrain_problem=self._service.problem,
                certificate=self._certificate.report(),
                troubles=self._troubles.all(),
            ),
        )

    async def _report_changes(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LIFE):
                    await self._changed.wait()
            self._changed.clear()
            await self._send(self._report())

    async def _send(self, report: DataReport) -> None:
        # One after the other, the goodbye last: a report that arrives after it would have the node seem alive.
        async with self._sending:
            if self._leaving and not report.leaving:
                return
            await self._send_now(report)

    async def _send_now(self, report: DataReport) -> bool:
        """Send a report; tell whether the control node has taken it."""
        peer = self._connection
        if peer is None:
            return False
        try:
            await peer.request("POST", "/v1/report", report.model_dump(mode="json"))
        except UnreachableError:
            return False  # the stream to the same peer notices too, and says so
        except TraefikeeError as error:
            _log.error("the control node refuses this node's report", reason=str(error))
            return False
        return True

    async def _rotate(self) -> None:
        """Pass SIGUSR1, by which Traefik is told that its log files were moved away, on to the engine."""
        moved = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, moved.set)
        while True:
            await moved.wait()
            moved.clear()
            try:
                await self._engine.client.reopen()
            except UnreachableError as error:
                _log.error("the access log was not opened again", reason=error.cause)

    async def _say_goodbye(self) -> None:
        self._leaving = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await self._send(self._report(leaving=True))


def told_change(event: Mapping[str, Any], known: State) -> tuple[State, list[bytes]] | None:
    """Return what the change that came with the news makes of what is known, with its frames.

    :returns: None if none came, or if it is not for what is known: then it has to be fetched.
    """
    try:
        frames, _ = changes.split(base64.b64decode(str(event.get("change", "")), validate=True))
        made = changes.follow(known, frames)
    except ValueError:
        return None
    return (made, frames) if made.name == event.get("snapshot") else None


async def data_node(statedir: StateDir, newcomer: Newcomer, options: DataOptions) -> bool:
    """Run ``traefikee start-data-node``: join with the token, or come back.

    Return whether it was told by SIGUSR2 to start again, from what is installed by then; its engine goes on meanwhile.

    :raises TraefikeeError: whatever keeps it from joining or running.
    """
    removed.refuse(statedir)
    identity = statedir.load_identity()
    need_no_identity(identity, statedir, Role.DATA)
    stopping, restarting = stop_on_signals(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, restarting.set)
    engines.find()
    # Its conflict is the cheapest to find: before anything is started or joined.
    with serving.listen(options.socket, "--traefikeesocket") as control:
        await _join_and_run(statedir, identity, newcomer, options, (stopping, restarting), control)
    return restarting.is_set() and not stopping.is_set()


async def _join_and_run(
    statedir: StateDir,
    identity: Identity | None,
    newcomer: Newcomer,
    options: DataOptions,
    until_when: tuple[asyncio.Event, asyncio.Event],
    control: socket.socket,
) -> None:
    stopping, restarting = until_when
    if identity is None:
        identity = await until(
            stopping,
            joining.obtain_identity(newcomer.token, newcomer.peers, Role.DATA, newcomer.name, "", newcomer.timeout),
        )
        if identity is None:
            return
        statedir.save_identity(identity)
    try:
        await DataNode(statedir, identity, options, newcomer.peers).run(stopping, restarting, control)
    except ClusterAbortedError:
        statedir.forget()
        raise
