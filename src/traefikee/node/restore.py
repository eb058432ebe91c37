"""Making a cluster of a backup: under the same id, CA and tokens, in a new generation."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from traefikee import log
from traefikee.backup import rebirth
from traefikee.backup.content import Checked, Content
from traefikee.cluster import audit, etcd, pki, state
from traefikee.cluster.audit import Actor
from traefikee.cluster.records import Phase
from traefikee.cluster.roles import Role
from traefikee.cluster.store import Put
from traefikee.config.certificates import CertificatePair
from traefikee.errors import RefusedError, TraefikeeError
from traefikee.node.bootstrap import (
    CREDENTIAL_FILES,
    NewCluster,
    check_credentials_folder,
    first_identity,
    records,
    wait_and_leave,
    write_credentials,
)
from traefikee.node.control import ControlNode
from traefikee.node.statedir import Identity, StateDir

RESTORED = "restored"

_log = log.get("restore")


@dataclass(frozen=True)
class Backup:
    """An archive that was read and found to be right.

    :ivar digest: the SHA-256 of the archive's file, in hexadecimal.
    """

    path: Path
    digest: str
    content: Content = field(repr=False)
    checked: Checked = field(repr=False)


def refuse_to_restore_over(statedir: StateDir, identity: Identity) -> NoReturn:
    """Refuse to restore into a state directory that holds a node; nothing is touched.

    :raises RefusedError: always.
    """
    raise RefusedError(
        f"the state directory {statedir.path} belongs to the node {identity.name!r} "
        f"of the cluster {identity.cluster_id}; a backup is restored into an empty one",
        f"if that node is to go, move {statedir.path} away; or choose another --statedir",
        kind="statedir",
    )


class Restore:
    """One restore; what :class:`~traefikee.node.bootstrap.Bootstrap` is for a new cluster.

    :param known_generation: the highest generation that this machine has seen.
    :ivar issues_credentials: whether API credentials are written: not where those of this cluster are already.
    """

    def __init__(self, asked: NewCluster, backup: Backup, known_generation: int) -> None:
        self.asked = asked
        self._backup = backup
        info, secrets = backup.checked.info, backup.checked.secrets
        self._authority = CertificatePair(chain_pem=info.ca_pem, key_pem=secrets.ca_key_pem)
        self._generation = rebirth.next_generation([known_generation, backup.content.origin.generation], time.time())
        made = first_identity(asked, info.id, self._authority, backup.content.cluster_key.hex())
        self.identity = made.model_copy(update={"ca_pem": backup.checked.trusted})
        self.issues_credentials = not _holds_credentials_of(asked.credentials, backup.checked.trusted)
        if self.issues_credentials:
            check_credentials_folder(asked.credentials)

    async def enter(self, node: ControlNode) -> None:
        """Start a store of one member and write the cluster into it.

        :raises TraefikeeError: if etcd does not come up.
        """
        identity, backup = self.identity, self._backup
        origin = backup.content.origin
        alone = [(identity.id, etcd.peer_url(identity.advertise))]
        await node.start_store(alone, existing=False, generation=self._generation)
        await node.wait_for_store(alone=True)
        member = (await node.store.members())[0]
        info = backup.checked.info.model_copy(
            update={
                "control_nodes": self.asked.control_nodes,
                "licence": self.asked.licence or backup.checked.info.licence,
                "api": self.asked.api or backup.checked.info.api,
            }
        )
        taken = f"the backup of {origin.taken_at} (cluster {info.id}, revision {origin.revision})"
        last = [
            Put(state.INFO, info.stored()),
            Put(state.PHASE, Phase.FORMING.encode()),
            *records(identity, member),
            audit.entry(
                Actor(f"node {identity.name}", "cluster"), identity.name, "bootstrap", f"restored from {taken}"
            ),
        ]
        keys = rebirth.reborn(backup.content, backup.checked, self._generation)
        await rebirth.write(node.store, keys, last)
        if self.issues_credentials:
            api = pki.issue_for_new_key(self._authority, identity="traefikeectl", role=Role.API)
            write_credentials(self.asked.credentials, identity.ca_pem, api)
            _log.info(
                "new API credentials written; those that were given out before go on working",
                folder=str(self.asked.credentials),
            )
        else:
            _log.info("the API credentials of this cluster go on working", folder=str(self.asked.credentials))
        node.statedir.save_generation(self._generation)
        node.statedir.write(RESTORED, backup.digest.encode())
        # From here on a restart with the state directory comes back as this node.
        node.statedir.save_identity(identity)
        for note in backup.checked.notes:
            _log.warning(note)
        _log.info("cluster restored", id=info.id, taken_at=origin.taken_at, keys=len(keys), address=identity.advertise)

    async def duties(self, node: ControlNode) -> None:
        """Wait for the other control nodes; then leave the cluster to them.

        :raises TraefikeeError: at the timeout; the restore is given up then, and can be tried again.
        """
        try:
            await wait_and_leave(node, self.asked.timeout)
        except TraefikeeError as error:
            if error.kind == "aborted":
                error.cause = error.cause.replace("no cluster was made", "the cluster was not restored", 1)
            raise


def _holds_credentials_of(folder: Path, ca_pem: str) -> bool:
    try:
        return (folder / CREDENTIAL_FILES[0]).read_text().strip() == ca_pem.strip()
    except (OSError, UnicodeDecodeError):
        return False
