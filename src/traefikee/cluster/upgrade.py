"""Nodes of several versions in one cluster: who may be in it, and when its format is raised.

Pure but for :func:`keep_raising`. What a format is: :mod:`traefikee.formats`.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from traefikee import __version__, formats, log
from traefikee.cluster import audit, state
from traefikee.cluster.audit import Actor
from traefikee.cluster.fencing import FencedStore
from traefikee.cluster.mirror import Mirror
from traefikee.cluster.records import ClusterFormat, Phase
from traefikee.cluster.state import ClusterState, Node
from traefikee.cluster.store import Compare, Put
from traefikee.errors import RefusedError, TraefikeeError, UnreachableError
from traefikee.formats import Understood

EVERY = 1.0
"""Seconds between two looks at whether the format can be raised."""
MOST_NAMED = 5

_log = log.get("upgrade")


@dataclass(frozen=True)
class Raise:
    """Put the next format in force."""

    number: int
    reason: str


@dataclass(frozen=True)
class Wait:
    """Leave the format as it is, although this version has a newer one."""

    reason: str


def decide_format(seen: ClusterState, own: Understood = formats.OWN) -> Raise | Wait | None:
    """Decide whether the next format is put in force now; None if this version has no newer one.

    It needs every node of the list to be alive and to understand it: one that is DOWN may come back with the version
    before. It is raised one by one, so that whoever reads the format in force also reads what is still written in the
    one before.
    """
    number = seen.format.number + 1
    if number not in own or seen.phase is not Phase.FORMED:
        return None
    nodes = [node for node in seen.nodes if not node.record.left]
    unknown = [node.record.name for node in nodes if node.understood is None]
    behind = [node for node in nodes if node.understood is not None and number not in node.understood]
    if behind:
        verb = "do" if len(behind) > 1 else "does"
        return Wait(f"format {number} is put in force once every node understands it: {_versions(behind)} {verb} not")
    if unknown:
        return Wait(
            f"format {number} is put in force once every node is known to understand it: "
            f"{_listed(unknown)} {'are' if len(unknown) > 1 else 'is'} not READY"
        )
    return Raise(number, f"every one of the {len(nodes)} nodes understands it")


def in_force_now(number: int) -> ClusterFormat:
    """Return the value that puts a format in force."""
    at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return ClusterFormat(number=number, version=__version__, at=at)


def check_own(seen: ClusterState) -> None:
    """Check that this build understands what the cluster's nodes write.

    :raises TraefikeeError: naming both versions and the next step.
    """
    if seen.format.number not in formats.OWN:
        cause, next_step = refusal(seen, __version__, formats.OWN)
        raise TraefikeeError(cause, next_step, kind="version")


def check_other(seen: ClusterState, version: str, understood: Understood) -> None:
    """Check that a node which wants in understands what the cluster's nodes write.

    :param version: the node's, or an empty text if it did not say.
    :raises RefusedError: naming both versions and the next step.
    """
    if seen.format.number not in understood:
        raise RefusedError(*refusal(seen, version, understood), kind="version")


def refusal(seen: ClusterState, version: str, understood: Understood) -> tuple[str, str]:
    """Return why a node of a version cannot be in the cluster, and the next step."""
    force = seen.format
    by = f" since version {force.version} was everywhere" if force.version else ""
    cause = (
        f"this node is of version {version or '0.1.0 or older'}, which understands {understood}, "
        f"and the cluster is at format {force.number}{by}"
    )
    if understood.newest < force.number:
        return cause, f"install version {force.version or 'of the other nodes'} or the one after it on this node"
    return cause, f"upgrade the nodes of the cluster to the version before {version}, then start this node again"


def warnings(seen: ClusterState, own: Understood = formats.OWN) -> list[str]:
    """Return what an operator who looks at the list should know of versions, as sentences."""
    told = []
    by_version: dict[str, list[str]] = {}
    for node in seen.nodes:
        if node.report is not None and not node.record.left:
            by_version.setdefault(node.report.agent_version, []).append(node.record.name)
    if len(by_version) > 1:
        parts = "; ".join(f"{version}: {_listed(names)}" for version, names in sorted(by_version.items()))
        told.append(f"the nodes are of {len(by_version)} versions ({parts}): finish the upgrade")
    told += [
        f"{node.record.name} refuses snapshot {node.report.refused_revision}: {node.report.refusal}"
        for node in seen.nodes
        if node.report is not None and node.report.refused_revision is not None
    ]
    waiting = decide_format(seen, own)
    if isinstance(waiting, Wait):
        told.append(waiting.reason)
    return told


def needs_upgrade(seen: ClusterState, error: formats.NewerFieldError) -> RefusedError:
    """Return the refusal of something that is configured before every node understands it."""
    behind = [node for node in seen.nodes if node.understood is not None and error.since not in node.understood]
    who = f": {_versions(behind)}" if behind else ""
    return RefusedError(
        f"{error.path} needs format {error.since}, and the cluster is at format {seen.format.number}{who}",
        f"upgrade all nodes to version {__version__} first, or leave {error.path} out",
        kind="configuration",
    )


def _versions(nodes: Sequence[Node]) -> str:
    return _listed([f"{node.record.name} (version {node.report.agent_version})" for node in nodes if node.report])


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


async def keep_raising(term: FencedStore, mirror: Mirror) -> None:
    """Raise the format whenever that is decided, until cancelled: the leader's duty."""
    told = ""
    while True:
        seen = mirror.state
        decision = decide_format(seen)
        if isinstance(decision, Wait) and decision.reason != told:
            told = decision.reason
            _log.info(told)
        if isinstance(decision, Raise):
            me = seen.node(seen.leader or "")
            name = me.record.name if me else ""
            sentence = f"format {decision.number} is in force: {decision.reason}"
            puts = [
                Put(state.FORMAT, in_force_now(decision.number).stored()),
                audit.entry(Actor(f"node {name}", "cluster"), name, "upgrade", sentence),
            ]
            found = seen.keys.get(state.FORMAT)
            unchanged = Compare.unchanged(state.FORMAT, found.mod_revision if found else 0)
            try:
                await term.transact([unchanged], puts)
            except UnreachableError as error:
                _log.warning("the format cannot be raised now", reason=str(error))
        await asyncio.sleep(EVERY)
