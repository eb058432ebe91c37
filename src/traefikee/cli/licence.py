"""``update-license``, for both commands."""

from __future__ import annotations

from typing import Any

import click

from traefikee.cli.common import Command, option
from traefikee.cli.target import Target
from traefikee.errors import UsageError


def update_license_command(target: Target) -> click.Command:
    """Return ``update-license``."""

    @click.command("update-license", cls=Command)
    @target.add_option
    @option("licensekey", default="", help="The new licence key.", show_default=False)
    def update_license(licensekey: str, **options: Any) -> None:
        """Change the licence key of the cluster.

        Where a licence server is named (--license.endpoint), it is asked first; a key that it refuses changes nothing.
        In TRAEFIKEE_LICENSEKEY the key appears in no process list. `version --details` shows how the licence stands.
        """
        if not licensekey.strip():
            raise UsageError("--licensekey is missing", "give the new key")
        click.echo("✔ " + target.connect(options).post("/v1/licence", {"key": licensekey.strip()})["message"])

    return update_license
