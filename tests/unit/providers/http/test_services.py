"""Services of Traefik 2 that become backends."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traefikee.config.dynamic import Backend, HealthCheck, Server
from traefikee.providers.http.services import Service, weighted


def service(*weights: int) -> Service:
    return Service(Backend(servers={str(n): Server(url=f"http://h{n}", weight=one) for n, one in enumerate(weights)}))


SHARES = st.lists(st.tuples(st.integers(0, 1000), st.lists(st.integers(0, 30), max_size=4)), min_size=1, max_size=4)


@given(SHARES)
def test_each_server_has_its_part_of_its_services_share(given_shares: list[tuple[int, list[int]]]) -> None:
    named = {f"s{n}": service(*weights) for n, (_, weights) in enumerate(given_shares)}
    shares = {f"s{n}": share for n, (share, _) in enumerate(given_shares)}
    try:
        found = weighted(Service(Backend(), True, shares), named).backend.servers
    except ValueError as error:
        assert "no common measure" in str(error)  # noqa: PT017 - both outcomes are right
        return
    total = sum(server.weight for server in found.values())
    # Services that have nobody to answer have no share.
    counted = sum(share for share, weights in given_shares if any(weights))
    for n, (share, weights) in enumerate(given_shares):
        for m, weight in enumerate(weights):
            wanted = Fraction(share * weight, counted * sum(weights)) if counted and sum(weights) else Fraction(0)
            server = found.get(f"s{n}/{m}")
            assert Fraction(server.weight, total) == wanted if server else wanted == 0


def test_what_cannot_be_one() -> None:
    checked = Service(Backend(health_check=HealthCheck(path="/")))
    for one, message in (
        ({"a": checked}, "has a health check"),
        ({"a": Service(Backend(), True, {"b": 1})}, "is weighted too"),
        ({"a": service(1), "b": Service(Backend(), False)}, "differ in passHostHeader"),
    ):
        with pytest.raises(ValueError, match=message):
            weighted(Service(Backend(), True, dict.fromkeys(one, 1)), one)
