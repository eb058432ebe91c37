"""``audit``, for both commands: who changed what."""

from __future__ import annotations

import datetime
from typing import Any
from urllib.parse import urlencode

import click

from traefikee.cli.common import Command, option, output_option
from traefikee.cli.tables import print_data, table
from traefikee.cli.target import Target
from traefikee.config.durations import parse_duration


class Since(click.ParamType[str]):
    """A time (ISO 8601; without an offset in UTC), or how long ago (``90s``, ``5m``, ``2h``)."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the time in UTC (ISO 8601, microseconds), or an empty text."""
        if not value:
            return ""
        try:
            ago = datetime.timedelta(seconds=parse_duration(value))
            at = datetime.datetime.now(datetime.UTC) - ago
        except (ValueError, OverflowError):
            try:
                at = datetime.datetime.fromisoformat(value)
                at = at if at.tzinfo else at.replace(tzinfo=datetime.UTC)
                at = at.astimezone(datetime.UTC)
            except (ValueError, OverflowError):
                self.fail(f'"{value}" is neither a time (2026-11-28T09:30:00) nor a duration (5m)', param, ctx)
        return at.isoformat(timespec="microseconds")


def audit_command(target: Target) -> click.Command:
    """Return ``audit``."""

    @click.command(cls=Command)
    @target.add_option
    @output_option
    @option("limit", "-n", "limit", default=50, type=click.IntRange(1, 10_000), help="How many, the newest.")
    @option("action", default="", help="Only those of this command (deploy, rm-node ...).", show_default=False)
    @option(
        "since",
        default="",
        type=Since(),
        help="Only those since then: a time (UTC), or how long ago: 2h.",
        show_default=False,
    )
    def audit(output: str, limit: int, action: str, since: str, **options: Any) -> None:
        """List who changed what, the newest last.

        Who: the certificate or the user of the machine, as the control node saw it; in brackets what the command said.
        What the cluster does by itself is there too. The newest 10,000 are kept.
        """
        query = urlencode({"limit": limit, "action": action.lower(), "since": since})
        entries = target.connect(options).get(f"/v1/audit?{query}")["entries"]
        if output != "table":
            print_data(entries, output)
            return
        heads = [(head, len(head)) for head in ("When", "Who", "Node", "Action", "What")]
        rows = [
            (
                one["at"].partition(".")[0] + "Z",
                one["who"] + (f" ({one['says']})" if one["says"] else ""),
                one["node"],
                one["action"],
                one["detail"],
            )
            for one in entries
        ]
        click.echo(table(heads, rows))

    return audit
