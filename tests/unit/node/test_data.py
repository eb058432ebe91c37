"""What a data node's report holds at most."""

from traefikee.node.data import MOST_DOWN, MOST_URLS, listed


def test_all_that_is_down_is_listed_as_long_as_it_fits() -> None:
    few = {f"s{number}": ("http://a", "http://b") for number in range(10)}
    assert listed(few) == few


def test_a_report_stays_small() -> None:
    many = {f"s{number:05}": ("http://a",) for number in range(2 * MOST_DOWN)}
    assert list(listed(many)) == sorted(many)[:MOST_DOWN]
    large = {"a": ("u",) * (MOST_URLS - 1), "b": ("u",), "c": ("u",)}
    assert list(listed(large)) == ["a", "b"], "each that is listed is whole"
