"""``history``, ``diff`` and ``rollback``, for both commands: the configurations that were deployed."""

from __future__ import annotations

import sys
from typing import Any

import click

from traefikee.cli.client import says
from traefikee.cli.common import Command, option, output_option, switch
from traefikee.cli.deploy import follow, if_revision_option, tell_plan
from traefikee.cli.tables import plain, print_data, table
from traefikee.cli.target import Target
from traefikee.errors import UsageError

LONGEST = 80
"""Characters of a command line in the table."""


def history_command(target: Target) -> click.Command:
    """Return ``history``."""

    @click.command(cls=Command)
    @target.add_option
    @output_option
    @option("limit", "-n", "limit", default=20, type=click.IntRange(1, 1000), help="How many.")
    def history(output: str, limit: int, **options: Any) -> None:
        """List the configurations that were deployed, newest first.

        The one in force is marked with *. Who: as the control node saw it; in brackets what the command said. The
        newest 100 are kept whole: each can be compared (diff) and deployed again (rollback).
        """
        found = target.connect(options).get(f"/v1/history?limit={limit}")
        if output != "table":
            print_data(found["deployments"], output)
            return
        heads = [(head, len(head)) for head in ("Number", "When", "Who", "How", "Command")]
        rows = [
            _cells(
                f"{one['number']}{' *' if one['current'] else ''}",
                one["at"].removesuffix("+00:00") + "Z",
                f"{one['who']} ({one['by']})",
                one["how"],
                one["command"] if len(one["command"]) <= LONGEST else one["command"][: LONGEST - 3] + "...",
            )
            for one in found["deployments"]
        ]
        click.echo(table(heads, rows))

    return history


def _cells(*texts: str) -> tuple[str, ...]:
    # What a command says of itself may be anything.
    return tuple(plain(text).replace("\n", "\\n") for text in texts)


def diff_command(target: Target) -> click.Command:
    """Return ``diff``."""

    @click.command(cls=Command)
    @click.argument("number", type=click.IntRange(min=1), metavar="N")
    @click.argument("other", type=click.IntRange(min=1), metavar="[M]", required=False)
    @target.add_option
    @output_option
    def diff(number: int, other: int | None, output: str, **options: Any) -> None:
        """Tell what configuration M has changed against N; M is the one in force unless it is given.

        + added, ~ changed, - removed; secrets as ***. Of files what they said when they were deployed is compared, each
        difference with file and line.
        """
        found = target.connect(options).get(f"/v1/diff?from={number}" + (f"&to={other}" if other else ""))
        if output != "table":
            print_data(found, output)
            return
        for change in found["changes"]:
            click.echo(change["message"])
        count = len(found["changes"])
        counted = f"{count} difference{'s' * (count != 1)}" if count else "No difference"
        click.echo(f"{counted} from configuration {found['from']} to configuration {found['to']}.")

    return diff


def rollback_command(target: Target) -> click.Command:
    """Return ``rollback``."""

    @click.command(cls=Command)
    @click.argument("number", type=click.IntRange(min=1), metavar="N")
    @target.add_option
    @output_option
    @if_revision_option
    @switch("dry-run", help="Tell what would change, and change nothing.", show_default=False)
    def rollback(number: int, dry_run: bool, if_revision: int | None, output: str, **options: Any) -> None:
        """Deploy configuration N again, with its files as they were, under a new number.

        Waits as deploy does until every live data node has applied it; exit code 1 if one refuses.
        """
        if output != "table" and not dry_run:
            raise UsageError(f"-o {output} is the form of what --dry-run tells", "leave it out, or add --dry-run")
        body = {"number": number, "by": says(), "command": f"rollback {number}", "if_revision": if_revision}
        client = target.connect(options)
        if dry_run:
            tell_plan(client.post("/v1/rollback", body | {"dry_run": True}), output)
            return
        sys.exit(follow(client, "/v1/rollback", body))

    return rollback
