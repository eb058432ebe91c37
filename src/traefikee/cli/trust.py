"""``rotate-ca``, ``list-certificates`` and ``new-credentials``, for both commands."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from traefikee.cli.client import Client
from traefikee.cli.common import Command, Duration, option, output_option, switch
from traefikee.cli.tables import print_data, table
from traefikee.cli.target import Target
from traefikee.cluster.messages import NAME_PATTERN
from traefikee.errors import TraefikeeError, UsageError

_HEADS = (("Name", 4), ("Kind", 4), ("Authority", 9), ("Good until", 10), ("State", 5))
LONGEST_NAME = 63
_SHORT = 12
"""Digits of an authority's digest that are shown."""


def rotate_ca_command(target: Target) -> click.Command:
    """Return ``rotate-ca``."""

    @click.command("rotate-ca", cls=Command)
    @target.add_option
    @output_option
    @option("grace", default="24h", type=Duration(), help="How long the old authority stays trusted, for who is away.")
    @switch("finish", help="End the grace of the rotation that is under way.", show_default=False)
    @switch("status", help="Tell how far the rotation is, and change nothing.", show_default=False)
    def rotate_ca(output: str, grace: float, finish: bool, status: bool, **options: Any) -> None:
        """Replace the cluster's certificate authority, without a request lost.

        A new authority is made and trusted by all beside the old one; then every node gets a certificate of the new
        one; after the grace the old one is trusted no more. Nodes and traefikeectl that come back within the grace
        follow by themselves; who comes back later has to join with a token, or connect, again. It goes on by itself if
        this command is ended or another node leads; --status tells how far it is.
        """
        if finish and status:
            raise UsageError("--finish and --status are different things", "give one of them")
        client = target.connect(options)
        if status:
            _tell_status(client.get("/v1/authorities"), output)
            return
        if output != "table":
            raise UsageError(f"-o {output} is the form of what --status tells", "leave it out, or add --status")
        done, phase = False, ""
        for step in client.stream("/v1/authorities/rotate", {"grace": grace, "finish": finish}):
            if step["event"] == "phase":
                click.echo(f"{step['phase']}: {step['message']}")
                if step["phase"] != phase:
                    # The connection of traefikeectl is to outlive the old authority too.
                    phase = step["phase"]
                    with contextlib.suppress(TraefikeeError):
                        target.connect(options)
            elif step["event"] == "done":
                done = True
                click.echo(f"✔ {_sentence(step['message'])}")
        if not done:
            raise TraefikeeError(
                "the control node ended this connection; the rotation goes on",
                "follow it with rotate-ca --status",
            )

    return rotate_ca


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _tell_status(told: dict[str, Any], output: str) -> None:
    running = told["rotation"]
    if output != "table":
        print_data({"signing": told["signing"], "trusted": told["trusted"], "rotation": running}, output)
        return
    if running is None:
        click.echo(f"The authority is not being replaced. It is {told['signing'][:_SHORT]}.")
        return
    click.echo(f"{running['phase']}: {running['message']}")
    click.echo(f"Begun on {running['started_at']} by {running['started_by']}.")


def list_certificates_command(target: Target) -> click.Command:
    """Return ``list-certificates``."""

    @click.command("list-certificates", cls=Command)
    @target.add_option
    @output_option
    def list_certificates(output: str, **options: Any) -> None:
        """List the cluster's authority and the nodes' certificates, and when they end."""
        found = target.connect(options).get("/v1/certificates")
        rows = found["certificates"]
        if output != "table":
            print_data(rows, output)
        else:
            click.echo(
                table(
                    _HEADS,
                    [
                        (
                            one["name"],
                            one["kind"],
                            (one["issuer"] or "")[:_SHORT],
                            one["not_after"] or "unknown",
                            one["state"],
                        )
                        for one in rows
                    ],
                )
            )
        warn(rows)
        if found["rotation"] is not None:
            click.echo(f"The authority is being replaced: {found['rotation']['message']}", err=True)

    return list_certificates


def warn(rows: Sequence[dict[str, Any]]) -> None:
    """Print the warnings about certificates of nodes, of ``/v1/nodes`` or ``/v1/certificates``, on standard error."""
    for one in rows:
        if one.get("warning"):
            what = "certificate of " if one.get("kind") != "authority" else ""
            click.echo(f"Warning: the {what}{one['name']} {one['warning']}", err=True)


def new_credentials_command(target: Target) -> click.Command:
    """Return ``new-credentials``."""

    @click.command("new-credentials", cls=Command)
    @target.add_option
    @option("name", default="traefikeectl", help="Whose they are: the audit log tells operators apart by it.")
    @option(
        "mtlscertsoutputdir", default="./.traefikee", type=click.Path(file_okay=False), help="Where they are written."
    )
    def new_credentials(name: str, mtlscertsoutputdir: str, **options: Any) -> None:
        """Make API credentials for traefikeectl connect, beside those that there are.

        For another operator, or where the connection of traefikeectl is of no use any more: its certificate has ended,
        or the authority was replaced.
        """
        from traefikee.cluster import certificate_request
        from traefikee.config.certificates import CertificatePair
        from traefikee.node.bootstrap import check_credentials_folder, write_credentials

        if not re.fullmatch(NAME_PATTERN, name) or len(name) > LONGEST_NAME:
            raise UsageError(f'--name: "{name}" cannot be a name', "letters, digits, dots, dashes: up to 63 of them")
        client: Client = target.connect(options)
        folder = Path(mtlscertsoutputdir).absolute()
        check_credentials_folder(folder)
        made = certificate_request.make()
        answer = client.post("/v1/credentials", {"request_pem": made.request_pem, "name": name})
        pair = CertificatePair(chain_pem=answer["certificate_pem"], key_pem=made.key_pem)
        write_credentials(folder, "".join(answer["authorities"]), pair)
        click.echo(f'✔ API credentials "{name}", good until {answer["not_after"]}, are in {folder}.')

    return new_credentials
