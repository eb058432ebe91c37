"""When certificates are renewed."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traefikee.cluster import validity
from traefikee.cluster.validity import CLOCK_SKEW

MADE = datetime(2026, 1, 1, tzinfo=UTC)
BEGIN = MADE - CLOCK_SKEW


def days(count: float) -> timedelta:
    return timedelta(days=count)


def test_a_node_renews_at_two_thirds_of_its_certificates_life_or_a_twelfth_sooner() -> None:
    end = MADE + validity.node()
    assert validity.renew_at(BEGIN, end) == MADE + days(60)
    assert validity.renew_at(BEGIN, end, 1.0) == MADE + days(52.5)


@given(life=st.timedeltas(min_value=timedelta(seconds=1), max_value=days(4000)), spread=st.floats(0, 1))
def test_it_is_always_well_before_the_end(life: timedelta, spread: float) -> None:
    at = validity.renew_at(BEGIN, MADE + life, spread)
    assert at > MADE
    assert MADE + life - at >= life * 0.33
    assert validity.pause(BEGIN, MADE + life) <= max(0.5, life.total_seconds() / 60)


def test_a_certificate_of_ten_years_is_too_long() -> None:
    assert validity.too_long(BEGIN, MADE + days(3650), validity.operator())
    assert not validity.too_long(BEGIN, MADE + validity.node(), validity.node())


@pytest.mark.parametrize(("left", "soon"), [(13.9, True), (14.1, False), (-1, True), (60, False)])
def test_what_ends_soon(left: float, soon: bool) -> None:
    assert validity.ends_soon(MADE + days(left), MADE) is soon


def test_the_tests_hook_shortens_both_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAEFIKEE_TEST_CERTIFICATE_SECONDS", "30")
    assert validity.node() == validity.operator() == timedelta(seconds=30)
    monkeypatch.delenv("TRAEFIKEE_TEST_CERTIFICATE_SECONDS")
    assert validity.node() == days(90)
    assert validity.operator() == days(365)
