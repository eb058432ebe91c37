"""How a deployment gets into the store: by one transaction, whose outcome is found out if its answer is lost."""

from __future__ import annotations

import asyncio
import datetime
import json
from collections.abc import Sequence
from dataclasses import dataclass

from traefikee import formats, known_faults, log
from traefikee.cluster import audit, history, state
from traefikee.cluster.audit import Actor
from traefikee.cluster.history import Record
from traefikee.cluster.store import REQUEST_TIMEOUT, Compare, Delete, KeyValue, Put, Store, StoreRefusedError
from traefikee.config.static import StaticConfiguration
from traefikee.errors import RefusedError, TraefikeeError, UnreachableError
from traefikee.node import deployed_files
from traefikee.node.statedir import new_id
from traefikee.providers.file.content import Content

OUTCOME_DEADLINE = 18.0
"""Seconds after which it is given up to find out what became of a write: before the command that waits gives up."""
COMMIT_PATIENCE = 3.0
"""Seconds for which the first answer is waited for; more for those to a repetition."""
RETRY = 0.3
LONGEST_COMMAND = 16 * 1024
"""Characters of a command line that are kept."""
LARGEST_INSIDE = 256 * 1024
"""Bytes of a configuration that is kept in one key of the watched state."""
_NAMED = 5
"""Deployments that a refusal names."""
_REFUSALS = ("too large", "space exceeded", "too many operations", "permission denied")
"""Parts of what etcd says when it will not carry a write out. After anything else it may have been carried out."""

_log = log.get("deployment")


@dataclass(frozen=True)
class Order:
    """What is to be deployed, by whom.

    :ivar files: what the file provider's files say.
    :ivar by: who it is, as the command itself says.
    :ivar actor: who it is, as this node sees it; ``node`` is its name.
    :ivar if_revision: the number of the configuration that has to be in force, or None for any; 0 for none at all.
    :ivar rollback_of: the deployment that is deployed again.
    """

    configuration: StaticConfiguration
    files: Content | None
    by: str
    command: str
    actor: Actor
    node: str
    if_revision: int | None = None
    rollback_of: int | None = None


async def put_in_force(store: Store, order: Order, form: int = formats.NEWEST) -> int:
    """Store a deployment and make it the current one; return its number.

    :param form: the format in force, in which it is written.
    :raises RefusedError: if another configuration than ``if_revision`` is in force.
    :raises UnreachableError: if the store does not answer; with the kind ``outcome`` if it is then not known whether
        the deployment was stored.
    """
    identity = new_id()
    until = asyncio.get_running_loop().time() + OUTCOME_DEADLINE
    text = formats.in_format(order.configuration, order.configuration.model_dump_json().encode(), form)
    inside = len(text) <= LARGEST_INSIDE
    configuration = deployed_files.pack(text)
    files = deployed_files.pack_files(order.files, form) if order.files is not None else None
    contents = [configuration, *([files] if files else [])]
    together = [put for content in contents if content.small for put in content.puts()]
    apart = [put for content in contents if not content.small for put in content.puts()]
    if not inside:
        (together if configuration.small else apart).extend(configuration.puts(state.CONFIG_PARTS))
    while True:
        current = await store.get(state.CURRENT)
        before = int(current.value) if current else 0
        await check_revision(store, order.if_revision, before)
        held = await deployed_files.store_parts(store, apart)
        number = before + 1
        at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        record = Record(
            number=number,
            id=identity,
            at=at,
            by=order.by,
            who=order.actor.who,
            through=order.actor.through,
            node=order.node,
            command=order.command[:LONGEST_COMMAND],
            rollback_of=order.rollback_of,
            configuration=configuration.link,
            files=files.link if files else None,
        )
        action = "deploy" if order.rollback_of is None else "rollback"
        detail = f"configuration {number} deployed" + (f", a {record.how}" if order.rollback_of is not None else "")
        operations: list[Put | Delete] = [
            *together,
            Put(history.record_key(number), record.stored()),
            Put(f"{state.CONFIGS}{number}", _watched(record, text if inside else None)),
            Put(state.CURRENT, str(number).encode()),
            audit.entry(order.actor, order.node, action, detail),
        ]
        if before:
            operations.append(Delete(f"{state.CONFIGS}{before}"))
        if await commit(store, [_same(current), *held], operations, record, until):
            try:
                await history.clean(store)
            except UnreachableError as error:
                _log.info("older deployments are removed later", reason=error.cause)
            return number


def _same(current: KeyValue | None) -> Compare:
    if current is None:
        return Compare.absent(state.CURRENT)
    return Compare.unchanged(state.CURRENT, current.mod_revision)


def _watched(record: Record, configuration: bytes | None) -> bytes:
    """Return the deployment as every control node mirrors it.

    :param configuration: its JSON text, or None where it lies in parts beside it.
    """
    meta = record.model_dump(mode="json", exclude={"configuration", "node"})
    if configuration is None:
        meta["packed"] = record.configuration.model_dump(mode="json")
    else:
        meta["configuration"] = json.loads(configuration)
    return json.dumps(meta).encode()


async def check_revision(store: Store, expected: int | None, current: int) -> None:
    """Refuse if another configuration is in force than expected.

    :raises RefusedError: naming who deployed what meanwhile.
    """
    if expected is None or expected == current:
        return
    meanwhile = []
    if current > expected:
        found = await history.newest(store, min(current - expected, _NAMED))
        meanwhile = [one for one in reversed(found) if one.number > expected]
    raise RefusedError(
        revision_sentence(expected, current, meanwhile),
        f"see what it changes with `diff`, then use --if-revision={current}" if current else "use --if-revision=0",
        kind="precondition",
    )


def revision_sentence(expected: int, current: int, meanwhile: Sequence[Record]) -> str:
    """Say that another configuration is in force than expected, and who deployed the newest ones since, in order."""
    if not current:
        return f"nothing is deployed yet, not configuration {expected}"
    sentence = f"configuration {current} is in force, " + (f"not {expected}" if expected else "and none was expected")
    if expected > current:
        return f"{sentence}; there is no {expected}"
    told = [f"{one.number} ({one.how}) by {one.by} as {one.who} at {one.at}" for one in meanwhile]
    more = current - expected - len(told)
    if told and more > 0:
        told.insert(0, f"{more} more")
    return f"{sentence}; deployed meanwhile: {', '.join(told)}" if told else sentence


async def commit(
    store: Store, compares: Sequence[Compare], operations: Sequence[Put | Delete], record: Record, until: float
) -> bool:
    """Carry out the transaction that stores a deployment; False if something that it compares has changed.

    A write whose answer was lost is unknown. It is repeated: it compares what it changes, so that it is carried out
    once at most, and if it was before, the store holds this very attempt.

    :param until: the loop's time at which it is given up.
    :raises UnreachableError: with the kind ``outcome`` if it is still unknown then.
    """
    loop = asyncio.get_running_loop()
    lost = False
    while True:
        patience = max(COMMIT_PATIENCE, min(REQUEST_TIMEOUT, until - loop.time())) if lost else COMMIT_PATIENCE
        try:
            if await store.transact(compares, operations, patience=patience) is not None:
                return True
            if known_faults.is_on(known_faults.LOST_WRITE_RETRIED):
                return False
            return lost and await _is_stored(store, record)
        except UnreachableError as error:
            if isinstance(error, StoreRefusedError) and any(words in error.message for words in _REFUSALS):
                if not lost:
                    raise TraefikeeError(
                        f"the store refuses the deployment: {error.cause}", error.next_step, kind="store"
                    ) from error
                until = loop.time()
            lost = True
            if loop.time() >= until:
                raise UnreachableError(
                    f"it is not known whether the configuration was stored, as number {record.number}: {error.cause}",
                    "look at `history` once the control nodes have a quorum, before you deploy again",
                    kind="outcome",
                ) from error
            await asyncio.sleep(RETRY)


async def _is_stored(store: Store, record: Record) -> bool:
    found = await history.find(store, record.number)
    return found is not None and found.id == record.id
