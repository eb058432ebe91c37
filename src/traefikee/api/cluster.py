"""What a control node answers on ``:4242``: joins, etcd's membership, snapshots and reports of data nodes.

The engine in front has verified the client certificate; the agent looks at the role for each request. Nobody without a
certificate gets further than the CA and the join, which a token guards.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from traefikee.api.answers import error_body, lines, on_error, on_missing, read_body
from traefikee.cluster import state
from traefikee.cluster.admission import Admission
from traefikee.cluster.messages import BEAT, DataReport, JoinRequest, MemberRequest
from traefikee.cluster.mirror import Mirror
from traefikee.cluster.roles import Role
from traefikee.cluster.state import ClusterState
from traefikee.cluster.store import Put, Store
from traefikee.errors import RefusedError, TraefikeeError, UnreachableError
from traefikee.node.publishing import SnapshotStore

DATA_LEASE = 8
"""Seconds that a data node which went silent is taken for alive."""


class Cluster:
    """The handlers, over one control node's store.

    :ivar ready: whether this node is in the store itself; until then everything but the CA is refused.
    """

    def __init__(self, ca_pem: str) -> None:
        self._ca_pem = ca_pem
        self._parts: tuple[Store, Mirror, Admission, SnapshotStore] | None = None
        self._has_quorum: Callable[[], bool] = lambda: False
        self._leases: dict[str, int] = {}

    def open(
        self,
        store: Store,
        mirror: Mirror,
        admission: Admission,
        snapshots: SnapshotStore,
        has_quorum: Callable[[], bool],
    ) -> None:
        """Begin to answer.

        :param has_quorum: whether the store takes writes here; without, this node knows nothing new.
        """
        self._parts = (store, mirror, admission, snapshots)
        self._has_quorum = has_quorum

    def _ready(self) -> tuple[Store, Mirror, Admission, SnapshotStore]:
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
            ],
            exception_handlers={TraefikeeError: on_error, 404: on_missing, 405: on_missing},
        )

    async def authority(self, _request: Request) -> Response:
        """``GET /v1/ca``: the CA, for a newcomer to compare with its token's digest."""
        return JSONResponse({"ca_pem": self._ca_pem})

    async def join(self, request: Request) -> Response:
        """``POST /v1/join``: a token (or a certificate of this cluster) for an identity."""
        _, _, admission, _ = self._ready()
        identity, role = peer(request)
        body: JoinRequest = await read_body(request, JoinRequest)
        answer = await admission.admit(body, identity, role)
        return JSONResponse(answer.model_dump(mode="json"))

    async def myself(self, request: Request) -> Response:
        """``GET /v1/self``: whether the caller is in the list, and in etcd's membership."""
        store, mirror, _, _ = self._ready()
        identity = admit_only(request, Role.CONTROL, Role.DATA)
        node = mirror.state.node(identity)
        member = node.record.member if node else 0
        listed = member != 0 and any(one.id == member for one in await store.members())
        return JSONResponse({"listed": node is not None, "member": listed})

    async def become_member(self, request: Request) -> Response:
        """``POST /v1/members``: bring the calling control node into etcd; a stream of its steps.

        The stream's life is the join's: a caller that goes away is rolled back.
        """
        _, _, admission, _ = self._ready()
        identity = admit_only(request, Role.CONTROL)
        body: MemberRequest = await read_body(request, MemberRequest)
        steps: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()

        async def work() -> None:
            try:
                await admission.bring_into_store(identity, steps.put_nowait, started=body.started)
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
        _, mirror, _, _ = self._ready()
        identity = admit_only(request, Role.DATA)

        async def news() -> AsyncIterator[Mapping[str, Any]]:
            told: Mapping[str, Any] = {}
            seen: ClusterState | None = None
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(BEAT):
                        seen = await mirror.wait_for(lambda now, last=seen: now is not last)  # type: ignore[misc]
                if not self._has_quorum():
                    # A control node without a quorum knows nothing new: let the data node look for a better one.
                    return
                current = announcement(seen, identity) if seen is not None else {}
                if current != told and current:
                    told = current
                    yield current
                else:
                    yield {"event": "unchanged"}

        return lines(news())

    async def snapshot(self, request: Request) -> Response:
        """``GET /v1/snapshots/<name>?have=<name>``: the changes that make the published snapshot of one that is known.

        Frames of :mod:`traefikee.compile.changes`. The first is a whole if ``have`` is not among what led to it.
        """
        _, mirror, _, snapshots = self._ready()
        admit_only(request, Role.DATA)
        pointer = mirror.state.pointer
        if pointer is None or pointer.name != request.path_params["name"]:
            raise UnreachableError("that snapshot is no longer the published one", kind="superseded")
        names = [link.name for link in pointer.snapshot]
        have = request.query_params.get("have", "")
        first = names.index(have) + 1 if have in names else 0
        content = await snapshots.frames(pointer.snapshot[first:])
        return Response(content, media_type="application/octet-stream")

    async def report(self, request: Request) -> Response:
        """``POST /v1/report``: a data node's sign of life, kept under a lease that this control node holds for it."""
        store, mirror, admission, _ = self._ready()
        identity = admit_only(request, Role.DATA)
        body: DataReport = await read_body(request, DataReport)
        lease = self._leases.get(identity, 0)
        if body.leaving:
            self._leases.pop(identity, None)
            if lease:
                await store.revoke(lease)
            return JSONResponse({})
        await admission.recognise_data_node(identity, body.name, body.certificate_serial)
        if not lease or not await store.keep_alive(lease):
            lease = self._leases[identity] = await store.grant(DATA_LEASE)
        stored = body.report.stored()
        key = state.ALIVE + identity
        # Another control node may have held the node's lease before.
        known = mirror.state.keys.get(key)
        if known is None or known.value != stored or known.lease != lease:
            await store.transact([], [Put(key, stored, lease)])
        return JSONResponse({})


def announcement(seen: ClusterState, _identity: str) -> Mapping[str, Any]:
    """Return what a data node is told of the cluster whenever it changes.

    :param _identity: the data node's id; all are told the same so far.
    """
    pointer = seen.pointer
    return {
        "event": "cluster",
        "phase": seen.phase.value,
        "peers": list(seen.control_addresses),
        "snapshot": pointer.name if pointer else "",
        "revision": pointer.revision if pointer else 0,
    }


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
