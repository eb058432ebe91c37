"""``env`` and ``rotate-tokens``, for both commands."""

from __future__ import annotations

from typing import Any

import click

from traefikee.cli.common import Command, Duration, option, output_option, switch
from traefikee.cli.tables import print_data, table
from traefikee.cli.target import Target
from traefikee.errors import UsageError

_ROLES = click.Choice(["control", "data", "all"], case_sensitive=False)
_HEADS = (("ID", 2), ("Role", 4), ("Kind", 4), ("Good until", 10), ("Made by", 7))
_KINDS = {"standing": "standing", "replaced": "replaced, in grace", "once": "one join", "ttl": "until a time"}


def env_command(target: Target) -> click.Command:
    """Return ``env``."""

    @click.command(cls=Command)
    @target.add_option
    @output_option
    @option("ttl", default=None, type=Duration(), help="Make tokens that are good for so long.", show_default=False)
    @switch("once", help="Make tokens that are good for one join each.", show_default=False)
    @option("role", default="all", type=_ROLES, help="Which kind of node the tokens are for.")
    @switch("list", help="List the tokens that are good, without their secrets.", show_default=False)
    @option("revoke", default="", metavar="ID", help="Refuse this token from now on.", show_default=False)
    def env(output: str, ttl: float | None, once: bool, role: str, revoke: str, **options: Any) -> None:
        """Print the join tokens, in a form that a shell can evaluate.

        With --ttl or --once, or both, tokens that end by themselves: they are printed once and kept nowhere. Whether
        such a time is over is judged by the clock of the control node that lets the newcomer in.
        """
        listed = options.pop("list")
        _check_combination(ttl is not None, once, bool(listed), bool(revoke), role)
        client = target.connect(options)
        if listed:
            _print_list(client.get("/v1/tokens/list")["tokens"], output, role)
            return
        if revoke:
            answer = client.post("/v1/tokens/revoke", {"id": revoke})
            if output != "table":
                print_data(answer, output)
            else:
                click.echo(f"✔ Token {revoke} is refused from now on.")
            return
        if ttl is not None or once:
            body = {"role": role, "ttl": ttl, "once": once}
            print_tokens(client.post("/v1/tokens", body), output, role)
            return
        print_tokens(client.get("/v1/tokens"), output, role)

    return env


def _check_combination(ttl: bool, once: bool, listed: bool, revoke: bool, role: str) -> None:
    given = [name for name, on in (("--list", listed), ("--revoke", revoke), ("--ttl or --once", ttl or once)) if on]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} are different things", "give one of them")
    if revoke and role != "all":
        raise UsageError("--revoke names one token, whatever its role", "leave out --role")


def print_tokens(tokens: dict[str, Any], output: str, role: str = "all") -> None:
    """Print join tokens."""
    wanted = [name for name in tokens if name.endswith("_node_token") and role in ("all", name.partition("_")[0])]
    shown = {name: tokens[name] for name in wanted}
    shown |= {name: value for name, value in tokens.items() if not name.endswith("_node_token")}
    if output != "table":
        print_data(shown, output)
        return
    for name in ("control_node_token", "data_node_token"):
        if name in shown:
            click.echo(f'export {name.upper()}="{shown[name]}"')


def _print_list(tokens: list[dict[str, Any]], output: str, role: str) -> None:
    chosen = [one for one in tokens if role in ("all", one["role"])]
    if output != "table":
        print_data(chosen, output)
        return
    rows = [
        (
            one["id"],
            one["role"],
            _KINDS.get(one["kind"], one["kind"]),
            one["good_until"] or ("its first join" if one["kind"] == "once" else "it is replaced"),
            one["made_by"] or "bootstrap",
        )
        for one in chosen
    ]
    click.echo(table(_HEADS, rows))


def rotate_tokens_command(target: Target) -> click.Command:
    """Return ``rotate-tokens``."""

    @click.command("rotate-tokens", cls=Command)
    @target.add_option
    @output_option
    @option("role", default="all", type=_ROLES, help="Which tokens to replace.")
    @option("grace", default="0", type=Duration(), help="How long the tokens before are still good.")
    def rotate_tokens(output: str, role: str, grace: float, **options: Any) -> None:
        """Replace the join tokens that env prints; those before are refused.

        Nodes that have joined are not affected, nor are tokens that were made with env --ttl or --once.
        """
        answer = target.connect(options).post("/v1/tokens/rotate", {"role": role, "grace": grace})
        if output != "table":
            print_data(answer, output)
            return
        until = answer["old_good_until"]
        before = f"the one before is good until {until}" if until else "the one before is refused from now on"
        for one in answer["roles"]:
            click.echo(f"✔ The token for {one} nodes was replaced; {before}.")
        click.echo(f"`env` prints the new one{'s' * (len(answer['roles']) > 1)}.")

    return rotate_tokens
