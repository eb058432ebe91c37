"""What `config show` prints of a configuration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import yaml
from tests.support.views import view

from traefikee.api.shown_configuration import configuration_document
from traefikee.api.view import View

FILES = Path(__file__).parents[2] / "golden" / "files"
CERTIFICATE, KEY = (FILES / "a.example.crt").read_text(), (FILES / "a.example.key").read_text()
KEYS = {
    "backends/app/servers/one/url": "http://10.0.0.7:8080",
    "frontends/web/backend": "app",
    "frontends/web/entrypoints": "https",
    "frontends/web/routes/a/rule": "Host:a.example",
    "frontends/web/auth/basic/users": "test:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
    "frontends/web/ratelimit/extractorfunc": "client.ip",
    "frontends/web/ratelimit/rateset/r/period": "1m30s",
    "frontends/web/ratelimit/rateset/r/average": "10",
    "frontends/web/ratelimit/rateset/r/burst": "20",
    "frontends/wrong/backend": "app",
    "frontends/wrong/routes/main/rule": "Hots:a.example",
    "frontends/unread/priority": "high",
    "tls/own/entrypoints": "https",
    "tls/own/certificate/certfile": CERTIFICATE,
    "tls/own/certificate/keyfile": KEY,
    "tls/bad/entrypoints": "http",
    "tls/bad/certificate/certfile": CERTIFICATE,
    "tls/bad/certificate/keyfile": KEY,
}


def test_the_static_part_is_as_a_file_would_have_it_with_who_deployed_it() -> None:
    assert configuration_document(view(KEYS), "static") == {
        "static": {
            "number": 4,
            "at": "2026-01-02T03:04:05+00:00",
            "by": "me@here",
            "command": "deploy",
            "configuration": {
                "entryPoints": {
                    "http": {"address": ":80", "redirect": {"entryPoint": "https"}},
                    "https": {"address": ":443", "tls": True, "auth": {"basic": {"users": "***"}}},
                },
                "defaultEntryPoints": ["http", "https"],
                "consul": {"endpoint": "10.0.0.1:8500", "username": "me", "password": "***"},
            },
        }
    }


def test_names_of_entry_points_may_contain_dots() -> None:
    static = (
        ("entryPoints", "Name:a Address::80"),
        ("entryPoints", "Name:a.tls Address::81 WhiteList.SourceRange:10.0.0.0/8"),
    )
    shown = configuration_document(view({}, static), "static")["static"]["configuration"]["entryPoints"]
    assert shown == {"a": {"address": ":80"}, "a.tls": {"address": ":81", "whiteList": {"sourceRange": ["10.0.0.0/8"]}}}


def test_the_dynamic_part_has_every_object_with_its_key_and_what_is_wrong_with_it() -> None:
    shown = configuration_document(view(KEYS), "dynamic")["dynamic"]["consul"]
    assert (shown["state"], shown["source"]) == ("ok", "traefik")
    frontends = shown["frontends"]
    assert {name: (one["from"], one["state"]) for name, one in frontends.items()} == {
        "unread": ("traefik/frontends/unread", "error"),
        "web": ("traefik/frontends/web", "ok"),
        "wrong": ("traefik/frontends/wrong", "error"),
    }
    assert frontends["wrong"]["errors"][0]["key"] == "traefik/frontends/wrong/routes/main/rule"
    assert frontends["wrong"]["configuration"]["routes"] == {"main": {"rule": "Hots:a.example"}}
    assert frontends["unread"]["configuration"] is None
    assert frontends["web"]["configuration"]["auth"] == {"basic": {"users": ["***"]}}
    assert frontends["web"]["configuration"]["ratelimit"]["rateset"]["r"]["period"] == "90s"
    assert shown["tls"]["bad"]["state"] == "error"
    assert shown["tls"]["own"]["configuration"]["keyFile"] == "***"


def test_the_merged_part_has_what_is_in_force() -> None:
    merged = configuration_document(view(KEYS), "merged")["merged"]
    assert (merged["revision"], merged["configuration"]) == (7, 4)
    assert merged["entryPoints"]["http"]["from"] == "static configuration 4"
    assert list(merged["frontends"]) == ["consul/web"]
    web = merged["frontends"]["consul/web"]
    assert (web["provider"], web["from"]) == ("consul", "traefik/frontends/web")
    assert (web["configuration"]["entryPoints"], web["configuration"]["priority"]) == (["https"], 14)
    assert list(merged["backends"]) == ["consul/app"]
    assert list(merged["tls"]) == ["consul/own"]


def test_a_deployment_that_is_not_in_force_is_not_in_the_merged_part() -> None:
    seen = view(KEYS)
    assert seen.pointer is not None
    failed = replace(seen, pointer=seen.pointer.model_copy(update={"failure": "no"}))
    assert configuration_document(failed, "merged")["merged"]["entryPoints"] == {}
    assert configuration_document(failed, "static")["static"]["number"] == 4


def test_nothing_secret_is_shown_and_all_of_it_is_plain_data() -> None:
    shown = yaml.safe_dump(configuration_document(view(KEYS)))
    for secret in ("W6ph5", "secretword", "PRIVATE KEY", *(line for line in KEY.splitlines()[1:-1])):
        assert secret not in shown
    assert "PEM with SHA-256" in shown


def test_before_anything_is_deployed() -> None:
    assert configuration_document(View()) == {
        "static": None,
        "dynamic": {},
        "merged": {
            "revision": None,
            "configuration": None,
            "entryPoints": {},
            "frontends": {},
            "backends": {},
            "tls": {},
            "routers": {},
        },
    }
