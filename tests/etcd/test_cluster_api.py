"""What a control node answers the others, over a real etcd."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.etcd.stores import in_store
from tests.etcd.test_fencing import elect
from traefikee.api.cluster import Cluster
from traefikee.api.logs import sources_of
from traefikee.cluster.admission import Admission
from traefikee.cluster.mirror import Mirror
from traefikee.cluster.records import Pointer
from traefikee.cluster.store import Delete, Store
from traefikee.compile import changes
from traefikee.compile.changes import State
from traefikee.node.log_desk import LogDesk
from traefikee.node.publishing import SnapshotStore, draft, part_key
from traefikee.node.store_upkeep import OwnMember

QUOTA = 1 << 30


@asynccontextmanager
async def asked(store: Store, role: str) -> AsyncIterator[tuple[httpx.AsyncClient, Mirror]]:
    """A client of a control node's cluster API, as a node of that role."""
    desk = LogDesk()
    mirror, cluster = Mirror(store), Cluster(lambda: "", "control", desk, sources_of("control", desk))
    admission, snapshots = Admission(store, mirror, bytes(32)), SnapshotStore(store)
    answering = cluster.run(store, mirror, admission, snapshots, lambda: True, OwnMember(store, QUOTA))
    running = [asyncio.create_task(mirror.run()), asyncio.create_task(answering)]
    await asyncio.sleep(0)
    transport = httpx.ASGITransport(cluster.app())
    headers = {"x-traefikee-peer-id": "me", "x-traefikee-peer-role": role}
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://control", headers=headers) as client:
            yield client, mirror
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def test_a_large_snapshot_is_told_whole_or_not_at_all(socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("traefikee.node.publishing.PART_BYTES", 1000)

    async def body(store: Store) -> None:
        objects = {f"route/{number}": json.dumps(os.urandom(500).hex()).encode() for number in range(50)}
        made = draft((), {}, objects, 1, new=True)
        link = made.links[0]
        term, snapshots = await elect(store, "one"), SnapshotStore(store)
        await snapshots.publish(Pointer(revision=1, config=1, snapshot=made.links), None, [made.frame], term, 0)
        async with asked(store, "data") as (client, mirror):
            await mirror.wait_for(lambda seen: seen.pointer is not None)
            answer = await client.get(f"/v1/snapshots/{link.name}")
            assert answer.headers["Content-Length"] == str(link.size) == str(len(made.frame))
            frames, is_complete = changes.split(answer.content)
            assert is_complete
            assert changes.follow(State(), frames).objects == objects
            known = await client.get(f"/v1/snapshots/{link.name}?have={link.name}")
            assert (known.status_code, known.content) == (200, b"")
        await store.transact([], [Delete(part_key(link.blob, 0))])
        async with asked(store, "data") as (client, mirror):
            await mirror.wait_for(lambda seen: seen.pointer is not None)
            gone = await client.get(f"/v1/snapshots/{link.name}")
            assert gone.status_code == 404
            assert "part 1 of the change" in gone.json()["error"]

    in_store(socket, body)


def test_the_sizes_of_etcd_are_for_control_nodes(socket: Path) -> None:
    async def body(store: Store) -> None:
        async with asked(store, "control") as (client, _):
            size = (await client.get("/v1/upkeep")).json()
            assert size["quota"] == QUOTA
            assert size["leads"] is True
            assert 0 < size["used"] <= size["file"]
            assert (await client.post("/v1/upkeep")).json()["alarm"] is False
        async with asked(store, "data") as (client, _):
            for method in ("GET", "POST"):
                assert (await client.request(method, "/v1/upkeep")).status_code == 403

    in_store(socket, body)
