"""What happens in a run, as a pure function of its seed: which faults, when, and what clients do meanwhile.

Faults come in episodes: some that may be together, then a while without, in which the cluster recovers with its clients
still at work. One control node's disk may be lost, never those of a majority; the quorum may be, for as long as an
episode lasts.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Self

FORMAT = 5
CONTROL = 3
CALM_BEFORE = 2.0
SHORTEST_EPISODE = 2.5
LONGEST_EPISODE = 10.0
OUTLIVES_A_LEASE = 8.5
"""Seconds after which another node leads for sure, whoever was struck."""
FIRST_AFTER = 5000
"""The number of the first deployment after the run: what is tried once more when a disaster was overcome."""
DISASTERS = ("", "", "", "restore", "recover")
"""What comes after the run, one as probable as the other: nothing, or what `tests.chaos.disaster` says."""
ROTATES = 0.4
"""The share of runs in which the cluster's authority is replaced."""
FIRST_DRAIN = 1000
"""The episode of the first drain: each has one of its own."""
SHORTEST = 10.0
"""Seconds below which a run would hold no fault."""
ROLES = ("leader", "follower-1", "follower-2")
"""Control nodes as a schedule names them: who leads when the episode begins, and the others, sorted by name."""
CONSUL = "consul"


class Kind(StrEnum):
    """A fault."""

    KILL_AGENT = "kill-agent"
    """kill -9 of the agent; it is started again when the fault ends. A control node's engine and etcd die with it."""
    KILL_ETCD = "kill-etcd"
    KILL_ENGINE = "kill-engine"
    KILL_NODE = "kill-node"
    """The machine loses its power: every process dies at once, and the node is started again when the fault ends."""
    PAUSE_AGENT = "pause-agent"
    PAUSE_ETCD = "pause-etcd"
    PAUSE_NODE = "pause-node"
    """SIGSTOP of every process, and SIGCONT."""
    LINK_DOWN = "link-down"
    LINK_IN = "link-in"
    """Nothing that is sent to the machine arrives."""
    LINK_OUT = "link-out"
    """Nothing that the machine sends arrives."""
    LOSSY = "lossy"
    """Of each hundred packets `amount` are lost, in either direction."""
    SLOW = "slow"
    """The link carries `amount` kbit/s in either direction."""
    BLACK_HOLE = "black-hole"
    """Packets of more than `amount` bytes do not arrive at the machine, and nobody is told; small ones do."""
    DISK_FULL = "disk-full"
    CLOCK = "clock"
    """The node is killed and started with a clock that is `amount` seconds off, and again with the right one."""
    STOP = "stop"
    """SIGTERM of the agent, and a start: what an operator does."""
    REPLACE = "replace"
    """The machine is lost with its disk. An operator removes the node, and another machine joins with a token."""
    UPGRADE = "upgrade"
    """An operator installs another engine on a data node and tells the agent: it takes over, and no request fails."""
    DRAIN = "drain"
    """An operator drains a data node, and brings it back."""
    CONSUL_DOWN = "consul-down"
    CONSUL_PAUSED = "consul-paused"


CONTROL_KINDS = {
    Kind.KILL_AGENT: 4,
    Kind.KILL_ETCD: 4,
    Kind.KILL_ENGINE: 2,
    Kind.KILL_NODE: 2,
    Kind.PAUSE_AGENT: 4,
    Kind.PAUSE_ETCD: 4,
    Kind.PAUSE_NODE: 3,
    Kind.LINK_DOWN: 3,
    Kind.LINK_IN: 2,
    Kind.LINK_OUT: 2,
    Kind.LOSSY: 2,
    Kind.SLOW: 1,
    Kind.BLACK_HOLE: 3,
    Kind.DISK_FULL: 2,
    Kind.CLOCK: 1,
    Kind.STOP: 2,
    Kind.REPLACE: 3,
}
DATA_KINDS = {
    Kind.KILL_AGENT: 4,
    Kind.KILL_ENGINE: 3,
    Kind.KILL_NODE: 4,
    Kind.PAUSE_AGENT: 4,
    Kind.PAUSE_NODE: 2,
    Kind.LINK_DOWN: 2,
    Kind.LINK_IN: 1,
    Kind.LINK_OUT: 1,
    Kind.LOSSY: 1,
    Kind.BLACK_HOLE: 1,
    Kind.DISK_FULL: 3,
    Kind.CLOCK: 1,
    Kind.STOP: 1,
    Kind.REPLACE: 2,
    Kind.UPGRADE: 4,
}
CONSUL_KINDS = {Kind.CONSUL_DOWN: 1, Kind.CONSUL_PAUSED: 1}


@dataclass(frozen=True)
class Fault:
    """One fault, from `at` until `until` (seconds since the run's start)."""

    episode: int
    kind: Kind
    target: str
    """A control node's role (`ROLES`), a data node's name, or `consul`."""
    at: float
    until: float
    amount: int = 0

    def sentence(self) -> str:
        """One line of a plan."""
        amount = f" {self.amount}" if self.amount else ""
        return f"{self.at:6.2f} s  {self.kind}{amount} on {self.target} until {self.until:.2f} s"


@dataclass(frozen=True)
class Operation:
    """What is done at a moment: `consul` (a write there), or through a control node what an operator does.

    That is `deploy`, `rollback`, `backup`, `rotate-tokens` or `rotate-ca`.
    """

    kind: str
    number: int
    """Distinguishes it from every other of its kind; shows wherever the operation has taken effect.

    Deployments and rollbacks are numbered together.
    """
    at: float
    through: str = ""

    def sentence(self) -> str:
        """One line of a plan."""
        through = f" through {self.through}" if self.through else ""
        return f"{self.at:6.2f} s  {self.kind} {self.number}{through}"


@dataclass(frozen=True)
class Schedule:
    """Everything that a run does by itself."""

    seed: int
    seconds: float
    data: int
    faults: tuple[Fault, ...]
    operations: tuple[Operation, ...]
    disaster: str = ""
    """What is lost at the end, when all has healed (see `DISASTERS`)."""
    format: int = FORMAT

    @property
    def control_names(self) -> tuple[str, ...]:
        """The names of the control nodes."""
        return tuple(f"control-node-{number}" for number in range(1, CONTROL + 1))

    @property
    def data_names(self) -> tuple[str, ...]:
        """The names of the data nodes."""
        return tuple(f"data-node-{number}" for number in range(1, self.data + 1))

    def lines(self) -> list[str]:
        """The plan for a reader."""
        head = f"seed {self.seed}, {self.seconds:g} s, {CONTROL} control nodes, {self.data} data nodes"
        timed = [(one.at, one.sentence()) for one in self.faults]
        timed += [(one.at, one.sentence()) for one in self.operations]
        last = [f"then {self.disaster}"] if self.disaster else []
        return [head, *(line for _, line in sorted(timed)), *last]

    def to_json(self) -> dict[str, Any]:
        """The form that is stored."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Self:
        """Read what `to_json` gave.

        :raises ValueError: if it is of another format.
        """
        if raw.get("format") != FORMAT:
            raise ValueError(f"a schedule of format {raw.get('format')}, not {FORMAT}")
        faults = tuple(Fault(**{**one, "kind": Kind(one["kind"])}) for one in raw["faults"])
        operations = tuple(Operation(**one) for one in raw["operations"])
        return cls(**{**raw, "faults": faults, "operations": operations})

    def dump(self) -> str:
        """The stored form as text."""
        return json.dumps(self.to_json(), indent=1)


def make(seed: int, seconds: float, only: Sequence[Kind] = ()) -> Schedule:
    """Return the schedule of a seed.

    :param only: draw the faults of nodes from these kinds alone; all kinds by default.
    """
    data = 2 + (random.Random(f"{seed}/size").random() < 0.25)
    names = [f"data-node-{number}" for number in range(1, data + 1)]
    faults = _faults(random.Random(f"{seed}/faults"), seconds, names, only)
    operator = random.Random(f"{seed}/operator")
    moments = random.Random(f"{seed}/moments")
    operations = _deploys(random.Random(f"{seed}/deploys"), moments, seconds, faults)
    operations += _rollbacks(operator, seconds, len(operations)) + _rotations(
        random.Random(f"{seed}/rotations"), seconds
    )
    operations += _writes(random.Random(f"{seed}/consul"), moments, seconds, faults) + _backups(operator, seconds)
    faults += _drains(operator, seconds, names, faults)
    disaster = random.Random(f"{seed}/disaster").choice(DISASTERS)
    return Schedule(seed, seconds, data, tuple(faults), tuple(sorted(operations, key=lambda one: one.at)), disaster)


def _faults(draw: random.Random, seconds: float, data: Sequence[str], only: Sequence[Kind]) -> list[Fault]:
    faults: list[Fault] = []
    start, episode = CALM_BEFORE + draw.uniform(0, 2), 0
    while True:
        outlives = draw.random() < 0.35
        length = draw.uniform(OUTLIVES_A_LEASE if outlives else SHORTEST_EPISODE, LONGEST_EPISODE)
        # The last one ends with the run: what comes after it is the recovery that is judged.
        last = start + length > seconds - SHORTEST_EPISODE
        episode += 1
        faults += _episode(
            draw, episode, start, seconds - start if last else length, data, only, whole=last or outlives
        )
        if last:
            return _one_disk(faults)
        start += length + draw.choice((draw.uniform(0, 1), draw.uniform(2, 6)))
        start = min(start, seconds - SHORTEST_EPISODE)


def _one_disk(faults: Sequence[Fault]) -> list[Fault]:
    """Let one control node lose its disk in a run at most: the others of the kind lose only their power."""
    found: list[Fault] = []
    lost = False
    for one in faults:
        if one.kind is Kind.REPLACE and one.target in ROLES:
            found.append(replace(one, kind=Kind.KILL_NODE) if lost else one)
            lost = True
        else:
            found.append(one)
    return found


def _episode(
    draw: random.Random,
    episode: int,
    start: float,
    length: float,
    data: Sequence[str],
    only: Sequence[Kind],
    *,
    whole: bool,
) -> list[Fault]:
    """Draw an episode's faults; `whole`: each goes on until its end."""
    control = draw.choices(range(CONTROL + 1), (20, 55, 20, 5))[0]
    # The leader is what most depends on.
    targets = draw.sample(ROLES, control)
    if control and "leader" not in targets and draw.random() < 0.4:
        targets[0] = "leader"
    # One data node is always left alone: its clients are to notice nothing.
    struck = draw.sample(list(data), draw.choices(range(len(data)), [5, *[4] * (len(data) - 1)])[0])
    if not targets and not struck:
        targets = ["leader"]
    found = [_fault(draw, episode, _pick(draw, CONTROL_KINDS, only), one, start, length) for one in targets]
    found += [_fault(draw, episode, _pick(draw, DATA_KINDS, only), one, start, length) for one in struck]
    if draw.random() < 0.25:
        found.append(_fault(draw, episode, _pick(draw, CONSUL_KINDS, ()), CONSUL, start, length))
    if whole:
        found = [replace(one, until=round(start + length, 2)) for one in found]
    return sorted(found, key=lambda one: one.at)


def _pick(draw: random.Random, kinds: dict[Kind, int], only: Sequence[Kind]) -> Kind:
    # Drawn in any case: which kinds are allowed must not change what is drawn later.
    chance = draw.random()
    allowed = {kind: weight for kind, weight in kinds.items() if not only or kind in only} or kinds
    rest = chance * sum(allowed.values())
    for kind, weight in allowed.items():
        rest -= weight
        if rest < 0:
            return kind
    return next(reversed(allowed))


def _fault(draw: random.Random, episode: int, kind: Kind, target: str, start: float, length: float) -> Fault:
    at = start + draw.uniform(0, min(2, length / 3))
    # Short ones end before a lease does, long ones after it.
    until = min(start + length, at + draw.choice((draw.uniform(0.3, 2), length)))
    amount = {
        Kind.LOSSY: draw.randint(5, 40),
        Kind.SLOW: draw.choice((64, 256, 1024)),
        Kind.BLACK_HOLE: draw.choice((1000, 1200, 1400)),
        Kind.CLOCK: draw.choice((-1, 1)) * draw.choice((30, 600, 7200)),
    }
    return Fault(episode, kind, target, round(at, 2), round(until, 2), amount.get(kind, 0))


def _backups(draw: random.Random, seconds: float) -> list[Operation]:
    found: list[Operation] = []
    at = 3.0
    while (at := at + draw.expovariate(1 / 10.0)) < seconds:
        found.append(Operation("backup", len(found) + 1, round(at, 2), f"control-node-{draw.randint(1, CONTROL)}"))
    return found


def _rollbacks(draw: random.Random, seconds: float, deploys: int) -> list[Operation]:
    found: list[Operation] = []
    at = 4.0
    while (at := at + draw.expovariate(1 / 10.0)) < seconds:
        number = deploys + len(found) + 1
        found.append(Operation("rollback", number, round(at, 2), f"control-node-{draw.randint(1, CONTROL)}"))
    return found


def _rotations(draw: random.Random, seconds: float) -> list[Operation]:
    found: list[Operation] = []
    at = 2.0
    while (at := at + draw.expovariate(1 / 15.0)) < seconds:
        through = f"control-node-{draw.randint(1, CONTROL)}"
        found.append(Operation("rotate-tokens", len(found) + 1, round(at, 2), through))
    if draw.random() < ROTATES:
        # Early enough that faults come while certificates are issued again.
        at = draw.uniform(1, seconds * 0.6)
        found.append(Operation("rotate-ca", 1, round(at, 2), f"control-node-{draw.randint(1, CONTROL)}"))
    return found


def _drains(draw: random.Random, seconds: float, data: Sequence[str], faults: Sequence[Fault]) -> list[Fault]:
    """Draw what an operator drains: nodes to which nothing else happens at that time."""
    found: list[Fault] = []
    at = draw.uniform(4, 10)
    while (until := at + draw.uniform(3, 8)) < seconds - 2:
        node = draw.choice(data)
        if not any(one.target == node and one.at < until + 6 and one.until > at - 6 for one in faults):
            episode = FIRST_DRAIN + len(found)
            found.append(Fault(episode, Kind.DRAIN, node, round(at, 2), round(until, 2)))
        at = until + draw.uniform(4, 12)
    return found


def _deploys(draw: random.Random, moments: random.Random, seconds: float, faults: Sequence[Fault]) -> list[Operation]:
    """Draw deployments: at any time, and through every control node around the moment in which one is struck.

    What is written then may take effect without an answer: a node that has just lost its link still trusts it.
    """
    found: list[Operation] = []

    def add(at: float, through: int) -> None:
        found.append(Operation("deploy", len(found) + 1, round(at, 2), f"control-node-{through}"))

    at = 0.5
    while (at := at + draw.expovariate(1 / 2.0)) < seconds:
        for _ in range(draw.choices((1, 2, 3), (70, 25, 5))[0]):
            add(at + draw.uniform(0, 0.05), draw.randint(1, CONTROL))
    for fault in faults:
        if fault.target in ROLES:
            for number in range(1, CONTROL + 1):
                add(fault.at + moments.uniform(-0.3, 0.8), number)
    return found


def _writes(draw: random.Random, moments: random.Random, seconds: float, faults: Sequence[Fault]) -> list[Operation]:
    """Draw writes into Consul: at any time, and just before a control node is struck.

    A leader that publishes one of these goes on with it when it wakes up, though another node may lead by then.
    """
    times: list[float] = []
    at = 0.2
    while (at := at + draw.expovariate(1 / 1.2)) < seconds:
        times.append(at)
    times += [fault.at - moments.uniform(0, 0.1) for fault in faults if fault.target in ROLES]
    return [Operation("consul", number, round(at, 2)) for number, at in enumerate(sorted(times), 1)]
