"""X-Forwarded-*: what is believed, what is replaced, what the server sees."""

from collections.abc import Sequence

import pytest

from tests.engine.conftest import Router
from tests.support.http1 import get
from tests.support.snapshots import entry_point, route, service, snapshot

PEER = "127.0.0.1"

CLAIMS = (
    "X-Forwarded-For: 1.2.3.4",
    "X-Real-Ip: 5.6.7.8",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: claimed.example",
    "X-Forwarded-Port: 444",
    "X-Forwarded-Server: claimed",
    "X-Forwarded-Uri: /claimed",
    "X-Forwarded-Method: CLAIMED",
    "X-Forwarded-Prefix: /claimed",
)

OWN = {
    "X-Forwarded-For": PEER,
    "X-Real-Ip": PEER,
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "A.example:8080",
    "X-Forwarded-Port": "8080",
    "X-Forwarded-Server": "engine-under-test",
    "X-Forwarded-Uri": "",
    "X-Forwarded-Method": "",
    "X-Forwarded-Prefix": "/claimed",
}

BELIEVED = {
    "X-Forwarded-For": f"1.2.3.4, {PEER}",
    "X-Real-Ip": "5.6.7.8",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "claimed.example",
    "X-Forwarded-Port": "444",
    "X-Forwarded-Server": "engine-under-test",
    "X-Forwarded-Uri": "/claimed",
    "X-Forwarded-Method": "CLAIMED",
    "X-Forwarded-Prefix": "/claimed",
}

# insecure, trusted addresses, the client's headers, expected at the server ("" for none).
CASES: list[tuple[bool, list[str], Sequence[str], dict[str, str]]] = [
    (True, [], (), {**OWN, "X-Forwarded-Prefix": ""}),
    (True, [], CLAIMS, BELIEVED),
    (False, ["127.0.0.1"], CLAIMS, BELIEVED),
    (False, ["127.0.0.0/8"], CLAIMS, BELIEVED),
    (False, ["10.0.0.0/8"], CLAIMS, OWN),
    (False, [], CLAIMS, OWN),
    # Other than in Traefik 1.7 the peer itself has to be trusted: what it names is its own word.
    (False, ["1.2.0.0/16"], CLAIMS, OWN),
    (False, ["1.2.0.0/16"], ("X-Forwarded-For: nonsense",), {"X-Forwarded-For": PEER}),
    (True, [], ("X-Forwarded-For: 1.1.1.1, 2.2.2.2",), {"X-Forwarded-For": f"1.1.1.1, 2.2.2.2, {PEER}"}),
    (
        True,
        [],
        ("X-Forwarded-For: 1.1.1.1", "X-Forwarded-For: 2.2.2.2"),
        {"X-Forwarded-For": f"1.1.1.1, 2.2.2.2, {PEER}"},
    ),
    # What the engine adds is no business of a client's list of hop-by-hop headers.
    (
        False,
        [],
        ("Connection: X-Forwarded-For, X-Real-Ip, X-Forwarded-Proto, X-Forwarded-Host",),
        OWN | {"X-Forwarded-Prefix": ""},
    ),
]


@pytest.mark.parametrize(("insecure", "trusted", "headers", "expected"), CASES)
def test_what_the_server_sees(
    router: Router, insecure: bool, trusted: list[str], headers: Sequence[str], expected: dict[str, str]
) -> None:
    point = entry_point(f"{router.address}:8000", insecure=insecure, trusted_ips=trusted)
    router.engine.apply(snapshot([point], [route()], [service(router.origin.url)], revision=2))
    get(router.address, 8000, "/", "A.example:8080", "GET", *headers)
    seen = router.origin.last()
    assert {name: ", ".join(seen.values(name)) for name in expected} == expected


def test_the_port_without_one_in_the_host_is_the_schemes(router: Router) -> None:
    get(router.address, router.port, "/", "a.example")
    assert router.origin.last().header("X-Forwarded-Port") == "80"
