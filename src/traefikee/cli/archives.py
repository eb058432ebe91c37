"""What commands that write or read archives share: passphrases, and files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from traefikee.cli.common import option
from traefikee.errors import TraefikeeError, UsageError

if TYPE_CHECKING:
    from traefikee.node.restore import Backup

PASSPHRASE = "TRAEFIKEE_PASSPHRASE"  # noqa: S105 - the name of a variable
SHORTEST = 8
"""Characters of a passphrase."""


def passphrase_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--passphrase-file``. The passphrase itself is no option, so that no process list ever shows it."""
    add: Callable[[Any], Callable[..., Any]] = option(
        "passphrase-file",
        default="",
        type=click.Path(dir_okay=False),
        help=f"File whose first line is the archive's passphrase, - for standard input; or give it in {PASSPHRASE}.",
        show_default=False,
    )
    return add(command)


def read_passphrase(file: str) -> str | None:
    """Return the passphrase of a file, or else of the environment; None if there is neither.

    :raises UsageError: if it cannot be read, or is too short.
    """
    passphrase = os.environ.get(PASSPHRASE)
    where = PASSPHRASE
    if file:
        where = f"--passphrase-file={file}"
        try:
            text = sys.stdin.readline() if file == "-" else Path(file).read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise UsageError(f"{where} cannot be read: {reason}") from error
        passphrase = text.partition("\n")[0].rstrip("\r")
    if passphrase is not None and len(passphrase) < SHORTEST:
        raise UsageError(
            f"the passphrase in {where} has {len(passphrase)} characters", f"use one of at least {SHORTEST}"
        )
    return passphrase


def read_archive(path: str, passphrase_file: str) -> Backup:
    """Read an archive and check all of it.

    :raises TraefikeeError: if it cannot be used; nothing was touched.
    """
    from traefikee.backup import archive
    from traefikee.backup.content import BackupError, check
    from traefikee.node.restore import Backup

    passphrase = read_passphrase(passphrase_file)
    file = Path(path)
    try:
        if file.stat().st_size > archive.LARGEST:
            raise TraefikeeError(f"{path} is larger than any backup: {file.stat().st_size} bytes", "name another file")
        raw = file.read_bytes()
    except OSError as error:
        raise TraefikeeError(
            f"the backup {path} cannot be read: {error.strerror}", "name the file that backup made"
        ) from error
    try:
        content = archive.unpack(raw, passphrase)
        checked = check(content)
    except BackupError as error:
        raise TraefikeeError(
            f"the backup {path} cannot be used: {error.cause}; nothing was changed", error.next_step, kind="backup"
        ) from error
    return Backup(file, hashlib.sha256(raw).hexdigest(), content, checked)


def is_restored(statedir: Path, path: str) -> bool:
    """Tell whether the node of a state directory was made of this archive, which may be gone since."""
    if not (statedir / "identity.json").exists():
        return False
    try:
        restored = (statedir / "restored").read_text()
    except (OSError, UnicodeDecodeError):
        return False
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest() == restored
    except FileNotFoundError:
        return True
    except OSError:
        return False


def write_verified(path: Path, content: bytes, verify: Callable[[bytes], None], *, replace: bool) -> None:
    """Write a file (mode 0600) that has its name only once what was written was read back and found to be right.

    :param verify: is given what the disk says; raises if that is wrong.
    :param replace: whether a file of that name may be there.
    :raises TraefikeeError: if the disk does not take it, or such a file is there.
    """
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        verify(Path(temporary).read_bytes())
        if replace:
            Path(temporary).replace(path)
        else:
            # Unlike a renaming this fails where a file has the name by now.
            path.hardlink_to(temporary)
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except FileExistsError as error:
        raise TraefikeeError(f"{path} is there already", "name another file, or replace it with --force") from error
    except OSError as error:
        raise TraefikeeError(
            f"{path} cannot be written: {error.strerror}", "choose another place with --archivepath"
        ) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink(missing_ok=True)
