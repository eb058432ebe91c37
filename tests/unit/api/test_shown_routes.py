"""The table of frontends: from keys to what is printed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.views import STATIC, view

from traefikee.api.shown_routes import routes_document
from traefikee.api.view import health
from traefikee.cli.show import notes, routes_table
from traefikee.cluster import state
from traefikee.cluster.records import NodeRecord, ProviderStatus, Report
from traefikee.cluster.roles import Role
from traefikee.cluster.state import from_keys
from traefikee.cluster.store import KeyValue

KEYS = {
    "backends/app/servers/one/url": "http://10.0.0.7:8080",
    "backends/app/servers/two/url": "http://10.0.0.8:8080",
    "backends/app/servers/three/url": "http://10.0.0.9:8080",
    "backends/app/healthcheck/path": "/health",
    "backends/plain/servers/one/url": "http://10.0.0.7:81",
    "frontends/web/backend": "app",
    "frontends/web/entrypoints": "https",
    "frontends/web/priority": "40",
    "frontends/web/routes/a/rule": "Host:a.example",
    "frontends/web/routes/b/rule": "PathPrefixStrip:/api",
    "frontends/web/whitelist/sourcerange": "10.0.0.0/8",
    "frontends/web/auth/basic/users": "test:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
    "frontends/web/ratelimit/extractorfunc": "client.ip",
    "frontends/web/ratelimit/rateset/r/period": "1",
    "frontends/web/ratelimit/rateset/r/average": "10",
    "frontends/web/ratelimit/rateset/r/burst": "20",
    "frontends/plain/backend": "plain",
    "frontends/plain/routes/a/rule": "Host:b.example",
    "frontends/wrong/backend": "plain",
    "frontends/wrong/routes/main/rule": "Hots:a.example",
    "frontends/unread/backend": "plain",
    "frontends/unread/priority": "high",
    "frontends/partly/backend": "plain",
    "frontends/partly/entrypoints": "http,gone",
    "frontends/partly/routes/a/rule": "Path:/x",
    "backends/broken/servers/one/url": "ftp://x",
    "frontends/follows/backend": "broken",
    "frontends/follows/routes/a/rule": "Host:c.example",
}
DOWN = {"consul/app": {"http://10.0.0.9:8080": ("data-1",)}}


def test_the_table() -> None:
    printed = routes_table(routes_document(view(KEYS, down=DOWN))["routes"]).splitlines()
    head, *rows = printed[:8]
    assert head.split("  ")[0] == "Name"
    rule, chain = "Host:a.example;PathPrefixStrip:/api", "whiteList,auth.basic,ratelimit"
    cells = [[cell.strip() for cell in row.split("  ") if cell.strip()] for row in rows[1:]]
    assert cells == [
        ["consul/follows", "Host:c.example", "14", "broken", "1", "error"],
        ["consul/partly", "Path:/x", "7", "http", "plain", "1", "warning"],
        ["consul/plain", "Host:b.example", "14", "http,https", "plain", "1", "ok"],
        ["consul/unread", "0", "0", "error"],
        ["consul/web", rule, "40", "https", chain, "app", "2/3", "ok"],
        ["consul/wrong", "Hots:a.example", "14", "plain", "1", "error"],
    ]  # fmt: skip
    problems = "\n".join(printed[8:])
    for key in (
        "[traefik/frontends/follows/backend]",
        "[traefik/backends/broken/servers/one/url]",
        "[traefik/frontends/partly/entrypoints]",
        "[traefik/frontends/unread/priority]",
        "[traefik/frontends/wrong/routes/main/rule]",
    ):
        assert key in problems
    assert "W6ph5" not in str(printed)


def test_a_server_is_up_if_every_data_node_finds_it_up_and_nobody_knows_without_a_check_or_a_node() -> None:
    def servers(**how: object) -> dict[str, dict[str, int | None]]:
        found = routes_document(view(KEYS, **how))["routes"]  # type: ignore[arg-type]
        return {row["name"]: row["servers"] for row in found if row["name"] in ("consul/web", "consul/plain")}

    one = {"http://10.0.0.7:8080": ("data-1",), "http://10.0.0.8:8080": ("data-1", "data-2")}
    assert servers(down={"consul/app": one}) == {
        "consul/web": {"total": 3, "up": 1},
        "consul/plain": {"total": 1, "up": None},
    }
    assert servers(data_nodes=0)["consul/web"] == {"total": 3, "up": None}


def test_what_data_nodes_report_counts_only_while_they_live() -> None:
    records = [
        NodeRecord(id=name, name=f"data-{name}", role=Role.DATA, certificate_serial="1") for name in ("a", "b", "c")
    ]
    values = {state.NODES + record.id: record.stored() for record in records}
    for name, down in (("a", {"consul/app": ("http://x",)}), ("b", {"consul/app": ("http://x", "http://y")})):
        values[state.ALIVE + name] = Report(agent_version="1", down=down, down_unlisted=2).stored()
    seen = from_keys(7, {key: KeyValue(key, value, 3, 5) for key, value in values.items()})
    assert health(seen) == ({"consul/app": {"http://x": ("data-a", "data-b"), "http://y": ("data-b",)}}, 2, 2)


def test_a_report_of_a_version_before_this_one_is_read() -> None:
    assert Report.model_validate_json('{"agent_version": "0"}').down == {}


def test_what_concerns_all_is_told_beside_the_rows() -> None:
    found = routes_document(view(KEYS))
    assert notes(found, "") == []
    assert notes(routes_document(replace(view(KEYS), down_unlisted=3)), "") == [
        "3 more backends have servers that are down"
    ]
    failing = {"consul": ProviderStatus(state="error", since="", message="connection refused").model_dump()}
    told = notes(found | {"providers": failing, "notes": ["more"]}, "consul")
    assert told == ["consul cannot be read: connection refused; what it said last is in force", "more"]
    assert notes(found | {"providers": failing}, "file") == []


def test_nothing_is_published() -> None:
    assert routes_document(view({}, STATIC))["routes"] == []


@pytest.mark.parametrize(
    ("provider", "source", "kind", "name", "path", "expected"),
    [
        ("consul", "traefik", "frontend", "web", "routes/a/rule", "traefik/frontends/web/routes/a/rule"),
        ("consul", "traefik", "frontend", "web", "", "traefik/frontends/web"),
        ("consul", "traefik", "server", "b/s", "servers/s/url", "traefik/backends/b/servers/s/url"),
        ("consul", "traefik", "server", "b/s", "", "traefik/backends/b/servers/s"),
        ("consul", "traefik", "provider", "", "alias", "traefik/alias"),
        ("consul", "", "tls", "t", "certificate", "tls/t/certificate"),
        ("file", "rules.toml", "backend", "b", "healthCheck.port", "rules.toml: backends.b.healthCheck.port"),
        ("file", "rules.toml", "provider", "", "", "rules.toml"),
        ("static", "", "tls", "https", "entryPoints.https.TLS", "entryPoints.https.TLS"),
    ],
)
def test_places(provider: str, source: str, kind: str, name: str, path: str, expected: str) -> None:
    from traefikee.config.places import place

    assert place(provider, source, kind, name, path) == expected  # type: ignore[arg-type]
