"""What is recorded is read again, and judged again."""

from pathlib import Path

import pytest

from tests.chaos import __main__ as command
from tests.chaos import history, schedule
from tests.chaos.history import Recorder
from tests.chaos.made_up import GOOD, spoilt


def keep(folder: Path, events: "history.History") -> Path:
    (folder / "schedule.json").write_text(schedule.make(1, 20).dump())
    every = (
        *events.stored,
        *events.deploys,
        *events.writes,
        *events.rotations,
        *events.requests,
        *events.engines,
        *events.lists,
        *events.faults,
        events.aftermath,
        events.final,
    )
    (folder / "history.jsonl").write_text("".join(history.dumps(one) + "\n" for one in every if one is not None))
    return folder


@pytest.mark.parametrize("event", GOOD, ids=lambda one: type(one).__name__)
def test_an_event_is_read_as_it_was_written(event: history.Event) -> None:
    assert history.loads(history.dumps(event)) == event


@pytest.mark.parametrize(
    "line", ["", "{}", '{"type": "Deploy"}', '{"type": "Rain"}', '{"type": "Write", "outcome": 3}']
)
def test_a_line_that_is_no_event(line: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json's own errors are among them
        history.loads(line)


def test_a_recorder_writes_at_once_what_it_keeps(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "history.jsonl")
    for event in GOOD:
        recorder.add(event)
    recorder.close()
    recorder.add(GOOD[0])
    assert vars(history.read(tmp_path / "history.jsonl")) == vars(recorder.history) == vars(history.History(GOOD))


def test_a_kept_history_is_judged_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--judge", str(keep(tmp_path, spoilt()))]) == 0
    assert command.main(["--judge", str(keep(tmp_path, spoilt(left=["process 7: etcd"])))]) == 1
    printed = capsys.readouterr().out
    assert "✗ leftovers\n    process 7: etcd\n" in printed
    assert "make chaos SEED=1 TIME=20" in printed


def test_what_cannot_be_judged_is_no_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--judge", str(tmp_path)]) == 3
    keep(tmp_path, spoilt(without=history.Final))
    assert command.main(["--judge", str(tmp_path)]) == 3
    assert "which says nothing of the cluster: nothing was observed at the end" in capsys.readouterr().out
