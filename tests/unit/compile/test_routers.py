"""Routers in a compilation: what the engine refuses, and what is remembered of the one before."""

from __future__ import annotations

from typing import Any

from traefikee.compile.compiler import Compiled, Memory, compile_snapshot
from traefikee.config.certificates import CertificatePair
from traefikee.config.dynamic import Backend, DynamicConfiguration, Frontend, Route, Server
from traefikee.config.routers import Router
from traefikee.config.static import StaticConfiguration

STATIC = StaticConfiguration()
GENERATED = CertificatePair(chain_pem="", key_pem="")
BACKEND = Backend(servers={"s": Server(url="http://h")})
LIMIT = {"name": "limit", "type": "inFlightReq", "max_conn": {"amount": 1, "extractor_func": "request.host"}}


def router(**options: Any) -> Router:
    return Router.model_validate({"rule": "Host(`a`) || Path(`/x`)", "service": "b", **options})


CONFIGURATION = DynamicConfiguration(
    backends={"b": BACKEND, "other": BACKEND},
    routers={"one": router(), "two": router(service="other"), "limited": router(middlewares=[LIMIT])},
)


def compiled(
    config: DynamicConfiguration = CONFIGURATION,
    rejected: dict[str, str] | None = None,
    memory: Memory | None = None,
) -> Compiled:
    return compile_snapshot(
        STATIC, {"file": config}, revision=1, default_certificate=GENERATED, rejected=rejected, memory=memory
    )


def ids(result: Compiled) -> tuple[set[str], set[str]]:
    return {route.id for route in result.snapshot.routes}, {service.id for service in result.snapshot.services}


def test_a_route_for_each_alternative_and_a_service_with_what_wraps_it() -> None:
    routes, services = ids(compiled())
    assert routes == {f"file/{name}{suffix}" for name in ("one", "two", "limited") for suffix in ("", "#2")}
    assert services == {"file/b", "file/other", "file/b@limited"}
    chains = {route.id: route.chain for route in compiled().snapshot.routes}
    assert chains["file/one"] == chains["file/one#2"]
    assert chains["file/one"] != chains["file/limited"]


def test_one_refused_route_takes_its_router_along_and_no_other() -> None:
    result = compiled(rejected={"route:file/one#2": "too large"})
    assert ids(result)[0] == {"file/two", "file/two#2", "file/limited", "file/limited#2"}
    assert [error.sentence() for error in result.errors] == ['router "file/one": the engine refuses it: too large']


def test_a_refused_wrapped_service_leaves_the_service_itself() -> None:
    result = compiled(rejected={"service:file/b@limited": "bad expression"})
    assert ids(result) == ({"file/one", "file/one#2", "file/two", "file/two#2"}, {"file/b", "file/other"})
    assert [error.name for error in result.errors] == ["limited"]


def test_memory_changes_nothing() -> None:
    memory = Memory()
    frontend = Frontend(backend="b", routes={"r": Route(rule="Host:a")})
    clash = CONFIGURATION.model_copy(
        update={
            "frontends": {"one#2": frontend},
            "backends": {**CONFIGURATION.backends, "b@limited": BACKEND},
            "routers": {**CONFIGURATION.routers, "two": router(priority=-5)},
        }
    )
    for config in (CONFIGURATION, clash, CONFIGURATION):
        fresh, again = compiled(config), compiled(config, memory=memory)
        assert (again.snapshot, again.errors) == (fresh.snapshot, fresh.errors)
    assert [error.sentence() for error in compiled(clash).errors] == [
        'router "file/limited": "b@limited" is the name of another object; rename that',
        'router "file/one": "one#2" is the name of another object; rename that',
    ]
