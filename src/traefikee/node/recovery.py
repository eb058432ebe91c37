"""Bringing a cluster back from the disk of one control node when the quorum is lost for good.

What the surviving etcd knows is read from a copy of its data, by an etcd that nobody can reach. A store of one new
member is made of it beside the old one, under the same identity, CA and tokens and in a new generation: its members
are strangers to the old ones. Only when it is whole does it take the old one's place, which is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from traefikee.backup import rebirth, wal
from traefikee.backup.content import Checked, Content, check
from traefikee.backup.taking import take
from traefikee.cluster import audit, etcd, state
from traefikee.cluster.audit import Actor
from traefikee.cluster.joining import STANDING_DEADLINE, own_pair
from traefikee.cluster.messages import Standing
from traefikee.cluster.peers import Peer
from traefikee.cluster.records import Phase
from traefikee.cluster.roles import Role
from traefikee.cluster.store import Put, Store
from traefikee.errors import RefusedError, TraefikeeError, UnreachableError
from traefikee.node.bootstrap import records
from traefikee.node.statedir import Identity, StateDir

OLD, NEW = "old", "new"
"""Folders beside etcd's data: the copy that is read, and the store that is made. Short: sockets are in them."""
STORE_START = 60.0
STORE_GRACE = 10.0
RESTORE_HINT = "restore a backup on a new machine: traefikee bootstrap --archivepath=..."


@dataclass(frozen=True)
class Survivor:
    """What is left of a cluster on this machine."""

    identity: Identity = field(repr=False)
    content: Content
    checked: Checked


@dataclass(frozen=True)
class Other:
    """Another control node, as it answers now.

    :ivar quorum: whether it has one.
    """

    address: str
    quorum: bool
    said: str


def identity_of(statedir: StateDir) -> Identity:
    """Return the identity of the control node whose state directory this is.

    :raises TraefikeeError: if there is none that could be recovered from.
    """
    identity = statedir.load_identity()
    if identity is None:
        raise RefusedError(f"{statedir.path} holds no node's identity", "name the right one with --statedir")
    if identity.role is not Role.CONTROL:
        raise RefusedError(
            f"{statedir.path} belongs to the data node {identity.name!r}, which does not hold the cluster's state",
            f"run this on a control node that is left, or {RESTORE_HINT}",
        )
    if identity.left:
        raise RefusedError(
            f"{identity.name!r} has left its cluster when that was formed: what it knows is from then",
            f"run this on a control node that is left, or {RESTORE_HINT}",
        )
    if not statedir.has_store():
        kept = sorted(path.name for path in statedir.etcd.glob("data.*"))
        beside = f"; kept beside it: {', '.join(kept)}" if kept else ""
        raise RefusedError(
            f"there is no store in {statedir.etcd / 'data'}{beside}",
            f"run this on another control node that is left, or {RESTORE_HINT}",
        )
    return identity


async def ask_others(identity: Identity, addresses: Sequence[str], generation: int) -> list[Other]:
    """Ask the other control nodes whether they have a quorum, all at once.

    :param generation: a quorum of an earlier one does not count: it was left behind.
    """

    async def ask(address: str) -> Other:
        try:
            async with asyncio.timeout(STANDING_DEADLINE), Peer(address, identity.ca_pem, own_pair(identity)) as peer:
                standing = Standing.model_validate(await peer.request("GET", "/v1/self"))
        except UnreachableError as error:
            if error.kind in ("store", "joining"):
                return Other(address, quorum=False, said="runs, and has no quorum")
            return Other(address, quorum=False, said="does not answer")
        except (TimeoutError, TraefikeeError, ValidationError) as error:
            return Other(address, quorum=False, said=f"cannot tell: {str(error) or 'it does not answer in time'}")
        if standing.generation < generation:
            return Other(address, quorum=False, said="runs in an earlier generation of the cluster")
        return Other(address, quorum=True, said="runs, and has a quorum")

    others = [address for address in dict.fromkeys(addresses) if address != identity.advertise]
    return list(await asyncio.gather(*map(ask, others)))


async def read_survivor(statedir: StateDir, identity: Identity) -> Survivor:
    """Read what this machine's store knows, from a copy of it; the store itself is not touched.

    :raises TraefikeeError: if it cannot be read, or no cluster can be made of it.
    """
    folder = statedir.etcd / OLD
    try:
        with _emptied(folder):
            await asyncio.to_thread(shutil.copytree, statedir.etcd / "data", folder / "data")
            await asyncio.to_thread(wal.commit_all, folder / "data" / "member" / "wal")
            async with _private_store(folder, etcd.reading_command(etcd.find(), identity)) as store:
                content = await take(store, identity)
    except OSError as error:
        raise TraefikeeError(
            f"the store cannot be copied to {folder}: {error.strerror or error}",
            "free as much space on that disk as the store takes",
            kind="statedir",
        ) from error
    try:
        checked = check(content)
    except TraefikeeError as error:
        raise TraefikeeError(
            f"no cluster can be made of the store in {statedir.etcd}: {error.cause}",
            f"try another control node that is left, or {RESTORE_HINT}",
        ) from error
    return Survivor(identity, content, checked)


async def begin_anew(statedir: StateDir, survivor: Survivor, user: str) -> Path:
    """Put a new store of one member in the place of this node's; return where the old one is kept.

    :param user: who asked for it, for the audit log.
    :raises TraefikeeError: if that cannot be done; the old store is then as it was.
    """
    identity, content = survivor.identity, survivor.content
    known = [content.origin.generation, statedir.load_generation()]
    generation = rebirth.next_generation(known, time.time())
    keys = rebirth.reborn(content, survivor.checked, generation)
    folder = statedir.etcd / NEW
    try:
        with _emptied(folder):
            alone = [(identity.id, etcd.peer_url(identity.advertise))]
            settled = identity.model_copy(update={"ephemeral": False})
            etcd.write_certificates(folder, identity)
            argv = etcd.command(etcd.find(), identity, alone, existing=False, generation=generation)
            async with _private_store(folder, argv) as store:
                last = [
                    Put(state.INFO, survivor.checked.info.stored()),
                    Put(state.PHASE, Phase.FORMED.encode()),
                    *records(settled, (await store.members())[0]),
                    audit.entry(
                        Actor(f"user {user}", "disk"),
                        identity.name,
                        "recover",
                        f"cluster recovered from {identity.name} as of revision {content.origin.revision}",
                    ),
                ]
                await rebirth.write(store, keys, last)
                made = await take(store, identity)
                wanted = {**keys, **{put.key: put.value for put in last if put.key in made.keys}}
                if made.keys != wanted:
                    raise TraefikeeError("the new store does not hold what was written", "try again, on another disk")
            kept = statedir.set_store_aside("before-recovery")
            (folder / "data").rename(statedir.etcd / "data")
    except OSError as error:
        raise TraefikeeError(
            f"the new store cannot be written to {folder}: {error.strerror or error}",
            "free space on that disk",
            kind="statedir",
        ) from error
    statedir.save_generation(generation)
    statedir.save_identity(settled)
    return kept or statedir.etcd


@contextlib.contextmanager
def _emptied(folder: Path) -> Iterator[Path]:
    """Make a folder that is empty, and leave nothing of it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.asynccontextmanager
async def _private_store(folder: Path, argv: Sequence[str]) -> AsyncIterator[Store]:
    """Run an etcd of one member in a folder; only this process reaches it.

    :raises TraefikeeError: if it does not come up.
    """
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *argv,
            cwd=folder,
            env=etcd.environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    store = Store(folder / etcd.CLIENT_SOCKET)
    try:
        await _until_it_answers(store, process, folder / "log")
        yield store
    finally:
        await store.close()
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STORE_GRACE)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _until_it_answers(store: Store, process: asyncio.subprocess.Process, log: Path) -> None:
    until = time.monotonic() + STORE_START
    while True:
        try:
            await store.probe()
        except UnreachableError as error:
            if process.returncode is None and time.monotonic() < until:
                await asyncio.sleep(0.1)
                continue
            words = (await asyncio.to_thread(log.read_text, errors="replace")).strip().splitlines()
            raise TraefikeeError(
                f"etcd cannot use the store: {words[-1] if words else error.cause}",
                f"try another control node that is left, or {RESTORE_HINT}",
                kind="etcd",
            ) from error
        return
