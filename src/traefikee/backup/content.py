"""What a backup holds: every key of the cluster but those of its running nodes, and the key that opens its secrets.

Pure: what belongs to it, what makes it whole, and the lines in which a control node sends it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import load_pem_x509_certificate
from pydantic import BaseModel, ConfigDict, ValidationError

from traefikee import __version__, formats
from traefikee.cluster import pki, state
from traefikee.cluster.authorities import Authorities
from traefikee.cluster.records import ClusterFormat, ClusterInfo, Deployment, Link, Pointer, Secrets
from traefikee.cluster.store import KeyValue
from traefikee.compile import changes
from traefikee.compile.changes import State
from traefikee.errors import TraefikeeError
from traefikee.node.publishing import part_key

ROOT = "/traefikee/"
"""Everything that a cluster keeps is below it."""
OF_NODES = (state.NODES, state.NAMES, state.ALIVE, state.LEADER, state.JOINING)
"""What belongs to the nodes that run: others run after a restore."""
LINE_BYTES = 1024 * 1024
"""Bytes of values in one line of the stream, if no value is larger by itself."""


class BackupError(TraefikeeError):
    """A backup that is damaged, foreign, or not whole."""

    def __init__(self, cause: str, next_step: str = "") -> None:
        super().__init__(cause, next_step, kind="backup")


class Origin(BaseModel):
    """Where a backup is from.

    :ivar cluster: the cluster's id.
    :ivar node: the control node that made it.
    :ivar version: the version of this program there.
    :ivar taken_at: when (ISO 8601, UTC).
    :ivar revision: the revision of the store that all of it is from.
    :ivar generation: the cluster's generation.
    :ivar quorum: whether the store had a quorum; without one the newest writes may be missing.
    """

    model_config = ConfigDict(frozen=True)

    cluster: str
    node: str
    version: str
    taken_at: str
    revision: int
    generation: int
    quorum: bool


@dataclass(frozen=True)
class Content:
    """A backup as such, however it is packed.

    :ivar keys: the values by key.
    :ivar cluster_key: opens the sealed ones among them.
    """

    origin: Origin
    keys: Mapping[str, bytes] = field(repr=False)
    cluster_key: bytes = field(repr=False)


@dataclass(frozen=True)
class Checked:
    """What a content was found to hold.

    :ivar format: the format that its cluster's nodes wrote in.
    :ivar trusted: the authorities that the cluster trusts (PEM): two while one takes the other's place.
    :ivar snapshot: the published snapshot, or None if there is none or it is not whole.
    :ivar notes: what is missing, though the rest can be used.
    """

    info: ClusterInfo
    trusted: str
    secrets: Secrets = field(repr=False)
    deployment: Deployment | None
    pointer: Pointer | None
    snapshot: State | None = field(repr=False)
    notes: tuple[str, ...]
    format: int = 1


def belongs(found: KeyValue) -> bool:
    """Tell whether a key of the store is part of a backup: what ends with a node is not."""
    return found.key.startswith(ROOT) and not found.lease and not found.key.startswith(OF_NODES)


def check(content: Content) -> Checked:
    """Check that a cluster can be made of the content.

    :raises BackupError: naming what it lacks.
    """
    keys = content.keys
    for key in keys:
        if not key.startswith(ROOT) or key.startswith(OF_NODES):
            raise BackupError(f"it holds a key that no backup holds: {key}")
    info = _read(ClusterInfo, keys, state.INFO, "the cluster's own record")
    if info.id != content.origin.cluster:
        raise BackupError(f"it says that it is of the cluster {content.origin.cluster}, but holds {info.id}")
    form = _read(ClusterFormat, keys, state.FORMAT, "its format") if state.FORMAT in keys else ClusterFormat()
    if form.number not in formats.OWN:
        raise BackupError(
            f"its cluster was at format {form.number}, put in force by version {form.version or '?'}; version "
            f"{__version__} understands {formats.OWN}",
            f"restore it with version {form.version or 'of the nodes that it is from'}",
        )
    secrets = _open_secrets(content, info)
    notes = []
    deployment = None
    if state.CURRENT in keys:
        current = keys[state.CURRENT].decode(errors="replace")
        deployment = state.read_deployment(keys.get, current)
        if deployment is None:
            raise BackupError(f"the deployed configuration {current} is not in it, or cannot be read")
        if deployment.files is not None and _parts(keys, state.FILES, deployment.files) is None:
            notes.append("the files of the deployed configuration are not whole: deploy again after a restore")
    pointer = snapshot = None
    if state.SNAPSHOT in keys:
        pointer = _read(Pointer, keys, state.SNAPSHOT, "the record of the published snapshot")
        snapshot = published(keys, pointer.snapshot)
        if snapshot is None or published(keys, pointer.runtime) is None:
            notes.append("the published snapshot is not whole: it is compiled again after a restore")
            snapshot = None
    trusted = info.ca_pem
    if state.AUTHORITIES in keys:
        trusted = _read(Authorities, keys, state.AUTHORITIES, "the record of the authorities").bundle
    return Checked(info, trusted, secrets, deployment, pointer, snapshot, tuple(notes), form.number)


def _read(model: type[Any], keys: Mapping[str, bytes], key: str, what: str) -> Any:
    if key not in keys:
        raise BackupError(f"{what} is not in it")
    try:
        return model.model_validate_json(keys[key])
    except ValidationError as error:
        raise BackupError(f"{what} cannot be read: {error.errors(include_input=False)[0]['msg']}") from None


def _open_secrets(content: Content, info: ClusterInfo) -> Secrets:
    if state.SECRETS not in content.keys:
        raise BackupError("the cluster's secrets are not in it")
    try:
        secrets = Secrets.model_validate_json(pki.unseal(content.cluster_key, content.keys[state.SECRETS]))
    except (InvalidTag, ValueError):
        raise BackupError("the cluster's secrets cannot be opened with the key that is in it") from None
    try:
        certificate = load_pem_x509_certificate(info.ca_pem.encode())
        key = serialization.load_pem_private_key(secrets.ca_key_pem.encode(), password=None)
    except (ValueError, TypeError):
        raise BackupError("the cluster's CA cannot be read") from None
    if key.public_key() != certificate.public_key():
        raise BackupError("the cluster's CA certificate and CA key do not belong together")
    return secrets


def published(keys: Mapping[str, bytes], links: Iterable[Link]) -> State | None:
    """Return the state that a chain of changes makes, or None if it is not there whole."""
    frames = []
    for link in links:
        parts = _parts(keys, state.BLOBS, link)
        if parts is None:
            return None
        frames.append(b"".join(parts))
    try:
        return changes.follow(State(), changes.split(b"".join(frames))[0])
    except ValueError:
        return None


def _parts(keys: Mapping[str, bytes], prefix: str, link: Link) -> list[bytes] | None:
    found = [keys.get(f"{prefix}{part_key(link.blob, part).removeprefix(state.BLOBS)}") for part in range(link.parts)]
    parts = [part for part in found if part is not None]
    return parts if len(parts) == link.parts and sum(map(len, parts)) == link.size else None


# --- the stream from a control node ---


def to_lines(content: Content) -> Iterator[dict[str, Any]]:
    """Return the content as objects of moderate size, one a line: ``begin``, ``keys`` ..., ``end``."""
    yield {
        "event": "begin",
        "origin": content.origin.model_dump(mode="json"),
        "cluster_key": content.cluster_key.hex(),
    }
    line: list[list[str]] = []
    size = 0
    for key, value in content.keys.items():
        if line and size + len(value) > LINE_BYTES:
            yield {"event": "keys", "keys": line}
            line, size = [], 0
        line.append([key, base64.b64encode(value).decode()])
        size += len(value)
    yield {"event": "keys", "keys": line}
    yield {"event": "end", "digest": digest(content.keys)}


def from_lines(lines: Iterable[Mapping[str, Any]]) -> Content:
    """Undo :func:`to_lines`.

    :raises BackupError: if it is not whole.
    """
    begin: Mapping[str, Any] = {}
    keys: dict[str, bytes] = {}
    try:
        for line in lines:
            match line["event"]:
                case "begin":
                    begin = line
                case "keys":
                    keys.update({key: base64.b64decode(value, validate=True) for key, value in line["keys"]})
                case "end" if line["digest"] == digest(keys):
                    origin = Origin.model_validate(begin["origin"])
                    return Content(origin, keys, bytes.fromhex(begin["cluster_key"]))
    except (KeyError, TypeError, ValueError) as error:
        raise BackupError(
            f"what the control node sent cannot be read: {error!r}", "is it of another version?"
        ) from error
    raise BackupError("what the control node sent is not whole", "try again")


def digest(keys: Mapping[str, bytes]) -> str:
    """Return a SHA-256 over keys and values, in hexadecimal."""
    total = hashlib.sha256()
    for key in sorted(keys):
        total.update(f"{len(key.encode())} {len(keys[key])}\n{key}".encode() + keys[key])
    return total.hexdigest()
