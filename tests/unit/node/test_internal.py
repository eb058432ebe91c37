"""The entry points of a control node's own engine: who may reach what."""

from pathlib import Path

from traefikee.cluster.roles import Role
from traefikee.compile.snapshot import PathPrefixMatcher, Snapshot
from traefikee.node.internal import Addresses, Sockets, beside, compile_internal
from traefikee.node.statedir import Identity

IDENTITY = Identity(
    id="i",
    name="c1",
    role=Role.CONTROL,
    cluster_id="c",
    ca_pem="CA",
    certificate_pem="CERT",
    certificate_serial="1",
    key_pem="KEY",
)
SOCKETS = Sockets(Path("/s/peer:0"), Path("/s/cluster"), Path("/s/api"), Path("/s/dashboard"))


def compiled(api: str | None = "h:55055", dashboard: str | None = "h:8080") -> Snapshot:
    return compile_internal(IDENTITY, Addresses("h:4242", api, dashboard), SOCKETS)


def admitted(snapshot: Snapshot, entry_point: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """By path prefix: the service behind it, and the roles that are let through."""
    found = {}
    for route in snapshot.routes:
        if entry_point in route.entry_points:
            (matcher,) = route.matchers
            assert isinstance(matcher, PathPrefixMatcher)
            for prefix in matcher.prefixes:
                found[prefix.model_dump()["exact"]] = (route.service, route.client_roles)
    return found


def test_etcd_is_reached_by_control_nodes_alone() -> None:
    routes = admitted(compiled(), "cluster")
    assert routes.pop("/v1/") == ("cluster", ())
    assert routes == dict.fromkeys(("/raft", "/members", "/leases", "/version", "/downgrade"), ("etcd", ("control",)))


def test_the_operator_api_demands_a_certificate_of_its_role() -> None:
    snapshot = compiled()
    assert admitted(snapshot, "api") == {"/v1/": ("api", ("api",))}
    api = next(one for one in snapshot.entry_points if one.name == "api")
    assert api.tls is not None
    assert api.tls.client_ca is not None
    assert not api.tls.client_ca.optional


def test_a_newcomer_without_a_certificate_reaches_the_cluster_port() -> None:
    cluster = next(one for one in compiled().entry_points if one.name == "cluster")
    assert cluster.tls is not None
    assert cluster.tls.client_ca is not None
    assert cluster.tls.client_ca.optional


def test_the_identity_of_the_caller_is_passed_on_where_the_agent_decides() -> None:
    passed = {route.id: route.forward_client_identity for route in compiled().routes}
    assert passed["agent"]
    assert passed["api"]
    assert not passed["dashboard"]


def test_what_is_not_wanted_is_not_there() -> None:
    names = {one.name for one in compiled(api=None, dashboard=None).entry_points}
    assert names == {"cluster"}
    assert {one.id for one in compiled(api=None, dashboard=None).services} == {"etcd", "cluster"}


def test_a_port_beside_another() -> None:
    assert beside("10.0.0.1:4242", 8080) == "10.0.0.1:8080"
    assert beside("[::1]:4242", 8080) == "[::1]:8080"
    assert beside(":4242", 8080) == ":8080"
