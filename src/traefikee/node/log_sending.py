"""What a data node does when its control node asks for its lines: it posts them back until nobody wants more."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from traefikee import log
from traefikee.cluster.peers import Peer
from traefikee.errors import TraefikeeError
from traefikee.log_lines import Batch, Line, Query
from traefikee.node.log_reading import Reader

MOST_ORDERS = 32
"""Readers that are served at the same time."""
PART_LINES = 500
PART_BYTES = 256 * 1024
"""What one post holds."""
ASK_EVERY = 5.0
"""Seconds without a line after which it is asked whether somebody still listens."""

_log = log.get("logs")


class LogOrder(BaseModel):
    """What a control node says on the stream of a data node: send your lines."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    query: Query


class LogSender:
    """Carries orders out, each in a task of its own, while the connection to their control node lasts."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, peer: Peer, event: Mapping[str, Any]) -> None:
        """Begin to send lines; an order that cannot be read, or one too many, is passed over."""
        try:
            order = LogOrder.model_validate(event)
        except ValidationError:
            _log.warning("an order for log lines cannot be read; is the control node of another version?")
            return
        if len(self._tasks) >= MOST_ORDERS:
            _log.warning("log lines are read by too many at the same time", most=MOST_ORDERS)
            return
        task = asyncio.create_task(self._send(peer, order), name=f"log lines for {order.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end(self) -> None:
        """Forget all orders: the connection that they came by is gone."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, peer: Peer, order: LogOrder) -> None:
        loop = asyncio.get_running_loop()
        told = loop.time()
        try:
            async for batch in self._reader.read(order.query):
                quiet = not batch.lines and not batch.lost and not batch.caught_up
                if quiet and loop.time() - told < ASK_EVERY:
                    continue
                for part in parts(batch):
                    answer = await peer.request("POST", f"/v1/logs/{order.id}", part.model_dump(mode="json"))
                    if not (isinstance(answer, dict) and answer.get("more")):
                        return
                told = loop.time()
        except (TraefikeeError, RuntimeError) as error:
            # httpx's own, if the connection was closed at this moment: it is a RuntimeError.
            _log.debug("nobody takes log lines any more", reason=str(error))


def parts(batch: Batch) -> Iterator[Batch]:
    """Yield a batch in parts of which each fits into one request."""
    lines: list[Line] = []
    size = 0
    lost = batch.lost
    for line in batch.lines:
        if lines and (len(lines) >= PART_LINES or size + line.size > PART_BYTES):
            yield Batch(lines=tuple(lines), lost=lost, initial=batch.initial)
            lines, size, lost = [], 0, 0
        lines.append(line)
        size += line.size
    yield Batch(lines=tuple(lines), lost=lost, initial=batch.initial, caught_up=batch.caught_up)
