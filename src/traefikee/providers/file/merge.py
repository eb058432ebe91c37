"""Several files of one dynamic configuration as one: tables by their names, and where each of them is. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from traefikee.config.documents import Document, Path
from traefikee.config.errors import ConfigurationError, Problem, did_you_mean
from traefikee.config.names import top_level_names
from traefikee.config.runtime import ObjectError, ObjectKind

NAMED: Mapping[str, ObjectKind] = {
    "backends": "backend",
    "frontends": "frontend",
    "http.routers": "router",
    "http.services": "service",
    "http.middlewares": "middleware",
}
"""Tables whose entries have names, and what the entries are."""
CERTIFICATES = "tls.certificates"
"""The certificates of Traefik 2; those of Traefik 1.7 are a list ``tls``."""
_OTHERS = ("tls.options", "tls.stores", "tcp", "udp", "http.serversTransports")
"""What Traefik 2 has beside it."""
_KNOWN = ("backends", "frontends", "tls", "http", "tcp", "udp")
_STATIC = top_level_names()


@dataclass(slots=True)
class Merged:
    """Everything that files say.

    :ivar named: by the names of :data:`NAMED`, entries by their names.
    :ivar lists: ``tls`` and :data:`CERTIFICATES`: entries of all files, in order.
    :ivar others: tables that have no meaning here, by their dotted names.
    :ivar places: ``file:line`` of everything, by dotted paths in lower case.
    :ivar errors: warnings about what is there twice.
    """

    named: dict[str, dict[str, Any]] = field(default_factory=lambda: {name: {} for name in NAMED})
    lists: dict[str, list[Any]] = field(default_factory=lambda: {"tls": [], CERTIFICATES: []})
    others: dict[str, list[str]] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    errors: list[ObjectError] = field(default_factory=list)


def merge(documents: Sequence[Document], provider: str) -> Merged:
    """Return what files say together: of a name that is there twice the first counts, certificates accumulate.

    :raises ConfigurationError: with all that is no dynamic configuration, and all template actions.
    """
    merged = Merged()
    problems: list[Problem] = []
    for document in documents:
        found = template_problems(document)
        _Merger(merged, document, provider, found).take()
        problems += sorted(found, key=_line)
    if problems:
        raise ConfigurationError(problems)
    return merged


@dataclass(slots=True)
class _Merger:
    """Adds one file."""

    merged: Merged
    document: Document
    provider: str
    problems: list[Problem]

    def take(self) -> None:
        for name, value in self._table((), self.document.tree):
            folded = name.lower()
            if folded == "http":
                for inner, below in self._table((name,), value):
                    known = {key.lower(): key for key in NAMED if key.startswith("http.")}
                    group = known.get(f"http.{inner.lower()}")
                    if group is not None:
                        self._named(group, (name, inner), below)
                    else:
                        self._other(f"http.{inner}", (name, inner), below)
            elif folded == "tls" and isinstance(value, Mapping):
                for inner, below in self._table((name,), value):
                    if inner.lower() == "certificates":
                        self._list(CERTIFICATES, (name, inner), below)
                    else:
                        self._other(f"tls.{inner}", (name, inner), below)
            elif folded == "tls":
                self._list("tls", (name,), value)
            elif folded in NAMED:
                self._named(folded, (name,), value)
            else:
                self._other(name, (name,), value)

    def _problem(self, path: Path, message: str) -> None:
        dotted = ".".join(str(part) for part in path)
        self.problems.append(Problem(dotted, message, self.document.place(path)))

    def _table(self, path: Path, value: Any) -> list[tuple[str, Any]]:
        """Return the entries of a table of which names in different case are one."""
        if value is None:
            return []
        if not isinstance(value, Mapping):
            self._problem(path, "has to be a table")
            return []
        found: dict[str, tuple[str, Any]] = {}
        for name, below in value.items():
            if name.lower() in found:
                self._problem((*path, name), "is there twice, in different case")
            found.setdefault(name.lower(), (name, below))
        return list(found.values())

    def _named(self, group: str, path: Path, value: Any) -> None:
        if not isinstance(value, Mapping):
            if value is not None:
                self._problem(path, f"has to be a table of {NAMED[group]}s by their names")
            return
        known = self.merged.named[group]
        for name, entry in value.items():
            place = self.document.place((*path, name))
            first = self.merged.places.get(f"{group}.{name}".lower())
            if name in known:
                text = f"it is defined in {first} already; this one is passed over"
                self._warn(NAMED[group], name, text, place)
                continue
            known[name] = entry
            self._keep((*path, name), f"{group}.{name}")

    def _list(self, group: str, path: Path, value: Any) -> None:
        if value is None:
            return
        if isinstance(value, str) or not isinstance(value, Sequence):
            self._problem(path, "has to be a list of tables")
            return
        known = self.merged.lists[group]
        for index, entry in enumerate(value):
            self._keep((*path, index), f"{group}.{len(known)}")
            known.append(entry)

    def _other(self, name: str, path: Path, value: Any) -> None:
        other = next((other for other in _OTHERS if other.lower() == name.lower()), None)
        if other is not None:
            names = list(value) if isinstance(value, Mapping) else []
            self.merged.others.setdefault(other, []).extend(names or [""])
            for one in names:
                self._keep((*path, one), f"{name}.{one}")
            self._keep(path, name)
        elif len(path) == 1 and name.lower() in _STATIC:
            self._problem(path, "is a part of the static configuration; it belongs into the file of --configFile")
        else:
            known = (*_KNOWN, "configFile") if len(path) == 1 else (*NAMED, CERTIFICATES, *_OTHERS)
            self._problem(path, f"unknown key{did_you_mean(name, known)}")

    def _warn(self, kind: ObjectKind, name: str, message: str, place: str) -> None:
        self.merged.errors.append(
            ObjectError(
                provider=self.provider, kind=kind, name=name, path="", message=message, severity="warning", where=place
            )
        )

    def _keep(self, path: Path, name: str) -> None:
        """Keep the lines of everything below a path, under another name."""
        places = self.merged.places
        places.setdefault(name.lower(), self.document.place(path))
        for below in self.document.below(path):
            rest = ".".join(str(part) for part in below[len(path) :])
            places[f"{name}.{rest}".lower()] = self.document.place(below)


def _line(problem: Problem) -> int:
    number = problem.where.rpartition(":")[2]
    return int(number) if number.isdecimal() else 0


# --- templates ---


def template_problems(document: Document) -> list[Problem]:
    """Say of each template action that it is not run; those in a redirect's replacement are the engine's."""
    found: list[Problem] = []
    _templates(document, (), document.tree, found)
    return found


def _templates(document: Document, path: Path, value: Any, found: list[Problem]) -> None:
    if isinstance(value, Mapping):
        for name, below in value.items():
            if "{{" in str(name):
                found.append(_template((*path, name), document))
            _templates(document, (*path, name), below, found)
    elif isinstance(value, list):
        for index, below in enumerate(value):
            _templates(document, (*path, index), below, found)
    elif isinstance(value, str) and "{{" in value:
        names = [str(part).lower() for part in path[-2:]]
        if names not in (["redirect", "replacement"], ["redirectregex", "replacement"]):
            found.append(_template(path, document))


def _template(path: Path, document: Document) -> Problem:
    return Problem(".".join(str(part) for part in path), TEMPLATES, document.place(path))


TEMPLATES = (
    "holds a template action ({{ ... }}): templates are not run; run it before, and name the file that comes of it"
)
