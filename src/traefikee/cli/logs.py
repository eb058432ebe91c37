"""``logs``, for both commands: lines of any node."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from traefikee.cli.audit import Since
from traefikee.cli.common import Command, option, output_option, switch
from traefikee.cli.tables import plain
from traefikee.cli.target import Target
from traefikee.errors import TraefikeeError, UsageError

DEFAULT_TAIL = 100
MOST = 10_000


def logs_command(target: Target) -> click.Command:
    """Return ``logs``."""

    @click.command(cls=Command)
    @target.add_option
    @output_option
    @option(
        "node", default=(), multiple=True, help="A node's name; again for more.  [default: all]", show_default=False
    )
    @switch("follow", help="Go on with what comes, until Ctrl-C (also -f).", show_default=False)
    @click.option("-f", "follow_short", is_flag=True, hidden=True)
    @option("since", default="", type=Since(), help="Only since then: a time (UTC), or 5m.", show_default=False)
    @option(
        "level",
        default="debug",
        type=click.Choice(["debug", "info", "warn", "error"], case_sensitive=False),
        help="This level and above.",
    )
    @option(
        "tail",
        default=None,
        type=click.IntRange(0, MOST),
        help=f"So many lines, the newest.  [default: {DEFAULT_TAIL}; with --since {MOST}]",
        show_default=False,
    )
    def logs(
        output: str,
        node: tuple[str, ...],
        follow: bool,
        follow_short: bool,
        since: str,
        level: str,
        tail: int | None,
        **options: Any,
    ) -> None:
        """Show the log of the nodes, in the order of time: agents, engines and etcd.

        Each node keeps its newest 2,000 lines (1 MB at most) in memory, those of its log level and above; a node that
        starts again begins anew. Nodes that are DOWN or do not answer are named on standard error; exit code 1 if such
        a node was asked for by its name.
        """
        names = [name.strip() for given in node for name in given.split(",") if name.strip()]
        if node and not names:
            raise UsageError("--node: no name is given", "see list-nodes")
        names = [] if "all" in names else names
        if tail is None:
            tail = MOST if since else DEFAULT_TAIL
        body = {"nodes": names, "since": since, "level": level, "tail": tail, "follow": follow or follow_short}
        silent = []
        for event in target.connect(options).stream("/v1/logs", body):
            match event["event"]:
                case "line":
                    click.echo(as_text(event) if output == "table" else as_data(event, output))
                case "problem":
                    silent.append(event["node"])
                    click.echo(f"{event['node']}: {event['message']}", err=True)
                case "lost":
                    click.echo(f"{event['node']}: {event['count']} older lines are kept no more", err=True)
        if names and silent:
            raise TraefikeeError(f"no lines of {', '.join(silent)}", "see list-nodes")

    return logs


def as_text(event: Mapping[str, Any]) -> str:
    """Return one line for a reader: time (UTC, milliseconds), node, level, component, message, fields."""
    fields = "".join(f" {name}={_quoted(value)}" for name, value in event["fields"].items())
    component = f"{event['component']}: " if event["component"] else ""
    return plain(f"{event['at'][:23]}Z {event['node']} {event['level']:<7} {component}{event['message']}{fields}")


def as_data(event: Mapping[str, Any], form: str) -> str:
    """Return one line as JSON, or a YAML document."""
    data = {name: value for name, value in event.items() if name != "event"}
    if form == "json":
        return json.dumps(data)
    import yaml

    return "---\n" + str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True)).rstrip()


def _quoted(value: str) -> str:
    plain = value and value.isprintable() and " " not in value and '"' not in value
    return value if plain else json.dumps(value)
