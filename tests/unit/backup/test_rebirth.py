"""A cluster begins anew: nothing that was ever used is used again."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.backup.support_backup import OBJECTS, content, snapshot_of, without

from traefikee.backup import rebirth
from traefikee.backup.content import check
from traefikee.cluster import history, state
from traefikee.cluster.records import Deployment, Pointer

NOW = 1_800_000_000.0
GENERATION = 1_800_000_000_000


@given(st.lists(st.integers(min_value=0, max_value=2**45)), st.floats(min_value=0, max_value=4e9))
def test_a_generation_is_above_every_one_that_is_known(known: list[int], now: float) -> None:
    made = rebirth.next_generation(known, now)
    assert all(made > one for one in known)
    assert made >= int(now * 1000)


def test_a_clock_that_was_set_back_does_not_matter() -> None:
    assert rebirth.next_generation([GENERATION, 3], 5.0) == GENERATION + 1


def test_the_same_snapshot_under_a_new_revision() -> None:
    made = content()
    keys = rebirth.reborn(made, check(made), GENERATION)
    pointer = Pointer.model_validate_json(keys[state.SNAPSHOT])
    found = snapshot_of(keys)
    assert found.objects == OBJECTS
    assert found.revision == pointer.revision == GENERATION
    assert found.name == pointer.name != snapshot_of(dict(made.keys)).name
    assert pointer.runtime == Pointer.model_validate_json(made.keys[state.SNAPSHOT]).runtime
    assert state.read_generation(keys[state.GENERATION]) == GENERATION


def test_the_configuration_in_force_gets_a_new_number_and_history_stays() -> None:
    made = content(deployed=3)
    keys = rebirth.reborn(made, check(made), GENERATION)
    number = int(keys[state.CURRENT])
    assert number == GENERATION // 1000
    before = Deployment.model_validate_json(made.keys[f"{state.CONFIGS}3"])
    after = Deployment.model_validate_json(keys[f"{state.CONFIGS}{number}"])
    assert after == before.model_copy(update={"number": number, "rollback_of": 3})
    assert f"{state.CONFIGS}3" not in keys, "only the one in force is watched"
    assert Pointer.model_validate_json(keys[state.SNAPSHOT]).config == number, "what is published is of it"
    kept = [history.read(keys[history.record_key(one)]) for one in (1, 2, 3, number)]
    assert [(one.number, one.how) for one in kept if one] == [
        (1, "deploy"),
        (2, "deploy"),
        (3, "deploy"),
        (number, "rollback of 3"),
    ]


def test_what_another_version_has_written_into_a_deployment_stays() -> None:
    made = content(deployed=1)
    keys = dict(made.keys)
    key = f"{state.CONFIGS}1"
    keys[key] = json.dumps({**json.loads(keys[key]), "note": "added later"}).encode()
    made = type(made)(made.origin, keys, made.cluster_key)
    after = rebirth.reborn(made, check(made), GENERATION)
    assert json.loads(after[state.CONFIGS + after[state.CURRENT].decode()])["note"] == "added later"


def test_restored_again_and_again_numbers_only_grow() -> None:
    """The same old backup, each time a little later: no revision or number of one is reached by the one before."""
    made = content()
    seen = []
    for restored in range(5):
        keys = rebirth.reborn(made, check(made), rebirth.next_generation([0], NOW + restored))
        seen.append((Pointer.model_validate_json(keys[state.SNAPSHOT]).revision, int(keys[state.CURRENT])))
    assert all(one[0] < other[0] and one[1] < other[1] for one, other in pairwise(seen))


def test_a_newer_revision_than_the_clock_says_is_passed_too() -> None:
    made = content(revision=GENERATION * 2, deployed=2)
    keys = rebirth.reborn(made, check(made), GENERATION)
    assert Pointer.model_validate_json(keys[state.SNAPSHOT]).revision == GENERATION * 2 + 1


def test_a_snapshot_that_is_not_whole_leaves_the_revision() -> None:
    made = without(content(), state.BLOBS)
    keys = rebirth.reborn(made, check(made), GENERATION)
    assert Pointer.model_validate_json(keys[state.SNAPSHOT]) == Pointer(revision=GENERATION, config=0)


@pytest.mark.parametrize("sizes", [[10] * 250, [600_000] * 5, [2_000_000, 1], []])
def test_batches_stay_below_the_stores_limits(sizes: list[int]) -> None:
    keys = {f"/traefikee/{number:03}": b"x" * size for number, size in enumerate(sizes)}
    found = rebirth.batches(keys)
    assert {put.key: put.value for puts in found for put in puts} == keys
    for puts in found:
        assert 0 < len(puts) <= 100
        assert len(puts) == 1 or sum(len(put.value) for put in puts) <= rebirth.BATCH_BYTES
