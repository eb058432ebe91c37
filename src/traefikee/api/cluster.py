"""What a control node answers on ``:4242``: joins, etcd's membership, snapshots and reports of data nodes.

The engine in front has verified the client certificate; the agent looks at the role for each request. Nobody without a
certificate gets further than the CA and the join, which a token guards.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from traefikee import log
from traefikee.api.answers import error_body, lines, on_error, on_missing, read_message
from traefikee.api.logs import cluster_routes
from traefikee.cluster import state, upgrade
from traefikee.cluster.admission import Admission
from traefikee.cluster.attendance import BALANCE_EVERY, Attendance, surplus
from traefikee.cluster.authorities import digests
from traefikee.cluster.messages import BEAT, LIFE, DataReport, JoinRequest, MemberRequest, RenewRequest
from traefikee.cluster.mirror import Mirror
from traefikee.cluster.protocol import connection, sender
from traefikee.cluster.records import Phase
from traefikee.cluster.removed import refuse_removed, removed_error
from traefikee.cluster.renewal import Renewal, told_authorities
from traefikee.cluster.roles import Role
from traefikee.cluster.state import ClusterState
from traefikee.cluster.store import Store
from traefikee.cluster.x509_fields import split
from traefikee.errors import RefusedError, TraefikeeError, UnreachableError
from traefikee.node.frames import Frames
from traefikee.node.log_collecting import Sources
from traefikee.node.log_desk import LogDesk
from traefikee.node.news import News
from traefikee.node.publishing import PART_BYTES, SnapshotStore
from traefikee.node.store_upkeep import OwnMember

_log = log.get("nodes")

COME_AT_ONCE = 500
"""Data nodes that may come in one second: each costs a control node two handshakes and some requests."""
LONGEST_SPREAD = 2.0
LARGEST_TOLD = 8 * 1024
"""Bytes of a change that is told on the streams; data nodes fetch larger ones."""


class Cluster:
    """The handlers, over one control node's store.

    :param ca_pem: returns whom this node trusts by now.
    :param identity: the control node's id.
    :ivar ready: whether this node is in the store itself; until then everything but the CA is refused.
    """

    def __init__(self, ca_pem: Callable[[], str], identity: str, desk: LogDesk, log_sources: Sources) -> None:
        self._ca_pem = ca_pem
        self._id = identity
        self._desk = desk
        self._log_sources = log_sources
        self._parts: tuple[Store, Mirror, Admission] | None = None
        self._has_quorum: Callable[[], bool] = lambda: False
        self._change = ("", "")
        """The published snapshot's name, and the change that made it as base64; an empty text if it is not told."""
        self._attendance: Attendance
        self._news: News
        self._frames: Frames
        self.on_later_generation: Callable[[list[str]], None] = lambda _addresses: None
        """Called when a data node has seen a later generation of the cluster, with where it may be."""
        self._own_member: OwnMember | None = None

    async def run(
        self,
        store: Store,
        mirror: Mirror,
        admission: Admission,
        snapshots: SnapshotStore,
        has_quorum: Callable[[], bool],
        own_member: OwnMember | None = None,
    ) -> None:
        """Begin to answer, and keep up what data nodes say and are told, for ever.

        :param has_quorum: whether the store takes writes here; without, this node knows nothing new.
        :param own_member: this node's etcd, for its upkeep.
        """
        self._attendance = Attendance(store, mirror, self._id)
        self._news = News(mirror, self._announce, self._read_change, self._desk)
        self._frames = Frames(snapshots)
        self._own_member = own_member
        self._parts = (store, mirror, admission)
        self._has_quorum = has_quorum
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._attendance.run(), name="attendance")
            tasks.create_task(self._news.run(), name="news")
            tasks.create_task(self._balance(mirror), name="balance")

    async def _read_change(self, seen: ClusterState) -> None:
        """Read the newest change, so that it can be told with the news of it, if it is small."""
        pointer = seen.pointer
        if pointer is None or pointer.name == self._change[0]:
            return
        self._change = (pointer.name, "")
        if len(pointer.snapshot) > 1 and pointer.snapshot[-1].size <= LARGEST_TOLD:
            # Without it, data nodes ask for it.
            with contextlib.suppress(UnreachableError):
                frame = await self._frames.get(pointer.snapshot, len(pointer.snapshot) - 1)
                self._change = (pointer.name, base64.b64encode(frame).decode())

    def _announce(self, seen: ClusterState, identity: str) -> Mapping[str, Any]:
        told = announcement(seen, identity)
        name, change = self._change
        return {**told, "change": change} if change and name == told.get("snapshot") else told

    async def _balance(self, mirror: Mirror) -> None:
        """End some streams now and then if other control nodes hold far fewer."""
        while True:
            await asyncio.sleep(BALANCE_EVERY)
            count = surplus(mirror.state, self._id, len(self._news))
            if count:
                _log.info("some data nodes are let go to other control nodes", count=count, held=len(self._news))
                self._news.let_go(count)

    def _ready(self) -> tuple[Store, Mirror, Admission]:
        if self._parts is None:
            raise UnreachableError("this control node has not joined the store itself yet", kind="joining")
        if not self._has_quorum():
            raise UnreachableError("the store of this control node does not answer (no quorum?)", kind="store")
        return self._parts

    def app(self) -> Starlette:
        """Return the application for the engine's ``/v1/`` route."""
        return Starlette(
            routes=[
                Route("/v1/ca", self.authority),
                Route("/v1/join", self.join, methods=["POST"]),
                Route("/v1/self", self.myself),
                Route("/v1/members", self.become_member, methods=["POST"]),
                Route("/v1/pulse", self.pulse),
                Route("/v1/snapshots", self.snapshots),
                Route("/v1/snapshots/{name}", self.snapshot),
                Route("/v1/report", self.report, methods=["POST"]),
                Route("/v1/renew", self.nonce),
                Route("/v1/renew", self.renew, methods=["POST"]),
                *cluster_routes(self._log_sources, self._desk, admit_only),
                Route("/v1/upkeep", self.upkeep, methods=["GET", "POST"]),
            ],
            exception_handlers={TraefikeeError: on_error, 404: on_missing, 405: on_missing},
        )

    async def authority(self, _request: Request) -> Response:
        """``GET /v1/ca``: the authorities, for a newcomer to compare with its token's digest."""
        seen = self._parts[1].state if self._parts is not None else None
        return JSONResponse(told_authorities(seen, split(self._ca_pem())).model_dump(mode="json"))

    async def join(self, request: Request) -> Response:
        """``POST /v1/join``: a token (or a certificate of this cluster) for an identity."""
        _, mirror, admission = self._ready()
        identity, role = peer(request)
        upgrade.check_other(mirror.state, *sender(request.headers))
        body: JoinRequest = await read_message(request, JoinRequest)
        answer = await admission.admit(body, identity, role)
        return JSONResponse(answer.model_dump(mode="json"))

    async def myself(self, request: Request) -> Response:
        """``GET /v1/self``: whether the caller is in the list, and in etcd's membership."""
        store, mirror, _ = self._ready()
        identity = admit_only(request, Role.CONTROL, Role.DATA)
        upgrade.check_other(mirror.state, *sender(request.headers))
        not_before_it_is_back(mirror.state)
        node = mirror.state.node(identity)
        member = node.record.member if node else 0
        listed = member != 0 and any(one.id == member for one in await store.members())
        removal = mirror.state.removed.get(identity)
        removed = removal.sentence() if removal and not listed else ""
        generation = mirror.state.generation
        return JSONResponse(
            {"listed": node is not None, "member": listed, "removed": removed, "generation": generation}
        )

    async def become_member(self, request: Request) -> Response:
        """``POST /v1/members``: bring the calling control node into etcd; a stream of its steps.

        The stream's life is the join's: a caller that goes away is rolled back.
        """
        _, mirror, admission = self._ready()
        identity = admit_only(request, Role.CONTROL)
        refuse_removed(mirror.state, identity)
        version, understood = sender(request.headers)
        upgrade.check_other(mirror.state, version, understood)
        body: MemberRequest = await read_message(request, MemberRequest)
        steps: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()

        async def work() -> None:
            try:
                await admission.bring_into_store(
                    identity, steps.put_nowait, started=body.started, version=version, understood=understood
                )
            except TraefikeeError as error:
                steps.put_nowait(error_body(error))

        async def told() -> AsyncIterator[Mapping[str, Any]]:
            task = asyncio.create_task(work(), name=f"join of {identity}")
            try:
                while True:
                    try:
                        async with asyncio.timeout(BEAT):
                            step = await steps.get()
                    except TimeoutError:
                        yield {"event": "still_here"}
                        continue
                    yield step
                    if step.get("event") == "promoted" or "error" in step:
                        return
            finally:
                if not task.done():
                    task.cancel()

        return lines(told())

    async def nonce(self, _request: Request) -> Response:
        """``GET /v1/renew``: what to sign for a renewal without a certificate that is valid."""
        store, mirror, admission = self._ready()
        return JSONResponse({"nonce": Renewal(store, mirror, admission).nonce()})

    async def renew(self, request: Request) -> Response:
        """``POST /v1/renew``: a data node's certificate for a new one, also after it has ended."""
        store, mirror, admission = self._ready()
        identity = admit_only(request, Role.DATA) if peer(request)[1] else ""
        body: RenewRequest = await read_message(request, RenewRequest)
        answer = await Renewal(store, mirror, admission).renew(body, identity)
        return JSONResponse(answer.model_dump(mode="json"))

    async def pulse(self, request: Request) -> Response:
        """``GET /v1/pulse``: a line every now and then while this process lives; the others watch the leader so."""
        admit_only(request, Role.CONTROL)

        async def beats() -> AsyncIterator[Mapping[str, Any]]:
            while True:
                yield {"event": "alive"}
                await asyncio.sleep(BEAT)

        return lines(beats())

    async def snapshots(self, request: Request) -> Response:
        """``GET /v1/snapshots``: the published snapshot's name and the control nodes' addresses, as they change."""
        _, mirror, _ = self._ready()
        identity = admit_only(request, Role.DATA)
        refuse_removed(mirror.state, identity)
        not_before_it_is_back(mirror.state)
        self._compare_generations(request, mirror.state)
        self._attendance.begin(identity, connection(request.headers))
        # A control node without a quorum knows nothing new: it lets the data node look for a better one.
        told = self._news.lines(identity, LIFE, self._has_quorum)
        return StreamingResponse(told, media_type="application/x-ndjson")

    def _compare_generations(self, request: Request, seen: ClusterState) -> None:
        """Look for a later generation that the caller has seen; it does not follow this one.

        :raises UnreachableError: if it has seen one.
        """
        known = state.read_generation(request.query_params.get("generation", "").encode())
        if known > seen.generation:
            self.on_later_generation(request.query_params.get("peers", "").split(","))
            raise UnreachableError("this control node is of an earlier generation of the cluster", kind="left_behind")

    async def snapshot(self, request: Request) -> Response:
        """``GET /v1/snapshots/<name>?have=<name>``: the changes that make the published snapshot of one that is known.

        Frames of :mod:`traefikee.compile.changes`. The first is a whole if ``have`` is not among what led to it.
        """
        _, mirror, _ = self._ready()
        refuse_removed(mirror.state, admit_only(request, Role.DATA))
        pointer = mirror.state.pointer
        if pointer is None or pointer.name != request.path_params["name"]:
            raise UnreachableError("that snapshot is no longer the published one", kind="superseded")
        names = [link.name for link in pointer.snapshot]
        have = request.query_params.get("have", "")
        first = names.index(have) + 1 if have in names else 0
        frames = await self._frames.read(pointer.snapshot, first)

        async def content() -> AsyncIterator[bytes]:
            # What all of them share, in pieces: a copy for each of many data nodes would be much.
            for frame in frames:
                for start in range(0, len(frame), PART_BYTES):
                    yield frame[start : start + PART_BYTES]

        length = {"Content-Length": str(sum(map(len, frames)))}
        return StreamingResponse(content(), media_type="application/octet-stream", headers=length)

    async def report(self, request: Request) -> Response:
        """``POST /v1/report``: a data node's sign of life, which this control node keeps in the store."""
        _, _, admission = self._ready()
        identity = admit_only(request, Role.DATA)
        body: DataReport = await read_message(request, DataReport)
        through = connection(request.headers)
        if body.leaving and self._attendance.speaks(identity, through):
            await self._attendance.goodbye(identity)
            return JSONResponse({})
        await admission.recognise_data_node(identity, body.name, body.certificate_serial)
        if body.leaving or not self._attendance.hear(identity, body.report, through):
            if self._attendance.speaks(identity, through):
                # If it is still there, it comes back.
                self._news.let_one_go(identity)
            raise UnreachableError("this report has come late: the node has said more since", kind="superseded")
        return JSONResponse({})

    async def upkeep(self, request: Request) -> Response:
        """``GET /v1/upkeep``: the sizes of this node's etcd. ``POST``: give its unused space back."""
        admit_only(request, Role.CONTROL)
        if self._own_member is None:
            raise UnreachableError("this control node has not joined the store itself yet", kind="joining")
        if request.method == "POST":
            await self._own_member.defragment()
        return JSONResponse(dataclasses.asdict(await self._own_member.size()))


def not_before_it_is_back(seen: ClusterState) -> None:
    """Refuse to speak for a cluster that is being restored until it has formed.

    Until then the restore can be given up: nobody is to leave for it what may still be the cluster, and no data node is
    to hear that it is at an end.

    :raises UnreachableError: if it has not formed.
    """
    if seen.generation and seen.phase is not Phase.FORMED:
        raise UnreachableError("the cluster is being restored, and has not formed yet", kind="joining")


def announcement(seen: ClusterState, identity: str) -> Mapping[str, Any]:
    """Return what a data node is told of the cluster whenever it changes; a removed one is told that, as an error.

    :param identity: the data node's id: ``drained`` is about it alone.
    """
    removal = seen.removed.get(identity)
    if removal is not None:
        return error_body(removed_error(removal.sentence()))
    pointer = seen.pointer
    drained = seen.keys.get(state.DRAINED + identity)
    return {
        "event": "cluster",
        "phase": seen.phase.value,
        "generation": seen.generation,
        "peers": list(seen.control_addresses),
        "snapshot": pointer.name if pointer else "",
        "revision": pointer.revision if pointer else 0,
        "spread": spread(len(seen.with_role(Role.DATA))),
        "drained": drained.value.decode() if drained else "",
        "trusted": digests(seen.authorities.bundle) if seen.info is not None else (),
    }


def spread(data_nodes: int) -> float:
    """Return over how many seconds so many data nodes are to spread it when they look for another control node."""
    return min(LONGEST_SPREAD, round(data_nodes / COME_AT_ONCE, 1))


def peer(request: Request) -> tuple[str, str]:
    """Return id and role of the caller, as the engine verified them; empty without a client certificate."""
    return request.headers.get("x-traefikee-peer-id", ""), request.headers.get("x-traefikee-peer-role", "")


def admit_only(request: Request, *roles: Role) -> str:
    """Return the caller's id if it has one of the roles.

    :raises RefusedError: if not.
    """
    identity, role = peer(request)
    if role not in {one.value for one in roles}:
        wanted = " or ".join(one.value for one in roles)
        raise RefusedError(f"only {wanted} nodes may {request.method} {request.url.path}", kind="role")
    return identity
