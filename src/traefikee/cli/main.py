"""``traefikee``: starts nodes, and talks to the control node of this machine through its socket."""

from __future__ import annotations

import sys
from typing import Any

import click

from traefikee import __version__
from traefikee.cli import client as clients
from traefikee.cli.common import SETTINGS, Group, output_option, socket_option, switch
from traefikee.cli.deploy import DeployCommand, run_deploy, static_options
from traefikee.cli.nodes import bootstrap, start_control_node, start_data_node
from traefikee.cli.operations import OPERATIONS
from traefikee.cli.recover import recover
from traefikee.cli.tables import print_data, print_local_nodes, print_warnings
from traefikee.cli.target import Target
from traefikee.cli.trust import warn


@click.group(cls=Group, context_settings=SETTINGS)
def traefikee() -> None:
    """Start and run the nodes of a clustered edge router."""


for _command in (bootstrap, start_control_node, start_data_node, recover):
    traefikee.add_command(_command)


@traefikee.command("list-nodes")
@socket_option
@output_option
@switch("details", help="Show ids, membership and status too.", show_default=False)
def list_nodes(traefikeesocket: str, output: str, details: bool) -> None:
    """List the nodes of the cluster."""
    content = clients.local(traefikeesocket).get("/v1/nodes")
    if output != "table":
        print_data(content["nodes"], output)
    else:
        print_local_nodes(content["nodes"], details=details)
    warn(content["nodes"])
    print_warnings(content)


@traefikee.command(cls=DeployCommand)
@socket_option
@static_options
@click.pass_context
def deploy(
    ctx: click.Context, traefikeesocket: str, configfile: str, dry_run: bool, if_revision: int | None, output: str
) -> None:
    """Put a static configuration in force.

    Waits until every live data node has applied it, and says so node by node; exit code 1 if one refuses. Each deploy
    replaces the one before as a whole. Options are those of Traefik 1.7; each can be given as TRAEFIKEE_<NAME> too, and
    in a file (--configFile).
    """
    sys.exit(
        run_deploy(
            lambda: clients.local(traefikeesocket),
            ctx.obj,
            configfile,
            dry_run=dry_run,
            if_revision=if_revision,
            output=output,
        )
    )


@traefikee.command()
@output_option
@socket_option
@switch("details", help="Ask the node of this machine too: its version, and the licence key.", show_default=False)
def version(output: str, traefikeesocket: str, details: bool) -> None:
    """Print the version."""
    content: dict[str, Any] = {"version": __version__}
    if details:
        content["node"] = clients.local(traefikeesocket).get("/v1/version")
    print_version(content, output)


def print_version(content: dict[str, Any], output: str) -> None:
    """Print the version of this command and, if it was asked, of the node."""
    if output != "table":
        print_data(content, output)
        return
    click.echo(f"Version:      {content['version']}")
    node = content.get("node")
    if node:
        click.echo(f"Node:         {node['node']} ({node['role']} node, version {node['version']})")
        if "licence" in node:
            click.echo(f"Licence key:  {node['licence']}")
        if node.get("licence_status"):
            click.echo(f"Licence:      {node['licence_status']}")


@traefikee.command("healthcheck-node")
@socket_option
@click.pass_context
def healthcheck_node(ctx: click.Context, traefikeesocket: str) -> None:
    """Exit with 0 if this node's ping entry point answers, else with 1."""
    _, content = clients.local(traefikeesocket).ask("/v1/health")
    healthy = bool(content.get("healthy"))
    click.echo(content.get("message", content.get("error", "")), err=not healthy)
    ctx.exit(0 if healthy else 1)


_NODE = Target(socket_option, lambda options: clients.local(options["traefikeesocket"]))
for _operation in OPERATIONS:
    traefikee.add_command(_operation(_NODE))
