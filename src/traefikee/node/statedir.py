"""The state directory: all that a node keeps on disk, for its owner's eyes only.

::

    lock                held by the running agent
    identity.json       who this node is (see :class:`Identity`)
    authority.json      a control node's copy of the sealed key of the authority (see own_certificate.py)
    peers.json          the control nodes' addresses, as last heard
    drained             who drained this data node; absent while it is in service
    removed             who removed this node from its cluster: it does not start any more
    snapshot            the last snapshot that a data node applied, and the changes since (see journal.py)
    generation          the highest generation of the cluster that this node has seen (see traefikee.backup.rebirth)
    etcd/               a control node's etcd: its data and its sockets
    restored            the digest of the archive that bootstrap has restored here
    run/                sockets between the agent and its engine
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import json
import os
import secrets
import shutil
import string
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from traefikee.cluster.roles import Role
from traefikee.errors import RefusedError, TraefikeeError

SOCKET_PATH_LIMIT = 107
"""Bytes that Linux allows in a unix socket's path (``sun_path``, less its final NUL)."""
LONGEST_SOCKET_NAME = "/run/dashboard.sock"

ID_LENGTH = 25
_ID_ALPHABET = string.ascii_lowercase + string.digits


def new_id() -> str:
    """Return a fresh node or cluster id: 25 characters of ``[a-z0-9]``."""
    return "".join(secrets.choice(_ID_ALPHABET) for _ in range(ID_LENGTH))


class Identity(BaseModel):
    """Who a node is, from its first join on; what it needs to come back without a token."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    name: str
    role: Role
    cluster_id: str
    advertise: str = ""
    """``host:port`` that the other nodes dial; empty for a data node."""
    ca_pem: str
    certificate_pem: str
    certificate_serial: str
    key_pem: str = Field(repr=False)
    cluster_key: str = Field(default="", repr=False)
    """Hexadecimal; opens the cluster's sealed secrets. Only control nodes have it."""
    bootstrap: bool = False
    """This node made the cluster."""
    ephemeral: bool = False
    """It is to leave when the expected control nodes have joined."""
    left: bool = False
    """It has left the cluster for good."""


class StateDir:
    """One node's state directory, locked while this object is open.

    :raises TraefikeeError: if it cannot be made, written or locked, or its path is too long for sockets.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        if len(os.fsencode(str(self.path))) + len(LONGEST_SOCKET_NAME) > SOCKET_PATH_LIMIT:
            raise TraefikeeError(
                f"the state directory's path is too long for the sockets inside it: {self.path}",
                f"choose one of at most {SOCKET_PATH_LIMIT - len(LONGEST_SOCKET_NAME)} bytes with --statedir",
                kind="statedir",
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.path.chmod(0o700)
            for folder in (self.run, self.etcd):
                folder.mkdir(exist_ok=True, mode=0o700)
            self._lock = (self.path / "lock").open("a")
        except OSError as error:
            raise TraefikeeError(
                f"the state directory {self.path} cannot be written: {error.strerror}",
                "run as a user who may, or choose another one with --statedir",
                kind="statedir",
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise TraefikeeError(
                f"another node runs with the state directory {self.path}",
                "stop it, or give this node its own --statedir",
                kind="statedir",
            ) from error

    @property
    def run(self) -> Path:
        """The folder of the sockets between the agent and the engine."""
        return self.path / "run"

    @property
    def etcd(self) -> Path:
        """The working directory of the etcd child."""
        return self.path / "etcd"

    @property
    def engine_socket(self) -> Path:
        """The engine's control socket."""
        return self.run / "engine.sock"

    def close(self) -> None:
        """Release the lock."""
        self._lock.close()

    # --- identity and what a node remembers ---

    def load_identity(self) -> Identity | None:
        """Return the stored identity, or None for a new node.

        :raises TraefikeeError: if the file cannot be read as one.
        """
        path = self.path / "identity.json"
        try:
            return Identity.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise TraefikeeError(
                f"the identity in {path} cannot be read: {_first_line(error)}",
                "restore the file, or remove the state directory and join again with a token",
                kind="statedir",
            ) from error

    def save_identity(self, identity: Identity) -> None:
        """Store the identity, replacing the old one in one step."""
        self.write("identity.json", identity.model_dump_json().encode())

    def load_peers(self) -> list[str]:
        """Return the control nodes' addresses as last heard; an unreadable file counts as none."""
        with contextlib.suppress(OSError, ValueError):
            peers: Any = json.loads((self.path / "peers.json").read_bytes())
            if isinstance(peers, list):
                return [peer for peer in peers if isinstance(peer, str)]
        return []

    def save_peers(self, peers: Sequence[str]) -> None:
        """Remember the control nodes' addresses for the next start."""
        self.write("peers.json", json.dumps(list(peers)).encode())

    def load_generation(self) -> int:
        """Return the highest generation of the cluster that this node has seen; 0 if it never heard of one."""
        try:
            found = (self.path / "generation").read_bytes()
        except OSError:
            return 0
        return int(found) if found.isdigit() else 0

    def save_generation(self, generation: int) -> None:
        """Remember a generation if it is higher than the one that is known."""
        if generation > self.load_generation():
            self.write("generation", str(generation).encode())

    def write(self, name: str, content: bytes) -> None:
        """Write a file (mode 0600) whole or not at all: a temporary file, fsync, rename.

        :raises TraefikeeError: if the disk does not take it.
        """
        try:
            descriptor, temporary = tempfile.mkstemp(dir=self.path, prefix=f".{name}.")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                Path(temporary).replace(self.path / name)
            except OSError:
                Path(temporary).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise unwritable(self.path / name, error) from error

    def read(self, name: str) -> bytes | None:
        """Return a file's content, or None where there is none."""
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None

    def remove(self, name: str) -> None:
        """Remove a file; one that is not there is fine.

        :raises TraefikeeError: if it stays.
        """
        path = self.path / name
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise TraefikeeError(f"{path} cannot be removed: {error.strerror}", kind="statedir") from error

    def has_store(self) -> bool:
        """Tell whether etcd's data is there."""
        return (self.etcd / "data" / "member").exists()

    def wipe_store(self) -> None:
        """Forget etcd's data: this node is to join afresh."""
        shutil.rmtree(self.etcd / "data", ignore_errors=True)

    def set_store_aside(self, why: str) -> Path | None:
        """Keep etcd's data under another name, which tells why and when; return that, or None if there is none."""
        if not self.has_store():
            return None
        aside = self.etcd / f"data.{why}-{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H%M%S}"
        (self.etcd / "data").rename(aside)
        return aside

    def forget(self) -> None:
        """Forget the cluster altogether: identity, peers, snapshot and etcd's data."""
        self.wipe_store()
        for name in ("identity.json", "peers.json", "snapshot", "drained", "authority.json", "generation", "restored"):
            (self.path / name).unlink(missing_ok=True)


def unwritable(path: Path, error: OSError) -> TraefikeeError:
    """Return the error for a file of the state directory that cannot be written, with what helps against the reason."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "free space on that disk"
    elif error.errno == errno.EROFS:
        hint = "see in the kernel's log why that file system became read-only, and mount it for writing again"
    else:
        hint = "check that disk, and who owns the state directory"
    return TraefikeeError(f"{path} cannot be written: {error.strerror}", hint, kind="statedir")


def _first_line(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error)


def need_no_identity(identity: Identity | None, statedir: StateDir, role: Role) -> None:
    """Refuse to start a node in a state directory that belongs to a node of another role.

    :raises RefusedError: naming the node that it belongs to.
    """
    if identity is not None and identity.role is not role:
        raise RefusedError(
            f"the state directory {statedir.path} belongs to the {identity.role.value} node {identity.name!r}",
            "give this node its own --statedir",
            kind="statedir",
        )
