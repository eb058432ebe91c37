"""``rm-node`` and ``drain-node``: nodes that leave, for good or for a while."""

from __future__ import annotations

from typing import Any

import click

from traefikee.cli.client import Client
from traefikee.cli.common import Command, Duration, option, output_option, switch
from traefikee.cli.tables import print_data
from traefikee.cli.target import Target

NODES = click.argument("nodes", nargs=-1, required=True, metavar="NAME|ID ...")


def rm_node_command(target: Target) -> click.Command:
    """Return ``rm-node``."""

    @click.command("rm-node", cls=Command)
    @NODES
    @switch("force", help="Remove nodes that are READY, too: they stop serving, and end.", show_default=False)
    @output_option
    @target.add_option
    @click.pass_context
    def rm_node(ctx: click.Context, /, nodes: tuple[str, ...], force: bool, output: str, **options: Any) -> None:
        """Remove nodes from the cluster for good.

        All are checked before the first is removed. A node that is READY is refused without --force, and control nodes
        whose removal would cost the quorum in any case. A removed node does not come back with its state directory; its
        name is free at once. Exit code 1 if a node could not be removed.
        """
        body = {"nodes": list(nodes), "force": force}
        ctx.exit(_follow(target.connect(options), "/v1/nodes/remove", body, output))

    return rm_node


def drain_node_command(target: Target) -> click.Command:
    """Return ``drain-node``."""

    @click.command("drain-node", cls=Command)
    @NODES
    @switch("undo", help="Bring the nodes back into service.", show_default=False)
    @switch("force", help="Drain the last data node that accepts requests, too.", show_default=False)
    @option("timeout", default="300", type=Duration(), help="How long to wait; 0 is no limit.")
    @output_option
    @target.add_option
    @click.pass_context
    def drain_node(
        ctx: click.Context,
        /,
        nodes: tuple[str, ...],
        undo: bool,
        force: bool,
        timeout: float,
        output: str,
        **options: Any,
    ) -> None:
        """Take nodes out of service for a while, and wait until they are.

        A data node says so in its pings for lifeCycle.requestAcceptGraceTimeout, then accepts nothing more, and lets
        end what is open: nothing is cut. A control node hands leadership over. It holds across restarts and upgrades
        until --undo. At the timeout, or if this command is interrupted, the nodes stay drained. Exit code 1 if one is
        not drained (or back) by then.
        """
        body = {"nodes": list(nodes), "undo": undo, "force": force, "timeout": timeout}
        ctx.exit(_follow(target.connect(options), "/v1/nodes/drain", body, output))

    return drain_node


def _follow(client: Client, path: str, body: dict[str, Any], output: str) -> int:
    """Print each step, or at the end what became of each node; return the exit code."""
    outcome: bool | None = None
    nodes = []
    for step in client.stream(path, body):
        event, message = step["event"], step.get("message", "")
        if event == "done":
            outcome = step["ok"]
        elif event == "node":
            nodes.append({key: step[key] for key in ("name", "id", "ok", "message")})
            if output == "table":
                click.echo(f"{'✔' if step['ok'] else '✗'} {message}", err=not step["ok"])
        elif event == "warning":
            click.echo(message, err=True)
        elif message and output == "table":
            click.echo(f"  {message}" if event == "progress" else message)
    if output != "table":
        print_data(nodes, output)
    if outcome is None:
        click.echo("Error: the control node ended early; look at `list-nodes --details`, and try again", err=True)
    return 0 if outcome else 1
