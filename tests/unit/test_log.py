"""The agent's log lines."""

import io
from collections.abc import Iterator

import pytest
import structlog

from traefikee import log


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_lines_for_the_journal_have_priorities_and_no_time() -> None:
    out = io.StringIO()
    log.configure("journal", "debug", out)
    mine = log.get("node")
    mine.debug("a", x=1)
    mine.info("b")
    mine.warning("c")
    try:
        raise ValueError("why")
    except ValueError:
        mine.exception("d")
    lines = out.getvalue().splitlines()
    assert lines[:3] == ["<7>a component=node x=1", "<6>b component=node", "<4>c component=node"]
    assert len(lines) > 4
    assert all(line.startswith("<3>") for line in lines[3:]), "each line of a traceback has the priority"
