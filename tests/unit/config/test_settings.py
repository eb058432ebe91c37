"""Files and flags mean the same; and any tree is a configuration or problems."""

from __future__ import annotations

import json
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traefikee.config.build import build_static
from traefikee.config.documents import parse_document
from traefikee.config.entry_point_keys import KEYS, Key
from traefikee.config.errors import ConfigurationError
from traefikee.config.names import NOT_YET, OPTIONS, Option
from traefikee.config.refusals import REFUSALS
from traefikee.config.settings import FileSettings, read_settings
from traefikee.config.static import StaticConfiguration

SHA = "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="
APR1 = "$apr1$H6uskkkW$IgXLP6ewTrSuBkTrqE8wj/"

HASH = "0" * 32

Pairs: TypeAlias = tuple[tuple[Option, Any], ...]


def no_files(name: str) -> bytes:
    raise FileNotFoundError(name)


def settings(tree: dict[str, Any]) -> FileSettings:
    return read_settings(parse_document("t.json", json.dumps(tree).encode()))


def outcome(values: list[tuple[str, str | None]], file: FileSettings | None = None) -> StaticConfiguration | list[str]:
    """The configuration; or the messages, without what names their source."""
    try:
        return build_static(values, no_files, file)
    except ConfigurationError as error:
        return sorted(problem.message.replace("--", "") for problem in error.problems)


# --- options ---

_VALUES = {
    "bool": st.booleans(),
    "struct": st.booleans(),
    "int": st.integers(-1, 99),
    "duration": st.integers(0, 99) | st.sampled_from(["1m30s", "500ms", "90", "soon"]),
    "string": st.sampled_from(["http", "json", "INFO", "mine", "10.0.0.1:8500"]),
    "list": st.lists(st.sampled_from(["http", "200", "0.5", "tag==a", "User-Agent=keep"]), min_size=1, max_size=2),
}
_OPTIONS = [option for option in OPTIONS if option.kind != "entrypoint"]
_given = st.lists(st.sampled_from(_OPTIONS), max_size=6, unique_by=lambda option: option.name).flatmap(
    lambda options: st.tuples(*(st.tuples(st.just(option), _VALUES[option.kind]) for option in options))
)


def _nested(pairs: Pairs) -> dict[str, Any]:
    """The tree of a file; a struct that has others below it cannot also be true or false there."""
    tree: dict[str, Any] = {}
    for option, value in pairs:
        *above, last = option.name.split(".")
        table = tree
        for part in above:
            table = table.setdefault(part, {})
        table[last] = value
    return tree


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, (bool, int)) else str(value)


@given(_given)
def test_a_file_means_what_its_options_mean_as_flags(pairs: Pairs) -> None:
    names = {option.name for option, _ in pairs}
    pairs = tuple(pair for pair in pairs if not any(name.startswith(pair[0].name + ".") for name in names))
    flags: list[tuple[str, str | None]] = [
        (option.name, _text(one)) for option, value in pairs for one in (value if isinstance(value, list) else [value])
    ]
    # A table switches on what it is of; a flag below it does too.
    assert outcome([], settings(_nested(pairs))) == outcome(flags)


@given(_given, _given)
def test_flags_replace_what_the_file_says(below: Pairs, above: Pairs) -> None:
    names = {option.name for option, _ in (*below, *above)}
    below, above = (
        tuple(pair for pair in side if not any(name.startswith(pair[0].name + ".") for name in names))
        for side in (below, above)
    )
    flags: list[tuple[str, str | None]] = [
        (option.name, _text(one)) for option, value in above for one in (value if isinstance(value, list) else [value])
    ]
    merged = {option.name: (option, value) for option, value in (*below, *above)}
    try:
        wanted = build_static([], no_files, settings(_nested(tuple(merged.values()))))
        build_static([], no_files, settings(_nested(below)))
    except ConfigurationError:
        return
    assert outcome(flags, settings(_nested(below))) == wanted


# --- entry points ---

_TEXTS: dict[str, tuple[str, Any]] = {
    "tls.minVersion": ("VersionTLS13", "VersionTLS13"),
    "redirect.entryPoint": ("b", "b"),
    "redirect.regex": ("^http://(.*)", "^http://(.*)"),
    "redirect.replacement": ("https://$1", "https://$1"),
    "auth.basic.users": (f"a:{SHA},b:{APR1}", [f"a:{SHA}", f"b:{APR1}"]),
    "auth.digest.users": (f"a:traefik:{HASH}", [f"a:traefik:{HASH}"]),
    "auth.headerField": ("X-User", "X-User"),
    "auth.forward.address": ("http://a/", "http://a/"),
    "auth.forward.authResponseHeaders": ("X-A,X-B", ["X-A", "X-B"]),
    "whiteList.sourceRange": ("10.0.0.0/8,nowhere", ["10.0.0.0/8", "nowhere"]),
    "whitelistSourceRange": ("::1", ["::1"]),
    "forwardedHeaders.trustedIPs": ("10.0.0.1", ["10.0.0.1"]),
    "proxyProtocol.trustedIPs": ("10.0.0.1", ["10.0.0.1"]),
    "tls.cipherSuites": ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]),
}
_BOTH = [key for key in KEYS if key.text and (key.path in _TEXTS or key.kind in ("bool", "count"))]


def _forms(key: Key, number: int) -> tuple[str, Any]:
    """A value of a key as text, and as a file has it."""
    if key.kind == "bool":
        return ("true", True) if number % 2 else ("false", False)
    return (str(number), number) if key.kind == "count" else _TEXTS[key.path]


@given(st.lists(st.sampled_from(_BOTH), unique_by=lambda key: key.path, max_size=7), st.integers(0, 9), st.booleans())
def test_an_entry_point_means_the_same_in_both_forms(keys: list[Key], number: int, tls: bool) -> None:
    keys = [key for key in keys if tls or not key.path.startswith("tls")]
    items = ["Name:a", "Address::80", *(["TLS"] if tls else [])]
    tree: dict[str, Any] = {"address": ":80", **({"tls": {}} if tls else {})}
    for key in keys:
        text, value = _forms(key, number)
        items.append(f"{key.text}:{text}")
        *above, last = key.path.split(".")
        table = tree
        for part in above:
            table = table.setdefault(part, {})
        table[last] = value
    other = ("entryPoints", "Name:b Address::81")
    as_text = outcome([("entryPoints", " ".join(items)), other])
    as_table = outcome([other], settings({"entryPoints": {"a": tree}}))
    if isinstance(as_text, list):
        assert isinstance(as_table, list)
        assert len(as_table) == len(as_text), "each form spells the keys in its own way"
    else:
        assert as_table == as_text


# --- anything ---

_WORDS = (
    *{part for option in OPTIONS for part in option.name.split(".")},
    *{part for key in KEYS for part in key.path.split(".")},
    *(name.split(".")[0] for name in (*NOT_YET, *REFUSALS)), "backends", "tls", "file", "a.b", "",
)  # fmt: skip
_keys = st.sampled_from(sorted(set(_WORDS)))
_leaves = (
    st.none()
    | st.booleans()
    | st.integers(-2, 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)
_anything = st.recursive(
    _leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=4), max_leaves=20
)


@given(st.dictionaries(_keys, _anything, max_size=5))
def test_any_tree_is_a_configuration_or_problems_with_lines(tree: dict[str, Any]) -> None:
    try:
        configuration = build_static([], no_files, settings(tree))
    except ConfigurationError as error:
        places = {problem.where for problem in error.problems}
    else:
        places = {"t.json:1"}
        assert StaticConfiguration.model_validate_json(configuration.model_dump_json()) == configuration
    assert places == {"t.json:1"}


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("90", 90), ("'1m30s'", 90), ("1.5", 1.5), ("0.0000001", 1e-7), ("1e-9", 1e-9), ("1e3", 1000), ("0", 0)],
)
def test_durations(value: str, seconds: float) -> None:
    file = read_settings(parse_document("t.toml", f"respondingTimeouts.readTimeout = {value}".encode()))
    assert build_static([], no_files, file).responding_timeouts.read_timeout == pytest.approx(seconds)


@pytest.mark.parametrize("value", ["-1", "-0.5", "inf", "nan", "1e300", "0x" + "f" * 5000, "true", "[1]", "1979-05-27"])
def test_no_durations(value: str) -> None:
    file = read_settings(parse_document("t.toml", f"\nrespondingTimeouts.readTimeout = {value}".encode()))
    with pytest.raises(ConfigurationError, match=r"^t.toml:2: respondingTimeouts.readTimeout: [^\n]{5,150}$"):
        build_static([], no_files, file)


@pytest.mark.parametrize("value", ["", None, {}, False, 0, "none"])
def test_no_value_of_what_has_no_meaning_is_taken_for_nothing(value: object) -> None:
    file = settings({"boltdb": value})
    assert [problem.path for problem in file.problems] == ["boltdb"]


def test_the_dynamic_part_is_handed_on_untouched() -> None:
    tree = {
        "Backends": {"b": {"servers": {"s": {"URL": "http://a"}}}},
        "frontends": {"f": {"backend": "b"}},
        "tls": [{"entryPoints": ["https"]}],
        "HTTP": {"routers": {}},
    }
    found = settings({"logLevel": "INFO", **tree})
    assert found.dynamic == tree
    assert found.problems == []
    assert found.document.place(("Backends", "b", "servers", "s", "URL")) == "t.json:1"
