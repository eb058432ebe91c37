"""Files in their three forms: values, lines, and errors with lines."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traefikee.config.documents import Document, parse_document
from traefikee.config.errors import ConfigurationError

TOML = b"""\
# A comment
level = "x"
[points]
  [points.http]
  address = ":80"
[points."a b".tls]
  [[points."a b".tls.certificates]]
  cert = '''
one'''
  [[points."a b".tls.certificates]] # another
  cert = "b"
  inner.deep = [ 1,
    # between
    { x = 1, y = { z = 2 } },
  ]
"""


def error(name: str, content: bytes) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse_document(name, content)
    return str(caught.value)


def test_lines_of_toml() -> None:
    document = parse_document("t.toml", TOML)
    lines = {".".join(map(str, path)): line for path, line in document.lines.items()}
    assert lines == {
        "level": 2,
        "points": 3,
        "points.http": 4,
        "points.http.address": 5,
        "points.a b": 6,
        "points.a b.tls": 6,
        "points.a b.tls.certificates": 7,
        "points.a b.tls.certificates.0": 7,
        "points.a b.tls.certificates.0.cert": 8,
        "points.a b.tls.certificates.1": 10,
        "points.a b.tls.certificates.1.cert": 11,
        "points.a b.tls.certificates.1.inner": 12,
        "points.a b.tls.certificates.1.inner.deep": 12,
        "points.a b.tls.certificates.1.inner.deep.0": 12,
        "points.a b.tls.certificates.1.inner.deep.1": 14,
        "points.a b.tls.certificates.1.inner.deep.1.x": 14,
        "points.a b.tls.certificates.1.inner.deep.1.y": 14,
        "points.a b.tls.certificates.1.inner.deep.1.y.z": 14,
    }
    assert document.place(("points", "a b", "tls", "none")) == "t.toml:6"
    assert document.place(("none",)) == "t.toml"


def test_lines_end_as_they_may() -> None:
    assert parse_document("t.toml", b"\xef\xbb\xbfa = 1\r\nb = 2\r\n").lines == {("a",): 1, ("b",): 2}
    assert parse_document("t.yaml", b"\xef\xbb\xbfa: 1\r\nb: 2\r\n").lines == {("a",): 1, ("b",): 2}


def test_lines_of_yaml_through_anchors() -> None:
    document = parse_document("t.yml", b"x: &q\n  z: 1\ny:\n  <<: *q\n  w: [on, \n    {v: 2}]\n")
    assert document.tree == {"x": {"z": 1}, "y": {"z": 1, "w": [True, {"v": 2}]}}
    assert document.place(("y", "w", 1, "v")) == "t.yml:6"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.toml", b"a = 1\nb", "t.toml:2: is not TOML: expected '=' after a key in a key/value pair at the end of the "
         "file"),
        ("t.toml", b"a = 1\na = 2\n", "t.toml:2: is not TOML: cannot overwrite a value (column 6)"),
        ("t.conf", b"{{ x }}", "t.conf:1: is not TOML: invalid statement (column 1)"),
        ("t.toml", b"a = 1\n\xff", "t.toml:2: is not text in UTF-8"),
        ("t.toml", b"a = " + b"1" * 5000, "t.toml: is not TOML: a number has too many digits"),
        ("t.toml", b"a = " + b"[" * 5000, "t.toml: nests deeper than 64 levels"),
        ("t.yaml", b"a: b: c", "t.yaml:1: is not YAML: mapping values are not allowed here"),
        ("t.yaml", b"a:\n  b: 1\n  b: 2", 't.yaml:3: "b" is there twice in one table'),
        ("t.yaml", b"a: &x\n  b: *x\n", "t.yaml:1: contains itself"),
        ("t.yaml", b"- 1", "t.yaml:1: is not a table of options by their names"),
        ("t.yaml", b"? [a]\n: c", "t.yaml:1: a table or a list stands where a name has to be"),
        ("t.yaml", b"a: !!python/name:os.system 1", "t.yaml:1: is not YAML: could not determine a constructor for the "
         "tag 'tag:yaml.org,2002:python/name:os.system'"),
        ("t.yaml", b"a: 1\n---\nb: 1", "t.yaml:2: is not YAML: but found another document"),
        ("t.yaml", b"\x00", "t.yaml: is not YAML: unacceptable character #x0000: special characters are not allowed"),
        ("t.yaml", b"[" * 3000, "t.yaml: nests deeper than 64 levels"),
        ("t.json", b'{\n"a" 1}', "t.json:2: is not JSON: expecting ':' delimiter (column 5)"),
        ("t.json", b'{"a": {"b": 1,\n"b": 2}}', 't.json:2: "b" is there twice in one table'),
        ("t.json", b'{"a": NaN}', "t.json: is not JSON: NaN is not a value"),
        ("t.json", b'{"a": ' + b"1" * 5000 + b"}", "t.json: is not JSON: a number has too many digits"),
        ("t.json", b"5", "t.json:1: is not a table of options by their names"),
    ],
)  # fmt: skip
def test_errors(name: str, content: bytes, message: str) -> None:
    assert error(name, content) == message


_keys = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=6)
_trees = st.dictionaries(
    _keys,
    st.recursive(
        st.booleans() | st.integers(-(10**9), 10**9) | st.text(st.characters(exclude_categories=["C"]), max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=3),
        max_leaves=12,
    ),
    max_size=4,
)


@given(_trees, st.sampled_from([None, 2, "\t"]))
def test_json_has_the_values_and_the_lines_of_its_keys(tree: dict[str, object], indent: int | str | None) -> None:
    text = json.dumps(tree, indent=indent)
    document = parse_document("t.json", text.encode())
    assert document.tree == tree
    rows = text.split("\n")
    for path, line in document.lines.items():
        if isinstance(path[-1], str):
            assert json.dumps(path[-1]) in rows[line - 1]


def _toml(tree: dict[str, object]) -> str:
    """The tree, each entry on a line of its own where TOML lets it be."""
    rows = []
    for key, value in tree.items():
        if isinstance(value, dict):
            rows.extend(
                ["", f"[{json.dumps(key)}]", *(f"{json.dumps(name)} = {_inline(it)}" for name, it in value.items())]
            )
        else:
            rows.insert(0, f"{json.dumps(key)} = {_inline(value)}")
    return "\n".join(rows)


def _inline(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_inline(it)}" for key, it in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",\n".join(_inline(one) for one in value) + "]"
    return json.dumps(value, ensure_ascii=False)


@given(_trees)
def test_toml_has_the_values_and_the_lines_of_its_keys(tree: dict[str, object]) -> None:
    text = _toml(tree)
    try:
        document = parse_document("t.toml", text.encode())
    except ConfigurationError:
        # An escape of JSON that TOML does not have, or lines within an inline table.
        return
    assert document.tree == tree
    rows = text.split("\n")
    for path, line in document.lines.items():
        if isinstance(path[-1], str):
            assert json.dumps(path[-1]) in rows[line - 1]


@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode), st.sampled_from(["t.toml", "t.yaml", "t.json"]))
def test_any_file_is_a_document_or_an_error(content: bytes, name: str) -> None:
    try:
        document = parse_document(name, content)
    except ConfigurationError as caught:
        found = caught.problems
        assert found[0].where.startswith(name)
    else:
        assert isinstance(document, Document)
