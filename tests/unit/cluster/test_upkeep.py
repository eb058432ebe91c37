"""When etcd is compacted, defragmented, and its alarm taken back."""

from dataclasses import replace

import pytest

from traefikee.cluster.upkeep import (
    HISTORY,
    Defragment,
    Grow,
    Size,
    decide_catching_up,
    decide_compaction,
    decide_defragmentation,
    decide_disarming,
    trouble,
)

MB = 1 << 20
QUOTA = 1000 * MB
CALM = Size(member=1, file=20 * MB, used=10 * MB, quota=QUOTA, revision=5000)


def test_nothing_is_done_to_a_store_that_is_well() -> None:
    sizes = [CALM, replace(CALM, member=2, leads=True)]
    assert decide_compaction(sizes, 0) is None
    assert decide_defragmentation(sizes) == []
    assert decide_disarming(sizes) is None
    assert trouble(CALM) == ""


def test_history_goes_when_much_is_in_use_and_only_what_is_new_of_it() -> None:
    big = replace(CALM, file=400 * MB, used=300 * MB)
    found = decide_compaction([CALM, big], 0)
    assert found is not None
    assert found.revision == 5000 - HISTORY
    assert found.reason == "30% of the quota of 1000 MiB is in use"
    assert decide_compaction([CALM, big], found.revision) is None


def test_all_history_goes_when_the_store_is_full() -> None:
    full = replace(CALM, alarm=True, file=QUOTA, used=900 * MB)
    found = decide_compaction([full], 0)
    assert found is not None
    assert found.revision == 5000
    assert found.reason.startswith("the store is full")
    assert decide_compaction([full], 5000) is None


@pytest.mark.parametrize(
    ("file", "used", "alarm", "pays"),
    [
        (60, 1, False, False),
        (64, 33, False, False),
        (64, 32, False, True),
        (900, 451, False, False),
        (900, 450, False, True),
        (900, 800, True, True),
        (900, 900, True, False),
        (400, 390, True, False),
    ],
)
def test_defragmenting_has_to_pay(file: int, used: int, alarm: bool, pays: bool) -> None:
    assert bool(decide_defragmentation([replace(CALM, file=file * MB, used=used * MB, alarm=alarm)])) is pays


def test_a_small_quota_makes_small_files_worth_it() -> None:
    small = Size(member=1, file=10 * MB, used=4 * MB, quota=16 * MB)
    assert decide_defragmentation([small])
    assert not decide_defragmentation([replace(small, file=8 * MB)])


def test_etcds_leader_is_defragmented_last() -> None:
    sizes = [replace(CALM, member=number, file=100 * MB, leads=number == 1) for number in (1, 2, 3)]
    assert [step.member for step in decide_defragmentation(sizes)] == [2, 3, 1]
    assert decide_defragmentation(sizes)[0] == Defragment(2, "of 100 MiB only 10 MiB are in use")


def test_the_alarm_stays_until_every_member_has_room() -> None:
    full, fine = replace(CALM, alarm=True, file=950 * MB), replace(CALM, alarm=True)
    assert decide_disarming([fine, full]) is None
    disarming = decide_disarming([fine, fine])
    assert disarming is not None
    assert disarming.reason == "no member's file has more than 2% of its quota"


def test_what_an_operator_is_told() -> None:
    assert "cleaned up, which takes a minute" in trouble(replace(CALM, alarm=True))
    assert "--storequota" in trouble(replace(CALM, used=950 * MB))
    assert "takes no changes: 950 MiB of 1000 MiB" in trouble(replace(CALM, used=950 * MB, alarm=True))


@pytest.mark.parametrize(
    ("file", "given", "decided"),
    [(800, 1000, None), (1001, 1000, Grow(2001 * MB)), (1500, 2001, None), (1950, 2001, Grow(2950 * MB))],
)
def test_who_catches_up_gets_room_for_what_it_has_and_a_whole_quota_more(
    file: int, given: int, decided: Grow | None
) -> None:
    assert decide_catching_up(replace(CALM, file=file * MB), given * MB, learns=True) == decided


def test_who_has_just_caught_up_is_defragmented() -> None:
    full = replace(CALM, file=1001 * MB)
    assert isinstance(decide_catching_up(full, QUOTA, learns=False), Defragment)
    assert decide_catching_up(replace(full, used=900 * MB), QUOTA, learns=False) is None, "that would give nothing back"
    assert decide_catching_up(replace(full, file=800 * MB), QUOTA, learns=False) is None
