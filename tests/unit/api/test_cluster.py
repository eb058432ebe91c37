"""What data nodes are told of the cluster, and who is told nothing any more."""

import pytest
from tests.unit.cluster.support_state import cluster, control, data

from traefikee.api.cluster import announcement
from traefikee.cluster.records import Mark
from traefikee.cluster.removed import refuse_removed
from traefikee.errors import RefusedError

STATE = cluster([control("a"), data("d"), data("e")], drained=["d", "gone"], removed=["x"])


def test_each_is_told_whether_it_is_drained_itself() -> None:
    told = {name: announcement(STATE, f"id-{name}")["drained"] for name in ("d", "e", "gone")}
    assert Mark.model_validate_json(told["d"]) == Mark(by="me", at="then")
    assert told["e"] == ""
    assert told["gone"] == told["d"], "one that was cleaned from the list comes back as it went"


def test_a_removed_node_is_told_by_whom_and_what_to_do() -> None:
    refuse_removed(STATE, "id-d")
    with pytest.raises(RefusedError) as caught:
        refuse_removed(STATE, "id-x")
    assert caught.value.kind == "removed"
    assert caught.value.cause == "the data node 'x' was removed from its cluster by user me at then"
    assert "remove its state directory and join with a token" in caught.value.next_step
    assert announcement(STATE, "id-x")["error"] == caught.value.cause, "and where it follows the cluster, at once"
