"""Control nodes that are lost with their disks, and what an operator does then, while data nodes go on.

`restore`: all of them; a backup is restored on a new machine, and others join it with the tokens that they had.
`recover`: all but one, which carries on alone, and others join it.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tests.chaos.asking import lines
from tests.chaos.history import Aftermath
from tests.chaos.injection import lose
from tests.chaos.operators import deployment
from tests.chaos.schedule import FIRST_AFTER
from tests.cluster.nodes import Node
from tests.support.wait import SLOWNESS, wait_for

if TYPE_CHECKING:
    from tests.chaos.world import World

WHOLE = 60.0
"""Seconds in which the cluster is whole again: etcd lets one member join every five seconds."""
ARCHIVE = "tmp/home/disaster.tar"
STEP = 20.0
"""Seconds that one of the operator's commands may take."""


def overcome(world: World, what: str) -> Aftermath:
    """Lose control nodes for good, do what the documentation says, and look at what came of it.

    :raises AssertionError: if a command fails: the run says nothing then but that, and that is a finding to look at.
    """
    first, *others = world.cluster.control.values()
    ports, trust = world.ports(), world.trust()[first.name]
    archive = b""
    if what == "restore":
        first.traefikee(f"backup --archivepath=/{ARCHIVE}")
        archive = (world.machine(first.name).root / ARCHIVE).read_bytes()
        # It is lost, as whatever was done since the backup.
        deploy(world, first, FIRST_AFTER)
    begin = world.now()
    for node in others:
        lose(world, node)
    if what == "restore":
        lose(world, first)
        (world.machine(first.name).root / ARCHIVE).write_bytes(archive)
        first.start(f"traefikee bootstrap {first.own_addresses()} --archivepath=/{ARCHIVE}")
        first.process.wait_for_output("cluster restored", STEP)
    else:
        world.meant_to_be_down.add(first.name)
        world.kill(first)
        first.process.wait(5)
        first.traefikee("recover --yes")
        world.start(first)
    first.process.wait_for_output("control node ready", STEP)
    world.meant_to_be_down.discard(first.name)
    for node in others:
        # Whom it may ask is told by the one that is left.
        world.start(node)
    limit = WHOLE * max(1.0, SLOWNESS)
    whole, disagreement = world.come_to_rest(limit)
    after = world.ports()
    trusted = world.trust()[first.name] if whole is not None else trust
    if whole is not None:
        deploy(world, others[0], FIRST_AFTER + 1)
        with contextlib.suppress(AssertionError):
            wait_for(lambda: set(map(tuple, world.ports().values())) == {(FIRST_AFTER + 1,)}, "it is served", STEP)
    return Aftermath(
        what, begin, whole, limit, disagreement, [ports, after], [trust, trusted], FIRST_AFTER + 1, world.ports()
    )


def deploy(world: World, node: Node, number: int) -> None:
    """Deploy, until all data nodes have it."""
    steps = list(lines(node.socket, "/v1/deploy", deployment(number, world.consul.endpoint), STEP))
    assert steps[-1].get("ok"), steps
