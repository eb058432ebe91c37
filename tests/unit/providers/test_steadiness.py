"""A provider that comes and goes."""

from traefikee.providers.steadiness import FLAPS, WINDOW, Steadiness


def test_one_failure_is_bad_luck_and_three_in_a_minute_are_not() -> None:
    steadiness = Steadiness()
    for number in range(FLAPS):
        assert steadiness.steady_in(10.0 * number) == 0
        steadiness.failed(10.0 * number)
    assert steadiness.steady_in(20.0) == WINDOW - 20
    assert steadiness.steady_in(WINDOW) == 0
    steadiness.failed(WINDOW)
    assert steadiness.steady_in(WINDOW) == 10, "the second and the third count still"


def test_failures_far_apart_do_not_count() -> None:
    steadiness = Steadiness()
    for number in range(10):
        steadiness.failed(number * WINDOW / 2)
        assert steadiness.steady_in(number * WINDOW / 2) == 0
