from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traefikee.config.durations import parse_duration
from traefikee.config.dynamic import DynamicConfiguration, Frontend, Route, Server
from traefikee.providers import layout
from traefikee.providers.decoded import Decoded
from traefikee.providers.kv import decode
from traefikee.providers.layout import Key
from traefikee.providers.mapping import dynamic_from_mapping

GOOD: dict[str, Any] = {
    "backends": {"b": {"servers": {"s": {"url": "http://h"}}}},
    "frontends": {"f": {"backend": "b", "routes": {"r": {"rule": "Host:a"}}}},
}
GOOD_FRONTEND = Frontend(backend="b", pass_host_header=False, routes={"r": Route(rule="Host:a")})


def decoded(data: dict[Any, Any]) -> Decoded:
    return dynamic_from_mapping(data, "file")


def errors(data: dict[Any, Any]) -> list[str]:
    return [error.sentence() for error in decoded(data).errors]


def frontend(**options: Any) -> dict[str, Any]:
    return GOOD | {"frontends": {"f": GOOD["frontends"]["f"] | options}}


def backend(**options: Any) -> dict[str, Any]:
    return GOOD | {"backends": {"b": GOOD["backends"]["b"] | options}}


def test_the_defaults_are_those_of_files() -> None:
    result = decoded(GOOD)
    assert (result.errors, result.notes) == ((), ())
    assert result.configuration.frontends == {"f": GOOD_FRONTEND}
    assert result.configuration.backends["b"].servers == {"s": Server(url="http://h", weight=0)}
    assert decoded({}).configuration == DynamicConfiguration()
    assert decoded({"backends": None, "tls": None, "frontends": {}}) == decoded({})


PROBES: dict[str, tuple[Any, object]] = {
    "text": ("x", "x"),
    "raw": (" x", " x"),
    "list": (["x", "y"], ("x", "y")),
    "bool": (True, True),
    "int": (7, 7),
    "duration": ("1m", 60.0),
}
LEAVES = [("frontends", path, key) for path, key in layout.FRONTEND.leaves()]
LEAVES += [("backends", path, key) for path, key in layout.BACKEND.leaves()]
NEEDED: dict[str, dict[str, Any]] = {"healthcheck": {"path": "/"}, "servers": {"X": {"url": "http://x"}}}


def spelling(group: str, path: str) -> list[str]:
    level, names = layout.FRONTEND if group == "frontends" else layout.BACKEND, []
    for part in path.split("/"):
        level = level.children[part]
        names.append("X" if part == "*" else level.name)
    return names


@pytest.mark.parametrize("change", [str, str.lower, str.upper])
@pytest.mark.parametrize(("group", "path", "key"), LEAVES, ids=[path for _, path, _ in LEAVES])
def test_each_key_fills_its_field_in_any_case(group: str, path: str, key: Key, change: Any) -> None:
    given, expected = ("b", "b") if path == "backend" else PROBES[key.kind or ""]
    names = spelling(group, path)
    first = names[0].lower()
    value: Any = given
    for name in reversed(names[1:]):
        value = {name if name == "X" else change(name): value}
    if first in NEEDED and path != "healthcheck/path":
        beside = NEEDED[first]
        value = beside | value if first == "healthcheck" else {"X": beside["X"] | value["X"]}
        if path == "servers/*/url":
            value = {"X": {change("url"): given}}
    item: dict[str, Any] = {change(names[0]): value}
    if group == "frontends" and path != "backend":
        item["backend"] = "b"
    result = decoded({"backends": GOOD["backends"]} | {group: GOOD[group] | {"x": item}})
    found: Any = getattr(result.configuration, group)["x"].model_dump()
    level = layout.FRONTEND if group == "frontends" else layout.BACKEND
    for part, name in zip(path.split("/"), names, strict=True):
        level = level.children[part]
        found = found[name if part == "*" else level.field]
    assert found == expected
    assert [error.severity for error in result.errors] == (["warning"] if key.deprecated else [])


def test_both_spellings_of_response_forwarding() -> None:
    for name in ("responseForwarding", "forwardingResponse"):
        found = decoded(backend(**{name: {"flushInterval": "1s"}})).configuration.backends["b"].response_forwarding
        assert found is not None
        assert found.flush_interval == "1s"
    both = backend(responseForwarding={}, forwardingResponse={})
    assert errors(both)[0] == 'backend "file/b": forwardingResponse is there twice, in different spellings'


@pytest.mark.parametrize(
    ("period", "nanoseconds", "seconds"),
    [(3, False, 3.0), ("3", False, 3.0), ("500ms", False, 0.5), (3_000_000_000, True, 3.0), ("3s", True, 3.0)],
)
def test_durations(period: object, nanoseconds: bool, seconds: float) -> None:
    data = frontend(ratelimit={"rateset": {"r": {"period": period}}})
    result = dynamic_from_mapping(data, "file", nanoseconds=nanoseconds)
    limit = result.configuration.frontends["f"].rate_limit
    assert limit is not None
    assert limit.rate_set["r"].period == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"bakend": "b"}, 'unknown key "bakend"; did you mean "backend"?'),
        ({"whiteList": {"sourceRanges": []}}, 'unknown key "whiteList.sourceRanges"; did you mean "sourceRange"?'),
        ({"Priority": 1, "priority": 2}, "priority is there twice, in different spellings"),
        ({"priority": True}, "priority has to be a whole number, without quotes, not true or false"),
        ({"priority": 2**63}, "priority is too large"),
        ({"passHostHeader": "geheim"}, "passHostHeader has to be true or false, without quotes, not a text"),
        ({"entryPoints": "http"}, 'entryPoints has to be a list of texts, such as ["a", "b"], not a text'),
        ({"entryPoints": ["http", 1]},
         'entryPoints has to be a list of texts, such as ["a", "b"], not a list with something else'),
        ({"auth": "geheim"}, "auth has to be a table, not a text"),
        ({"auth": {"headerField": {}}}, "auth.headerField has to be a text, in quotes, not a table"),
        ({"headers": {"customRequestHeaders": {"X": 1}}},
         "headers.customRequestHeaders.X has to be a text, in quotes, not a number"),
        ({"headers": {"customRequestHeaders": {"\n": "1"}}}, 'unknown key "headers.customRequestHeaders.\\n"'),
        ({"redirect": {"regex": "\ud800"}}, "redirect.regex is not valid text"),
        ({"ratelimit": {"rateset": {"r": {"period": -1}}}}, 'ratelimit.rateset.r.period: "-1" is negative'),
        ({1: "x"}, 'unknown key "1"'),
    ],
)  # fmt: skip
def test_frontend_errors(options: dict[Any, Any], sentence: str) -> None:
    data = GOOD | {"frontends": GOOD["frontends"] | {"bad": GOOD["frontends"]["f"] | options}}
    assert errors(data) == [f'frontend "file/bad": {sentence}']
    assert decoded(data).configuration.frontends == {"f": GOOD_FRONTEND}


def test_objects_that_are_none() -> None:
    assert errors({"frontends": {"f": "x", "": {}, 1: {"backend": "b"}}}) == [
        'frontend "file": its name is empty or contains control characters',
        'frontend "file/1": backend "b" is not defined',
        'frontend "file/f": it has to be a table, not a text',
    ]


def test_a_server_without_url_takes_its_backend_along() -> None:
    data = GOOD | {"backends": {"b": {"servers": {"s": {"weight": 1}}}}}
    assert errors(data) == ['server "file/b/s": it has no url', 'frontend "file/f": its backend "b" has an error']


def test_certificates_are_numbered() -> None:
    result = decoded(
        {
            "TLS": [
                {"entryPoints": ["https"], "certificate": {"certFile": "a", "KEYFILE": "b"}},
                {"certificate": {"certFile": "a", "keyFile": "b"}},
                {"certificate": {"certFile": "a"}},
                "x",
            ]
        }
    )
    assert {name: one.entry_points for name, one in result.configuration.tls.items()} == {"0": ("https",), "1": ()}
    assert [error.sentence() for error in result.errors] == [
        'tls "file/2": it has no certificate.keyFile',
        'tls "file/3": it has to be a table, not a text',
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"backends": "x"}, "backends has to be a table ([backends.<name>]), not a text"),
        ({"frontends": []}, "frontends has to be a table ([frontends.<name>]), not a list"),
        ({"tls": {"a": {}}}, "tls has to be a list of tables ([[tls]]), not a table"),
        ({"backends": {}, "Backends": {}}, "backends is there twice, in different case"),
    ],
)
def test_a_file_of_no_use(data: dict[Any, Any], message: str) -> None:
    result = decoded(GOOD | data) if "Backends" not in data else decoded(data)
    assert [(error.kind, error.message) for error in result.errors] == [("provider", message)]
    assert result.configuration == DynamicConfiguration()


def test_other_tables_are_passed_over() -> None:
    result = decoded(GOOD | {"entryPoints": {}, "frontend": {}})
    assert result.configuration == decoded(GOOD).configuration
    assert result.notes == (
        'keys under "entryPoints" are for the static configuration or the cluster of Traefik 1.7: passed over',
        'key "frontend" is unknown and passed over; did you mean "frontends"?',
    )


def keys_and_values(layout: Key) -> st.SearchStrategy[Any]:
    """Tables that often fit the layout."""
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.just(["a"])
    if layout.kind is not None:
        return PROBE_VALUES | scalars if layout.kind in ("text", "raw") else st.just(PROBES[layout.kind][0]) | scalars
    names = {child.name if name != "*" else "x": child for name, child in layout.children.items()}
    options = {name: keys_and_values(child) for name, child in names.items()}
    return st.fixed_dictionaries({}, optional=options) | scalars


PROBE_VALUES = st.sampled_from(["b", "x", "http://h", "1s"])
_OBJECTS = {
    "backends": st.dictionaries(st.sampled_from(["b", "c", "\n"]), keys_and_values(layout.BACKEND), max_size=2),
    "frontends": st.dictionaries(st.sampled_from(["g", "h", 1]), keys_and_values(layout.FRONTEND), max_size=2),
    "tls": st.lists(keys_and_values(layout.TLS), max_size=2),
}
_DATA = st.fixed_dictionaries({}, optional=_OBJECTS)
_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=10,
)


@given(_DATA | st.dictionaries(st.sampled_from(["backends", "frontends", "tls"]) | st.text(), _ANYTHING, max_size=3))
def test_any_tables_can_be_decoded(data: dict[Any, Any]) -> None:
    result = decoded(data)
    assert DynamicConfiguration.model_validate_json(result.configuration.model_dump_json()) == result.configuration
    for error in result.errors:
        assert error.sentence()
        assert type(error).model_validate_json(error.model_dump_json()) == error


@given(_DATA)
def test_other_objects_never_change_a_good_one(data: dict[str, Any]) -> None:
    more = {group: data.get(group, {}) | GOOD[group] for group in ("backends", "frontends")}
    result = decoded(data | more).configuration
    assert result.frontends["f"] == GOOD_FRONTEND
    assert "b" in result.backends


@given(_DATA, st.integers())
def test_each_object_is_there_or_has_an_error(data: dict[str, Any], seed: int) -> None:
    result = decoded(data)
    for group in ("backends", "frontends"):
        there = set(getattr(result.configuration, group))
        failed = {error.name.split("/")[0] for error in result.errors if error.severity == "error"}
        named = {str(name) for name in data.get(group, {})}
        assert there <= named
        assert {ascii(name)[1:-1] for name in named - there} <= failed
    items = list(data.items())
    random.Random(seed).shuffle(items)
    assert decoded(dict(items)).configuration == result.configuration


def to_pairs(value: Any, path: str) -> dict[str, bytes]:
    """The same in a key-value store."""
    if isinstance(value, dict):
        pairs: dict[str, bytes] = {}
        for name, inner in value.items():
            pairs |= to_pairs(inner, f"{path}/{name}")
        return pairs
    if isinstance(value, list):
        return {f"{path}/{number}": text.encode() for number, text in enumerate(value)}
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return {path: text.encode()}


def test_files_and_key_value_stores_mean_the_same() -> None:
    data: dict[str, Any] = {
        "backends": {
            "b": {
                "servers": {"s": {"url": "http://h", "weight": 2}},
                "circuitbreaker": {"expression": "NetworkErrorRatio() > 0.5"},
                "loadbalancer": {"method": "drr"},
                "maxconn": {"amount": 3, "extractorfunc": "client.ip"},
                "healthcheck": {"path": "/", "port": 1, "headers": {"X-A": "1"}},
                "buffering": {"maxrequestbodybytes": 1},
                "responseforwarding": {"flushinterval": "1s"},
            }
        },
        "frontends": {
            "f": {
                "backend": "b",
                "passhostheader": False,
                "entrypoints": ["a", "b"],
                "routes": {"r": {"rule": "Host:a"}},
                "auth": {"basic": {"users": ["a:b"], "removeheader": True}, "headerfield": "X"},
                "whitelist": {"sourcerange": ["::1"]},
                "headers": {"customrequestheaders": {"X-A": "1"}, "stsseconds": 3},
                "errors": {"e": {"status": ["404"], "backend": "b"}},
                "ratelimit": {"extractorfunc": "client.ip", "rateset": {"r": {"period": "3s", "average": 1}}},
                "redirect": {"entrypoint": "x"},
                "passtlsclientcert": {"infos": {"issuer": {"country": True}}},
            }
        },
    }
    assert decode(to_pairs(data, "traefik"), "traefik", "consul").configuration == decoded(data).configuration
    assert parse_duration("3s") == 3.0
