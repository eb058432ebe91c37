"""``backup``, for both commands: everything that the cluster keeps, in one file on this machine."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from traefikee.cli.archives import passphrase_option, read_passphrase, write_verified
from traefikee.cli.common import Command, option, switch
from traefikee.cli.target import Target
from traefikee.errors import TraefikeeError, UsageError

if TYPE_CHECKING:
    from traefikee.backup.content import Content


def backup_command(target: Target) -> click.Command:
    """Return ``backup``."""

    @click.command(cls=Command)
    @target.add_option
    @option("archivetype", type=click.Choice(["tar", "zip"]), default="tar", help="Form of the archive.")
    @option(
        "archivepath",
        default="",
        help="File to write, or folder to write it in.  [default: <time>_traefikee-backup.<type> in this folder]",
        show_default=False,
    )
    @passphrase_option
    @switch(
        "force",
        help="Replace a file that is there; without a quorum take what the control node knows, which may be old; "
        "take what is not whole too.",
        show_default=False,
    )
    def backup(archivetype: Any, archivepath: str, passphrase_file: str, force: bool, **options: Any) -> None:
        """Back the cluster up into an archive on this machine.

        It holds all that a new cluster needs to go on as this one: CA, tokens, licence, certificates, configurations,
        what the providers said last, the audit log. It is as secret as all of these together; with a passphrase it is
        encrypted. The file has its name only once it was read back and found to be right. Restore it with
        `traefikee bootstrap --archivepath`.
        """
        from traefikee.backup.archive import file_name, pack, unpack
        from traefikee.backup.content import BackupError, from_lines

        passphrase = read_passphrase(passphrase_file)
        path = _path(archivepath, file_name(datetime.datetime.now(datetime.UTC), archivetype), force=force)
        content = from_lines(target.connect(options).stream("/v1/backup", {"force": force}))
        _check(content, force=force)

        def verify(written: bytes) -> None:
            if unpack(written, passphrase) != content:
                raise BackupError("what was written is not what the cluster sent", "try again, on another disk")

        write_verified(path, pack(content, archivetype, passphrase), verify, replace=force)
        if not content.origin.quorum:
            click.echo(
                f"Warning: {content.origin.node} has no quorum; the newest changes may be missing in this backup",
                err=True,
            )
        shown = path if archivepath else path.name
        click.echo(f"Successfully generated backup archive at: {shown}")

    return backup


def _path(given: str, name: str, *, force: bool) -> Path:
    """Return the file to write; what would only fail in the end fails here.

    :raises TraefikeeError: if it is there already, or its folder is not there.
    """
    path = Path(given) if given else Path(name)
    if path.is_dir() or given.endswith("/"):
        path /= name
    elif path.suffix in (".tar", ".zip") and path.suffix != Path(name).suffix:
        raise UsageError(
            f"--archivepath={given} is not the name of a {Path(name).suffix[1:]} archive",
            f"add --archivetype={path.suffix[1:]}",
        )
    if not path.parent.is_dir():
        raise TraefikeeError(f"there is no folder {path.parent}", "make it, or choose another with --archivepath")
    if path.exists() and not force:
        raise TraefikeeError(f"{path} is there already", "name another file, or replace it with --force")
    return path


def _check(content: Content, *, force: bool) -> None:
    """Check what the cluster sent.

    :raises TraefikeeError: if no cluster could be made of it, or not all of it, unless that is enough.
    """
    from traefikee.backup.content import BackupError, check

    try:
        notes = check(content).notes
    except BackupError as error:
        raise TraefikeeError(
            f"no cluster could be restored from this backup: {error.cause}", "look at the control node's log"
        ) from error
    for note in notes:
        if not force:
            raise TraefikeeError(f"this backup would not be whole: {note}", "try again, or take it with --force")
        click.echo(f"Warning: {note}", err=True)
