"""From a configuration file to what it says about each option: the same names as on the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from traefikee.config.entry_point_keys import BY_PATH, KEYS, Items, Key, Value
from traefikee.config.errors import Problem, did_you_mean
from traefikee.config.names import KNOWN, OPTIONS, Option, is_not_yet
from traefikee.config.refusals import find_refusal, is_empty_table

if TYPE_CHECKING:
    from traefikee.config.documents import Document, Path
    from traefikee.config.static import FileOptions

_DYNAMIC = frozenset({"backends", "frontends", "tls", "http"})
_BY_FOLDED = {option.name.lower(): option for option in OPTIONS}
_GROUPS = {
    ".".join(parts[:length]).lower()
    for parts in (option.name.split(".") for option in OPTIONS)
    for length in range(1, len(parts))
} - set(_BY_FOLDED)
_KEY_BY_FOLDED = {key.path.lower(): key for key in KEYS}
_LARGEST_COUNT = 10**9 - 1
_LARGEST = 10**15


@dataclass(frozen=True, slots=True)
class Setting:
    """What a file says about one option: texts as a command line has them, several for a list."""

    option: Option
    values: tuple[str, ...]
    place: str


@dataclass(frozen=True, slots=True)
class FileSettings:
    """Everything that a file says.

    :ivar settings: one for each option that is there.
    :ivar entry_points: by name, in their order; problems are in them.
    :ivar dynamic: the tables of the dynamic configuration (``backends``, ``frontends``, ``tls``, ``http``), untouched.
    :ivar problems: what is no option, or has the wrong type.
    """

    document: Document
    settings: list[Setting] = field(default_factory=list)
    entry_points: list[Items] = field(default_factory=list)
    dynamic: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def read_settings(document: Document) -> FileSettings:
    """Return what a file says about each option, in the file's order.

    Keys are matched in any case, as in Traefik 1.7; unlike there, an unknown one is a problem.
    """
    found = FileSettings(document)
    for key, value, path in _entries(document, (), document.tree, found.problems):
        folded = key.lower()
        if folded in _DYNAMIC and folded not in _BY_FOLDED:
            found.dynamic[key] = value
        elif folded == "entrypoints":
            _read_entry_points(found, path, value)
        else:
            _read_option(found, path, value)
    return found


def dynamic_problems(found: FileSettings, options: FileOptions | None) -> list[Problem]:
    """Say of each table of the dynamic configuration why it is not taken: the file provider has to be on, for them."""
    if options is None:
        message = "needs the table [file] beside it; without it, it is not read (as in Traefik 1.7)"
    elif options.filename or options.directory:
        named = "file.filename" if options.filename else "file.directory"
        message = f"is not read beside {named}; move it to where that points, or leave {named} out"
    else:
        return []
    return [Problem(key, message, found.document.place((key,))) for key in found.dynamic]


def _entries(
    document: Document, path: Path, table: Mapping[str, Any], problems: list[Problem]
) -> Iterator[tuple[str, Any, Path]]:
    """Yield the entries of a table; those whose names differ only in case are problems."""
    seen: dict[str, str] = {}
    for key, value in table.items():
        other = seen.setdefault(key.lower(), key)
        if other != key:
            first = document.place((*path, other)).rpartition(":")[2]
            message = f'is "{other}" of line {first} again: case does not matter'
            problems.append(Problem(_dotted((*path, key)), message, document.place((*path, key))))
        else:
            yield key, value, (*path, key)


def _dotted(path: Path) -> str:
    return ".".join(str(part) for part in path)


def _read_option(found: FileSettings, path: Path, value: Any) -> None:
    """Read an option, or everything below a table of options."""
    document = found.document
    dotted, place = _dotted(path), document.place(path)
    name = "" if any("." in str(part) for part in path) else dotted.lower()
    option = _BY_FOLDED.get(name)

    def problem(message: str) -> None:
        found.problems.append(Problem(option.name if option else dotted, message, place))

    refusal = find_refusal(name)
    if refusal is not None:
        if not (refusal.harmless and isinstance(value, (bool, str)) and str(value).lower() == refusal.harmless):
            problem(refusal.reason)
        return
    if is_not_yet(name):
        problem("this version does not implement this option of Traefik 1.7 yet")
        return
    is_struct = option is not None and option.kind == "struct"
    is_table = is_struct or name in _GROUPS or is_empty_table(name)
    if option is None and not is_table:
        quoted = "; within quotes a dot is a part of the name: leave them out"
        near = did_you_mean(dotted, KNOWN) if name else quoted
        problem(f"unknown key{near}")
    elif is_table and (isinstance(value, Mapping) or value is None):
        if option is not None:
            found.settings.append(Setting(option, ("true",), place))
        for _, inner, inner_path in _entries(document, path, value or {}, found.problems):
            _read_option(found, inner_path, inner)
    elif option is not None:
        try:
            found.settings.append(Setting(option, _texts(option, value), place))
        except ValueError as error:
            problem(str(error))
    else:
        problem(f"is a table, not {_kind(value)}")


def _texts(option: Option, value: Any) -> tuple[str, ...]:
    """Return an option's value as a command line would have it.

    :raises ValueError: its type is not the option's.
    """
    if option.kind == "list":
        return _list_texts(option, value)
    if option.kind in ("bool", "struct"):
        wanted = "a table, true or false" if option.kind == "struct" else "true or false"
        if isinstance(value, bool):
            return ("true" if value else "false",)
        if isinstance(value, str) and option.kind == "bool":
            return (value,)
        raise ValueError(f"has to be {wanted}, not {_kind(value)}")
    if isinstance(value, str):
        if not value:
            raise ValueError("its value is empty")
        return (value,)
    if option.kind == "duration" and _is_number(value):
        return (_number_text(value) + ("s" if isinstance(value, float) else ""),)
    if option.kind == "int" and isinstance(value, int) and not isinstance(value, bool):
        return (_number_text(value),)
    words = {"duration": "a number of seconds or a text such as 1m30s", "int": "a whole number"}
    raise ValueError(f"has to be {words.get(option.kind, 'a text in quotes')}, not {_kind(value)}")


def _list_texts(option: Option, value: Any) -> tuple[str, ...]:
    if isinstance(value, Mapping) and option.separators == " ":
        return _pair_texts(value)
    if isinstance(value, str):
        return tuple(option.split(value))
    if not isinstance(value, list):
        raise ValueError(f"has to be a list, not {_kind(value)}")
    for one in value:
        if not isinstance(one, str) and not _is_number(one):
            raise ValueError(f"has to be a list of texts or numbers, not one with {_kind(one)}")
    return tuple(one.strip() if isinstance(one, str) else _number_text(one) for one in value)


def _pair_texts(value: Mapping[str, Any]) -> tuple[str, ...]:
    for key, one in value.items():
        if not isinstance(one, str):
            raise ValueError(f'"{key}" has to be a text, not {_kind(one)}')
    return tuple(f"{key}={one}" for key, one in value.items())


def _number_text(value: float) -> str:
    """Return a number without an exponent, to the billionth.

    :raises ValueError: it is larger than any option's.
    """
    if not abs(value) < _LARGEST:
        raise ValueError("the number is too large")
    return str(value) if isinstance(value, int) else f"{value:.9f}".rstrip("0").rstrip(".")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    """Return what a value is, in words."""
    if value is None:
        return "nothing"
    kinds: tuple[tuple[type | tuple[type, ...], str], ...] = (
        (bool, "true or false"),
        ((int, float), "a number"),
        (str, "a text"),
        (Mapping, "a table"),
        (list, "a list"),
    )
    return next((words for kind, words in kinds if isinstance(value, kind)), "a date or a time")


# --- entry points ---


def _read_entry_points(found: FileSettings, path: Path, value: Any) -> None:
    document = found.document
    if not isinstance(value, Mapping):
        found.problems.append(Problem("entryPoints", f"is a table, not {_kind(value)}", document.place(path)))
        return
    # Unlike options, entry points have names whose case counts.
    for name, table in value.items():
        items = Items(name, place=document.place((*path, name)))
        found.entry_points.append(items)
        if isinstance(table, Mapping):
            _read_table(items, document, (*path, name), table, "")
        else:
            items.problem("", f"is a table, not {_kind(table)}")


def _read_table(items: Items, document: Document, path: Path, table: Mapping[str, Any], above: str) -> None:
    for name, value, here in _entries(document, path, table, items.problems):
        dotted = f"{above}.{name}" if above else name
        key = None if "." in name else _KEY_BY_FOLDED.get(dotted.lower())
        if key is None:
            items.places[dotted] = document.place(here)
            items.problem(dotted, f"unknown key{did_you_mean(dotted, BY_PATH)}")
            continue
        items.places[key.path] = document.place(here)
        if key.kind == "table" and (isinstance(value, Mapping) or value is None):
            items.values[key.path] = True
            _read_table(items, document, here, value or {}, key.path)
            continue
        if isinstance(value, list):
            items.places.update({f"{key.path}.{n}": document.place((*here, n)) for n in range(len(value))})
        try:
            items.values[key.path] = _READERS[key.kind](key, value)
        except ValueError as error:
            items.bad.add(key.path)
            items.problem(key.path, str(error))


def _read_string(_key: Key, value: Any) -> Value:
    if not isinstance(value, str):
        raise ValueError(f"has to be a text in quotes, not {_kind(value)}")
    return value


def _read_bool(_key: Key, value: Any) -> Value:
    if not isinstance(value, bool):
        raise ValueError(f"has to be true or false, not {_kind(value)}")
    return value


def _read_count(_key: Key, value: Any) -> Value:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST_COUNT:
        raise ValueError(f"has to be a whole number from 0, no limit, to {_LARGEST_COUNT}")
    return value


def _read_list(_key: Key, value: Any) -> Value:
    if not isinstance(value, list):
        raise ValueError(f"has to be a list, not {_kind(value)}")
    for one in value:
        if not isinstance(one, str):
            raise ValueError(f"has to be a list of texts, not one with {_kind(one)}")
    return tuple(value)


def _read_pairs(_key: Key, value: Any) -> Value:
    if not isinstance(value, list):
        raise ValueError(f"has to be a list of tables with certFile and keyFile, not {_kind(value)}")
    pairs = []
    for number, one in enumerate(value, start=1):
        table = {name.lower(): inner for name, inner in one.items()} if isinstance(one, Mapping) else {}
        certificate, key = table.get("certfile"), table.get("keyfile")
        if set(table) != {"certfile", "keyfile"} or not isinstance(certificate, str) or not isinstance(key, str):
            raise ValueError(f"number {number} is not a table of just certFile and keyFile, both texts")
        pairs.append((certificate, key))
    return tuple(pairs)


def _read_table_wrongly(_key: Key, value: Any) -> Value:
    raise ValueError(f"is a table, not {_kind(value)}")


_READERS: Mapping[str, Callable[[Key, Any], Value]] = {
    "string": _read_string,
    "bool": _read_bool,
    "count": _read_count,
    "list": _read_list,
    "pairs": _read_pairs,
    "table": _read_table_wrongly,
}
