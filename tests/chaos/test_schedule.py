"""What a seed makes happen."""

import pytest

from tests.chaos import __main__ as command
from tests.chaos import schedule
from tests.chaos.operators import OPERATIONS
from tests.chaos.schedule import CONSUL, CONTROL_KINDS, DATA_KINDS, ROLES, Kind, Schedule

SEEDS = range(1, 200)


def test_a_seed_means_the_same_for_ever() -> None:
    made = schedule.make(7, 60)
    assert made == schedule.make(7, 60)
    assert made != schedule.make(8, 60)
    # Rows of the table in docs/reliability.md mean what this draws: a change of it needs a new FORMAT.
    first = made.faults[0]
    assert (schedule.FORMAT, len(made.faults), len(made.operations), first.sentence().strip()) == (
        5,
        14,
        118,
        "3.84 s  kill-etcd on follower-2 until 5.70 s",
    )


def test_what_is_stored_is_read_again() -> None:
    made = schedule.make(3, 40)
    assert Schedule.from_json(made.to_json()) == made
    with pytest.raises(ValueError, match="format 99"):
        Schedule.from_json({**made.to_json(), "format": 99})


@pytest.mark.parametrize("seconds", [10, 60, 300])
def test_every_schedule_is_within_its_bounds(seconds: float) -> None:
    for seed in SEEDS:
        made = schedule.make(seed, seconds)
        assert made.faults
        assert max(one.until for one in made.faults) == seconds, "the recovery that is judged follows a fault"
        for fault in made.faults:
            assert 0 < fault.at < fault.until <= seconds, fault
            if fault.target in ROLES:
                assert fault.kind in CONTROL_KINDS
            elif fault.target == CONSUL:
                assert fault.kind in schedule.CONSUL_KINDS
            else:
                assert fault.target in made.data_names
                assert fault.kind in DATA_KINDS or fault.kind is Kind.DRAIN
        for episode in {one.episode for one in made.faults}:
            struck = [one.target for one in made.faults if one.episode == episode]
            assert len(struck) == len(set(struck)), "one fault a node"
            assert set(made.data_names) - set(struck), "one data node is left alone"
        assert all(0 <= one.at <= seconds + 0.1 for one in made.operations)
        for kinds in ({"deploy", "rollback"}, {"consul"}, {"backup"}, {"rotate-tokens"}, {"rotate-ca"}):
            numbers = [one.number for one in made.operations if one.kind in kinds]
            assert sorted(numbers) == list(range(1, len(numbers) + 1))


def test_one_nodes_faults_do_not_overlap() -> None:
    for seed in SEEDS:
        faults = schedule.make(seed, 120).faults
        for one in faults:
            for other in faults:
                drains = Kind.DRAIN in (one.kind, other.kind)
                if one.episode < other.episode and (not drains or one.target == other.target):
                    assert one.until <= other.at or other.until <= one.at, (seed, one, other)


def test_one_control_node_loses_its_disk_at_most() -> None:
    lost = [
        sum(one.kind is Kind.REPLACE and one.target in ROLES for one in schedule.make(seed, 300).faults)
        for seed in SEEDS
    ]
    assert set(lost) == {0, 1}


def test_every_operation_happens() -> None:
    assert {one.kind for seed in SEEDS for one in schedule.make(seed, 60).operations} == set(OPERATIONS)


def test_every_fault_happens() -> None:
    drawn = [fault.kind for seed in SEEDS for fault in schedule.make(seed, 60).faults]
    assert set(drawn) == set(Kind)


def test_only_some_kinds() -> None:
    drawn = {fault.kind for seed in SEEDS for fault in schedule.make(seed, 60, [Kind.KILL_ETCD, Kind.KILL_NODE]).faults}
    assert drawn == {Kind.KILL_ETCD, Kind.KILL_NODE, Kind.CONSUL_DOWN, Kind.CONSUL_PAUSED, Kind.DRAIN}


@pytest.mark.parametrize(
    ("text", "seeds"), [("7", [7]), ("1-4", [1, 2, 3, 4]), ("1,5,9-11", [1, 5, 9, 10, 11]), ("3-3", [3])]
)
def test_seeds_of_the_command_line(text: str, seeds: list[int]) -> None:
    assert command.options(["--seeds", text]).seed == seeds


@pytest.mark.parametrize(
    "arguments",
    [
        ["--seed", "x"],
        ["--seed", "1-"],
        ["--only", "rain"],
        ["--time", "1"],
        ["--known", "rain"],
        ["--unknown"],
        ["--seed", ""],
    ],
    ids=" ".join,
)
def test_a_command_line_that_cannot_be_meant(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.options(arguments)
    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_a_plan_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--plan", "--seed", "1-2", "--time", "20"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if line.startswith("seed ")] == [
        schedule.make(seed, 20).lines()[0] for seed in (1, 2)
    ]
    assert len(printed) == sum(len(schedule.make(seed, 20).lines()) for seed in (1, 2))
