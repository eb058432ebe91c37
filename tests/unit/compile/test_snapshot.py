from __future__ import annotations

import json
from pathlib import Path

import pytest

from traefikee.compile import snapshot as snap
from traefikee.compile.snapshot import Snapshot

WHOLE = Snapshot(
    revision=12,
    settings=snap.Settings(),
    entry_points=(
        snap.EntryPoint(name="http", address=":80"),
        snap.EntryPoint(
            name="https",
            address="10.0.0.1:443",
            ping=True,
            tls=snap.TLS(
                certificates=("c",), default_certificate="c", client_ca=snap.ClientCA(pem="-----", optional=True)
            ),
        ),
    ),
    routes=(
        snap.Route(
            id="consul/f",
            entry_points=("http",),
            priority=17,
            matchers=(
                snap.HostMatcher(hosts=("ä",)),
                snap.PathMatcher(
                    paths=(snap.ExactText(exact="/x"), snap.RegexpText(regexp="^/x$")), redirect_slash=True
                ),
                snap.HeadersMatcher(pairs=(("X-A", "1"),)),
                snap.QueryMatcher(
                    pairs=(
                        snap.QueryExact(key="a", exact="b"),
                        snap.QueryRegexp(key="a", regexp="^b$"),
                        snap.QueryPresent(key="a"),
                    )
                ),
            ),
            modifiers=(snap.AddPrefixModifier(prefix="/x"),),
            service="consul/b",
        ),
    ),
    services=(snap.Service(id="consul/b", servers=(snap.Server(name="s", url="http://h"),)),),
    certificates=(snap.Certificate(id="c", chain_pem="chain", key_pem="geheim"),),
)


def test_the_document() -> None:
    assert json.loads(WHOLE.to_json()) == {
        "format": 1,
        "revision": 12,
        "settings": {
            "server_name": "",
            "log_level": "error",
            "dial_timeout_ms": 30000,
            "response_header_timeout_ms": 0,
            "request_header_timeout_ms": 60000,
            "read_timeout_ms": 0,
            "write_timeout_ms": 0,
            "stall_timeout_ms": 60000,
            "idle_timeout_ms": 180000,
            "request_accept_grace_timeout_ms": 0,
            "grace_timeout_ms": 10000,
            "max_idle_connections_per_server": 200,
            "insecure_skip_verify": False,
            "root_ca_pem": "",
            "ticket_keys": [],
            "retry": None,
            "access_log": None,
            "metrics": None,
        },
        "entry_points": [
            {
                "name": "http",
                "address": ":80",
                "forwarded_headers": {"insecure": True, "trusted_ips": []},
                "limits": {"max_connections": 0, "max_connections_per_client": 0},
                "proxy_protocol": None,
                "ping": False,
                "metrics": False,
                "tls": None,
                "middlewares": [],
            },
            {
                "name": "https",
                "address": "10.0.0.1:443",
                "forwarded_headers": {"insecure": True, "trusted_ips": []},
                "limits": {"max_connections": 0, "max_connections_per_client": 0},
                "proxy_protocol": None,
                "ping": True,
                "metrics": False,
                "tls": {
                    "certificates": ["c"],
                    "default_certificate": "c",
                    "min_version": "1.2",
                    "cipher_suites": [],
                    "sni_strict": False,
                    "client_ca": {"pem": "-----", "optional": True},
                },
                "middlewares": [],
            },
        ],
        "routes": [
            {
                "id": "consul/f",
                "entry_points": ["http"],
                "priority": 17,
                "matchers": [
                    {"type": "host", "hosts": ["ä"]},
                    {"type": "path", "paths": [{"exact": "/x"}, {"regexp": "^/x$"}], "redirect_slash": True},
                    {"type": "headers", "pairs": [["X-A", "1"]]},
                    {
                        "type": "query",
                        "pairs": [
                            {"key": "a", "exact": "b"},
                            {"key": "a", "regexp": "^b$"},
                            {"key": "a", "present": True},
                        ],
                    },
                ],
                "modifiers": [{"type": "add_prefix", "prefix": "/x"}],
                "service": "consul/b",
                "pass_host_header": True,
                "client_roles": [],
                "forward_client_identity": False,
                "client_tls": None,
                "middlewares": [],
                "chain": "",
            }
        ],
        "services": [
            {
                "id": "consul/b",
                "balancer": "wrr",
                "servers": [{"name": "s", "url": "http://h", "weight": 1}],
                "sticky": None,
                "health_check": None,
                "max_connections": None,
                "circuit_breaker": None,
                "buffering": None,
            }
        ],
        "certificates": [{"id": "c", "chain_pem": "chain", "key_pem": "geheim", "ocsp_response": ""}],
    }


def test_round_trip() -> None:
    assert Snapshot.from_json(WHOLE.to_json()) == WHOLE
    assert Snapshot.from_json(WHOLE.to_json()).to_json() == WHOLE.to_json()


def test_unknown_fields_are_refused_without_repeating_the_document() -> None:
    document = json.loads(WHOLE.to_json())
    document["certificates"][0]["extra"] = "x"
    document["certificates"][0]["chain_pem"] = None
    with pytest.raises(ValueError, match="extra") as caught:
        Snapshot.from_json(json.dumps(document))
    assert "geheim" not in str(caught.value)
    assert "geheim" not in repr(WHOLE)


def test_the_documented_example_is_one_with_every_field() -> None:
    text = (Path(__file__).parents[3] / "docs" / "internals" / "snapshot.md").read_text()
    document = json.loads(text.partition("```json\n")[2].partition("```")[0])
    assert json.loads(Snapshot.from_json(json.dumps(document)).to_json()) == document
