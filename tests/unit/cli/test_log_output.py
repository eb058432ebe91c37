"""Lines of the log as they are printed."""

import json

import yaml

from traefikee.cli.logs import as_data, as_text

EVENT = {
    "event": "line",
    "node": "vm5",
    "at": "2026-11-28T04:16:32.328123Z",
    "level": "info",
    "component": "engine",
    "message": "snapshot in force",
    "fields": {"revision": "2", "why": "it has blanks", "quote": 'a"b', "empty": ""},
}


def test_one_line_for_a_reader() -> None:
    assert as_text(EVENT) == (
        "2026-11-28T04:16:32.328Z vm5 info    engine: snapshot in force"
        ' revision=2 why="it has blanks" quote="a\\"b" empty=""'
    )


def test_a_line_can_do_nothing_to_a_terminal() -> None:
    evil = {**EVENT, "message": "a\x1b[2Jb\nc", "component": "x\x07", "fields": {"f": "\x1b[31m", "\x1b": "y"}}
    printed = as_text(evil)
    assert "\x1b" not in printed
    assert "\x07" not in printed
    assert printed.splitlines()[0].endswith("x\\x07: a\\x1b[2Jb")


def test_for_programs() -> None:
    wanted = {name: value for name, value in EVENT.items() if name != "event"}
    assert json.loads(as_data(EVENT, "json")) == wanted
    assert "\n" not in as_data(EVENT, "json")
    assert list(yaml.safe_load_all(as_data(EVENT, "yaml") + "\n" + as_data(EVENT, "yaml"))) == [wanted, wanted]
