"""Plain tables (TOML, YAML, JSON) read by the layout of an object: nothing is ignored silently. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from traefikee.config.durations import parse_duration
from traefikee.config.errors import did_you_mean
from traefikee.config.runtime import ObjectError, ObjectKind, Severity
from traefikee.providers.decoded import printable
from traefikee.providers.layout import Key

Table: TypeAlias = Mapping[Any, Any]

_LARGEST = 2**63 - 1
_NANO = 1e-9


def is_list(value: object) -> bool:
    """Tell whether a value is a list."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def kind_of(value: object) -> str:
    """Return what a value is; never the value, which may be a secret."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, str):
        return "a text"
    if isinstance(value, float):
        return "a decimal number"
    if isinstance(value, int):
        return "a number"
    if isinstance(value, Mapping):
        return "a table"
    if is_list(value):
        return "a list with something else" if value else "a list"
    return f"a value of type {type(value).__name__}"


class TableReader:
    """Reads one object.

    :param kind: what the object is.
    :param nanoseconds: a duration that is a number is in nanoseconds, not in seconds.
    :ivar failed: whether it has an error.
    :ivar errors: what is wrong with it, in the order of its keys.
    """

    unknown = "unknown key"
    """What an unknown key is called."""

    def __init__(self, provider: str, kind: ObjectKind, name: str, *, nanoseconds: bool = False) -> None:
        self.provider = provider
        self.kind = kind
        self.name = name
        self.failed = False
        self.errors: list[ObjectError] = []
        self._nanoseconds = nanoseconds

    def table(self, value: object, layout: Key) -> dict[str, Any] | None:
        """Return what the object's table holds, or None if it is none."""
        if not printable(self.name):
            self.name = ascii(self.name)[1:-1]
            self.error("", "its name is empty or contains control characters")
            return None
        if not isinstance(value, Mapping):
            self.error("", f"it has to be a table, not {kind_of(value)}")
            return None
        return self.below(value, layout, "")

    def error(self, path: str, message: str, severity: Severity = "error", *, server: str = "") -> None:
        """Add an error of the object, or of one of its servers."""
        self.failed = self.failed or severity == "error"
        kind: ObjectKind = "server" if server else self.kind
        name = f"{self.name}/{server}" if server else self.name
        self.errors.append(
            ObjectError(provider=self.provider, kind=kind, name=name, path=path, message=message, severity=severity)
        )

    def below(self, table: Table, key: Key, path: str) -> dict[str, Any]:
        """Return what a table holds, by the names of fields (or by any name)."""
        values: dict[str, Any] = {}
        seen: set[str] = set()
        for name, value in table.items():
            part = name if isinstance(name, str) else str(name)
            child_path = f"{path}.{part}" if path else part
            below = key.any or key.children.get(part.lower())
            if below is None or not printable(part):
                shown = child_path if printable(part) else ascii(child_path)[1:-1]
                known = [child.name for child in key.children.values() if child.name != "*"]
                self.error(shown, f'{self.unknown} "{shown}"{did_you_mean(part, known)}')
                continue
            field = part if key.any is not None else below.field
            if field in seen:
                self.error(child_path, f"{child_path} is there twice, in different spellings")
            seen.add(field)
            if value is None:
                continue
            found = self._value(value, below, child_path)
            if found is not None:
                values[field] = found
                if found and below.deprecated:
                    text = f"{child_path} is deprecated; write {below.deprecated}"
                    self.error(child_path, text, "warning")
        return values

    def _value(self, value: object, key: Key, path: str) -> Any:
        """Return what a key holds, or None if it cannot be meant."""
        wanted = ""
        match key.kind:
            case None:
                if isinstance(value, Mapping):
                    return self.below(value, key, path)
                wanted = "a table"
            case "text" | "raw":
                if isinstance(value, str):
                    return self._text(value, path)
                wanted = "a text, in quotes"
            case "tables":
                if is_list(value) and isinstance(value, Sequence):
                    return [
                        self._value(one, replace(key, kind=None), f"{path}.{index}") for index, one in enumerate(value)
                    ]
                wanted = "a list of tables"
            case "list":
                if is_list(value) and isinstance(value, Sequence) and all(isinstance(one, str) for one in value):
                    return tuple(self._text(one, path) for one in value)
                wanted = 'a list of texts, such as ["a", "b"]'
            case "bool":
                if isinstance(value, bool):
                    return value
                wanted = "true or false, without quotes"
            case "int":
                if isinstance(value, int) and not isinstance(value, bool):
                    return self._number(value, path)
                wanted = "a whole number, without quotes"
            case "duration":
                if isinstance(value, str | int) and not isinstance(value, bool):
                    return self._duration(value, path)
                wanted = 'seconds (90) or a text with units ("1m30s")'
        self.error(path, f"{path} has to be {wanted}, not {kind_of(value)}")
        return None

    def _text(self, value: str, path: str) -> str:
        if any("\ud800" <= char <= "\udfff" for char in value):
            self.error(path, f"{path} is not valid text")
            return ""
        return value

    def _number(self, value: int, path: str) -> int:
        if abs(value) > _LARGEST:
            self.error(path, f"{path} is too large")
            return 0
        return value

    def _duration(self, value: str | int, path: str) -> float:
        try:
            if isinstance(value, str):
                return parse_duration(value)
            seconds = parse_duration(str(self._number(value, path) // (10**9 if self._nanoseconds else 1)))
            return value * _NANO if self._nanoseconds else seconds
        except ValueError as error:
            self.error(path, f"{path}: {error}")
            return 0.0
