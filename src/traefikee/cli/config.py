"""``config``: what can be told of configurations without changing anything."""

from __future__ import annotations

from typing import Any

import click

from traefikee.cli.common import Command, Group, option
from traefikee.cli.deploy import load
from traefikee.cli.tables import print_data
from traefikee.cli.target import Target
from traefikee.config.errors import ConfigurationError
from traefikee.config.static import StaticConfiguration


def config_group(target: Target) -> click.Group:
    """Return ``config`` with its commands."""

    @click.group(cls=Group)
    def config() -> None:
        """Look at configurations."""

    @config.command()
    @click.argument("part", type=click.Choice(["static", "dynamic", "merged"]), required=False)
    @target.add_option
    @option("output", "-o", "output", type=click.Choice(["yaml", "json"]), default="yaml", help="Form of the output.")
    def show(part: str | None, output: str, **options: Any) -> None:
        """Show the configuration of the cluster, secrets masked.

        static: what was deployed, by whom and how. dynamic: what each provider says, objects in error too. merged: what
        is in force. Each object with the key or file that it comes from. By default all three.
        """
        print_data(target.connect(options).get(f"/v1/config?part={part or ''}"), output)

    config.add_command(check)
    return config


@click.command(cls=Command)
@click.argument("file")
@click.pass_context
def check(ctx: click.Context, file: str) -> None:
    """Check a configuration file, as deploy --configFile=FILE would, without a cluster.

    Prints every problem and ends with exit code 1 if there is one. Files that it names are read, those of the file
    provider too: what is wrong with their frontends and backends is told.
    """
    try:
        configuration, files = load([], file)
    except ConfigurationError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        count = len(error.problems)
        click.echo(f"{count} problem{'s' * (count != 1)}", err=True)
        ctx.exit(1)
    if files is not None:
        from traefikee.cli.dynamic_files import problems_of

        found = problems_of(configuration, files)
        for one in found:
            click.echo(f"{one.severity}: {one.sentence()}", err=True)
        errors = sum(one.severity == "error" for one in found)
        if errors:
            click.echo(f"{errors} problem{'s' * (errors != 1)}", err=True)
            ctx.exit(1)
    click.echo(f"ok: {summary(configuration)}")


def summary(configuration: StaticConfiguration) -> str:
    """Return in one line what a static configuration has."""
    points = ", ".join(f"{point.name} ({_traits(point.address, point.tls)})" for point in configuration.entry_points)
    parts = [f"entry points {points}"]
    features = {
        "files": configuration.file,
        "Consul": configuration.consul,
        "API": configuration.api,
        "ping": configuration.ping,
        "access log": configuration.access_log,
        "Prometheus": configuration.prometheus,
        "retry": configuration.retry,
    }
    parts.extend(name for name, feature in features.items() if feature)
    return "; ".join(parts)


def _traits(address: str, tls: object) -> str:
    return f"{address}, TLS" if tls else address
