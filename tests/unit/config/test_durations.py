from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traefikee.config.durations import milliseconds, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("90", 90), ("+5", 5), ("1m30s", 90), ("500ms", 0.5), ("1.5h", 5400), (".5s", 0.5), ("1h1m1s", 3661),
     ("100us", 1e-4), ("100µs", 1e-4), ("5ns", 5e-9), ("007", 7), ("1.s", 1)],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", " ", "s", "5 s", "5x", "1m 30s", "1.5", "1,5s", "1d", "5S", "٣", "1ss"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration; write seconds"):
        parse_duration(text)


def test_negative_and_endless_ones() -> None:
    with pytest.raises(ValueError, match=r'^"-5s" is negative$'):
        parse_duration("-5s")
    for text in ("9" * 30, "9" * 19, "9999999999h"):
        with pytest.raises(ValueError, match=r"is longer than 292 years$"):
            parse_duration(text)


@given(st.text())
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_duration(text) >= 0


def test_a_short_time_is_not_no_time() -> None:
    assert milliseconds(0) == 0
    assert milliseconds(1e-9) == 1
    assert milliseconds(1.2346) == 1235
