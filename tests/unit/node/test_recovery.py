"""Where a cluster cannot be recovered from, and what an operator is shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.unit.backup.support_backup import content, without
from tests.unit.cluster.test_joining import ME

from traefikee.backup.content import check
from traefikee.cli.main import traefikee
from traefikee.cli.recover import described
from traefikee.cluster import state
from traefikee.cluster.roles import Role
from traefikee.errors import RefusedError
from traefikee.node.recovery import Other, Survivor, identity_of
from traefikee.node.statedir import StateDir


@pytest.fixture
def statedir(tmp_path: Path) -> Iterator[StateDir]:
    opened = StateDir(tmp_path / "state")
    yield opened
    opened.close()


def with_store(statedir: StateDir) -> None:
    (statedir.etcd / "data" / "member").mkdir(parents=True)


def test_of_a_control_node_with_a_store(statedir: StateDir) -> None:
    statedir.save_identity(ME)
    with_store(statedir)
    assert identity_of(statedir) == ME


@pytest.mark.parametrize(
    ("changed", "store", "reason"),
    [
        (None, True, "holds no node's identity"),
        ({"role": Role.DATA}, False, "belongs to the data node 'me'"),
        ({"left": True}, True, "has left its cluster"),
        ({}, False, "there is no store in"),
    ],
)
def test_where_it_cannot_be(statedir: StateDir, changed: dict[str, Any] | None, store: bool, reason: str) -> None:
    if changed is not None:
        statedir.save_identity(ME.model_copy(update=changed))
    if store:
        with_store(statedir)
    with pytest.raises(RefusedError, match=reason):
        identity_of(statedir)


def test_a_store_that_was_set_aside_is_named(statedir: StateDir) -> None:
    """What a crash between the two last steps of a recovery leaves."""
    statedir.save_identity(ME)
    with_store(statedir)
    kept = statedir.set_store_aside("before-recovery")
    assert kept is not None
    with pytest.raises(RefusedError, match=kept.name):
        identity_of(statedir)
    assert statedir.set_store_aside("before-recovery") is None


def test_a_generation_never_goes_back(statedir: StateDir) -> None:
    assert statedir.load_generation() == 0
    for generation, expected in ((5, 5), (3, 5), (6, 6)):
        statedir.save_generation(generation)
        assert statedir.load_generation() == expected
    statedir.write("generation", b"what is this")
    assert statedir.load_generation() == 0


def test_another_folder_is_not_made_a_state_directory(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    done = CliRunner().invoke(traefikee, ["recover", "--yes", f"--statedir={tmp_path}"])
    assert done.exit_code == 1
    assert "is no node's state directory" in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_what_an_operator_is_shown() -> None:
    made = content()
    others = [Other("a:4242", quorum=False, said="does not answer"), Other("b:4242", quorum=True, said="runs")]
    text = "\n".join(described(Survivor(ME, made, check(made)), others))
    for expected in ("a:4242 does not answer", "revision 42", "3 of 2026-01-02", "by me@here", "Snapshot       7"):
        assert expected in text
    bare = without(made, state.CONFIGS, state.SNAPSHOT)
    text = "\n".join(described(Survivor(ME, bare, check(bare)), []))
    assert "none was deployed" in text
    assert "none is known" in text
