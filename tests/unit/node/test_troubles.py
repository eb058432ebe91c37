"""What is wrong with a node."""

from traefikee.node.supervisor import _trouble
from traefikee.node.troubles import Troubles


def test_a_trouble_is_told_once_and_when_it_is_over() -> None:
    told: list[tuple[str, ...]] = []
    troubles = Troubles(lambda: told.append(troubles.all()))
    troubles.note("disk", "")
    troubles.note("disk", "full; free space")
    troubles.note("disk", "full; free space")
    troubles.note("etcd", "ends; look")
    troubles.note("disk", "slow; wait")
    troubles.note("disk", "")
    assert told == [
        ("full; free space",),
        ("full; free space", "ends; look"),
        ("slow; wait", "ends; look"),
        ("ends; look",),
    ]


def test_why_a_child_ends_again_and_again() -> None:
    assert _trouble("etcd", 2, ["x", 'write: No space left on device"']) == (
        "etcd cannot write: the disk of the state directory is full; free space on that disk"
    )
    assert "(last exit code 2)" in _trouble("etcd", 2, ["x"])
