"""How a cluster begins anew from what a backup holds: under the same identity, in a new generation.

A generation is the time at which a cluster was restored or recovered, in milliseconds since 1970, and above every one
that is known; a cluster that never was has 0. Nodes do not follow a control node of a generation before the highest
that they have seen, so that what is left of a cluster cannot take them back.

Because no two generations are the same, and none is before the last change of what it came from, revisions of the
snapshot go on from it, and the numbers of deployments from its seconds: none is ever used twice, however old the
backup is and however often it is restored.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from traefikee.backup.content import Checked, Content
from traefikee.cluster import history, state
from traefikee.cluster.records import Pointer
from traefikee.cluster.store import REQUEST_TIMEOUT, Compare, Put, Store
from traefikee.compile import changes
from traefikee.compile.changes import Change
from traefikee.errors import TraefikeeError
from traefikee.node import publishing

BATCH_KEYS = 100
"""Keys of one transaction: etcd allows 128 operations."""
BATCH_BYTES = 768 * 1024
"""Bytes of one transaction, if no key is larger by itself: etcd's limit is 1.5 MiB, and JSON makes it a third more."""


def next_generation(known: Iterable[int], now: float) -> int:
    """Return a new generation.

    :param known: generations that it has to be above.
    :param now: seconds since 1970.
    """
    return max([int(now * 1000), *(one + 1 for one in known)])


def reborn(content: Content, checked: Checked, generation: int) -> dict[str, bytes]:
    """Return the keys with which the cluster begins anew, but for the record of the cluster and its nodes."""
    keys = dict(content.keys)
    keys[state.GENERATION] = str(generation).encode()
    number = None
    if checked.deployment is not None:
        # The configuration in force is deployed again under a new number; under its old one it stays in the history.
        before = checked.deployment.number
        number = max(before + 1, generation // 1000)
        renumbered = {"number": number, "rollback_of": before}
        stored = json.loads(keys.pop(f"{state.CONFIGS}{before}"))
        keys[f"{state.CONFIGS}{number}"] = json.dumps({**stored, **renumbered}).encode()
        keys[state.CURRENT] = str(number).encode()
        record = history.read(keys.get(history.record_key(before), b""))
        if record is not None:
            keys[history.record_key(number)] = record.model_copy(update=renumbered).stored()
    if checked.pointer is not None:
        keys.update(_republished(checked, number, generation))
    return keys


def _republished(checked: Checked, number: int | None, revision: int) -> dict[str, bytes]:
    """Return the pointer and the parts of the same snapshot under a revision that was never used."""
    pointer = checked.pointer or Pointer(revision=0, config=0)
    revision = max(revision, pointer.revision + 1)
    if checked.snapshot is None:
        return {state.SNAPSHOT: Pointer(revision=revision, config=0).stored()}
    compiled = checked.deployment is not None and pointer.config == checked.deployment.number
    name = changes.name_of("", revision, Change(checked.snapshot.objects))
    fresh = publishing.whole(name, checked.snapshot.objects, revision, checked.format)
    update = {"revision": revision, "snapshot": fresh.links}
    if compiled and number is not None:
        update["config"] = number
    again = pointer.model_copy(update=update)
    parts = {
        publishing.part_key(fresh.links[0].blob, part): fresh.frame[start : start + publishing.PART_BYTES]
        for part, start in enumerate(range(0, len(fresh.frame), publishing.PART_BYTES))
    }
    return {**parts, state.SNAPSHOT: again.stored()}


def batches(keys: Mapping[str, bytes]) -> list[list[Put]]:
    """Return the writes of all keys, so many at a time as one transaction takes."""
    found: list[list[Put]] = []
    size = 0
    for key, value in keys.items():
        if not found or len(found[-1]) == BATCH_KEYS or size + len(value) > BATCH_BYTES:
            found.append([])
            size = 0
        found[-1].append(Put(key, value))
        size += len(value)
    return found


async def write(store: Store, keys: Mapping[str, bytes], last: Sequence[Put]) -> None:
    """Write the keys into an empty store; at last, all or none, what makes a cluster of it.

    :param last: the record of the cluster (:data:`traefikee.cluster.state.INFO`) and what goes with it.
    :raises TraefikeeError: if the store is not empty.
    """
    written = {put.key for put in last}
    for puts in batches({key: value for key, value in keys.items() if key not in written}):
        if await store.transact([Compare.absent(state.INFO)], puts, patience=REQUEST_TIMEOUT) is None:
            raise _not_empty()
    if await store.transact([Compare.absent(state.INFO)], list(last), patience=REQUEST_TIMEOUT) is None:
        raise _not_empty()


def _not_empty() -> TraefikeeError:
    return TraefikeeError("the new store holds a cluster already", "use an empty state directory", kind="statedir")
