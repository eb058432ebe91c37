"""``deploy``, for both commands: its options come from :data:`traefikee.config.options.OPTIONS`."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from traefikee.cli.client import Client, says
from traefikee.cli.common import Command, environment_name, option, output_option, switch
from traefikee.cli.tables import print_data
from traefikee.config.names import OPTIONS, Option, find_option
from traefikee.config.refusals import REFUSALS
from traefikee.config.static import StaticConfiguration
from traefikee.errors import UnreachableError, UsageError

if TYPE_CHECKING:
    from traefikee.providers.file.content import Content

MASK = "***"
LARGEST = 16 << 20
"""Bytes of a request that control nodes take."""
LONGEST_REST = 512 << 10
"""What of it is left for the command line and who deploys."""
_USERS = re.compile(r"(auth[._](?:basic|digest)[._]users):\S+", re.IGNORECASE)
_SHORT = frozenset({static.short for static in OPTIONS if static.short} | {"c"})


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
            pairs = _pairs(args)
            file = next((value for name, value in pairs if name.lower() in ("configfile", "c")), None)
            build([(name, value) for name, value in pairs if name.lower() not in own], file or "")
            raise


def _pairs(args: Sequence[str]) -> list[tuple[str, str | None]]:
    """Read a command line as names and values without knowing its options."""
    pairs: list[tuple[str, str | None]] = []
    for arg in args:
        if arg.startswith("-") and len(arg) > 1:
            name, equals, value = arg.lstrip("-").partition("=")
            glued = not arg.startswith("--") and len(name) > 1 and name[0] in _SHORT
            if glued and not equals and find_option(name) is None:
                name, equals, value = name[0], "=", name[1:]
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


class HarmlessOption(click.Option):
    """The hidden flag of an option that has no meaning here, so that a value which asks for nothing is accepted."""

    def __init__(self, name: str) -> None:
        super().__init__(
            [f"--{name}", f"static_{name.replace('.', '_').lower()}"],
            multiple=True,
            expose_value=False,
            callback=_remember,
            is_flag=False,
            flag_value="true",
            hidden=True,
        )
        self.static_name = name


def _remember(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> None:
    """Keep an option's values where the command finds them; the environment counts where the option is not given."""
    name = param.static.name if isinstance(param, StaticOption) else getattr(param, "static_name", "")
    given = os.environ.get(environment_name(name))
    kept = values or ([given] if given else [])
    ctx.obj.extend((name, value) for value in kept)


def static_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--configFile``, ``--dry-run`` and ``-o``, and a flag for each static option."""
    made: list[click.Parameter] = [StaticOption(static) for static in reversed(OPTIONS)]
    made.extend(HarmlessOption(name) for name, refusal in REFUSALS.items() if refusal.harmless)
    command.__click_params__ = [*getattr(command, "__click_params__", []), *made]  # type: ignore[attr-defined]
    for add in (
        output_option,
        if_revision_option,
        switch("dry-run", help="Check, tell what would change, and change nothing.", show_default=False),
        option(
            "configFile",
            "-c",
            "configfile",
            default="",
            help="Traefik 1.7's configuration file (TOML; YAML or JSON by its suffix); flags count more.",
            show_default=False,
        ),
    ):
        command = add(command)
    return command


def if_revision_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--if-revision``: which configuration has to be in force."""
    add: Callable[..., Callable[..., Any]] = option(
        "if-revision",
        "if_revision",
        default=None,
        type=click.IntRange(min=0),
        help="Only if this configuration is in force (0: none); else exit code 3.",
        show_default=False,
    )
    return add(command)


def build(values: Sequence[tuple[str, str | None]], config_file: str = "") -> StaticConfiguration:
    """Return the static configuration of a command line and, unless its name is empty, of a file.

    :raises ConfigurationError: with every problem of both.
    """
    return load(values, config_file)[0]


def load(values: Sequence[tuple[str, str | None]], config_file: str = "") -> tuple[StaticConfiguration, Content | None]:
    """Return as :func:`build` does, with what the files of the file provider say, if that is on.

    The paths of those files are absolute then.

    :raises ConfigurationError: as :func:`build`, and with all that keeps those files from being read.
    """
    # Imported here: it brings a certificate library of 10 MB, which the nodes that run with this command do not need.
    from traefikee.config.options import build_static

    settings = None
    if config_file:
        from traefikee.cli.configuration_file import load_settings

        settings = load_settings(config_file)
    configuration = build_static(values, lambda path: Path(path).read_bytes(), settings)
    if configuration.file is None:
        return configuration, None
    from traefikee.cli.dynamic_files import read_files

    return read_files(configuration, settings)


def command_line(values: Sequence[tuple[str, str | None]], config_file: str = "") -> str:
    """Return the command line to keep with the deployment, secrets masked."""
    secret = {static.name for static in OPTIONS if static.secret}
    words = ["deploy"] + ([f"--configFile={config_file}"] if config_file else [])
    for name, value in values:
        shown = MASK if name in secret or "-----BEGIN" in (value or "") else _USERS.sub(rf"\1:{MASK}", value or "")
        words.append(f"--{name}={shown}")
    return shlex.join(words)


def run_deploy(
    connect: Callable[[], Client],
    values: Sequence[tuple[str, str | None]],
    config_file: str = "",
    *,
    dry_run: bool = False,
    if_revision: int | None = None,
    output: str = "table",
) -> int:
    """Check the options here, deploy, print each step; returns the exit code.

    :param connect: returns the client; called once the options are right.
    :param dry_run: tell only what would change.
    :param if_revision: the configuration that has to be in force, or None for any.
    :param output: the form in which a dry run is told.

    :raises ConfigurationError: with every problem of the options.
    """
    if not values and not config_file:
        raise UsageError(
            "nothing to deploy: no option is given", 'see "deploy --help", or name a file: --configFile=...'
        )
    if output != "table" and not dry_run:
        raise UsageError(f"-o {output} is the form of what --dry-run tells", "leave it out, or add --dry-run")
    configuration, files = load(values, config_file)
    body: dict[str, Any] = {"configuration": configuration.model_dump(mode="json"), "if_revision": if_revision}
    if files is not None:
        body["files"] = json.loads(files.to_json())
    if len(json.dumps(body)) > LARGEST - LONGEST_REST:
        raise UsageError(
            f"the configuration with its files is larger than {LARGEST >> 20} MiB, which is more than a cluster takes",
            "leave certificates to the machines that need them, or to Consul",
        )
    if dry_run:
        if files is not None:
            from traefikee.cli.dynamic_files import problems_of

            for problem in problems_of(configuration, files):
                click.echo(f"{problem.severity}: {problem.sentence()}", err=True)
        return tell_plan(connect().post("/v1/plan", body), output)
    body |= {"by": says(), "command": command_line(values, config_file)}
    return follow(connect(), "/v1/deploy", body)


def follow(client: Client, path: str, body: Any) -> int:
    """Have something deployed and print each step; returns the exit code.

    :raises TraefikeeError: what kept it from being deployed, or that it is not known whether it was.
    """
    outcome: bool | None = None
    stored: int | None = None
    try:
        for step in client.stream(path, body):
            stored = step.get("number", stored)
            outcome = _tell_step(step, outcome)
    except UnreachableError as error:
        if error.kind != "connection":
            raise
        raise _lost(error, stored) from error
    if outcome is None:
        raise _lost(None, stored)
    return 0 if outcome else 1


def _lost(error: UnreachableError | None, stored: int | None) -> UnreachableError:
    reason = f": {error.cause}" if error else ""
    if stored is not None:
        return UnreachableError(
            f"configuration {stored} is stored and will be applied, but the answer ended early{reason}",
            "see `list-nodes -o json`; there is no need to deploy it again",
            kind="outcome",
        )
    return UnreachableError(
        f"it is not known whether the configuration was stored: the answer ended early{reason}",
        "look at `history` before you deploy again",
        kind="outcome",
    )


def _tell_step(step: dict[str, Any], outcome: bool | None) -> bool | None:
    """Print one step; return the outcome as far as it is known."""
    bad = step.get("ok") is False or step["event"] == "problem" or step.get("state") == "error"
    mark = "✗ " if step.get("ok") is False else "✔ " if step.get("ok") else ""
    if step["event"] == "problem":
        mark = f"{step['severity']}: "
    elif step["event"] == "node":
        mark = "  " + mark
    # A sentence about a file begins with the line.
    told = not step.get("key") or step["message"].startswith(step["key"])
    key = "" if told else f" [{step['key']}]"
    click.echo(f"{mark}{step['message']}{key}", err=bad)
    return bool(step["ok"]) if step["event"] == "done" else outcome


def tell_plan(plan: dict[str, Any], output: str) -> int:
    """Print what a deployment would change; returns the exit code."""
    if output != "table":
        print_data(plan, output)
        return 0
    changes, deployed = plan["changes"], plan["deployed"]
    for change in changes:
        click.echo(change["message"])
    count = f"{len(changes)} change{'s' * (len(changes) != 1)}" if changes else "No change"
    against = f"against configuration {deployed}" if deployed is not None else "(nothing is deployed yet)"
    click.echo(f"{count} {against}. Nothing was deployed: this was a dry run.")
    return 0
