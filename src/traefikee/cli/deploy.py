"""``deploy``, for both commands: its options come from :data:`traefikee.config.options.OPTIONS`."""

from __future__ import annotations

import getpass
import os
import shlex
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from traefikee.cli.client import Client
from traefikee.cli.common import Command, environment_name
from traefikee.config.names import OPTIONS, Option
from traefikee.config.static import StaticConfiguration
from traefikee.errors import UsageError

MASK = "***"


class DeployCommand(Command):
    """Keeps the static options in their order, and names those of Traefik 1.7 that are not there yet."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; an option that is unknown here is judged by the configuration, which knows all of them.

        :raises UsageError: naming the option, and what was perhaps meant.
        """
        ctx.obj = []
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption:
            # Not only this one: everything that is wrong is told at once.
            own = {name.lstrip("-").lower() for param in self.params for name in param.opts if param.expose_value}
            _build([(name, value) for name, value in _pairs(args) if name.lower() not in own])
            raise


def _pairs(args: Sequence[str]) -> list[tuple[str, str | None]]:
    """Read a command line as names and values without knowing its options."""
    pairs: list[tuple[str, str | None]] = []
    for arg in args:
        if arg.startswith("-") and len(arg) > 1:
            name, equals, value = arg.lstrip("-").partition("=")
            pairs.append((name, value if equals else None))
        elif pairs and pairs[-1][1] is None:
            pairs[-1] = (pairs[-1][0], arg)
    return pairs


class StaticOption(click.Option):
    """The flag of one static option; its values are kept in the context in their order."""

    def __init__(self, static: Option) -> None:
        names = [f"--{static.name}", f"static_{static.name.replace('.', '_').lower()}"]
        if static.short:
            names.append(f"-{static.short}")
        alone = static.kind in ("struct", "bool")
        super().__init__(
            names,
            multiple=True,
            expose_value=False,
            callback=_remember,
            metavar="[=true|false]" if alone else static.kind,
            help=f"{static.help}." + (f"  [default: {static.default}]" if static.default else ""),
            is_flag=False,
            flag_value="true" if alone else None,
        )
        self.static = static


def _remember(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> None:
    """Keep an option's values where the command finds them; the environment counts where the option is not given."""
    if isinstance(param, StaticOption):
        given = os.environ.get(environment_name(param.static.name))
        kept = values or ([given] if given else [])
        ctx.obj.extend((param.static.name, value) for value in kept)


def static_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add a flag for each static option."""
    made = [StaticOption(static) for static in reversed(OPTIONS)]
    command.__click_params__ = [*getattr(command, "__click_params__", []), *made]  # type: ignore[attr-defined]
    return command


def _build(values: Sequence[tuple[str, str | None]]) -> StaticConfiguration:
    # Imported here: it brings a certificate library of 10 MB, which the nodes that run with this command do not need.
    from traefikee.config.options import build_static

    return build_static(values, lambda path: Path(path).read_bytes())


def command_line(values: Sequence[tuple[str, str | None]]) -> str:
    """Return the command line to keep with the deployment, secrets masked."""
    secret = {static.name for static in OPTIONS if static.secret}
    words = ["deploy"]
    for name, value in values:
        shown = MASK if name in secret or "-----BEGIN" in (value or "") else value
        words.append(f"--{name}={shown}")
    return shlex.join(words)


def run_deploy(connect: Callable[[], Client], values: Sequence[tuple[str, str | None]]) -> int:
    """Check the options here, deploy, print each step; returns the exit code.

    :param connect: returns the client; called once the options are right.

    :raises ConfigurationError: with every problem of the options.
    """
    if not values:
        raise UsageError("nothing to deploy: no option is given", 'see "deploy --help"')
    configuration = _build(values)
    body = {
        "configuration": configuration.model_dump(mode="json"),
        "by": f"{getpass.getuser()}@{socket.gethostname()}",
        "command": command_line(values),
    }
    outcome: bool | None = None
    for step in connect().stream("/v1/deploy", body):
        bad = step.get("ok") is False or step["event"] == "problem" or step.get("state") == "error"
        mark = "✗ " if step.get("ok") is False else "✔ " if step.get("ok") else ""
        if step["event"] == "problem":
            mark = f"{step['severity']}: "
        elif step["event"] == "node":
            mark = "  " + mark
        click.echo(f"{mark}{step['message']}", err=bad)
        if step["event"] == "done":
            outcome = step["ok"]
    if outcome is None:
        click.echo(
            "Error: the control node ended the deployment early; look at `list-nodes` and deploy again", err=True
        )
    return 0 if outcome else 1
