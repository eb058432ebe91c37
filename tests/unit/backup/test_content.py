"""What belongs to a backup, what makes one whole, and the lines in which it is sent."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.backup.support_backup import CLUSTER_KEY, content, without

from traefikee.backup import content as contents
from traefikee.backup.content import BackupError, check, from_lines, to_lines
from traefikee.cluster import state
from traefikee.cluster.authorities import Authorities
from traefikee.cluster.store import KeyValue


@pytest.mark.parametrize(
    ("key", "lease", "belongs"),
    [
        (state.INFO, 0, True),
        (state.CONFIGS + "1", 0, True),
        ("/traefikee/audit/1", 0, True),
        ("/traefikee/what/is/added/later", 0, True),
        ("/traefikee/what/is/added/later", 77, False),
        (state.NODES + "a", 0, False),
        (state.NAMES + "a", 0, False),
        (state.ALIVE + "a", 7, False),
        (state.LEADER, 7, False),
        (state.JOINING, 7, False),
        ("/another/program", 0, False),
    ],
)
def test_everything_belongs_but_what_ends_with_a_node(key: str, lease: int, belongs: bool) -> None:
    assert contents.belongs(KeyValue(key, b"", 1, 1, lease)) is belongs


def test_a_whole_one() -> None:
    checked = check(content())
    assert checked.notes == ()
    assert checked.deployment is not None
    assert checked.deployment.number == 3


def test_of_a_cluster_where_nothing_was_deployed() -> None:
    checked = check(without(content(), state.CONFIGS, state.SNAPSHOT, state.BLOBS))
    assert (checked.deployment, checked.pointer, checked.snapshot, checked.notes) == (None, None, None, ())


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        (state.INFO, "the cluster's own record is not in it"),
        (state.SECRETS, "secrets are not in it"),
        (state.CONFIGS + "3", "configuration 3 is not in it"),
    ],
)
def test_what_has_to_be_there(missing: str, reason: str) -> None:
    with pytest.raises(BackupError, match=reason):
        check(without(content(), missing))


def test_secrets_that_cannot_be_opened() -> None:
    with pytest.raises(BackupError, match="cannot be opened"):
        check(replace(content(), cluster_key=CLUSTER_KEY[::-1]))


def test_a_ca_whose_key_is_another_one() -> None:
    one, other = content(), content()
    with pytest.raises(BackupError, match="do not belong together"):
        check(replace(one, keys={**one.keys, state.SECRETS: other.keys[state.SECRETS]}))


def test_of_another_cluster_than_it_says() -> None:
    made = content()
    with pytest.raises(BackupError, match="of the cluster other, but holds cluster"):
        check(replace(made, origin=made.origin.model_copy(update={"cluster": "other"})))


def test_keys_of_nodes_are_not_taken() -> None:
    made = content()
    with pytest.raises(BackupError, match="no backup holds"):
        check(replace(made, keys={**made.keys, state.LEADER: b"me"}))


def test_a_snapshot_that_is_not_whole_is_told() -> None:
    checked = check(without(content(), state.BLOBS))
    assert checked.snapshot is None
    assert "compiled again" in checked.notes[0]


def test_the_lines_of_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "LINE_BYTES", 300)
    made = content()
    lines = list(to_lines(made))
    assert len(lines) > 5
    assert from_lines(lines) == made
    for number in range(len(lines)):
        with pytest.raises(BackupError):
            from_lines(lines[:number] + lines[number + 1 :])
    with pytest.raises(BackupError, match="not whole"):
        from_lines(lines[:-1])


def test_authorities_of_which_one_takes_the_others_place_are_both_trusted() -> None:
    made = content()
    assert check(made).trusted == check(made).info.ca_pem
    trusted = (check(made).info.ca_pem, check(content()).info.ca_pem)
    rotating = replace(
        made, keys={**made.keys, state.AUTHORITIES: Authorities(trusted=trusted).model_dump_json().encode()}
    )
    assert check(rotating).trusted == "".join(trusted)
