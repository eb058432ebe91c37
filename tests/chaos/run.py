"""One run: build a cluster, let faults and clients loose on it, heal, observe, judge."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

from tests.chaos import disaster, history, invariants, operators
from tests.chaos.clients import Watchers
from tests.chaos.history import Final, History, Recorder
from tests.chaos.invariants import Verdict
from tests.chaos.invariants.crashes import found_in
from tests.chaos.schedule import Fault, Schedule
from tests.chaos.world import World

LONGEST_UNDO = 60.0
"""Seconds that taking faults back may take in all."""


@dataclass(frozen=True)
class Result:
    """What came of a run.

    :ivar problems: why the run says nothing, if so: failures of the harness.
    """

    schedule: Schedule
    history: History
    verdicts: Sequence[Verdict]
    problems: Sequence[str]
    folder: Path

    @property
    def exit_code(self) -> int:
        """0: everything holds; 1: a violation; 3: the harness failed, and nothing is said of the product."""
        if self.problems:
            return 3
        return 0 if all(one.holds for one in self.verdicts) else 1


class _Timeline:
    """Says what happens, with its second, on the screen and in a file."""

    def __init__(self, path: Path, show: Callable[[str], None]) -> None:
        self._path = path
        self._show = show
        self._lock = threading.Lock()
        self.now: Callable[[], float] | None = None

    def say(self, sentence: str) -> None:
        """Add a line."""
        line = f"{self.now():6.2f} s  {sentence}" if self.now else sentence
        with self._lock, self._path.open("a") as file:
            file.write(line + "\n")
            self._show(line)


def run(schedule: Schedule, folder: Path, show: Callable[[str], None], *, test_fault: str = "") -> Result:
    """Carry a schedule out; everything about it is kept in the folder.

    :param test_fault: a known fault that the nodes are to have (see `traefikee.known_faults`).
    """
    folder.mkdir(parents=True)
    (folder / "schedule.json").write_text(schedule.dump())
    recorder = Recorder(folder / "history.jsonl")
    timeline = _Timeline(folder / "timeline.txt", show)
    problems: list[str] = []
    final: Final | None = None
    world: World | None = None
    left: list[str] = []
    crashes: list[str] = []
    try:
        world = World(schedule, recorder, timeline.say, test_fault)
        timeline.say(f"seed {schedule.seed}: a cluster is formed")
        world.build()
        timeline.now = world.now
        final = _disturb_and_observe(world)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a failure of the harness and told as one
        problems.append(f"{type(error).__name__}: {error}")
    finally:
        if world is not None:
            problems += world.problems
            crashes = _keep_logs(world, folder)
            left = world.destroy()
    if final is not None:
        recorder.add(replace(final, left=left, crashes=crashes))
    recorder.close()
    problems += invariants.missing(recorder.history) if not problems else []
    verdicts = invariants.judge(recorder.history) if not problems else []
    return Result(schedule, recorder.history, verdicts, problems, folder)


def judge_again(folder: Path) -> Result:
    """Judge a history that was kept, by the invariants as they are now.

    :raises ValueError: if it cannot be read.
    """
    schedule = Schedule.from_json(json.loads((folder / "schedule.json").read_text()))
    kept = history.read(folder / "history.jsonl")
    problems = invariants.missing(kept)
    return Result(schedule, kept, [] if problems else invariants.judge(kept), problems, folder)


class _Actions:
    """What is done at its time, each in a thread of its own."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._threads: list[threading.Thread] = []

    def start(self, what: str, action: Callable[[], str | None]) -> None:
        """Do something now; what it says goes into the timeline, what it raises is a problem of the harness."""

        def work() -> None:
            try:
                said = action()
            except Exception as error:  # noqa: BLE001 - whatever it is, the run says nothing then
                self._world.problems.append(f"{what}: {type(error).__name__}: {error}")
            else:
                if said:
                    self._world.say(said)

        thread = threading.Thread(target=work, daemon=True, name=what)
        self._threads.append(thread)
        thread.start()

    @property
    def going_on(self) -> bool:
        """Whether something has not come to its end."""
        return any(thread.is_alive() for thread in self._threads)

    def join(self) -> None:
        """Wait for all."""
        until = time.monotonic() + LONGEST_UNDO
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
            if thread.is_alive():
                self._world.problems.append(f"{thread.name} has not ended")


def _disturb_and_observe(world: World) -> Final:
    watchers = Watchers(world)
    world.start_clock()
    world.say("the cluster is formed and serves")
    watchers.start()
    faults, operations = _Actions(world), _Actions(world)
    for at, what, begin, actions in sorted(_plan(world, faults, operations), key=lambda one: one[0]):
        time.sleep(max(0.0, at - world.now()))
        actions.start(what, begin)
    time.sleep(max(0.0, world.schedule.seconds - world.now()))
    faults.join()
    world.heal()
    world.say("everything is healed")
    final = world.observe()
    world.say("all nodes agree" if final.converged is not None else f"no agreement: {final.disagreement}")
    if operations.going_on:
        # A deployment whose answer was late may have been stored after everything was looked at.
        operations.join()
        world.say("what was still under way has ended")
        final = _once_more(world, final)
    if final.converged is not None and world.finish_rotation():
        world.say("the old authority is retired")
        final = _once_more(world, final)
    world.store.stop()
    if final.converged is not None and world.schedule.disaster:
        world.say(f"control nodes are lost with their disks, to {world.schedule.disaster} them")
        aftermath = disaster.overcome(world, world.schedule.disaster)
        world.recorder.add(aftermath)
        world.say("all nodes agree" if aftermath.whole is not None else f"no agreement: {aftermath.disagreement}")
    watchers.stop()
    world.stop_keeping()
    if world.store.failure:
        world.problems.append(world.store.failure)
    return final


def _once_more(world: World, first: Final) -> Final:
    """Observe again: what is seen then counts, and that all agreed in time before."""
    again = world.observe()
    return replace(
        again,
        healed=first.healed,
        converged=first.converged if again.converged is not None else None,
        disagreement=first.disagreement or again.disagreement,
    )


def _carry_out(world: World, fault: Fault) -> str:
    """Begin a fault, and end it at its time: one after the other, however slow the machine is."""
    world.say(world.injector.begin(fault))
    time.sleep(max(0.0, fault.until - world.now()))
    return world.injector.end(fault)


_Planned: TypeAlias = tuple[float, str, Callable[[], str | None], _Actions]


def _plan(world: World, faults: _Actions, operations: _Actions) -> Iterator[_Planned]:
    for fault in world.schedule.faults:
        what = f"{fault.kind} on {fault.target}"
        yield fault.at, what, partial(_carry_out, world, fault), faults
    for one in world.schedule.operations:
        yield one.at, f"{one.kind} {one.number}", partial(operators.OPERATIONS[one.kind], world, one), operations


def _keep_logs(world: World, folder: Path) -> list[str]:
    """Keep what every process has printed; returns what it says of unexpected errors."""
    logs = folder / "logs"
    logs.mkdir()
    found = []
    for name, text in world.outputs().items():
        (logs / f"{name.replace(':', '').replace(' ', '_')}.log").write_text(text)
        found += found_in(name, text)
    return found
