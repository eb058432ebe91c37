"""Clients that use the cluster all the while: they deploy, write into Consul, send requests and look at the nodes.

An operation of an operator that comes later gets a kind in the schedule and a function in
`OPERATIONS`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx

from tests.chaos.asking import UnixConnection, ask, lines
from tests.chaos.history import Backup, Deploy, EngineSeen, ListSeen, Outcome, Request, Write
from tests.chaos.schedule import Operation
from tests.chaos.store_log import kept_deployments
from tests.cluster.nodes import Node
from tests.cluster.places import enter_network
from traefikee.backup.content import BackupError, Content, check, from_lines
from traefikee.cli.deploy import build
from traefikee.cluster import state
from traefikee.cluster.history import HISTORY

if TYPE_CHECKING:
    from tests.chaos.world import World

HOST = "app.test"
RULE_KEY = "traefik/frontends/app/routes/main/rule"
FIRST_PORT = 20000
"""The port of deployment 0's own entry point."""
REFUSED = frozenset({"configuration", "invalid", "usage"})
"""Kinds of errors that say that nothing was written."""
DEPLOY_PATIENCE = 12.0
REQUEST_PATIENCE = 10.0
BETWEEN_REQUESTS = 0.05
BETWEEN_LOOKS = 0.3


def rule(number: int) -> str:
    """The rule that Consul's write of that number makes."""
    return f"Host:{HOST};AddPrefix:/k{number}"


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
    return {"configuration": configuration.model_dump(mode="json"), "by": "chaos", "command": f"chaos {number}"}


def first_deployment(through: str) -> Operation:
    """What everything begins with."""
    return Operation("deploy", 0, 0.0, through)


def deploy(world: World, operation: Operation) -> None:
    """Deploy, and record it as soon as its outcome is known; then listen to the end, as an operator does."""
    node = world.cluster.node(operation.through)
    body = json.dumps(deployment(operation.number, world.consul.endpoint))
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
            connection.request("POST", "/v1/deploy", body=body)
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


def write_consul(world: World, operation: Operation) -> None:
    """Write the rule of this number. One writer, one write after the other: so the last number is the highest."""
    with world.consul_writing:
        if operation.number < world.consul_written:
            # It had to wait, for a Consul that does not answer, and one that came later was let in before it.
            return
        world.consul_written = operation.number
        begin = world.now()
        try:
            world.consul.put(RULE_KEY, rule(operation.number))
        except httpx.ConnectError as error:
            outcome, detail = Outcome.FAIL, repr(error)
        except (httpx.HTTPError, OSError) as error:
            outcome, detail = Outcome.UNKNOWN, repr(error)
        else:
            outcome, detail = Outcome.OK, ""
        world.recorder.add(Write(operation.number, begin, world.now(), outcome, detail[:300]))


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


def drain(world: World, name: str, *, undo: bool) -> bool:
    """Drain a data node or bring it back, through any control node that does it; tell whether one has."""
    body = {"nodes": [name], "undo": undo, "force": True, "timeout": 5}
    for node in world.cluster.control.values():
        with contextlib.suppress(OSError):
            steps = list(lines(node.socket, "/v1/nodes/drain", body, DEPLOY_PATIENCE))
            if steps and steps[-1].get("event") == "done":
                return bool(steps[-1].get("ok"))
    return False


OPERATIONS: dict[str, Callable[[World, Operation], None]] = {
    "deploy": deploy,
    "consul": write_consul,
    "backup": take_backup,
}


class Watchers:
    """Threads that send requests to the data nodes and look at all nodes, until they are stopped."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._ended = threading.Event()
        self._threads = [
            *(
                threading.Thread(target=self._send, args=(node, kept), daemon=True)
                for node in world.cluster.data.values()
                for kept in (False, True)
            ),
            *(
                threading.Thread(target=self._look_at_engine, args=(node,), daemon=True)
                for node in world.cluster.data.values()
            ),
            *(
                threading.Thread(target=self._look_at_list, args=(node,), daemon=True)
                for node in world.cluster.control.values()
            ),
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, and wait for what is on its way."""
        self._ended.set()
        for thread in self._threads:
            thread.join(REQUEST_PATIENCE * 2)

    def _send(self, node: Node, kept: bool) -> None:
        world = self._world
        enter_network(world.client)
        connection = http.client.HTTPConnection(node.address, 80, timeout=REQUEST_PATIENCE)
        while not self._ended.wait(BETWEEN_REQUESTS):
            begin = world.now()
            failure, mark = send(connection)
            if failure or not kept:
                connection.close()
            world.recorder.add(Request(node.name, kept, begin, world.now(), failure, mark))
        connection.close()

    def _look_at_engine(self, node: Node) -> None:
        while not self._ended.wait(BETWEEN_LOOKS):
            with contextlib.suppress(OSError):
                begin = self._world.now()
                status = ask(node.statedir / "run/engine.sock", "/status")
                if status.get("revision") is not None:
                    seen = EngineSeen(node.name, begin, int(status["pid"]), int(status["revision"]))
                    self._world.recorder.add(seen)

    def _look_at_list(self, node: Node) -> None:
        while not self._ended.wait(BETWEEN_LOOKS * 2):
            with contextlib.suppress(OSError):
                begin = self._world.now()
                nodes = ask(node.socket, "/v1/nodes")["nodes"]
                revisions = {
                    one["name"]: int(one["snapshot_revision"])
                    for one in nodes
                    if one["role"] == "data" and one["snapshot_revision"] is not None
                }
                leader = next((one["name"] for one in nodes if one["leader"]), "")
                self._world.recorder.add(ListSeen(node.name, begin, revisions, leader))


def send(connection: http.client.HTTPConnection) -> tuple[str, int]:
    """Send one request; returns how it failed, or an empty text and the number by which it was routed."""
    try:
        connection.request("GET", "/", headers={"Host": HOST})
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != http.client.OK:
            return f"{answer.status} {content[:100]!r}", 0
        found = re.match(r"/k(\d+)/", json.loads(content)["path"])
    except (OSError, http.client.HTTPException, ValueError) as error:
        return repr(error), 0
    return ("", int(found[1])) if found else (f"routed wrongly: {content[:100]!r}", 0)
