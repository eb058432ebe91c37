"""What a data node keeps of the snapshot for its next start."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from traefikee.compile import changes
from traefikee.compile.changes import Header, State
from traefikee.errors import TraefikeeError
from traefikee.node import journal
from traefikee.node.journal import Journal
from traefikee.node.statedir import StateDir


@pytest.fixture
def statedir(tmp_path: Path) -> Iterator[StateDir]:
    made = StateDir(tmp_path / "state")
    yield made
    made.close()


def step(before: State, objects: dict[str, bytes]) -> tuple[State, bytes]:
    after = State(f"s{before.revision + 1}", before.revision + 1, objects)
    header = Header(base=before.name, name=after.name, revision=after.revision)
    return after, changes.pack(header, changes.difference(before.objects, after.objects))


def test_every_saved_state_is_there_again(statedir: StateDir) -> None:
    written, state = Journal(statedir), State()
    assert written.load() == state
    for number in range(5):
        state, frame = step(state, {"route/a": b"%d" % number, "x": b"1"})
        written.hear([frame])
        written.save(state)
        assert Journal(statedir).load() == state
    frames, _ = changes.split((statedir.path / journal.FILE).read_bytes())
    assert len(frames) == 5, "what changes is appended"

    # Another run goes on where this one has ended.
    again = Journal(statedir)
    assert again.load() == state
    state, frame = step(state, {"x": b"2"})
    again.hear([frame])
    again.save(state)
    assert Journal(statedir).load() == state


def test_a_state_that_was_not_in_force_is_saved_with_the_next(statedir: StateDir) -> None:
    written = Journal(statedir)
    good, frame = step(State(), {"a": b"1"})
    written.hear([frame])
    written.save(good)
    refused, frame = step(good, {"a": b"bad"})
    written.hear([frame])
    assert Journal(statedir).load() == good
    mended, frame = step(refused, {"a": b"3"})
    written.hear([frame])
    written.save(mended)
    assert Journal(statedir).load() == mended


def test_what_a_crash_has_cut_is_dropped(statedir: StateDir) -> None:
    written = Journal(statedir)
    one, frame = step(State(), {"a": b"1"})
    written.hear([frame])
    written.save(one)
    two, frame = step(one, {"a": b"2"})
    path = statedir.path / journal.FILE
    path.write_bytes(path.read_bytes() + frame[:-1])

    again = Journal(statedir)
    assert again.load() == one
    again.hear([frame])
    again.save(two)
    assert Journal(statedir).load() == two


def test_the_file_does_not_grow_for_ever(statedir: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "LEAST", 400)
    written, state = Journal(statedir), State()
    for number in range(50):
        state, frame = step(state, {"a": b"%d" % number})
        written.hear([frame])
        written.save(state)
    assert Journal(statedir).load() == state
    assert (statedir.path / journal.FILE).stat().st_size < 800


def test_a_full_disk_costs_nothing_but_the_state(statedir: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    written = Journal(statedir)
    one, frame = step(State(), {"a": b"1"})
    written.hear([frame])
    written.save(one)

    def full(content: bytes) -> None:
        raise TraefikeeError("no space", kind="statedir")

    two, frame = step(one, {"a": b"2"})
    written.hear([frame])
    with monkeypatch.context() as patch:
        patch.setattr(written, "_append", full)
        with pytest.raises(TraefikeeError):
            written.save(two)
    assert Journal(statedir).load() == one
    three, frame = step(two, {"a": b"3"})
    written.hear([frame])
    written.save(three)
    assert Journal(statedir).load() == three


def test_nonsense_is_no_state(statedir: StateDir) -> None:
    (statedir.path / journal.FILE).write_bytes(b"\0\0\0\1x")
    assert Journal(statedir).load() == State()
