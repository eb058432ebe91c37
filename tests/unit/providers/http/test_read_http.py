"""Whatever the tables of Traefik 2 hold becomes a snapshot, and what is wrong is told on its object."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from traefikee.compile.compiler import compile_snapshot
from traefikee.compile.snapshot import Snapshot
from traefikee.config.certificates import CertificatePair
from traefikee.config.documents import Document
from traefikee.config.http_tables import MiddlewareTable, RouterTable, ServiceTable
from traefikee.config.static import EntryPoint, EntryPointTLS, StaticConfiguration
from traefikee.providers.file.content import PROVIDER, Content, read_content
from traefikee.providers.layout import Key, layout_of

STATIC = StaticConfiguration(
    entry_points=(EntryPoint(name="http", address=":80"), EntryPoint(name="https", address=":443", tls=EntryPointTLS()))
)
GENERATED = CertificatePair(chain_pem="", key_pem="")
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "text": st.sampled_from(["a", "b", "a@file", "c@docker", "http://h", "/x", "10s", "v2", "wrr", "https", ""]),
    "list": st.lists(
        st.sampled_from(["a", "b", "http", "https", "/x", "^/x", "10.0.0.0/8", "404", "500-599"]), max_size=3
    ),
    "bool": st.booleans(),
    "int": st.sampled_from([0, 1, 5, -1, 2**70]),
    "duration": st.sampled_from([0, 1, "10s", "x"]),
}
WRONG = st.sampled_from([None, 1, "x", True, [], {}, [1], {"x": 1}, 1.5])
GOOD_RULES = ["Host(`a`)", "Host(`a`) || !Path(`/x`)", "Method(`GET`) && ClientIP(`::1`)", "PathRegexp(`/x`)"]
RULES = st.sampled_from([*GOOD_RULES, *GOOD_RULES, "Hots(`a`)", "PathRegexp(`(`)"])


def table_of(layout: Key) -> st.SearchStrategy[Any]:
    """Tables of this layout, of which some values are of the wrong kind."""
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for key in layout.children.values():
        name = "x-a" if key.name == "*" else key.name
        if name == "rule":
            fields[name] = RULES
        elif key.kind == "tables":
            fields[name] = st.lists(table_of(Key(name, children=key.children)), max_size=2)
        elif key.kind is None:
            fields[name] = table_of(key)
        else:
            fields[name] = VALUES[key.kind]
    names = st.lists(st.sampled_from(sorted(fields)), max_size=4, unique=True)
    good = names.flatmap(lambda chosen: st.fixed_dictionaries({name: fields[name] for name in chosen}))
    return st.integers(0, 19).flatmap(lambda number: good if number else WRONG)


GOOD_MIDDLEWARES = [
    {"addPrefix": {"prefix": "/x"}},
    {"stripPrefix": {"prefixes": ["/x"]}},
    {"headers": {"customRequestHeaders": {"X-A": "1"}}},
    {"rateLimit": {"average": 5}},
    {"inFlightReq": {"amount": 1}},
    {"buffering": {}},
    {"redirectRegex": {"regex": "a", "replacement": "b"}},
    {"errors": {"status": ["404"], "service": "a"}},
    {"chain": {"middlewares": ["b", "c"]}},
]


def middleware() -> st.SearchStrategy[Any]:
    """Tables of one type each."""
    kinds = [Key(key.name, children={name: key}) for name, key in layout_of(MiddlewareTable).children.items()]
    any_kind = st.sampled_from(kinds).flatmap(
        lambda kind: st.fixed_dictionaries({kind.name: table_of(next(iter(kind.children.values())))})
    )
    return st.one_of(st.sampled_from(GOOD_MIDDLEWARES), st.sampled_from(GOOD_MIDDLEWARES), any_kind)


def named(table: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(st.sampled_from(["a", "b", "c"]), table, min_size=1, max_size=3)


HTTP = st.fixed_dictionaries(
    {
        "routers": named(
            st.one_of(
                st.builds(
                    lambda rule, middlewares, tls: {
                        "rule": rule, "service": "a", "middlewares": middlewares, **({"tls": {}} if tls else {})
                    },
                    RULES,
                    st.lists(st.sampled_from(["a", "b", "c@file"]), max_size=2),
                    st.booleans(),
                ),
                table_of(layout_of(RouterTable)),
            )
        ),
        "services": st.builds(
            lambda good, others: others | {"a": good},
            st.just({"loadBalancer": {"servers": [{"url": "http://h"}]}}),
            named(table_of(layout_of(ServiceTable))),
        ),
        "middlewares": st.fixed_dictionaries({name: middleware() for name in "abc"}),
    }
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(HTTP)
def test_whatever_tables_hold_is_served_or_told(http: dict[str, Any]) -> None:
    def no_file(name: str) -> bytes:
        raise FileNotFoundError(name)

    content = read_content([Document("rules.yaml", {"http": http})], no_file)
    assert Content.model_validate_json(content.to_json()) == content
    compiled = compile_snapshot(STATIC, {PROVIDER: content.configuration}, revision=1, default_certificate=GENERATED)
    assert Snapshot.from_json(compiled.snapshot.to_json()) == compiled.snapshot
    errors = (*content.errors, *compiled.errors)
    wrong = {error.name for error in errors if error.kind == "router" and error.severity == "error"}
    served = {route.id.partition("/")[2].partition("#")[0] for route in compiled.snapshot.routes}
    assert served.isdisjoint(wrong)
    assert served | wrong == set(http["routers"]), "none is left out without a word"
    services = {service.id for service in compiled.snapshot.services}
    assert {route.service for route in compiled.snapshot.routes} <= services
