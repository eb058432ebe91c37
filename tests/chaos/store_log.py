"""The store's history, replayed: what its keys said at every revision."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.chaos.history import Stored
from traefikee.cluster import state


@dataclass(frozen=True)
class Step:
    """One transaction.

    :ivar before: the newest change of each key before it, without those that are deleted.
    :ivar changes: what it changed.
    """

    revision: int
    before: dict[str, Stored]
    changes: Sequence[Stored]

    @property
    def leader(self) -> Stored | None:
        """The leader's key as the transaction found it."""
        return self.before.get(state.LEADER)

    def change(self, key: str) -> Stored | None:
        """What it did with a key."""
        return next((one for one in self.changes if one.key == key), None)


def steps(stored: Sequence[Stored]) -> Iterator[Step]:
    """Yield all transactions in order. `before` is changed by the next step: keep nothing of it."""
    keys: dict[str, Stored] = {}
    for revision, group in itertools.groupby(stored, key=lambda one: one.revision):
        changes = list(group)
        yield Step(revision, keys, changes)
        for one in changes:
            if one.value is None:
                keys.pop(one.key, None)
            else:
                keys[one.key] = one


def at(stored: Sequence[Stored], revision: int) -> dict[str, Stored]:
    """Return the keys as of a revision."""
    keys: dict[str, Stored] = {}
    for one in stored:
        if one.revision > revision:
            break
        if one.value is None:
            keys.pop(one.key, None)
        else:
            keys[one.key] = one
    return keys


def config_number(key: str) -> int | None:
    """The number of the configuration that is kept under a key."""
    number = key.removeprefix(state.CONFIGS)
    return int(number) if key.startswith(state.CONFIGS) and number.isdigit() else None


def deployed_number(one: Stored) -> int | None:
    """The number by which the harness knows a stored deployment: its command is `chaos <number>`."""
    return named_in(content(one))


def named_in(stored: dict[str, Any]) -> int | None:
    """The number by which the harness knows a deployment, from what is kept of it."""
    word, _, number = str(stored.get("command", "")).partition(" ")
    return int(number) if word == "chaos" and number.isdigit() else None


def kept_deployments(values: Iterable[str]) -> dict[int, int]:
    """The deployments that are kept, by the number of their configuration, of the values of the history's keys."""
    kept = [content_of(value) for value in values]
    return {int(one["number"]): number for one in kept if (number := named_in(one)) is not None}


def content(one: Stored) -> dict[str, Any]:
    """A value that is a JSON object."""
    return content_of(one.value or "{}")


def content_of(text: str) -> dict[str, Any]:
    """The JSON object that a text is."""
    found: Any = json.loads(text)
    return found if isinstance(found, dict) else {}
