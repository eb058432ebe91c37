"""Cluster states for tests, built as the store would hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from traefikee.cluster import state
from traefikee.cluster.records import ClusterInfo, Mark, NodeRecord, Phase, Removal, Report
from traefikee.cluster.roles import Role
from traefikee.cluster.state import ClusterState
from traefikee.cluster.store import KeyValue

REPORT = Report(agent_version="1")


def info(control_nodes: int = 3) -> ClusterInfo:
    return ClusterInfo(
        id="cluster",
        ca_pem="",
        control_secret="c",
        data_secret="d",
        licence="l",
        control_nodes=control_nodes,
        api=False,
    )


def control(name: str, *, member: int | None = None, bootstrap: bool = False, left: bool = False) -> NodeRecord:
    """A control node's record; its member id is made of its name unless it is given."""
    number = sum(name.encode()) if member is None else member
    return NodeRecord(
        id=f"id-{name}",
        name=name,
        role=Role.CONTROL,
        advertise=f"{name}:4242",
        certificate_serial="1",
        member=number,
        bootstrap=bootstrap,
        left=left,
    )


def data(name: str) -> NodeRecord:
    return NodeRecord(id=f"id-{name}", name=name, role=Role.DATA, certificate_serial="1")


def cluster(
    alive: list[NodeRecord],
    down: list[NodeRecord] = [],  # noqa: B006
    *,
    leader: str = "",
    phase: Phase = Phase.FORMED,
    control_nodes: int = 3,
    drained: Sequence[str] = (),
    removed: Sequence[str] = (),
    reports: Mapping[str, Report] | None = None,
) -> ClusterState:
    """A state in which some nodes are alive, and some are not; some were drained at "then", or removed by "me"."""
    values = {state.INFO: info(control_nodes).stored(), state.PHASE: phase.encode()}
    for record in [*alive, *down]:
        values[state.NODES + record.id] = record.stored()
    for record in alive:
        values[state.ALIVE + record.id] = (reports or {}).get(record.name, REPORT).stored()
    for name in drained:
        values[state.DRAINED + f"id-{name}"] = Mark(by="me", at="then").stored()
    records = {record.name: record for record in [*alive, *down]}
    for name in removed:
        role = records[name].role if name in records else Role.DATA
        gone = Removal(id=f"id-{name}", name=name, role=role, certificate_serial="1", by="user me", at="then")
        values[state.REMOVED + gone.id] = gone.stored()
    if leader:
        values[state.LEADER] = f"id-{leader}".encode()
    return state.from_keys(7, {key: KeyValue(key, value, 3, 5) for key, value in values.items()})
