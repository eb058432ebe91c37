"""``recover``: the cluster goes on from one control node that is left."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from traefikee.cli.common import DEFAULT_STATEDIR, Command, in_asyncio, option, switch
from traefikee.errors import RefusedError, TraefikeeError, UsageError

if TYPE_CHECKING:
    from traefikee.node.recovery import Other, Survivor


@click.command(cls=Command)
@option("statedir", default=DEFAULT_STATEDIR, type=click.Path(file_okay=False), help="Directory of the node's state.")
@option(
    "peeraddresses",
    default="",
    help="host:port of further control nodes to ask, separated by commas.",
    show_default=False,
)
@switch("yes", help="Do it without asking.", show_default=False)
@switch("force", help="Do it although other control nodes have a quorum: they are left behind.", show_default=False)
@in_asyncio
async def recover(statedir: str, peeraddresses: str, yes: bool, force: bool) -> None:
    """Bring the cluster back on this one control node when its quorum is lost for good.

    For when so many control nodes are gone, with their disks, that those left are no quorum. Run it on the one of them
    that knows most, while no node runs with the state directory; without --yes it shows what this one knows and asks
    first. The node then is the only control node; CA, tokens and configuration stay, data nodes follow it again, others
    join with the token or come back with their state directories, and take over what this one knows. What only the lost
    ones knew is lost. The store as it was is kept beside the new one.
    """
    from traefikee import log
    from traefikee.node import recovery
    from traefikee.node.statedir import StateDir

    log.configure(level="warn")
    if not Path(statedir).is_dir():
        raise TraefikeeError(f"there is no state directory {statedir}", "name the node's with --statedir")
    if not Path(statedir, "identity.json").is_file():
        # Before it is taken for one, locked and given the folders of one.
        raise TraefikeeError(f"{statedir} is no node's state directory", "name the right one with --statedir")
    if not yes and not sys.stdin.isatty():
        raise UsageError("nobody can be asked here whether to go on", "run it in a terminal, or add --yes")
    directory = StateDir(Path(statedir))
    try:
        identity = recovery.identity_of(directory)
        given = [one.strip() for one in peeraddresses.split(",") if one.strip()]
        others = await recovery.ask_others(identity, [*directory.load_peers(), *given], directory.load_generation())
        survivor = await recovery.read_survivor(directory, identity)
        for sentence in described(survivor, others):
            click.echo(sentence)
        quorum = [other.address for other in others if other.quorum]
        if quorum and not force:
            raise RefusedError(
                f"the cluster has a quorum: ask {', '.join(quorum)}; nothing was changed",
                f"start {identity.name} instead, and it comes back to the others",
            )
        click.echo(f"\n{identity.name} becomes the only control node. What it does not know is lost.")
        if not yes and not click.confirm("Go on?", default=False):
            raise TraefikeeError("nothing was changed")
        kept = await recovery.begin_anew(directory, survivor, getpass.getuser())
    finally:
        directory.close()
    click.echo(f"The store as it was is kept in {kept}; remove it when the cluster is whole again.")
    click.echo(f"✔ The cluster {identity.cluster_id} is recovered. Start {identity.name} as before, without a token.")


def described(survivor: Survivor, others: list[Other]) -> list[str]:
    """Return what an operator has to know to choose this control node, or another one."""
    identity, checked, origin = survivor.identity, survivor.checked, survivor.content.origin
    found = [f"Control node   {identity.name} ({identity.advertise}) of the cluster {identity.cluster_id}"]
    for number, other in enumerate(others):
        found.append(f"{'' if number else 'Others':13}  {other.address} {other.said}")
    if not others:
        found.append(f"{'Others':13}  none is known")
    found.append(f"{'Last change':13}  revision {origin.revision}: the higher, the more a control node knows")
    deployment = checked.deployment
    if deployment is None:
        found.append(f"{'Configuration':13}  none was deployed")
    else:
        found.append(f"{'Configuration':13}  {deployment.number} of {deployment.at}, by {deployment.by}")
    if checked.pointer is not None:
        found.append(f"{'Snapshot':13}  {checked.pointer.revision}")
    found += [f"Warning: {note}" for note in checked.notes]
    return found
