"""Messages between versions."""

import json

import pytest
from pydantic import ValidationError

from traefikee import __version__, formats
from traefikee.cluster import protocol
from traefikee.cluster.messages import DataReport, JoinRequest
from traefikee.cluster.protocol import FORMATS_HEADER, VERSION_HEADER
from traefikee.cluster.records import Report
from traefikee.cluster.roles import Role

JOIN = {"role": "data", "name": "d", "request_pem": "x"}
OTHER = {VERSION_HEADER: "9.9.9", FORMATS_HEADER: "4-5"}


def test_a_sender_says_its_version_and_what_it_understands() -> None:
    assert protocol.sender(protocol.own_headers()) == (__version__, formats.OWN)
    assert protocol.sender(OTHER) == ("9.9.9", (4, 5))
    assert protocol.sender({}) == ("", (1, 1)), "the first version said nothing"
    assert protocol.sender({FORMATS_HEADER: "x-1"}) == ("", (1, 1))


def test_between_equal_versions_nothing_unknown_is_let_through() -> None:
    content = json.dumps({**JOIN, "colour": "red"}).encode()
    with pytest.raises(ValidationError, match="colour"):
        protocol.read(JoinRequest, content, protocol.own_headers())


def test_of_another_version_what_is_unknown_is_left_out_and_what_is_wrong_is_not() -> None:
    content = json.dumps({**JOIN, "colour": "red", "more": {"a": [1]}}).encode()
    assert protocol.read(JoinRequest, content, OTHER) == JoinRequest(role=Role.DATA, name="d", request_pem="x")
    with pytest.raises(ValidationError, match="role"):
        protocol.read(JoinRequest, json.dumps({**JOIN, "role": "chef", "colour": "red"}).encode(), OTHER)


def test_what_a_newer_node_reports_is_passed_on_whole() -> None:
    report = {"agent_version": "9.9.9", "formats": [4, 5], "colour": {"a": 1}}
    raw = {"name": "d", "certificate_serial": "1", "report": report, "hue": 7}
    read = protocol.read(DataReport, json.dumps(raw).encode(), OTHER)
    stored = json.loads(read.report.stored())
    assert stored["colour"] == {"a": 1}
    assert Report.model_validate_json(read.report.stored()).formats == (4, 5)
