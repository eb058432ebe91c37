"""What all commands share: Go's flag conventions on top of click, environment names, errors and exit codes.

``--flag value``, ``--flag=value`` and ``-flag=value``; names in any case, nested names with dots; a switch alone or
with ``=true|false``. The environment variable of ``--consul.endpoint`` is ``TRAEFIKEE_CONSUL_ENDPOINT``.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import click

from traefikee.config.durations import parse_duration
from traefikee.config.errors import did_you_mean
from traefikee.errors import TraefikeeError, UsageError

SETTINGS: dict[str, Any] = {
    "token_normalize_func": str.lower,
    "help_option_names": ["--help", "-h"],
    "max_content_width": 120,
}

DEFAULT_SOCKET = "/var/run/traefikee.sock"
DEFAULT_STATEDIR = "/var/lib/traefikee_state"

_INSTEAD = {
    "storeconfig": ": deploy keeps the configuration in the cluster itself",
    "healthcheck": '; did you mean "healthcheck-node"?',
}
"""Commands of Traefik 1.7, and what is there instead."""

_SINGLE_DASH = re.compile(r"-(?P<name>[A-Za-z][\w.-]*)(?P<value>=.*)?", re.DOTALL)


def environment_name(option: str) -> str:
    """Return the environment variable that gives an option."""
    return "TRAEFIKEE_" + re.sub(r"[^A-Za-z0-9]", "_", option).upper()


class Command(click.Command):
    """A command that also takes Go's ``-flag=value`` and ``-f=value``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Spell single-dash names of known options with two dashes, and short ones without ``=``, then parse."""
        known = {name.lower() for param in self.params for name in param.opts}
        spelt = [_as_click_has_it(arg, known) for arg in args]
        if any(isinstance(param, click.Argument) for param in self.params):
            # A switch that stands alone must not take the argument after it for its value.
            switches = {
                name.lower()
                for param in self.params
                if isinstance(param, click.Option) and not param.is_flag and param.type is click.BOOL
                for name in param.opts
            }
            end = spelt.index("--") if "--" in spelt else len(spelt)
            spelt[:end] = [f"{arg}=true" if arg.lower() in switches else arg for arg in spelt[:end]]
        return super().parse_args(ctx, spelt)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the usage line in the product's form."""
        arguments = "".join(f" {param.make_metavar(ctx)}" for param in self.params if isinstance(param, click.Argument))
        formatter.write(f"Usage: {ctx.command_path} [flags]{arguments}\n")


def _as_click_has_it(arg: str, known: set[str]) -> str:
    match = _SINGLE_DASH.fullmatch(arg)
    if match is None:
        return arg
    name, value = match["name"].lower(), match["value"]
    if f"--{name}" in known:
        return f"-{arg}"
    if len(name) == 1 and f"-{name}" in known and value and len(value) > 1:
        return f"-{name}{value[1:]}"
    return arg


class Group(click.Group):
    """The command itself: without arguments it prints its usage and succeeds; errors are one line."""

    command_class = Command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; a group without a command prints its usage and succeeds."""
        return super().parse_args(ctx, args or ["--help"])

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the usage in the product's form, then the commands."""
        name = ctx.command_path
        formatter.write(f"Usage: {name} [flags] <command> [<arguments>]\n\n")
        formatter.write(f'Use "{name} <command> --help" for help on any command.\n')
        self.format_commands(ctx, formatter)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown one is an error with a suggestion."""
        if args and self.get_command(ctx, args[0].lower()) is None and not args[0].startswith("-"):
            hint = _INSTEAD.get(args[0].lower()) or did_you_mean(args[0], self.commands, mark='"')
            raise click.UsageError(f'unknown command "{args[0]}"{hint}', ctx)
        return super().resolve_command(ctx, args)

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run the command line and exit with its code: 0, 1 for a failure, 2 for a command line that is wrong."""
        arguments = list(sys.argv[1:] if args is None else args)
        code: Any = 0
        try:
            if not arguments:
                arguments = ["--help"]
            # What a command leaves with through its context comes back as a value.
            code = super().main(arguments, prog_name, standalone_mode=False, **extra)
        except click.exceptions.Exit as done:
            sys.exit(done.exit_code)
        except click.ClickException as error:
            fail(UsageError(_sentence(error), _help_hint(error)))
        except TraefikeeError as error:
            fail(error)
        except (KeyboardInterrupt, click.exceptions.Abort):
            sys.exit(130)
        except BrokenPipeError:
            sys.exit(0)
        sys.exit(code if isinstance(code, int) else 0)


def _sentence(error: click.ClickException) -> str:
    if isinstance(error, click.NoSuchOption):
        known = [name for param in error.ctx.command.params for name in param.opts] if error.ctx is not None else []
        return f"unknown option {error.option_name}{did_you_mean(error.option_name, known, mark='')}"
    text = error.format_message().rstrip(".")
    return text[:1].lower() + text[1:]


def _help_hint(error: click.ClickException) -> str:
    ctx = getattr(error, "ctx", None)
    return f'use "{ctx.command_path} --help" for what there is' if ctx is not None else ""


def fail(error: TraefikeeError) -> NoReturn:
    """Print the error as ``Error: <cause>; <next step>`` on standard error and exit with its code."""
    click.echo(f"Error: {error}", err=True)
    sys.exit(error.exit_code)


class Duration(click.ParamType[float]):
    """Seconds (``300``), or with units (``5m``, ``1m30s``)."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        if isinstance(value, (int, float)):
            return float(value)
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Bytes(click.ParamType[int]):
    """Bytes (``1048576``), or with a unit (``512MiB``, ``2GiB``)."""

    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return bytes."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d+)(KiB|MiB|GiB|)", value.strip())
        if match is None:
            self.fail(f'"{value}" is no number of bytes; write 1073741824, 1024MiB or 1GiB', param, ctx)
        return int(match[1]) << {"": 0, "KiB": 10, "MiB": 20, "GiB": 30}[match[2]]


def option(name: str, *more: str, **settings: Any) -> Callable[[Any], Any]:
    """Declare an option with its environment variable."""
    settings.setdefault("show_default", True)
    return click.option(f"--{name}", *more, envvar=environment_name(name), show_envvar=False, **settings)


def switch(name: str, **settings: Any) -> Callable[[Any], Any]:
    """Declare a boolean that may stand alone or take ``=true`` or ``=false``."""
    return option(
        name, is_flag=False, flag_value="true", default=False, type=click.BOOL, metavar="[=true|false]", **settings
    )


Decorated = Callable[..., Any]


def socket_option(command: Decorated) -> Decorated:
    """Add ``--traefikeesocket`` (alias ``--controlAPISocket``): which node a command talks to."""
    add: Callable[[Decorated], Decorated] = option(
        "traefikeesocket", "--controlAPISocket", "traefikeesocket", default=DEFAULT_SOCKET, help="Socket of the node."
    )
    return add(command)


def output_option(command: Decorated) -> Decorated:
    """Add ``-o``: the form of the output."""
    forms = click.Choice(["table", "json", "yaml"])
    add: Callable[[Decorated], Decorated] = option(
        "output", "-o", "output", type=forms, default="table", help="Form of the output."
    )
    return add(command)


def in_asyncio(function: Callable[..., Any]) -> Callable[..., None]:
    """Turn a coroutine function into a plain one that runs it to its end."""

    @functools.wraps(function)
    def run(*args: Any, **named: Any) -> None:
        import asyncio

        asyncio.run(function(*args, **named))

    return run
