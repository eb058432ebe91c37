"""Tables as the install guide prints them."""

import pytest

from traefikee.cli.tables import print_local_nodes, print_remote_nodes, table


def node(
    name: str,
    role: str,
    *,
    identity: str = "x" * 25,
    leader: bool = False,
    status: str = "READY",
    drained: bool = False,
) -> dict[str, object]:
    return {
        "id": identity,
        "name": name,
        "role": role,
        "membership": "ACCEPTED",
        "status": status,
        "availability": "DRAIN" if drained else "ACTIVE",
        "leader": leader,
    }


def test_columns_are_padded_with_two_blanks_between_them() -> None:
    assert table([("A", 1), ("Long", 4)], [("wide", "b")]) == "A     Long\n-     ----\nwide  b"


def test_the_plain_list(capsys: pytest.CaptureFixture[str]) -> None:
    print_local_nodes([node("bootstrap", "control", leader=True)], details=False)
    assert capsys.readouterr().out == (
        "Name       Role\n"
        "----       --------------\n"
        "bootstrap  CONTROL NODE (Current Leader)\n"
    )  # fmt: skip


def test_the_detailed_list_is_sorted_by_id(capsys: pytest.CaptureFixture[str]) -> None:
    nodes = [
        node("bootstrap-node", "control", identity="v9m7zaq16ipo0ihhstovjo96r", status="DOWN"),
        node("control-node-3", "control", identity="ge4ssbnjmsjw3h5bftrkkv5xv", leader=True),
    ]
    print_local_nodes(nodes, details=True)
    assert capsys.readouterr().out == (
        "ID                         Name            Membership  Status  Availability  Role\n"
        "--                         ----            ----------  ------  ------------  ----\n"
        "ge4ssbnjmsjw3h5bftrkkv5xv  control-node-3  ACCEPTED    READY   ACTIVE        CONTROL NODE (Current Leader)\n"
        "v9m7zaq16ipo0ihhstovjo96r  bootstrap-node  ACCEPTED    DOWN    ACTIVE        CONTROL NODE\n"
    )


def test_down_is_visible_in_the_plain_list_too(capsys: pytest.CaptureFixture[str]) -> None:
    print_local_nodes([node("d", "data", status="DOWN")], details=False)
    assert "d     DATA NODE (DOWN)" in capsys.readouterr().out


def test_drained_is_visible_in_every_list(capsys: pytest.CaptureFixture[str]) -> None:
    nodes = [node("c", "control", leader=True, drained=True), node("d", "data", status="DOWN", drained=True)]
    print_local_nodes(nodes, details=False)
    shown = capsys.readouterr().out
    assert "c     CONTROL NODE (Current Leader) (DRAIN)" in shown
    assert "d     DATA NODE (DOWN) (DRAIN)" in shown
    print_local_nodes(nodes, details=True)
    assert "READY   DRAIN         CONTROL NODE (Current Leader)" in capsys.readouterr().out
    print_remote_nodes(nodes)
    assert "d     Data Node (DRAIN)" in capsys.readouterr().out


def test_the_remote_list(capsys: pytest.CaptureFixture[str]) -> None:
    print_remote_nodes([node("control-node-1", "control", leader=True), node("data-node-1", "data")])
    assert capsys.readouterr().out == (
        "Name            Role          Leader\n"
        "----            ----          ------\n"
        "control-node-1  Control Node  YES\n"
        "data-node-1     Data Node\n"
    )
