"""Clients that use the cluster all the while: they write into Consul, send requests and look at the nodes."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import threading
from typing import TYPE_CHECKING

import httpx

from tests.chaos.asking import ask
from tests.chaos.history import EngineSeen, ListSeen, Outcome, Request, Write
from tests.chaos.schedule import Operation
from tests.cluster.nodes import Node
from tests.cluster.places import enter_network

if TYPE_CHECKING:
    from tests.chaos.world import World

HOST = "app.test"
RULE_KEY = "traefik/frontends/app/routes/main/rule"
FIRST_PORT = 20000
"""The port of deployment 0's own entry point."""
REQUEST_PATIENCE = 10.0
BETWEEN_REQUESTS = 0.05
BETWEEN_LOOKS = 0.3


def rule(number: int) -> str:
    """The rule that Consul's write of that number makes."""
    return f"Host:{HOST};AddPrefix:/k{number}"


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
