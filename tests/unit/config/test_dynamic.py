from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from traefikee.config.dynamic import Backend, DynamicConfiguration, Frontend, Route, Server, TLSCertificate
from traefikee.config.dynamic_api import to_api
from traefikee.config.frontend_options import Rate, RateLimit
from traefikee.config.middlewares import Auth, BasicAuth
from traefikee.config.routers import Router, RouterMiddleware
from traefikee.config.runtime import MOST_TOLD, ObjectError, Severity, spelt, told

CONFIGURATION = DynamicConfiguration(
    frontends={
        "f2": Frontend(backend="b", pass_host_header=False),
        "f1": Frontend(backend="b", entry_points=("http",), priority=3, routes={"r": Route(rule="Host:a")}),
    },
    backends={"b": Backend(servers={"s": Server(url="http://h", weight=0)}), "a": Backend()},
    tls={"t": TLSCertificate(entry_points=("https",), cert_file="c.pem", key_file="geheim")},
)


def test_both_spellings_are_read() -> None:
    text = '{"frontends": {"f": {"backend": "b", "entryPoints": ["x"], "passHostHeader": false}}}'
    snake = text.replace("entryPoints", "entry_points").replace("passHostHeader", "pass_host_header")
    assert DynamicConfiguration.model_validate_json(text) == DynamicConfiguration.model_validate_json(snake)
    with pytest.raises(ValidationError, match="entrypoints"):
        DynamicConfiguration.model_validate_json(text.replace("entryPoints", "entrypoints"))


def test_json_round_trip() -> None:
    assert DynamicConfiguration.model_validate_json(CONFIGURATION.model_dump_json()) == CONFIGURATION
    assert "geheim" not in repr(CONFIGURATION)


def test_the_apis_shape() -> None:
    shown = to_api(CONFIGURATION)
    assert json.loads(json.dumps(shown)) == {
        "backends": {
            "a": {"loadBalancer": {"method": "wrr"}},
            "b": {"servers": {"s": {"url": "http://h", "weight": 0}}, "loadBalancer": {"method": "wrr"}},
        },
        "frontends": {
            "f1": {
                "entryPoints": ["http"],
                "backend": "b",
                "routes": {"r": {"rule": "Host:a"}},
                "passHostHeader": True,
                "priority": 3,
                "basicAuth": None,
            },
            "f2": {"backend": "b", "priority": 0, "basicAuth": None},
        },
    }
    assert list(shown["frontends"]) == ["f1", "f2"]
    assert to_api(DynamicConfiguration()) == {}


def test_routers_in_the_api_hold_no_secrets() -> None:
    users = Auth(basic=BasicAuth(users=("a:geheim",), users_file="b:geheim"))
    limit = RateLimit(rate_set={"rate": Rate(period=1, average=5, burst=1)}, extractor_func="client.ip")
    middlewares = (
        RouterMiddleware(name="users", type="basicAuth", auth=users),
        RouterMiddleware(name="limit", type="rateLimit", rate_limit=limit),
    )
    router = Router(rule="Host(`a`)", service="s", middlewares=middlewares)
    shown = json.loads(json.dumps(to_api(DynamicConfiguration(routers={"r": router}))))
    assert shown["routers"]["r"]["rule"] == "Host(`a`)"
    assert [one["name"] for one in shown["routers"]["r"]["middlewares"]] == ["users", "limit"]
    assert "geheim" not in json.dumps(shown)


def test_sentences() -> None:
    error = ObjectError(
        provider="consul",
        kind="frontend",
        name="web",
        path="routes/r1/rule",
        message='route "r1": unknown matcher "Hots"; did you mean "Host"?',
    )
    assert error.sentence() == 'frontend "consul/web": route "r1": unknown matcher "Hots"; did you mean "Host"?'
    assert ObjectError.model_validate_json(error.model_dump_json()) == error
    whole = ObjectError(provider="consul", kind="provider", name="", path="", message="its answer cannot be read")
    assert whole.sentence() == 'provider "consul": its answer cannot be read'


def problem(number: int, severity: Severity = "error", provider: str = "consul") -> ObjectError:
    return ObjectError(provider=provider, kind="frontend", name=f"f{number}", path="", message="x", severity=severity)


def test_few_errors_are_all_told_once() -> None:
    errors = [problem(2, "warning"), problem(1), problem(3, provider="file")]
    assert told(errors + errors) == tuple(errors)
    assert told([]) == ()


def test_of_many_the_errors_are_told_first() -> None:
    warnings = [problem(number, "warning") for number in range(MOST_TOLD)]
    shown = told([*warnings, problem(9999), problem(1, provider="file")])
    assert len(shown) == MOST_TOLD + 2
    assert shown[0] == problem(9999)
    assert shown[-2].sentence() == 'provider "consul": 1 more errors and warnings are not listed'
    assert shown[-2].severity == "warning"
    assert shown[-1].provider == "file"


def test_where_in_an_object() -> None:
    assert spelt("consul", "routes.*.rule", "MyRoute") == "routes/MyRoute/rule"
    assert spelt("etcdv3", "healthCheck.port") == "healthcheck/port"
    assert spelt("file", "ratelimit.rateset.*.period", "A.b") == "ratelimit.rateset.A.b.period"
