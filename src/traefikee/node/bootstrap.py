"""Making a cluster: its CA, its tokens, its API credentials, its one-member store; and leaving it to the others."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path

from traefikee import formats, log
from traefikee.cluster import audit, etcd, membership, pki, state, tokens, upgrade
from traefikee.cluster.licence import LICENCE, LicenceStatus
from traefikee.cluster.records import ClusterInfo, NodeRecord, Phase, Secrets
from traefikee.cluster.roles import Role
from traefikee.cluster.store import Compare, Put, StoreMember, StoreRefusedError
from traefikee.cluster.token_table import standing_table
from traefikee.config.certificates import CertificatePair
from traefikee.errors import TraefikeeError, UnreachableError
from traefikee.node import licensing
from traefikee.node.control import ControlNode
from traefikee.node.retry import insist
from traefikee.node.statedir import Identity, StateDir, new_id

PROGRESS_EVERY = 10.0
HANDOVER_DEADLINE = 15.0
LEAVE_DEADLINE = 30.0
ABORT_GRACE = 5.0
RETRY = 0.3

CLUSTER_KEY_BYTES = 32

CREDENTIAL_FILES = ("ca.pem", "cert.pem", "key.pem")
"""What ``traefikeectl connect`` reads from ``--mtlscertsoutputdir``."""

_log = log.get("bootstrap")


@dataclass(frozen=True)
class NewCluster:
    """What ``traefikee bootstrap`` was asked for.

    :ivar control_nodes: how many control nodes to wait for; with 1 the bootstrap node itself is the control node.
    :ivar timeout: seconds to wait for them.
    :ivar license_endpoint: the server that judges the licence key, or an empty text.
    """

    name: str
    advertise: str
    control_nodes: int
    timeout: float
    licence: str = field(repr=False)
    api: bool
    credentials: Path
    license_endpoint: str = ""

    @property
    def ephemeral(self) -> bool:
        """Whether the bootstrap node leaves once the others have joined."""
        return self.control_nodes > 1


def check_credentials_folder(folder: Path) -> None:
    """Make the folder for the API credentials, and refuse one that holds some.

    :raises TraefikeeError: if it cannot be written, or credentials of a cluster would be overwritten.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        held = [name for name in CREDENTIAL_FILES if (folder / name).exists()]
        probe = folder / ".probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise TraefikeeError(
            f"the API credentials cannot be written to {folder}: {error.strerror}",
            "choose another folder with --mtlscertsoutputdir",
            kind="credentials",
        ) from error
    if held:
        raise TraefikeeError(
            f"{folder} already holds API credentials ({', '.join(held)}), which are made only once for a cluster",
            "move them away, or choose another folder with --mtlscertsoutputdir",
            kind="credentials",
        )


def write_credentials(folder: Path, ca_pem: str, pair: CertificatePair) -> None:
    """Write the API credentials, mode 0600."""
    for name, content in zip(CREDENTIAL_FILES, (ca_pem, pair.chain_pem, pair.key_pem), strict=True):
        path = folder / name
        path.touch(mode=0o600)
        path.write_text(content)


def remove_credentials(folder: Path) -> None:
    """Remove the credentials of a cluster that was given up."""
    for name in CREDENTIAL_FILES:
        (folder / name).unlink(missing_ok=True)


def first_identity(asked: NewCluster, cluster_id: str, authority: CertificatePair, cluster_key: str) -> Identity:
    """Make the identity of the node that makes a cluster."""
    identity = new_id()
    host = asked.advertise.rpartition(":")[0].strip("[]")
    pair = pki.issue_for_new_key(authority, identity=identity, role=Role.CONTROL, hosts=(host,))
    return Identity(
        id=identity,
        name=asked.name,
        role=Role.CONTROL,
        cluster_id=cluster_id,
        advertise=asked.advertise,
        ca_pem=authority.chain_pem,
        certificate_pem=pair.chain_pem,
        certificate_serial=pki.serial(pair.chain_pem),
        key_pem=pair.key_pem,
        cluster_key=cluster_key,
        bootstrap=True,
        ephemeral=asked.ephemeral,
    )


def records(identity: Identity, member: StoreMember) -> list[Put]:
    """Return the writes that put the node of an identity, as that member of etcd, into the cluster's list."""
    record = NodeRecord(
        id=identity.id,
        name=identity.name,
        role=Role.CONTROL,
        advertise=identity.advertise,
        certificate_serial=identity.certificate_serial,
        member=member.id,
        bootstrap=identity.ephemeral,
    )
    return [
        Put(state.NODES + identity.id, record.stored()),
        Put(state.NAMES + identity.name, identity.id.encode()),
    ]


class Bootstrap:
    """One bootstrap: makes the identity first, then enters the node it is given into a new cluster.

    :ivar issues_credentials: whether it writes API credentials, which go with a cluster that is given up.
    """

    issues_credentials = True

    def __init__(self, asked: NewCluster) -> None:
        self.asked = asked
        cluster_id = new_id()
        self._licence = LicenceStatus()
        self._authority = pki.new_authority(cluster_id)
        self.identity = first_identity(asked, cluster_id, self._authority, secrets.token_hex(CLUSTER_KEY_BYTES))

    async def check_licence(self) -> None:
        """Have the licence key judged, if there is somebody to ask.

        :raises TraefikeeError: if it is refused, or nobody says that it is accepted.
        """
        asked = self.asked
        self._licence = await licensing.check_new(asked.license_endpoint, asked.licence, self.identity.cluster_id)

    async def enter(self, node: ControlNode) -> None:
        """Start a store of one member and write the cluster into it.

        :raises TraefikeeError: if etcd does not come up.
        """
        identity = self.identity
        await node.start_store([(identity.id, etcd.peer_url(identity.advertise))], existing=False)
        await node.wait_for_store(alone=True)
        member = (await node.store.members())[0]
        info = ClusterInfo(
            id=identity.cluster_id,
            ca_pem=identity.ca_pem,
            control_secret=tokens.new_secret(),
            data_secret=tokens.new_secret(),
            licence=self.asked.licence,
            control_nodes=self.asked.control_nodes,
            api=self.asked.api,
        )
        default = pki.new_default_certificate()
        sealed = pki.seal(
            bytes.fromhex(identity.cluster_key),
            Secrets(
                ca_key_pem=self._authority.key_pem,
                default_certificate_pem=default.chain_pem,
                default_key_pem=default.key_pem,
            ).stored(),
        )
        made = await node.store.transact(
            [Compare.absent(state.INFO)],
            [
                Put(state.INFO, info.stored()),
                Put(state.FORMAT, upgrade.in_force_now(formats.NEWEST).stored()),
                Put(state.SECRETS, sealed),
                Put(state.TOKENS, standing_table(info.control_secret, info.data_secret, time.time()).stored()),
                Put(state.PHASE, Phase.FORMING.encode()),
                *records(identity, member),
                Put(LICENCE, self._licence.stored()),
                audit.entry(audit.CLUSTER, identity.name, "bootstrap", f"cluster {identity.cluster_id} made"),
            ],
        )
        if made is None:
            raise TraefikeeError(
                f"there is the state of another cluster in {node.statedir.etcd}",
                f"remove {node.statedir.path}, then run traefikee bootstrap again",
                kind="statedir",
            )
        api = pki.issue_for_new_key(self._authority, identity="traefikeectl", role=Role.API)
        write_credentials(self.asked.credentials, identity.ca_pem, api)
        # From here on a restart with the state directory comes back as this node.
        node.statedir.save_identity(identity)
        _log.info("cluster made", id=identity.cluster_id, address=identity.advertise)
        _log.info("API credentials written", folder=str(self.asked.credentials))

    async def duties(self, node: ControlNode) -> None:
        """Wait for the other control nodes; then leave the cluster to them.

        :raises TraefikeeError: at the timeout; the cluster is given up then.
        """
        await wait_and_leave(node, self.asked.timeout)


async def wait_and_leave(node: ControlNode, timeout: float) -> None:
    """The duty of an ephemeral bootstrap node: wait until the cluster is formed, hand over, leave.

    :raises TraefikeeError: at the timeout (seconds), after the cluster was given up.
    """
    until = time.monotonic() + timeout
    _log.info(
        "waiting for control nodes to join; their token: traefikee env",
        timeout=f"{timeout:.0f}s",
    )
    while node.mirror.state.phase is not Phase.FORMED:
        left = until - time.monotonic()
        if left <= 0:
            await _give_up(node, timeout)
            # The last of them joined at this moment.
            await node.mirror.wait_for(lambda seen: seen.phase is not Phase.FORMING)
            continue
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(PROGRESS_EVERY, left)):
                await node.mirror.wait_for(lambda seen: seen.phase is Phase.FORMED)
                continue
        _log.info(membership.formation(node.mirror.state)[1], gives_up_in=f"{max(0, until - time.monotonic()):.0f}s")
    _log.info("all control nodes have joined: this node hands over and leaves")
    await _leave(node)


async def _leave(node: ControlNode) -> None:
    identity = node.identity
    # Whatever happens from here, this node is not to come back.
    node.statedir.save_identity(identity.model_copy(update={"left": True}))
    await insist(node.presence.resign)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(HANDOVER_DEADLINE):
            await node.mirror.wait_for(lambda seen: seen.leader not in (None, identity.id))
    me = node.mirror.state.node(identity.id)
    if me is not None:
        record = me.record.model_copy(update={"left": True})
        key = state.NODES + identity.id
        # If the leader has forgotten it already, that is how it is to be.
        unchanged = Compare.unchanged(key, node.mirror.state.keys[key].mod_revision)
        await insist(lambda: node.store.transact([unchanged], [Put(key, record.stored())]))
    await node.presence.end()
    node.expect_store_to_end()
    until = time.monotonic() + LEAVE_DEADLINE
    while time.monotonic() < until:
        try:
            members = await node.store.members()
            mine = next((one for one in members if etcd.peer_url(identity.advertise) in one.peer_urls), None)
            if mine is None:
                break
            with contextlib.suppress(StoreRefusedError):
                await node.hand_raft_over()
            await node.store.remove_member(mine.id)
            break
        except StoreRefusedError as error:
            # Mostly "unhealthy cluster": the newest member is connected only since a moment.
            _log.debug("etcd lets this member go later", reason=error.message)
            await asyncio.sleep(RETRY)
        except UnreachableError:
            # Removed, and the member ended before it could answer; or the leader will clean up.
            break
    new_leader = node.mirror.state.node(node.mirror.state.leader or "")
    _log.info("left the cluster", leader=new_leader.record.name if new_leader else "being elected")
    node.leaving.set()


async def _give_up(node: ControlNode, timeout: float) -> None:
    """Give the cluster up, unless it is formed at this very moment.

    :raises TraefikeeError: if it is given up.
    """
    reason = membership.formation(node.mirror.state)[1]
    with contextlib.suppress(UnreachableError):
        forming = Compare.unchanged(state.PHASE, node.mirror.state.keys[state.PHASE].mod_revision)
        if await node.store.transact([forming], [Put(state.PHASE, Phase.ABORTED.encode())]) is None:
            return
        with contextlib.suppress(TimeoutError):
            # The others hear of it from the store, of which this node may be the quorum.
            async with asyncio.timeout(ABORT_GRACE):
                await node.mirror.wait_for(
                    lambda seen: not any(one.report for one in seen.nodes if one.record.id != node.identity.id)
                )
    raise TraefikeeError(
        f"no cluster was made: after {timeout:.0f} s only {reason}",
        "start the missing control nodes sooner, or give more time with --timeout",
        kind="aborted",
    )


def forget_cluster(statedir: StateDir, credentials: Path | None) -> None:
    """Leave nothing of a cluster that was given up on this machine.

    :param credentials: the folder of its API credentials, if they were written.
    """
    statedir.forget()
    if credentials is not None:
        remove_credentials(credentials)
