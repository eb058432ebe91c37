"""Deploying only if a certain configuration is in force."""

from traefikee.cluster.history import Record
from traefikee.cluster.records import Link
from traefikee.node.storing import revision_sentence


def record(number: int, rollback_of: int | None = None) -> Record:
    return Record(
        number=number,
        id="",
        at="2026-11-28T10:00:00+00:00",
        by=f"u{number}@h",
        who="certificate c",
        through="api",
        node="n",
        command="",
        rollback_of=rollback_of,
        configuration=Link(name="", blob="", parts=1, size=1),
    )


def test_who_deployed_what_meanwhile() -> None:
    told = "by u{0}@h as certificate c at 2026-11-28T10:00:00+00:00".format
    assert revision_sentence(2, 4, [record(3), record(4, 1)]) == (
        f"configuration 4 is in force, not 2; deployed meanwhile: 3 (deploy) {told(3)}, 4 (rollback of 1) {told(4)}"
    )
    assert revision_sentence(1, 9, [record(9)]) == (
        f"configuration 9 is in force, not 1; deployed meanwhile: 7 more, 9 (deploy) {told(9)}"
    )
    assert revision_sentence(0, 1, []) == "configuration 1 is in force, and none was expected"
    assert revision_sentence(7, 1, []) == "configuration 1 is in force, not 7; there is no 7"
    assert revision_sentence(7, 0, []) == "nothing is deployed yet, not configuration 7"
