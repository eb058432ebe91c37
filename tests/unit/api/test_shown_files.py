"""Frontends and routers of files, as an operator sees them."""

from __future__ import annotations

import pytest
from tests.support.views import file_view

from traefikee.api.explaining import ExplainRequest, explained
from traefikee.api.shown_configuration import configuration_document
from traefikee.api.shown_routes import routes_document
from traefikee.cli.show import request_of, routes_table

RULES = """\
backends:
  app: {servers: {one: {url: "http://10.0.0.7:8080"}}}
frontends:
  old: {backend: app, routes: {r: {rule: "Host:old.example"}}}
http:
  routers:
    either:
      rule: Host(`a.example`) || PathPrefix(`/x`)
      service: web
      middlewares: [users, small]
      entryPoints: [https]
    wrong:
      rule: Hots(`a.example`)
      service: web
  services:
    web: {loadBalancer: {servers: [{url: "http://10.0.0.7"}, {url: "http://10.0.0.8"}]}}
  middlewares:
    users: {basicAuth: {users: ["test:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="]}}
    small: {buffering: {maxRequestBodyBytes: 1000}}
"""


def test_routers_are_rows_beside_frontends_one_for_all_alternatives_of_a_rule() -> None:
    rows = {row["name"]: row for row in routes_document(file_view(RULES))["routes"]}
    assert list(rows) == ["file/either", "file/old", "file/wrong"]
    either = rows["file/either"]
    assert (either["rule"], either["backend"]) == ("Host(`a.example`) || PathPrefix(`/x`)", "web")
    assert (either["state"], either["middlewares"]) == ("ok", ["auth.basic"])
    assert (either["servers"], either["entryPoints"]) == ({"total": 2, "up": None}, ["https"])
    assert rows["file/wrong"]["state"] == "error"


def test_what_causes_an_error_is_a_line_of_a_file() -> None:
    printed = routes_table(routes_document(file_view(RULES))["routes"]).splitlines()
    (problem,) = printed[5:]
    assert problem.startswith("error: file/wrong: ")
    assert problem.endswith("[rules.yaml:13]")


def test_objects_of_files_have_their_place() -> None:
    shown = configuration_document(file_view(RULES))
    routers = shown["dynamic"]["file"]["routers"]
    assert routers["either"]["from"] == "rules.yaml: http.routers.either"
    assert routers["wrong"]["state"] == "error"
    assert shown["dynamic"]["file"]["frontends"]["old"]["from"] == "rules.yaml: frontends.old"
    assert list(shown["merged"]["routers"]) == ["file/either"]
    assert "W6ph5" not in str(shown)


@pytest.mark.parametrize("identity", ["file/either", "file/either#2"])
def test_each_alternative_is_explained_by_its_router(identity: str) -> None:
    route = {"id": identity, "service": "file/web@either", "priority": 39, "servers": [], "pass_host_header": True}
    said = {
        "outcome": "forward", "revision": 7, "route": route, "target": "/", "fields": [], "middlewares": [],
        "request": {"entry_point": "https", "host": "a.example", "path": "/", "method": "GET", "query": None},
        "matching": {"routes": [], "more": 0}, "missing": {"routes": [], "more": 0}, "elsewhere": [],
    }  # fmt: skip
    asked = ExplainRequest.model_validate(request_of("GET", "https://a.example/"))
    found = explained(file_view(RULES), asked, said)
    assert found["frontend"] == {
        "name": identity,
        "from": "rules.yaml: http.routers.either",
        "rule": "Host(`a.example`) || PathPrefix(`/x`)",
        "priority": 39,
        "backend": "file/web",
    }
    assert [server["url"] for server in found["servers"]] == ["http://10.0.0.7", "http://10.0.0.8"]
