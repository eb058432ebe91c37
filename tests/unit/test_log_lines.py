"""Lines of the log that are kept: bounded, in order, and without secrets."""

import io
import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from traefikee import log, log_lines
from traefikee.log_lines import LEVELS, Line, Query, Ring, line_of, masking, time_of


def line(at: int, level: str = "info", message: str = "m") -> Line:
    return Line(at=f"2026-11-28T10:00:00.{at:06}Z", level=level, message=message)


def test_the_oldest_make_room() -> None:
    ring = Ring(most_lines=3, most_bytes=8_000)
    for number in range(5):
        ring.push(line(number))
    assert ring.after(0) == ([line(2), line(3), line(4)], 5, 2)
    assert ring.after(3) == ([line(3), line(4)], 5, 0)
    assert ring.after(5) == ([], 5, 0)
    ring.push(line(9, message="x" * 7_850))
    kept, last, lost = ring.after(5)
    assert ([one.at[-3:-1] for one in kept], last, lost) == (["09"], 6, 0)
    assert ring.after(0)[2] == 5, "one long line makes all others go"


@given(st.lists(st.integers(0, 300)), st.integers(0, 60))
def test_whoever_reads_on_misses_nothing_unnoticed(sizes: list[int], step: int) -> None:
    ring = Ring(most_lines=10, most_bytes=2_000)
    read, place, lost = [], 0, 0
    for number, size in enumerate(sizes):
        ring.push(line(number, message="x" * size))
        if step and number % step == 0:
            lines, place, gone = ring.after(place)
            read += lines
            lost += gone
    lines, place, gone = ring.after(place)
    assert len(read) + len(lines) + lost + gone == place == len(sizes)


def test_threads_may_write_at_the_same_time() -> None:
    ring = Ring(most_lines=50)

    def push() -> None:
        for number in range(500):
            ring.push(line(number))

    threads = [threading.Thread(target=push) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines, last, lost = ring.after(0)
    assert (len(lines), last, lost) == (50, 2000, 1950)


def test_what_is_logged_is_kept_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    ring, out = Ring(), io.StringIO()
    monkeypatch.setattr(log_lines, "RING", ring)
    try:
        log.configure("json", "info", out)
        logger = log.get("part")
        logger.debug("not at this level")
        logger.warning(
            "told",
            count=3,
            join_token="abc",
            text="-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\n",
            key="/traefikee/state/x",
        )
        (kept,), _, _ = ring.after(0)
        written = json.loads(out.getvalue())
    finally:
        log.configure()
    assert (kept.level, kept.component, kept.message) == ("warning", "part", "told")
    assert kept.fields == {"count": "3", "join_token": "***", "text": "***\n", "key": "/traefikee/state/x"}
    assert written["join_token"] == "***", "nor is it written"
    assert kept.at == time_of(written["timestamp"])


@pytest.mark.parametrize("name", ["token", "data_secret", "consul_password", "licence_key", "licensekey", "ca_key_pem"])
def test_names_of_secrets(name: str) -> None:
    assert masking(None, "info", {name: "x"}) == {name: "***"}


def test_lines_of_the_engine() -> None:
    raw = {
        "timestamp": "2026-11-28T10:00:00.5Z",
        "level": "WARN",
        "message": "m",
        "target": "t::x",
        "n": 1,
        "b": [True],
    }
    assert line_of({"component": "engine", **raw}) == Line(
        at="2026-11-28T10:00:00.500000Z",
        level="warning",
        component="engine",
        message="m",
        fields={"n": "1", "b": "[true]"},
    )
    assert line_of({"level": "strange"}).level == "info"
    assert len(line_of({"event": "x" * 100_000, "f": "y" * 100_000}).message) == log_lines.LONGEST


def test_times_sort_as_texts() -> None:
    times = ["2026-11-28T10:00:00Z", "2026-11-28T10:00:00.1Z", "2026-11-28T10:00:00.123456+00:00"]
    assert [time_of(one) for one in times] == sorted(time_of(one) for one in times)
    assert len({len(time_of(one)) for one in times}) == 1


def test_which_lines_are_wanted() -> None:
    lines = [line(3, "error"), line(1, "debug"), line(2, "warning"), line(4, "info")]
    assert [one.at[-2] for one in Query(tail=3).select(lines)] == ["2", "3", "4"]
    assert [one.at[-2] for one in Query(level="warn").select(lines)] == ["2", "3"]
    assert [one.at[-2] for one in Query(since=line(2).at).select(lines)] == ["3", "4"]
    assert Query(tail=0).select(lines) == []
    assert Query(level="WARN").level in LEVELS
    with pytest.raises(ValidationError, match="is none of debug, info, warn, error"):
        Query(level="loud")
