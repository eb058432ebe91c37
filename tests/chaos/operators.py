"""What operators do: deploy, roll back, take backups, drain and remove nodes, rotate tokens and the authority.

An operation that comes later gets a kind in the schedule and a function in `OPERATIONS`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from tests.chaos.asking import UnixConnection, ask, lines
from tests.chaos.clients import FIRST_PORT, write_consul
from tests.chaos.history import Backup, Deploy, Outcome, Rotated
from tests.chaos.schedule import Operation
from tests.chaos.store_log import kept_deployments
from tests.cluster.nodes import Node
from traefikee.backup.content import BackupError, Content, check, from_lines
from traefikee.cli.deploy import build
from traefikee.cluster import state
from traefikee.cluster.history import HISTORY

if TYPE_CHECKING:
    from tests.chaos.world import World

REFUSED = frozenset({"configuration", "invalid", "usage", "refused"})
"""Kinds of errors that say that nothing was written."""
DEPLOY_PATIENCE = 12.0
GRACE = 3600
"""Seconds for which what was rotated stays good: longer than a run."""


def command(number: int) -> str:
    """The command line by which a deployment is known again."""
    return f"chaos {number}"


def deployment(number: int, consul: str) -> dict[str, object]:
    """The body of a deployment: its number shows in the command and in the port of an entry point of its own."""
    configuration = build(
        [
            ("entryPoints", "Name:http Address::80"),
            ("entryPoints", f"Name:mark Address::{FIRST_PORT + number}"),
            ("defaultEntryPoints", "http"),
            ("consul.endpoint", consul),
            ("providersThrottleDuration", "200ms"),
        ]
    )
    return {"configuration": configuration.model_dump(mode="json"), "by": "chaos", "command": command(number)}


def first_deployment(through: str) -> Operation:
    """What everything begins with."""
    return Operation("deploy", 0, 0.0, through)


def deploy(world: World, operation: Operation) -> None:
    """Deploy."""
    _put_in_force(world, operation, "/v1/deploy", deployment(operation.number, world.consul.endpoint))


def roll_back(world: World, operation: Operation) -> None:
    """Deploy again what was acknowledged before, if anything was: which one is chosen by the operation's number."""
    known = sorted({one.stored for one in world.recorder.history.deploys if one.outcome is Outcome.OK})
    if known:
        chosen = known[operation.number % len(known)]
        body = {"number": chosen, "by": "chaos", "command": command(operation.number)}
        _put_in_force(world, operation, "/v1/rollback", body)


def _put_in_force(world: World, operation: Operation, path: str, body: Any) -> None:
    """Ask for it, and record it as soon as its outcome is known; then listen to the end, as an operator does."""
    node = world.cluster.node(operation.through)
    begin = world.now()

    def tell(outcome: Outcome, stored: int = 0, detail: str = "") -> None:
        world.recorder.add(
            Deploy(operation.number, operation.through, begin, world.now(), outcome, stored, detail[:300])
        )

    connection = UnixConnection(node.socket, DEPLOY_PATIENCE)
    told = False
    try:
        try:
            connection.connect()
        except OSError as error:
            tell(Outcome.FAIL, detail=repr(error))
            return
        try:
            connection.request("POST", path, body=json.dumps(body))
            answer = connection.getresponse()
            while line := answer.readline():
                step = json.loads(line)
                if step.get("event") == "stored":
                    tell(Outcome.OK, int(step["number"]))
                    told = True
                elif "error" in step and not told:
                    tell(Outcome.FAIL if step.get("kind") in REFUSED else Outcome.UNKNOWN, detail=step["error"])
                    told = True
            if not told:
                tell(Outcome.UNKNOWN, detail=f"{answer.status}, and no word of its outcome")
        except (OSError, http.client.HTTPException, ValueError) as error:
            if not told:
                tell(Outcome.UNKNOWN, detail=repr(error))
    finally:
        connection.close()


def take_backup(world: World, operation: Operation) -> None:
    """Take a backup, check it as the command does, and note which deployments it holds."""
    node = world.cluster.node(operation.through)
    begin, damage, detail = world.now(), "", ""
    content: Content | None = None
    try:
        content = from_lines(lines(node.socket, "/v1/backup", {}, DEPLOY_PATIENCE))
        check(content)
    except BackupError as error:
        # A stream that ended early is no backup; one that came to its end has to be a good one.
        damage, detail = (str(error) if content is not None else ""), str(error)
    except OSError as error:
        detail = repr(error)
    outcome = Outcome.UNKNOWN if detail else Outcome.OK
    keys = content.keys if content is not None else {}
    kept = kept_deployments(value.decode() for key, value in keys.items() if key.startswith(HISTORY))
    current = int(keys.get(state.CURRENT, b"0"))
    world.recorder.add(
        Backup(
            operation.number,
            operation.through,
            begin,
            world.now(),
            outcome,
            sorted([number, deployed] for number, deployed in kept.items()),
            current,
            damage,
            detail[:300],
        )
    )


def rotate_tokens(world: World, operation: Operation) -> None:
    """Replace the join tokens; those before stay good, for nodes that join at that moment."""
    node = world.cluster.node(operation.through)
    begin, outcome, detail = world.now(), Outcome.OK, ""
    try:
        ask(node.socket, "/v1/tokens/rotate", {"role": "all", "grace": GRACE}, DEPLOY_PATIENCE)
    except OSError as error:
        outcome, detail = Outcome.UNKNOWN, repr(error)
    world.recorder.add(
        Rotated("tokens", operation.number, operation.through, begin, world.now(), outcome, detail[:300])
    )


def rotate_authority(world: World, operation: Operation) -> None:
    """Begin to replace the authority. It goes on by itself, and its grace is ended when everything is healed."""
    node = world.cluster.node(operation.through)
    begin, outcome, detail = world.now(), Outcome.UNKNOWN, "no word of its outcome"
    with contextlib.suppress(OSError):
        for step in lines(node.socket, "/v1/authorities/rotate", {"grace": GRACE}, DEPLOY_PATIENCE):
            if step.get("event") == "phase":
                outcome, detail = Outcome.OK, ""
                break
    world.recorder.add(Rotated("authority", operation.number, operation.through, begin, world.now(), outcome, detail))


def finish_rotation(nodes: Iterable[Node]) -> bool:
    """End the grace of the rotation that is under way, through any control node; tell whether none is under way."""
    for node in nodes:
        with contextlib.suppress(OSError):
            rotation = ask(node.socket, "/v1/authorities")["rotation"]
            if rotation is None:
                return True
            if rotation["waiting_for_grace"]:
                for step in lines(node.socket, "/v1/authorities/rotate", {"finish": True}, DEPLOY_PATIENCE):
                    if step.get("event") == "done":
                        return True
    return False


def drain(world: World, name: str, *, undo: bool) -> bool:
    """Drain a data node or bring it back, through any control node that does it; tell whether one has."""
    body = {"nodes": [name], "undo": undo, "force": True, "timeout": 5}
    for node in world.cluster.control.values():
        with contextlib.suppress(OSError):
            steps = list(lines(node.socket, "/v1/nodes/drain", body, DEPLOY_PATIENCE))
            if steps and steps[-1].get("event") == "done":
                return bool(steps[-1].get("ok"))
    return False


def remove(nodes: Iterable[Node], name: str) -> bool:
    """Remove a node for good, through any of these control nodes; tell whether it is in no list any more."""
    for node in nodes:
        with contextlib.suppress(OSError):
            if name not in {one["name"] for one in ask(node.socket, "/v1/nodes")["nodes"]}:
                return True
            steps = list(lines(node.socket, "/v1/nodes/remove", {"nodes": [name], "force": True}, DEPLOY_PATIENCE))
            if steps and steps[-1].get("event") == "done":
                return bool(steps[-1].get("ok"))
    return False


def tokens(nodes: Iterable[Node]) -> dict[str, str]:
    """The join tokens, by role, as the first of these control nodes that answers has them; empty if none does."""
    for node in nodes:
        with contextlib.suppress(OSError):
            told = ask(node.socket, "/v1/tokens")
            return {role: told[f"{role}_node_token"] for role in ("control", "data")}
    return {}


OPERATIONS: dict[str, Callable[[World, Operation], None]] = {
    "deploy": deploy,
    "rollback": roll_back,
    "consul": write_consul,
    "backup": take_backup,
    "rotate-tokens": rotate_tokens,
    "rotate-ca": rotate_authority,
}
