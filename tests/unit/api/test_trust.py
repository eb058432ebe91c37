"""Tokens and certificates as the API shows them."""

from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.cluster import support_state

from traefikee.api.trust import authority_json, certificate_json, token_json, warning
from traefikee.cluster import pki, token_table
from traefikee.cluster.authorities import Authorities, Rotation, RotationPhase, digests
from traefikee.cluster.records import CertificateReport, Report
from traefikee.cluster.roles import Role
from traefikee.cluster.state import Node

OLD, NEW = pki.new_authority("cluster").chain_pem, pki.new_authority("cluster", "2").chain_pem
NOW = datetime.now(UTC)


def node(left: timedelta | None, issuer: str = OLD) -> Node:
    """A data node whose certificate has so long to go; None: it is of the version before."""
    told = None
    if left is not None:
        digest = digests(issuer)[0]
        told = CertificateReport(not_after=(NOW + left).isoformat(), issuer=digest, trusts=(digest,))
    return Node(support_state.data("d"), Report(agent_version="1", certificate=told), is_leader=False)


@pytest.mark.parametrize(
    ("left", "warned"),
    [(timedelta(days=60), False), (timedelta(days=13), True), (timedelta(days=-1), True), (None, False)],
)
def test_a_certificate_that_was_not_renewed_is_warned_of(left: timedelta | None, warned: bool) -> None:
    told = warning(node(left), NOW)
    assert bool(told) is warned
    assert ("was not renewed: look at the node's log" in told) is warned


def test_a_node_that_is_away_is_not() -> None:
    away = Node(support_state.data("d"), None, is_leader=False)
    assert warning(away, NOW) == ""
    assert certificate_json(away, Authorities(trusted=(OLD,)), NOW)["state"] == "DOWN"


def test_what_is_said_of_authorities_while_one_replaces_the_other() -> None:
    running = Rotation(phase=RotationPhase.ISSUE, started_at=1.0, started_by="x", grace=1.0)
    both = Authorities(trusted=(NEW, OLD), rotation=running)
    new, old = (authority_json(one, both, NOW) for one in both.trusted)
    assert (new["name"], new["state"], new["warning"]) == ("new authority", "signs", "")
    assert (old["name"], old["state"]) == ("old authority", "trusted")
    before = both.model_copy(
        update={"trusted": (OLD, NEW), "rotation": running.model_copy(update={"phase": RotationPhase.TRUST})}
    )
    assert [authority_json(one, before, NOW)["name"] for one in before.trusted] == ["old authority", "new authority"]
    assert certificate_json(node(timedelta(days=60)), both, NOW)["state"] == "of the old authority"
    assert certificate_json(node(timedelta(days=60), NEW), both, NOW)["state"] == "current"
    late = authority_json(OLD, Authorities(trusted=(OLD,)), NOW + timedelta(days=3500))
    assert late["name"] == "authority"
    assert "replace it with `traefikee rotate-ca`" in late["warning"]


def test_no_token_is_shown() -> None:
    table = token_table.standing_table("c" * 40, "d" * 40)
    table, _, secret = token_table.make(table, Role.DATA, "user root", 1000.0, ttl=60, once=True)
    shown = [token_json(one, 1000.0) for one in table.live(1000.0)]
    assert [one["kind"] for one in shown] == ["standing", "standing", "once"]
    assert shown[2]["seconds_left"] == 60
    assert shown[2]["good_until"] == "1970-01-01T00:17:40+00:00"
    for hidden in ("c" * 40, "d" * 40, secret, token_table.digest_of(secret)):
        assert hidden not in str(shown)
