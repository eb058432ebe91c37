"""Which nodes are meant."""

import pytest
from tests.unit.cluster.support_state import cluster, control, data

from traefikee.cluster.chosen import choose
from traefikee.errors import RefusedError

STATE = cluster([control("control-1"), data("data-1"), data("data-2")], removed=["data-9"])


def test_by_name_or_id_each_once_and_in_order() -> None:
    chosen = choose(STATE, ["data-2", "id-control-1", "id-data-2", "data-2"])
    assert [node.record.name for node in chosen] == ["data-2", "control-1"]


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (["data-3"], 'there is no node "data-3"; did you mean "data-2"?'),
        (["data-1", "x", ""], 'there is no node "x"; there is no node ""'),
        (
            ["data-9"],
            'there is no node "data-9" any more: '
            "the data node 'data-9' was removed from its cluster by user me at then",
        ),
    ],
)
def test_all_that_are_unknown_are_named(words: list[str], cause: str) -> None:
    with pytest.raises(RefusedError) as caught:
        choose(STATE, words)
    assert (caught.value.cause, caught.value.kind) == (cause, "unknown")
