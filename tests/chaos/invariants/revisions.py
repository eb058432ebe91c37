"""Revisions never go back: not what is published, not what an engine has in force, not what control nodes tell of it.

There are two exceptions. A machine that has taken the place of another one knows nothing of what that had. And a data
node whose disk was full could not save what it applied ("a restart would begin with an older state", it says then): it
may come back with what it had when the disk became full.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.chaos.history import History, Struck
from tests.chaos.schedule import Kind
from tests.chaos.store_log import content
from traefikee.cluster import state

LATE = 3.0
"""Seconds by which what is seen may be behind what is so."""


def check(history: History) -> list[str]:
    """Return what does not hold."""
    found = _published(history)
    for node in sorted({one.node for one in history.engines}):
        seen = [(one.at, one.revision) for one in history.engines if one.node == node]
        found += [f"the engine of {node} went back {sentence}" for sentence in back(seen, history.faults_of(node))]
    for observer in sorted({one.node for one in history.lists}):
        lists = [one for one in history.lists if one.node == observer]
        for node in sorted({name for one in lists for name in one.revisions}):
            seen = [(one.at, one.revisions[node]) for one in lists if node in one.revisions]
            found += [
                f"{observer}'s list has {node} go back {sentence}" for sentence in back(seen, history.faults_of(node))
            ]
    return found


def _published(history: History) -> list[str]:
    found = []
    revision, config, names = 0, 0, dict[int, str]()
    for one in history.stored:
        if one.key != state.SNAPSHOT:
            continue
        if one.value is None:
            found.append(f"the published snapshot was deleted at the store's revision {one.revision}")
            continue
        pointer = content(one)
        links = pointer.get("snapshot") or [{}]
        now, deployment, name = int(pointer["revision"]), int(pointer["config"]), str(links[-1].get("name", ""))
        if now < revision:
            found.append(f"snapshot {now} was published after {revision}")
        if deployment < config:
            found.append(f"a snapshot of configuration {deployment} was published after one of {config}")
        if names.setdefault(now, name) != name:
            found.append(f"two snapshots were published as revision {now}")
        revision, config = max(revision, now), max(config, deployment)
    return found


def back(seen: Sequence[tuple[float, int]], faults: Sequence[Struck]) -> list[str]:
    """Return each step back among observations (when, revision), but for those that a node's faults excuse."""
    full = [one for one in faults if one.kind == Kind.DISK_FULL]
    replaced = [one for one in faults if one.kind == Kind.REPLACE]
    found = []
    highest, since = 0, 0.0
    for at, revision in seen:
        if revision > highest:
            highest, since = revision, at
        elif revision < highest:
            if any(since <= one.end and at >= one.begin for one in replaced):
                pass
            elif not any(_excuses(disk, seen, at, revision, since) for disk in full):
                found.append(f"from {highest} to {revision} after {at:.1f} s")
            highest, since = revision, at
    return found


def _excuses(disk: Struck, seen: Sequence[tuple[float, int]], at: float, revision: int, since: float) -> bool:
    """Whether what was lost came while the disk was full, and what was there before was kept."""
    kept = max((one for when, one in seen if when <= disk.begin - LATE), default=0)
    return disk.begin <= at and since <= disk.end + LATE and revision >= kept
