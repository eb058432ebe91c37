from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traefikee.config.dynamic import DynamicConfiguration, Frontend, Route, Server, Stickiness, TLSCertificate
from traefikee.providers.files import load_files
from traefikee.providers.kv import Decoded, Decoder, alias_of, decode
from traefikee.providers.kv.keys import BACKEND, FRONTEND, TLS
from traefikee.providers.layout import Key

GOOD = {
    "traefik/backends/b1/servers/s1/url": "http://10.0.0.1",
    "traefik/frontends/f1/backend": "b1",
    "traefik/frontends/f1/routes/r1/rule": "Host:a",
}
GOOD_FRONTEND = Frontend(backend="b1", routes={"r1": Route(rule="Host:a")})


def decoded(pairs: dict[str, str], prefix: str = "traefik") -> Decoded:
    return decode({key: value.encode() for key, value in pairs.items()}, prefix, "consul")


def errors(pairs: dict[str, str]) -> list[str]:
    return [error.sentence() for error in decoded(pairs).errors]


def test_the_smallest_useful_tree() -> None:
    result = decoded(GOOD)
    assert result.errors == ()
    assert result.notes == ()
    assert result.configuration.frontends == {"f1": GOOD_FRONTEND}
    assert result.configuration.backends["b1"].servers == {"s1": Server(url="http://10.0.0.1", weight=1)}


@pytest.mark.parametrize("prefix", ["traefik", "/traefik", "traefik/", "//traefik//"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_slashes_around_do_not_count(prefix: str, slash: str) -> None:
    assert decoded({slash + key: value for key, value in GOOD.items()}, prefix) == decoded(GOOD)


def test_a_prefix_is_whole_names() -> None:
    others = {"traefik_other/frontends/x/backend": "b", "traefikee/zzz": "1", "other": "x", "traefik": "y"}
    assert decoded(GOOD | others) == decoded(GOOD)
    bare = decoded({key.removeprefix("traefik/"): value for key, value in GOOD.items()}, "/")
    assert (bare.configuration, bare.errors, bare.notes) == (decoded(GOOD).configuration, (), ())
    assert (bare.source, decoded(GOOD).source) == ("", "traefik")


def test_directories_and_empty_values_are_passed_over() -> None:
    directories = dict.fromkeys(
        ["traefik/", "traefik/frontends/", "traefik/frontends/f1/", "traefik/frontends/f2/", "traefik/backends/b2",
         "traefik/frontends/f1/auth", "traefik/frontends/f1/priority", "traefik/tls/t/", "traefik/zzz"], ""
    )  # fmt: skip
    assert decoded(GOOD | directories) == decoded(GOOD)


def test_alias() -> None:
    pairs = {"traefik/alias": b"/other/1/", "x/alias": b"", "y/alias": b"\xff"}
    assert alias_of(pairs, "/traefik/") == "other/1"
    assert alias_of(pairs, "x") is None
    assert alias_of(pairs, "y") is None
    assert alias_of({}, "traefik") is None
    moved = {key.replace("traefik", "other/1"): value for key, value in GOOD.items()}
    aliased = decoded(moved | {"traefik/alias": "/other/1/", "traefik/frontends/old/backend": "b"})
    assert (aliased.configuration, aliased.errors) == (decoded(GOOD).configuration, ())
    assert aliased.source == "other/1"


def test_an_alias_that_cannot_be_read_makes_the_reading_useless() -> None:
    pairs = {key: value.encode() for key, value in GOOD.items()}
    result = decode(pairs | {"traefik/alias": b"\xff"}, "traefik", "consul")
    assert result.configuration == DynamicConfiguration()
    assert [error.sentence() for error in result.errors] == [
        'provider "consul": the value of its key alias is not UTF-8'
    ]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"entrypoints": "http, https,"}, ("http", "https")),
        ({"entrypoints/1": "https", "entrypoints/0": "http"}, ("http", "https")),
        ({"entrypoints/b": "x", "entrypoints/a": " y "}, ("y", "x")),
        ({"entrypoints": "one", "entrypoints/0": "two"}, ("one",)),
        ({"entrypoints": " ", "entrypoints/0": "two"}, ("two",)),
    ],
)
def test_lists(more: dict[str, str], expected: tuple[str, ...]) -> None:
    result = decoded(GOOD | {f"traefik/frontends/f1/{key}": value for key, value in more.items()})
    assert result.errors == ()
    assert result.configuration.frontends["f1"].entry_points == expected


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"passhostheader": "false"}, False),
        ({"passHostHeader": "0"}, False),
        ({"passhostheader": "true", "passHostHeader": "false"}, True),
        ({"passhostheader": " T "}, True),
    ],
)
def test_pass_host_header(more: dict[str, str], expected: bool) -> None:
    result = decoded(GOOD | {f"traefik/frontends/f1/{key}": value for key, value in more.items()})
    assert result.errors == ()
    assert result.configuration.frontends["f1"].pass_host_header is expected


PROBES: dict[str, tuple[str, object]] = {
    "text": ("x", "x"),
    "raw": (" x", " x"),
    "list": ("x, y", ("x", "y")),
    "bool": ("true", True),
    "int": ("7", 7),
    "duration": ("1m", 60.0),
}
NEEDED = {
    "ratelimit/extractorfunc": "client.ip",
    "maxconn/amount": "1",
    "healthcheck/path": "/",
    "loadbalancer/stickiness": "true",
    "redirect/regex": "x",
    "servers/x/url": "http://x",
}
"""Without these, what is beside them has no effect."""
OF_THEIR_OWN = {"passHostHeader", "servers/x/tags", "auth/forward/.authresponseheaders", "loadbalancer/stickiness"}


def leaves(layout: Key, group: str) -> list[object]:
    found = [(path.replace("*", "x"), key) for path, key in layout.leaves()]
    return [pytest.param(group, path, key, id=path) for path, key in found if path not in OF_THEIR_OWN]


@pytest.mark.parametrize(("group", "path", "key"), leaves(FRONTEND, "frontends") + leaves(BACKEND, "backends"))
def test_each_key_fills_its_field(group: str, path: str, key: Key) -> None:
    given, expected = PROBES[key.kind or ""]
    if path in ("passhostheader", "backend"):
        given, expected = ("false", False) if path == "passhostheader" else ("b1", "b1")
    beside = {name: value for name, value in NEEDED.items() if name.split("/")[0] == path.split("/")[0]}
    pairs = {f"traefik/{group}/x1/{name}": value for name, value in (beside | {path: given}).items()}
    if group == "frontends":
        pairs = {"traefik/frontends/x1/backend": "b1"} | pairs
    result = decoded(GOOD | pairs)
    found: Any = getattr(result.configuration, group)["x1"].model_dump()
    level = FRONTEND if group == "frontends" else BACKEND
    for part in path.split("/"):
        level = level.children.get(part) or level.children["*"]
        found = found[level.field if level.field != "*" else "X" if key.name == "*" else "x"]
    assert found == expected
    assert [error.severity for error in result.errors] == (["warning"] if key.deprecated else [])


@pytest.mark.parametrize("spelling", [".authresponseheaders", "authresponseheaders"])
def test_both_spellings_of_authresponseheaders(spelling: str) -> None:
    result = decoded(GOOD | {f"traefik/frontends/f1/auth/forward/{spelling}/0": "X-A"})
    auth = result.configuration.frontends["f1"].auth
    assert auth is not None
    assert auth.forward is not None
    assert auth.forward.auth_response_headers == ("X-A",)
    assert [error.severity for error in result.errors] == ["warning"] * spelling.startswith(".")


def test_stickiness_is_a_switch_with_keys_below() -> None:
    def stickiness(**more: str) -> tuple[Stickiness | None, list[str]]:
        keys = {name.replace("_", "/"): value for name, value in more.items()}
        result = decoded(GOOD | {f"traefik/backends/b1/loadbalancer/{key}": value for key, value in keys.items()})
        return result.configuration.backends["b1"].load_balancer.stickiness, [error.severity for error in result.errors]

    assert stickiness(stickiness="true") == (Stickiness(), [])
    assert stickiness(stickiness="true", stickiness_secure="true") == (Stickiness(secure=True), [])
    assert stickiness(stickiness="false", stickiness_secure="true") == (None, [])
    assert stickiness(stickiness_secure="true") == (None, ["warning"])


def test_tags_say_which_servers_count() -> None:
    pairs = GOOD | {"traefik/backends/b1/servers/s1/tags": "a,b"}
    assert decoded(pairs) == decoded(GOOD)
    pairs |= {"traefik/backends/b1/servers/s2/tags/0": "c", "traefik/backends/b1/servers/s2/url": "http://h"}
    values = {key: value.encode() for key, value in pairs.items()}
    result = decode(values, "traefik", "consul", lambda tags: "a" in tags)
    assert result == decoded(GOOD)
    assert decode(values, "traefik", "consul", lambda tags: False).configuration.backends["b1"].servers == {}


def test_an_empty_value_removes_a_header() -> None:
    key = "traefik/frontends/f1/headers/{}/x-a"
    decoder = Decoder("traefik", "consul")
    good = {key: value.encode() for key, value in GOOD.items()}
    for name, expected in (("customrequestheaders", {"X-A": ""}), ("sslproxyheaders", None)):
        headers = decoder.decode(good | {key.format(name): b""}).configuration.frontends["f1"].headers
        assert (headers and headers.custom_request_headers) == expected
    assert decoder.decode(good | {"traefik/frontends/f1/headers/customrequestheaders/": b""}) == decoded(GOOD)


def test_header_names_are_written_as_go_writes_them() -> None:
    keys = {"x-foo-BAR": "X-Foo-Bar", "a b": "a b", "é": "é"}
    pairs = {f"traefik/frontends/f1/headers/customresponseheaders/{name}": "v" for name in keys}
    headers = decoded(GOOD | pairs).configuration.frontends["f1"].headers
    assert headers is not None
    assert set(headers.custom_response_headers) == set(keys.values())


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("frontends/f1/bakend", "b1", 'frontend "consul/f1": unknown key "bakend"; did you mean "backend"?'),
        ("frontends/f1/PassHostheader", "1",
         'frontend "consul/f1": unknown key "PassHostheader"; did you mean "passhostheader"?'),
        ("frontends/f1/auth/basic/user", "x",
         'frontend "consul/f1": unknown key "auth/basic/user"; did you mean "users"?'),
        ("frontends/f1/zzz", "x", 'frontend "consul/f1": unknown key "zzz"'),
        ("frontends/f1/backend/x", "y", 'frontend "consul/f1": unknown key "backend/x"'),
        ("frontends/f1/routes/r1", "Host:a", 'frontend "consul/f1": key routes/r1 has a value of its own; '
         "its settings are keys below it"),
        ("frontends/f1", "b1", 'frontend "consul/f1": it has a value of its own; its settings are keys below it'),
        ("frontends/f1/priority", "1.5", 'frontend "consul/f1": priority: "1.5" is not a whole number'),
        ("frontends/f1/passhostheader", "ja",
         'frontend "consul/f1": passhostheader: "ja" is not a boolean; write true or false'),
        ("frontends/f1/backend", "b11", 'frontend "consul/f1": backend "b11" is not defined; did you mean "b1"?'),
        ("frontends/f1/backend", "zzzz", 'frontend "consul/f1": backend "zzzz" is not defined'),
        ("frontends/f1/backend", " ", 'frontend "consul/f1": it has no backend'),
    ],
)  # fmt: skip
def test_frontend_errors(key: str, value: str, sentence: str) -> None:
    pairs = GOOD | {f"traefik/{key}": value}
    assert errors(pairs) == [sentence]
    assert decoded(pairs).configuration.frontends == {}


def test_values_that_are_not_utf_8_are_errors_of_their_object() -> None:
    pairs = {key: value.encode() for key, value in GOOD.items()}
    pairs |= {key.replace("f1", "f2"): value for key, value in pairs.items()}
    bad = {
        "traefik/frontends/f2/routes/r1/rule": b"Host:\xff",
        "traefik/backends/b2/servers/s/url": b"\xff",
        "traefik/tls/t/certificate/keyfile": b"\xff",
    }
    result = decode(pairs | bad, "traefik", "consul")
    assert [(error.sentence(), error.path) for error in result.errors] == [
        ('backend "consul/b2": the value of servers/s/url is not UTF-8', "servers/s/url"),
        ('frontend "consul/f2": the value of routes/r1/rule is not UTF-8', "routes/r1/rule"),
        ('tls "consul/t": the value of certificate/keyfile is not UTF-8', "certificate/keyfile"),
    ]
    assert result.configuration.frontends == {"f1": GOOD_FRONTEND}


def test_names_that_cannot_be_shown() -> None:
    assert errors(GOOD | {"traefik/frontends/a\nb/backend": "b1", "traefik/frontends//backend": "b1"}) == [
        'frontend "consul": its name is empty or contains control characters',
        'frontend "consul/a\\nb": its name is empty or contains control characters',
    ]
    assert errors(GOOD | {"traefik/backends/b1/servers/\ud800/url": "http://h"})[0] == (
        'backend "consul/b1": unknown key "servers/\\ud800"'
    )


def test_a_server_without_url_is_left_out_with_a_warning() -> None:
    result = decoded(GOOD | {"traefik/backends/b1/servers/s2/weight": "3"})
    assert [(error.severity, error.sentence()) for error in result.errors] == [
        ("warning", 'server "consul/b1/s2": it has no url and is left out')
    ]
    assert result.configuration == decoded(GOOD).configuration


def test_certificates_are_read_outside_of_decoding() -> None:
    result = decoded(
        {
            "traefik/tls/a/entrypoints": "https",
            "traefik/tls/a/certificate/certfile": "/a.crt",
            "traefik/tls/a/certificate/keyfile": "/a.key",
            "traefik/tls/b/entrypoints": "https",
            "traefik/tls/b/certificate/certfile": "-----BEGIN CERTIFICATE-----",
            "traefik/tls/b/certificate/keyfile": "/missing.key",
        }
    )
    assert result.errors == ()
    assert result.configuration.tls["a"].cert_file == "/a.crt"
    contents = {"/a.crt": b"-----BEGIN CERTIFICATE-----a", "/a.key": b"-----BEGIN PRIVATE KEY-----geheim"}

    def read_file(path: str) -> bytes:
        if path not in contents:
            raise FileNotFoundError(path)
        return contents[path]

    config, found = load_files(result.configuration, read_file, "consul")
    assert config.tls == {
        "a": TLSCertificate(
            entry_points=("https",),
            cert_file="-----BEGIN CERTIFICATE-----a",
            key_file="-----BEGIN PRIVATE KEY-----geheim",
        )
    }
    assert [error.sentence() for error in found] == [
        'tls "consul/b": certificate/keyfile: there is no file "/missing.key", and it is not PEM text either'
    ]


_PARTS = sorted(
    {part for root in (FRONTEND, BACKEND, TLS) for path, _ in root.leaves() for part in path.split("/")}
    | {"backends", "frontends", "tls", "alias", "b1", "f1", "s1", "servers", "url", "weight", "routes", "rule", "", "é"}
    | {"backend", "entrypoints", "priority", "certificate", "certfile", "keyfile", "passHostHeader", "\x00", "loglevel"}
)
_KEYS = st.lists(st.sampled_from(_PARTS), max_size=6).map("/".join).map("traefik/".__add__) | st.text()
_VALUES = st.binary(max_size=4) | st.sampled_from([b"true", b"false", b"b1", b"1", b"http", b"traefik/x"])


@given(st.dictionaries(_KEYS, _VALUES, max_size=12), st.sampled_from(["traefik", "", "/", "traefik/frontends"]))
def test_any_pairs_can_be_decoded(pairs: dict[str, bytes], prefix: str) -> None:
    result = decode(pairs, prefix, "consul")
    assert DynamicConfiguration.model_validate_json(result.configuration.model_dump_json()) == result.configuration
    for error in result.errors:
        assert error.sentence()
        assert type(error).model_validate_json(error.model_dump_json()) == error


@given(
    st.dictionaries(_KEYS, _VALUES, max_size=8).map(
        lambda pairs: {key: value for key, value in pairs.items() if "b1" not in key and "f1" not in key}
    )
)
def test_other_objects_never_change_a_good_one(pairs: dict[str, bytes]) -> None:
    pairs = {key: value for key, value in pairs.items() if "alias" not in key}
    good = {key: value.encode() for key, value in GOOD.items()}
    result = decode(pairs | good, "traefik", "consul").configuration
    assert result.frontends["f1"] == GOOD_FRONTEND
    assert "b1" in result.backends


@given(st.dictionaries(_KEYS, _VALUES, max_size=12), st.integers())
def test_the_order_of_pairs_does_not_matter(pairs: dict[str, bytes], seed: int) -> None:
    pairs = {key: value for key, value in pairs.items() if "alias" not in key}
    if len({key.strip("/") for key in pairs}) < len(pairs):
        return
    items = list(pairs.items())
    random.Random(seed).shuffle(items)
    assert decode(dict(items), "traefik", "consul") == decode(pairs, "traefik", "consul")


SOME_KEYS = [
    "traefik/backends/b1/servers/s1/url",
    "traefik/backends/b1/servers/s1/weight",
    "traefik/backends/b1/servers/s1/weight/",
    "traefik/backends/b2/servers/s1/url",
    "traefik/backends/b2",
    "traefik/backends",
    "/traefik/frontends/f1/backend",
    "traefik/frontends/f1/backend",
    "traefik/frontends/f1/routes/r1/rule",
    "traefik/frontends/f2/backend",
    "traefik/frontends/f2/routes/r1/rule",
    "traefik/frontends/f2/nonsense",
    "traefik/frontends//backend",
    "traefik/tls/t/entrypoints",
    "traefik/tls/t/certificate/certfile",
    "traefik/nonsense",
    "traefik/alias",
    "other/frontends/f1/backend",
    "other/backends/b1/servers/s1/url",
    "elsewhere",
]
SOME_VALUES = [b"", b"b1", b"b2", b"1", b"x", b"\xff", b"other", b"http://h"]


@given(st.lists(st.dictionaries(st.sampled_from(SOME_KEYS), st.sampled_from(SOME_VALUES)), max_size=6))
def test_what_was_decoded_before_changes_nothing(readings: list[dict[str, bytes]]) -> None:
    decoder = Decoder("traefik", "consul")
    for pairs in readings:
        assert decoder.decode(pairs) == decode(pairs, "traefik", "consul")


def test_an_object_whose_pairs_are_the_same_is_the_same() -> None:
    decoder = Decoder("traefik", "consul")
    pairs = {key: value.encode() for key, value in GOOD.items()}
    before = decoder.decode(pairs).configuration
    after = decoder.decode(pairs | {"traefik/backends/b1/servers/s2/url": b"http://10.0.0.2"}).configuration
    assert after.frontends["f1"] is before.frontends["f1"]
    assert set(after.backends["b1"].servers) == {"s1", "s2"}
