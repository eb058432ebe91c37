"""The archive of a backup: a tar or zip file that an operator can look into, and that tells whether it is whole.

Members::

    README.txt          what this is, for people
    manifest.json       Manifest: where it is from, and the digest of each of the following
    cluster-key         opens the sealed keys among the following (hexadecimal)
    keys/000000.jsonl   the store's keys, one a line: {"key": ..., "text": ...} or {"key": ..., "base64": ...}
    SHA256SUMS          digests of all of the above as they are stored, for ``sha256sum -c``; the last one

With a passphrase ``encryption.json`` comes second (:class:`Encryption`), and everything but it, ``README.txt`` and
``SHA256SUMS`` is encrypted and has ``.enc`` at the end of its name: a nonce of 12 bytes and the ciphertext of
AES-256-GCM, authenticated with the salt and the member's name. The key is made of the passphrase by scrypt (RFC 7914).

Pure: bytes to contents and back.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import io
import json
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from traefikee import __version__
from traefikee.backup.content import BackupError, Content, Origin
from traefikee.cluster import history, state

FORMAT = 1
PRODUCT = "traefikee"
README, MANIFEST, CLUSTER_KEY, SUMS, ENCRYPTION = (
    "README.txt",
    "manifest.json",
    "cluster-key",
    "SHA256SUMS",
    "encryption.json",
)
MEMBER_BYTES = 4 * 1024 * 1024
"""Bytes of one member with keys, if no key is larger by itself."""
LARGEST = 2 * 1024**3
"""Bytes that an archive may hold: etcd's own limit is 2 GiB by default."""
NONCE_BYTES = 12
COST = 2**17
"""Of scrypt: 128 MiB of memory and some tenths of a second for each try."""
_ENCRYPTED = ".enc"
_CHECK = b"traefikee backup"
_GZIP = b"\x1f\x8b"

Kind = Literal["tar", "zip"]

NOT_OURS = "it is not a backup of traefikee"
_ANOTHER = "take another backup: this one cannot be used"


class Manifest(BaseModel):
    """What an archive says of itself.

    :ivar version: of the program that wrote it.
    :ivar counts: how many keys it holds, and of what.
    :ivar members: name, size in bytes and SHA-256 of each member with content.
    """

    model_config = ConfigDict(frozen=True)

    format: int
    product: str
    version: str
    origin: Origin
    counts: Mapping[str, int]
    members: Mapping[str, tuple[int, str]]


class Encryption(BaseModel):
    """How an archive is encrypted; the limits keep a crafted one from taking all memory.

    :ivar salt: of scrypt, 16 bytes in hexadecimal.
    :ivar n: scrypt's cost; ``r``, ``p`` its other parameters.
    :ivar check: a known text, encrypted as members are: tells a wrong passphrase from damage.
    """

    model_config = ConfigDict(frozen=True)

    format: int
    product: str
    version: str
    kdf: Literal["scrypt"] = "scrypt"
    cipher: Literal["AES-256-GCM"] = "AES-256-GCM"
    salt: str = Field(pattern="^[0-9a-f]{32}$")
    n: int = Field(ge=2, le=2**20)
    r: int = Field(default=8, ge=1, le=16)
    p: int = Field(default=1, ge=1, le=4)
    check: str = Field(default="", pattern="^[0-9a-f]*$")


def file_name(at: datetime.datetime, kind: Kind) -> str:
    """Return the name of a backup that was made at a time (UTC)."""
    return f"{at:%Y-%m-%dT%H%M%S}_traefikee-backup.{kind}"


# --- writing ---


def pack(content: Content, kind: Kind, passphrase: str | None = None) -> bytes:
    """Return the archive of a content; with a passphrase it is encrypted."""
    plain = {CLUSTER_KEY: content.cluster_key.hex().encode() + b"\n"}
    plain.update({f"keys/{number:06}.jsonl": lines for number, lines in enumerate(_key_members(content.keys))})
    manifest = Manifest(
        format=FORMAT,
        product=PRODUCT,
        version=__version__,
        origin=content.origin,
        counts=counts(content.keys),
        members={name: (len(text), _sha256(text)) for name, text in plain.items()},
    )
    plain = {MANIFEST: manifest.model_dump_json(indent=2).encode() + b"\n", **plain}
    members = {README: _readme(manifest, encrypted=passphrase is not None)}
    if passphrase is None:
        members.update(plain)
    else:
        members.update(_encrypt(plain, passphrase))
    members[SUMS] = "".join(f"{_sha256(text)}  {name}\n" for name, text in members.items()).encode()
    at = datetime.datetime.fromisoformat(content.origin.taken_at)
    return (_tar if kind == "tar" else _zip)(members, at)


def counts(keys: Mapping[str, bytes]) -> dict[str, int]:
    """Return how many keys there are, and of what."""
    # Versions before kept every deployment where now only the one in force is.
    kept = {
        key.removeprefix(prefix).lstrip("0")
        for prefix in (history.HISTORY, state.CONFIGS)
        for key in keys
        if key.startswith(prefix) and key != state.CURRENT
    }
    return {
        "keys": len(keys),
        "bytes": sum(map(len, keys.values())),
        "configurations": len(kept),
        "audit": sum(key.startswith("/traefikee/audit/") for key in keys),
    }


def _key_members(keys: Mapping[str, bytes]) -> list[bytes]:
    members: list[bytes] = []
    lines: list[bytes] = []
    size = 0
    for key in sorted(keys):
        line = _line(key, keys[key])
        if lines and size + len(line) > MEMBER_BYTES:
            members.append(b"".join(lines))
            lines, size = [], 0
        lines.append(line)
        size += len(line)
    return [*members, b"".join(lines)]


def _line(key: str, value: bytes) -> bytes:
    entry = {"key": key}
    try:
        entry["text"] = value.decode()
    except UnicodeDecodeError:
        entry["base64"] = base64.b64encode(value).decode()
    return json.dumps(entry, ensure_ascii=False).encode() + b"\n"


def _readme(manifest: Manifest, *, encrypted: bool) -> bytes:
    origin = manifest.origin
    about = (
        "It is encrypted with a passphrase. Without that nobody can read or restore it.\n"
        if encrypted
        else "It is NOT encrypted: whoever reads it can act as the cluster, and has all its certificates' keys.\n"
    )
    whose = "" if encrypted else f"Cluster {origin.cluster}, as it was at {origin.taken_at}.\n"
    return (
        f"A backup of a traefikee cluster (format {manifest.format}, by version {manifest.version}).\n{whose}\n"
        f"KEEP IT SECRET. {about}\n"
        "Restore it on a new machine, or on one whose state directory is empty:\n\n"
        "    traefikee bootstrap --archivepath=<this file>"
        f"{' --passphrase-file=<file>' if encrypted else ''} --advertise=<host:port> --controlNodes=<1, 3 ...>\n\n"
        "Join tokens, certificates and configuration are those of the backup. Data nodes come back by themselves.\n"
        "Whether it is whole: unpack it, and run `sha256sum -c SHA256SUMS`; bootstrap checks that too.\n"
    ).encode()


def _tar(members: Mapping[str, bytes], at: datetime.datetime) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, text in members.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(text), 0o600, int(at.timestamp())
            archive.addfile(entry, io.BytesIO(text))
    return out.getvalue()


def _zip(members: Mapping[str, bytes], at: datetime.datetime) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            entry = zipfile.ZipInfo(name, at.timetuple()[:6])
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o100600 << 16
            archive.writestr(entry, text)
    return out.getvalue()


# --- reading ---


def unpack(raw: bytes, passphrase: str | None = None) -> Content:
    """Return the content of an archive, after everything in it was compared with its digests.

    :raises BackupError: it is damaged, cut off, foreign, of a newer format, or the passphrase is missing or wrong.
    """
    stored = _members(raw)
    _check_format(stored)
    _compare_sums(stored)
    encrypted = ENCRYPTION in stored
    plain = _decrypt(stored, passphrase) if encrypted else stored
    if MANIFEST not in plain:
        raise BackupError(f"{NOT_OURS}: it has no {MANIFEST}")
    try:
        manifest = Manifest.model_validate_json(plain[MANIFEST])
    except ValidationError as error:
        raise _damaged(f"{MANIFEST}: {error.errors(include_input=False)[0]['msg']}") from None
    expected = {README, MANIFEST, SUMS, *manifest.members, *([ENCRYPTION] if encrypted else [])}
    if plain.keys() != expected or CLUSTER_KEY not in manifest.members:
        names = ", ".join(sorted(plain.keys() ^ expected)) or CLUSTER_KEY
        raise _damaged(f"its members are not those of its manifest ({names})")
    for name, (size, digest) in manifest.members.items():
        if (len(plain[name]), _sha256(plain[name])) != (size, digest):
            raise _damaged(f"{name} is not what its manifest says")
    keys: dict[str, bytes] = {}
    try:
        cluster_key = bytes.fromhex(plain[CLUSTER_KEY].decode())
        for name in sorted(manifest.members):
            if name != CLUSTER_KEY:
                keys.update(_read_line(line) for line in plain[name].splitlines())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(f"its keys cannot be read: {error!r}") from None
    if len(keys) != manifest.counts.get("keys"):
        raise _damaged(f"it holds {len(keys)} keys, and its manifest says {manifest.counts.get('keys')}")
    return Content(manifest.origin, keys, cluster_key)


def _members(raw: bytes) -> dict[str, bytes]:
    """Return every member by name."""
    if raw.startswith(_GZIP):
        raise BackupError("it is compressed with gzip", "unpack it with gunzip first")
    kind: Callable[[bytes], dict[str, bytes]] = _zip_members if raw.startswith(b"PK") else _tar_members
    try:
        members = kind(raw)
    except BackupError:
        raise
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error) as error:
        if kind is _tar_members and raw[257:262] != b"ustar":
            raise BackupError(
                f"{NOT_OURS}: it is neither a tar nor a zip file", "name the file that backup made"
            ) from None
        raise _damaged(str(error)) from None
    # What the two modules raise for damaged headers is not told: any of these means that it cannot be read.
    except (ValueError, KeyError, IndexError, OverflowError, EOFError, OSError, RuntimeError) as error:
        raise _damaged(repr(error)) from None
    if not members:
        raise BackupError(f"{NOT_OURS}: it is empty", "name the file that backup made")
    return members


def _tar_members(raw: bytes) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as archive:
        for entry in archive:
            file = archive.extractfile(entry) if entry.isreg() else None
            if file is None or entry.name in members:
                raise BackupError(f"{NOT_OURS}: {entry.name} is no file, or there twice")
            members[entry.name] = file.read()
            if len(members[entry.name]) != entry.size:
                raise _damaged(f"{entry.name} is cut off")
    return members


def _zip_members(raw: bytes) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > LARGEST:
            raise BackupError(f"it would unpack to more than {LARGEST} bytes")
        for entry in archive.infolist():
            if entry.filename in members:
                raise BackupError(f"{NOT_OURS}: {entry.filename} is there twice")
            members[entry.filename] = archive.read(entry)
    return members


def _check_format(stored: Mapping[str, bytes]) -> None:
    """Find out who wrote it before anything else of it is judged."""
    first = stored.get(ENCRYPTION, stored.get(MANIFEST))
    if first is None:
        raise BackupError(f"{NOT_OURS}: it has no {MANIFEST}", "name the file that backup made")
    try:
        said = json.loads(first)
    except ValueError:
        raise _damaged(f"its {ENCRYPTION if ENCRYPTION in stored else MANIFEST} cannot be read") from None
    if not isinstance(said, dict) or said.get("product") != PRODUCT or not isinstance(said.get("format"), int):
        raise BackupError(f"{NOT_OURS}: its manifest is another program's", "name the file that backup made")
    if said["format"] > FORMAT:
        raise BackupError(
            f"it is of the newer format {said['format']}; this version reads {FORMAT}",
            f"install traefikee {said.get('version', 'of the version that made it')} or newer",
        )


def _compare_sums(stored: Mapping[str, bytes]) -> None:
    if SUMS not in stored:
        raise BackupError(f"it is cut off: {SUMS}, its last part, is missing", _ANOTHER)
    said: dict[str, str] = {}
    for line in stored[SUMS].decode(errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        said[name] = digest
    if said.keys() != stored.keys() - {SUMS}:
        raise _damaged(f"its members are not those of {SUMS}")
    for name, digest in said.items():
        if _sha256(stored[name]) != digest:
            raise _damaged(f"{name} has not the SHA-256 that it had")


def _read_line(line: bytes) -> tuple[str, bytes]:
    entry = json.loads(line)
    value = entry["text"].encode() if "text" in entry else base64.b64decode(entry["base64"], validate=True)
    return str(entry["key"]), value


def _sha256(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def _damaged(what: str) -> BackupError:
    return BackupError(f"it is damaged: {what}", _ANOTHER)


# --- encryption ---


def _cipher(encryption: Encryption, passphrase: str) -> AESGCM:
    salt = bytes.fromhex(encryption.salt)
    kdf = Scrypt(salt=salt, length=32, n=encryption.n, r=encryption.r, p=encryption.p)
    return AESGCM(kdf.derive(passphrase.encode()))


def _seal(cipher: AESGCM, encryption: Encryption, name: str, text: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, text, f"{encryption.salt} {name}".encode())


def _unseal(cipher: AESGCM, encryption: Encryption, name: str, sealed: bytes) -> bytes:
    return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], f"{encryption.salt} {name}".encode())


def _encrypt(plain: Mapping[str, bytes], passphrase: str) -> dict[str, bytes]:
    bare = Encryption(format=FORMAT, product=PRODUCT, version=__version__, salt=os.urandom(16).hex(), n=COST)
    cipher = _cipher(bare, passphrase)
    encryption = bare.model_copy(update={"check": _seal(cipher, bare, "check", _CHECK).hex()})
    sealed = {name + _ENCRYPTED: _seal(cipher, bare, name, text) for name, text in plain.items()}
    return {ENCRYPTION: encryption.model_dump_json(indent=2).encode() + b"\n", **sealed}


def _decrypt(stored: Mapping[str, bytes], passphrase: str | None) -> dict[str, bytes]:
    try:
        encryption = Encryption.model_validate_json(stored[ENCRYPTION])
    except ValidationError as error:
        raise _damaged(f"{ENCRYPTION}: {error.errors(include_input=False)[0]['msg']}") from None
    if passphrase is None:
        raise BackupError(
            "it is encrypted, and no passphrase is given",
            "give it with --passphrase-file, or in TRAEFIKEE_PASSPHRASE",
        )
    plain = {name: stored[name] for name in (README, ENCRYPTION, SUMS) if name in stored}
    try:
        cipher = _cipher(encryption, passphrase)
    except (ValueError, MemoryError) as error:
        raise _damaged(f"{ENCRYPTION}: {error}") from None
    try:
        _unseal(cipher, encryption, "check", bytes.fromhex(encryption.check))
    except (InvalidTag, ValueError):
        raise BackupError("the passphrase is wrong", "give the one that the backup was made with") from None
    try:
        for name, text in stored.items():
            if name.endswith(_ENCRYPTED):
                plain[name.removesuffix(_ENCRYPTED)] = _unseal(cipher, encryption, name.removesuffix(_ENCRYPTED), text)
    except (InvalidTag, ValueError):
        raise _damaged(f"{name} cannot be decrypted") from None
    return plain
