from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from traefikee.compile import snapshot_middlewares as middle
from traefikee.compile.compiler import Compiled, Memory, compile_snapshot
from traefikee.config.certificates import CertificatePair
from traefikee.config.dynamic import (
    Backend,
    DynamicConfiguration,
    Frontend,
    LoadBalancer,
    Route,
    Server,
    TLSCertificate,
)
from traefikee.config.static import EntryPoint, EntryPointTLS, StaticConfiguration

FILES = Path(__file__).parents[2] / "golden" / "files"


def pair(name: str) -> CertificatePair:
    return CertificatePair(chain_pem=(FILES / f"{name}.crt").read_text(), key_pem=(FILES / f"{name}.key").read_text())


GENERATED, A, B = pair("default.example"), pair("a.example"), pair("b.example")
HTTP, HTTPS = EntryPoint(name="http", address=":80"), EntryPoint(name="https", address=":443", tls=EntryPointTLS())
STATIC = StaticConfiguration(entry_points=(HTTP, HTTPS), default_entry_points=("http", "https"))


def compiled(
    dynamic: dict[str, DynamicConfiguration] | DynamicConfiguration,
    static: StaticConfiguration = STATIC,
    rejected: dict[str, str] | None = None,
) -> Compiled:
    providers = {"file": dynamic} if isinstance(dynamic, DynamicConfiguration) else dynamic
    return compile_snapshot(static, providers, revision=3, default_certificate=GENERATED, rejected=rejected or {})


def sentences(result: Compiled) -> list[tuple[str, str]]:
    return [(error.severity, error.sentence()) for error in result.errors]


def frontend(rule: str = "Host:a", backend: str = "b", **fields: object) -> Frontend:
    return Frontend.model_validate({"backend": backend, "routes": {"r": {"rule": rule}}, **fields})


GOOD_BACKEND = Backend(servers={"s": Server(url="http://h")})


def test_two_providers_may_use_the_same_names() -> None:
    config = DynamicConfiguration(frontends={"f": frontend()}, backends={"b": GOOD_BACKEND})
    snapshot = compiled({"file": config, "consul": config}).snapshot
    assert [(route.id, route.service) for route in snapshot.routes] == [
        ("consul/f", "consul/b"),
        ("file/f", "file/b"),
    ]
    assert [service.id for service in snapshot.services] == ["consul/b", "file/b"]
    assert snapshot.revision == 3


def test_backends_are_looked_up_in_their_own_provider() -> None:
    result = compiled(
        {
            "consul": DynamicConfiguration(frontends={"f": frontend(backend="b1")}),
            "file": DynamicConfiguration(backends={"b1": GOOD_BACKEND}),
        }
    )
    assert sentences(result) == [("error", 'frontend "consul/f": backend "b1" is not defined')]
    near = DynamicConfiguration(frontends={"f": frontend(backend="backend")}, backends={"backend1": GOOD_BACKEND})
    assert sentences(compiled(near)) == [
        ("error", 'frontend "file/f": backend "backend" is not defined; did you mean "backend1"?')
    ]


def test_what_is_in_force() -> None:
    config = DynamicConfiguration(
        frontends={"f": frontend(), "g": frontend("Hots:a"), "h": frontend(entry_points=["nope", "http"])},
        backends={"b": GOOD_BACKEND, "c": Backend(servers={"s": Server(url="x")})},
    )
    effective = compiled(config).effective["file"]
    assert {name: one.entry_points for name, one in effective.frontends.items()} == {
        "f": ("http", "https"),
        "h": ("http",),
    }
    assert list(effective.backends) == ["b"]


def test_methods() -> None:
    names = ("DRR", "Wrr", "zzz")
    config = DynamicConfiguration(
        backends={name: Backend(load_balancer=LoadBalancer(method=name)) for name in names},
        frontends={name: frontend(backend=name) for name in names},
    )
    result = compiled(config)
    text = 'load balancer method "zzz" is unknown, wrr is used; it has to be wrr or drr'
    assert sentences(result) == [("warning", f'backend "file/zzz": loadBalancer.method: {text}')]
    assert {one.id: one.balancer for one in result.snapshot.services} == {
        "file/DRR": "drr",
        "file/Wrr": "wrr",
        "file/zzz": "wrr",
    }
    assert result.effective["file"].backends["zzz"].load_balancer.method == "wrr"


def test_certificates_without_entry_points_go_to_the_default_ones_with_tls() -> None:
    certificate = TLSCertificate(cert_file=A.chain_pem, key_file=A.key_pem)
    result = compiled(DynamicConfiguration(tls={"t": certificate}))
    assert result.errors == ()
    tls = result.snapshot.entry_points[1].tls
    assert tls is not None
    assert tls.certificates == (A.id,)
    assert tls.default_certificate == GENERATED.id
    plain = STATIC.model_copy(update={"default_entry_points": ("http",)})
    assert sentences(compiled(DynamicConfiguration(tls={"t": certificate}), plain)) == [
        ("error", 'tls "file/t": entry point "http" has no TLS')
    ]


def test_the_same_certificate_twice_is_one() -> None:
    certificate = TLSCertificate(entry_points=("https",), cert_file=A.chain_pem, key_file=A.key_pem)
    static = STATIC.model_copy(
        update={"entry_points": (HTTPS.model_copy(update={"tls": EntryPointTLS(certificates=(B, A))}),)}
    )
    snapshot = compiled(DynamicConfiguration(tls={"t": certificate, "u": certificate}), static).snapshot
    tls = snapshot.entry_points[0].tls
    assert tls is not None
    assert tls.certificates == (B.id, A.id)
    assert tls.default_certificate == B.id
    assert {one.id for one in snapshot.certificates} == {A.id, B.id}


def test_a_refused_certificate() -> None:
    certificate = TLSCertificate(entry_points=("https",), cert_file=A.chain_pem, key_file=A.key_pem)
    static = STATIC.model_copy(
        update={"entry_points": (HTTPS.model_copy(update={"tls": EntryPointTLS(certificates=(A, B))}),)}
    )
    result = compiled(DynamicConfiguration(tls={"t": certificate}), static, {f"certificate:{A.id}": "no use"})
    assert sentences(result) == [
        ("error", 'tls "static/https": the engine refuses it: no use'),
        ("error", 'tls "file/t": the engine refuses it: no use'),
    ]
    tls = result.snapshot.entry_points[0].tls
    assert tls is not None
    assert (tls.certificates, tls.default_certificate) == ((B.id,), B.id)
    assert A.id not in {one.id for one in result.snapshot.certificates}


def test_a_refused_service_takes_its_frontends_along() -> None:
    config = DynamicConfiguration(
        frontends={"f": frontend(), "g": frontend(backend="c")}, backends={"b": GOOD_BACKEND, "c": GOOD_BACKEND}
    )
    result = compiled(config, rejected={"service:file/b": "no use", "route:file/zzz": "unknown"})
    assert sentences(result) == [
        ("error", 'backend "file/b": the engine refuses it: no use'),
        ("error", 'frontend "file/f": its backend "b" has an error'),
    ]
    assert [route.id for route in result.snapshot.routes] == ["file/g"]


def test_the_service_of_an_error_page_is_there_and_refused_with_it() -> None:
    page = {"e": {"status": ["404"], "backend": "pages", "query": "/{status}"}}
    config = DynamicConfiguration(
        frontends={"f": frontend(errors=page)}, backends={"b": GOOD_BACKEND, "pages": GOOD_BACKEND}
    )
    snapshot = compiled(config).snapshot
    assert [service.id for service in snapshot.services] == ["file/b", "file/pages"]
    assert snapshot.routes[0].middlewares == (
        middle.Errors(pages=(middle.ErrorPage(status=((404, 404),), service="file/pages", query="/{status}"),)),
    )
    result = compiled(config, rejected={"service:file/pages": "no use"})
    assert sentences(result) == [
        ("error", 'backend "file/pages": the engine refuses it: no use'),
        ("warning", 'frontend "file/f": errors.e.backend: backend "pages" has an error; the page is left out'),
    ]
    assert result.snapshot.routes[0].middlewares == ()


def test_chains() -> None:
    one: dict[str, Any] = {"headers": {"frame_deny": True}}
    config = DynamicConfiguration(
        frontends={
            "a": frontend("Host:a", **one),
            "b": frontend("Host:b", entry_points=["http"], **one),
            "c": frontend("Host:a", priority=7, **one),
            "d": frontend("Host:a", backend="c", **one),
            "e": frontend("Host:a"),
        },
        backends={"b": GOOD_BACKEND, "c": GOOD_BACKEND},
    )
    result = compiled({"file": config, "consul": config}).snapshot
    chains = {route.id: route.chain for route in result.routes}
    assert chains["file/a"] == chains["file/b"]
    assert len(set(chains.values())) == 8
    assert {name: chain for name, chain in chains.items() if name.split("/")[0] != chain.split("/")[0]} == {}


def test_great_priorities_keep_their_order() -> None:
    config = DynamicConfiguration(
        frontends={"a": frontend(priority=2**40), "b": frontend(priority=2**41)}, backends={"b": GOOD_BACKEND}
    )
    routes = compiled(config).snapshot.routes
    assert [(route.id, route.priority) for route in routes] == [("file/b", 2**41), ("file/a", 2**40)]


_RULES = st.sampled_from(["Host:a", "Hots:a", "Path:/x", "PathPrefixStrip:/y;Method:get", "Path:x", "AddPrefix:/z", ""])


def _made(model: type[BaseModel], **fields: st.SearchStrategy[object]) -> st.SearchStrategy[BaseModel]:
    """Like ``st.builds``, which would take the fields' aliases for further arguments."""
    return st.fixed_dictionaries(fields).map(model.model_validate)


_OPTIONS: dict[str, st.SearchStrategy[object]] = {
    "errors": st.dictionaries(
        st.sampled_from(["e1", "e2"]),
        st.fixed_dictionaries(
            {
                "backend": st.sampled_from(["b1", "b2", "b3", ""]),
                "status": st.sampled_from([("404",), ("500-599", "404"), ("x",), ()]),
            }
        ),
        max_size=2,
    ),
    "white_list": st.sampled_from([None, {"source_range": ["::1"]}, {"source_range": ["x"]}, {}]),
    "redirect": st.sampled_from([None, {"entry_point": "https"}, {"entry_point": "zzz"}, {"regex": "a"}]),
    "auth": st.sampled_from([None, {}, {"basic": {"users": ["a:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "b:c"]}}]),
    "rate_limit": st.sampled_from([None, {"extractor_func": "client.ip"}, {"extractor_func": "x"}]),
    "headers": st.sampled_from([None, {"custom_request_headers": {"a": "b"}}, {"sts_seconds": -1}]),
}
_FRONTENDS = _made(
    Frontend,
    **_OPTIONS,
    backend=st.sampled_from(["b1", "b2", "b3"]),
    entry_points=st.lists(st.sampled_from(["http", "https", "nope"]), max_size=3).map(tuple),
    priority=st.integers(-1, 20),
    pass_host_header=st.booleans(),
    routes=st.dictionaries(st.sampled_from(["r1", "r2"]), _made(Route, rule=_RULES), max_size=2),
)
_SERVERS = _made(Server, url=st.sampled_from(["http://h", "h2c://h", "https://h:1"]), weight=st.integers(-1, 3))
_BACKENDS = _made(
    Backend,
    servers=st.dictionaries(st.sampled_from(["s1", "s2"]), _SERVERS, max_size=2),
    load_balancer=st.sampled_from([{}, {"method": "x"}, {"sticky": True}, {"stickiness": {"same_site": "x"}}]),
    health_check=st.sampled_from([None, {"path": "/"}, {"path": "/", "interval": "1"}, {"path": "//"}]),
    max_conn=st.sampled_from([None, {"amount": 1, "extractor_func": "client.ip"}, {"amount": 1}]),
)
_TLS = _made(
    TLSCertificate,
    entry_points=st.lists(st.sampled_from(["http", "https", "nope"]), max_size=2).map(tuple),
    cert_file=st.sampled_from([A.chain_pem, B.chain_pem, "x"]),
    key_file=st.sampled_from([A.key_pem, B.key_pem]),
)
_CONFIGURATIONS = _made(
    DynamicConfiguration,
    frontends=st.dictionaries(st.sampled_from(["f1", "f2", "f3"]), _FRONTENDS, max_size=3),
    backends=st.dictionaries(st.sampled_from(["b1", "b2"]), _BACKENDS, max_size=2),
    tls=st.dictionaries(st.sampled_from(["t1", "t2"]), _TLS, max_size=2),
)


def shuffled(config: DynamicConfiguration, seed: int) -> DynamicConfiguration:
    def shuffle(value: object) -> object:
        if isinstance(value, dict):
            items = list(value.items())
            random.Random(seed).shuffle(items)
            return {name: shuffle(inner) for name, inner in items}
        return value

    return DynamicConfiguration.model_validate(shuffle(config.model_dump()))


@given(_CONFIGURATIONS, _CONFIGURATIONS, st.integers())
def test_the_order_of_mappings_does_not_matter(
    one: DynamicConfiguration, other: DynamicConfiguration, seed: int
) -> None:
    result = compiled({"consul": one, "file": other})
    again = compiled({"file": shuffled(other, seed), "consul": shuffled(one, seed)})
    assert result.snapshot.to_json() == again.snapshot.to_json()
    assert result.errors == again.errors
    assert result.effective == again.effective


@given(_CONFIGURATIONS, _FRONTENDS, _BACKENDS, _TLS)
def test_another_object_never_changes_what_the_others_become(
    config: DynamicConfiguration, frontend: Frontend, backend: Backend, certificate: TLSCertificate
) -> None:
    more = DynamicConfiguration(
        frontends=config.frontends | {"new": frontend},
        backends=config.backends | {"new": backend},
        tls=config.tls | {"new": certificate},
    )
    before, after = compiled(config), compiled(more)
    assert [route for route in after.snapshot.routes if route.id != "file/new"] == list(before.snapshot.routes)
    kept = {service.id: service for service in after.snapshot.services}
    assert all(kept[service.id] == service for service in before.snapshot.services)
    names = ("new", "new/s1", "new/s2")
    assert tuple(error for error in after.errors if error.name not in names) == before.errors


@given(_CONFIGURATIONS)
def test_each_frontend_is_either_served_or_has_an_error(config: DynamicConfiguration) -> None:
    result = compiled(config)
    served = {route.id.removeprefix("file/") for route in result.snapshot.routes}
    failed = {error.name for error in result.errors if error.kind == "frontend" and error.severity == "error"}
    assert served | failed == set(config.frontends)
    assert not served & failed
    assert served == set(result.effective["file"].frontends)
    services = {service.id for service in result.snapshot.services}
    pages = {
        page.service
        for route in result.snapshot.routes
        for one in route.middlewares
        if isinstance(one, middle.Errors)
        for page in one.pages
    }
    assert services == {route.service for route in result.snapshot.routes} | pages


@given(_CONFIGURATIONS)
def test_what_is_in_force_compiles_to_the_same_without_errors(config: DynamicConfiguration) -> None:
    first = compiled(config)
    again = compiled(first.effective["file"])
    assert again.errors == ()
    assert again.snapshot == first.snapshot


@pytest.mark.parametrize("rejected", [{}, {"route:consul/f": "x", "entry_point:http": "y", "nonsense": "z"}])
def test_nothing_at_all(rejected: dict[str, str]) -> None:
    result = compiled({}, rejected=rejected)
    assert result.errors == ()
    assert result.effective == {}
    assert result.snapshot.routes == ()


SOME_FRONTENDS = st.sampled_from(
    [
        frontend(),
        frontend("Host:b"),
        frontend("Hots:a"),
        frontend(backend="other"),
        frontend(entry_points=("x", "http")),
        frontend(errors={"e": {"status": ["404"], "backend": "other"}}),
        frontend(errors={"e": {"status": ["404"], "backend": "othe"}}),
        frontend(redirect={"entry_point": "https"}),
        frontend(auth={"basic": {"users": ["a:b"]}}, headers={"frame_deny": True}),
    ]
)
SOME_BACKENDS = st.sampled_from(
    [
        GOOD_BACKEND,
        GOOD_BACKEND.model_copy(update={"load_balancer": LoadBalancer(method="x")}),
        Backend(servers={"s": Server(url="nonsense")}),
        Backend(),
    ]
)
SOME_CONFIGURATIONS = st.builds(
    DynamicConfiguration,
    frontends=st.dictionaries(st.sampled_from("fgh"), SOME_FRONTENDS),
    backends=st.dictionaries(st.sampled_from(["b", "other"]), SOME_BACKENDS),
)
SOME_REFUSALS = st.dictionaries(st.sampled_from(["route:file/f", "service:file/b"]), st.sampled_from(["x", "y"]))


@given(
    st.lists(
        st.tuples(SOME_CONFIGURATIONS, SOME_REFUSALS, st.sampled_from([STATIC, StaticConfiguration()])), max_size=5
    )
)
def test_what_was_compiled_before_changes_nothing(
    steps: list[tuple[DynamicConfiguration, dict[str, str], StaticConfiguration]],
) -> None:
    memory = Memory()
    for config, rejected, static in steps:
        again = compile_snapshot(
            static, {"file": config}, revision=3, default_certificate=GENERATED, rejected=rejected, memory=memory
        )
        assert again == compiled(config, static, rejected)


def test_what_comes_out_the_same_is_the_same() -> None:
    memory = Memory()

    def routes(rule: str) -> dict[str, object]:
        config = DynamicConfiguration(frontends={"f": frontend(), "g": frontend(rule)}, backends={"b": GOOD_BACKEND})
        result = compile_snapshot(STATIC, {"file": config}, revision=3, default_certificate=GENERATED, memory=memory)
        return {route.id: route for route in result.snapshot.routes}

    before, after = routes("Host:b"), routes("Host:c")
    assert after["file/f"] is before["file/f"]
    assert after["file/g"] != before["file/g"]
