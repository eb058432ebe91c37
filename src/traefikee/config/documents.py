"""Configuration files in TOML, YAML and JSON: their content as plain values, and on which line each of them is."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, TypeAlias

import tree_sitter
import tree_sitter_toml
import yaml

from traefikee.config.errors import ConfigurationError, Problem

Path: TypeAlias = tuple[str | int, ...]
Lines: TypeAlias = dict[Path, int]

_AT = re.compile(r"^(?P<what>.*?)\s*\(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$", re.DOTALL)
_DEEPEST = 64
"""How deep tables may nest: nothing in a configuration comes near, and the parsers recurse."""


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file.

    :ivar name: the file, as the user named it.
    :ivar tree: tables as dicts, arrays as lists; keys as they are written.
    :ivar lines: the line of each key and of each element of an array, from 1.
    """

    name: str
    tree: Mapping[str, Any]
    lines: Mapping[Path, int] = field(default_factory=dict)
    _below: dict[Path, list[Path]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def place(self, path: Path) -> str:
        """Return ``file:line`` of a path or, if its line is not known, of what it is in."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return f"{self.name}:{self.lines[path[:length]]}"
        return self.name

    def below(self, path: Path) -> list[Path]:
        """Return every path below one whose line is known."""
        if not self._below:
            for known in self.lines:
                for length in range(1, len(known)):
                    self._below.setdefault(known[:length], []).append(known)
        return self._below.get(path, [])


def parse_document(name: str, content: bytes) -> Document:
    """Parse a file: YAML by ``.yaml`` and ``.yml``, JSON by ``.json``, and TOML by every other name.

    :raises ConfigurationError: it is not UTF-8, or not of that form; with the line.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _error("is not text in UTF-8", f"{name}:{line}") from None
    parse = _PARSERS.get(PurePath(name).suffix.lower(), _parse_toml)
    try:
        return parse(name, text)
    except RecursionError:
        raise _error(f"nests deeper than {_DEEPEST} levels", name) from None


def _error(message: str, place: str) -> ConfigurationError:
    return ConfigurationError([Problem("", message, place)])


# --- TOML: values by the standard library, lines by a syntax tree ---


def _parse_toml(name: str, text: str) -> Document:
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = _AT.match(str(error))
        what = match["what"] if match else str(error)
        line, column = (match["line"], match["column"]) if match else (None, None)
        number = int(line) if line else max(1, len(text.splitlines()))
        at = f" (column {column})" if column else " at the end of the file"
        raise _error(f"is not TOML: {what[:1].lower()}{what[1:]}{at}", f"{name}:{number}") from None
    except ValueError:
        # Python's own limit on numbers comes through without a line.
        raise _error("is not TOML: a number has too many digits", name) from None
    return Document(name, tree, _toml_lines(text))


def _toml_lines(text: str) -> Lines:
    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_toml.language()))
    lines: Lines = {}
    counts: dict[Path, int] = {}
    for node in parser.parse(text.encode()).root_node.named_children:
        if node.type == "pair":
            _pair_lines(node, (), lines)
        elif node.type in ("table", "table_array_element"):
            key, *pairs = [child for child in node.named_children if child.type != "comment"]
            path = _element(_key_path(key), counts)
            if node.type == "table_array_element":
                lines.setdefault(path, _line(node))
                counts[path] = counts.get(path, -1) + 1
                path = (*path, counts[path])
            _add(lines, path, _line(node))
            for pair in pairs:
                _pair_lines(pair, path, lines)
    return lines


def _element(path: Path, counts: Mapping[Path, int]) -> Path:
    """Return a header's path with the number of the element wherever it goes through an array of tables."""
    found: Path = ()
    for index, part in enumerate(path):
        found = (*found, part)
        if found in counts and index < len(path) - 1:
            found = (*found, counts[found])
    return found


def _pair_lines(pair: tree_sitter.Node, above: Path, lines: Lines) -> None:
    if pair.type != "pair":
        return
    key, *rest = [child for child in pair.named_children if child.type != "comment"]
    path = (*above, *_key_path(key))
    _add(lines, path, _line(pair))
    for value in rest:
        _value_lines(value, path, lines)


def _value_lines(value: tree_sitter.Node, path: Path, lines: Lines) -> None:
    if value.type == "inline_table":
        for pair in value.named_children:
            _pair_lines(pair, path, lines)
    elif value.type == "array":
        elements = [child for child in value.named_children if child.type != "comment"]
        for index, element in enumerate(elements):
            lines[(*path, index)] = _line(element)
            _value_lines(element, (*path, index), lines)


def _add(lines: Lines, path: Path, line: int) -> None:
    """Keep the line of a key; a table that only its children name has the line of the first of them."""
    for length in range(1, len(path)):
        lines.setdefault(path[:length], line)
    lines[path] = line


def _line(node: tree_sitter.Node) -> int:
    return node.start_point.row + 1


def _key_path(key: tree_sitter.Node) -> Path:
    """Return the parts of a key; the standard library knows how quoted ones are meant."""
    try:
        tree: Any = tomllib.loads(f"{(key.text or b'').decode()} = 0")
    except tomllib.TOMLDecodeError:
        return ()
    path: Path = ()
    while isinstance(tree, dict):
        part, tree = next(iter(tree.items()))
        path = (*path, part)
    return path


# --- YAML, and the lines of JSON, which is a part of it ---


def _parse_yaml(name: str, text: str) -> Document:
    lines: Lines = {}
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        tree = _yaml_value(loader, node, (), lines, name, ()) if node is not None else {}
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}" if mark else name
        raise _error(f"is not YAML: {error.problem or error.context or 'it cannot be read'}", place) from None
    except (yaml.YAMLError, ValueError) as error:
        raise _error(f"is not YAML: {str(error).splitlines()[0]}", name) from None
    return Document(name, _table(tree, name), lines)


def _parse_json(name: str, text: str) -> Document:
    try:
        tree = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        what = error.msg[:1].lower() + error.msg[1:]
        raise _error(f"is not JSON: {what} (column {error.colno})", f"{name}:{error.lineno}") from None
    except _NoValueError as error:
        raise _error(f"is not JSON: {error}", name) from None
    except ValueError:
        raise _error("is not JSON: a number has too many digits", name) from None
    # YAML has no tabs between its tokens; JSON has no raw ones within its texts.
    document = _parse_yaml(name, text.replace("\t", " "))
    return Document(name, _table(tree, name), document.lines)


class _NoValueError(ValueError):
    """What Python's parser takes, and JSON does not have."""


def _no_constant(text: str) -> None:
    raise _NoValueError(f"{text} is not a value")


def _table(tree: object, name: str) -> Mapping[str, Any]:
    if not isinstance(tree, dict):
        raise _error("is not a table of options by their names", f"{name}:1")
    return tree


def _yaml_value(
    loader: yaml.SafeLoader, node: yaml.Node, path: Path, lines: Lines, name: str, above: tuple[yaml.Node, ...]
) -> Any:
    """Return a node's value, and keep the lines of what is in it."""
    if node in above or len(above) > _DEEPEST:
        what = "contains itself" if node in above else f"nests deeper than {_DEEPEST} levels"
        raise _error(what, f"{name}:{node.start_mark.line + 1}")
    above = (*above, node)
    if isinstance(node, yaml.MappingNode):
        _check_keys(node, name)
        loader.flatten_mapping(node)
        table: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            lines[(*path, key)] = key_node.start_mark.line + 1
            table[key] = _yaml_value(loader, value_node, (*path, key), lines, name, above)
        return table
    if isinstance(node, yaml.SequenceNode):
        values = []
        for index, item in enumerate(node.value):
            lines[(*path, index)] = item.start_mark.line + 1
            values.append(_yaml_value(loader, item, (*path, index), lines, name, above))
        return values
    return loader.construct_object(node)


def _check_keys(table: yaml.MappingNode, name: str) -> None:
    """Refuse what has no meaning in a table; of two equal keys the parser itself would take the last."""
    seen = set()
    for key, _ in table.value:
        place = f"{name}:{key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode):
            raise _error("a table or a list stands where a name has to be", place)
        if key.value in seen:
            raise _error(f'"{key.value}" is there twice in one table', place)
        seen.add(key.value)


_PARSERS: Mapping[str, Callable[[str, str], Document]] = {
    ".yaml": _parse_yaml,
    ".yml": _parse_yaml,
    ".json": _parse_json,
}
