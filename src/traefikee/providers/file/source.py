"""Where the file provider's files are: finding and reading them, and telling whether they have changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from traefikee.config.documents import Document, parse_document
from traefikee.config.errors import ConfigurationError, Problem
from traefikee.config.static import FileOptions
from traefikee.providers.file.content import Content, read_content
from traefikee.providers.file.merge import TEMPLATES

SUFFIXES = frozenset({".toml", ".yaml", ".yml", ".json"})
TEMPLATE_SUFFIX = ".tmpl"
"""Of files that Traefik 1.7 reads from a directory too."""
LARGEST = 16 << 20
"""Bytes that a file may have."""
MOST_FILES = 10_000

Fingerprint: TypeAlias = tuple[tuple[str, int, int, int], ...]
"""Name, inode, size and time of the last change of each file, that of its permissions too."""


def read_source(options: FileOptions, embedded: Document | None = None) -> Content:
    """Return what the files of the file provider say, read from this machine.

    :param embedded: the tables of the configuration file, where the options name no file.
    :raises ConfigurationError: with all that keeps them from being read.
    """
    documents: list[Document] = []
    problems: list[Problem] = []
    if not options.filename and not options.directory:
        documents += [embedded] if embedded is not None else []
    else:
        for path in find_files(options):
            try:
                documents.append(read_document(path))
            except ConfigurationError as error:
                problems += error.problems
    try:
        content = read_content(documents, lambda name: Path(name).read_bytes())
    except ConfigurationError as error:
        raise ConfigurationError([*problems, *error.problems]) from None
    if problems:
        raise ConfigurationError(problems)
    return content


def find_files(options: FileOptions) -> list[str]:
    """Return the files in the order in which they count: by name, a directory at its own name's place.

    :raises ConfigurationError: there is no such directory, or it cannot be read.
    """
    if options.filename:
        return [options.filename]
    try:
        found = list(_below(options.directory, ()))
    except (OSError, ValueError) as error:
        name = error.filename if isinstance(error, OSError) else None
        raise _error(str(name or options.directory), _reason(error)) from None
    if len(found) > MOST_FILES:
        raise _error(options.directory, f"holds more than {MOST_FILES} files")
    return found


def _below(directory: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    status = Path(directory).stat()
    here = (status.st_dev, status.st_ino)
    if here in above:
        # A link to a directory above it.
        return
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _below(entry.path, (*above, here))
        elif Path(entry.name).suffix.lower() in SUFFIXES | {TEMPLATE_SUFFIX}:
            yield entry.path


def read_document(name: str) -> Document:
    """Return a parsed file.

    :raises ConfigurationError: it cannot be read, or is not of its form.
    """
    if Path(name).suffix.lower() == TEMPLATE_SUFFIX:
        raise _error(
            name, "is a template, and templates are not run; put the file that comes of running it in its place"
        )
    try:
        with Path(name).open("rb") as file:
            content = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        raise _error(name, _reason(error)) from None
    if len(content) > LARGEST:
        raise _error(name, f"is larger than {LARGEST >> 20} MiB")
    try:
        return parse_document(name, content)
    except ConfigurationError:
        # A template need not be of any form; that it is one is what has to be told.
        for number, line in enumerate(content.splitlines(), 1):
            if b"{{" in line.partition(b"#")[0]:
                raise ConfigurationError([Problem("", TEMPLATES, f"{name}:{number}")]) from None
        raise


def fingerprint(options: FileOptions) -> Fingerprint:
    """Return what changes with the files. One that cannot be looked at has zeros."""
    try:
        names = find_files(options)
    except ConfigurationError:
        return ((options.directory, 0, 0, 0),)
    return tuple(_look_at(name) for name in names)


def _look_at(name: str) -> tuple[str, int, int, int]:
    try:
        status = Path(name).stat()
    except (OSError, ValueError):
        return (name, 0, 0, 0)
    return (name, status.st_ino, status.st_size, status.st_ctime_ns)


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file or directory"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    return "cannot be read: its name is not valid"


def _error(name: str, message: str) -> ConfigurationError:
    return ConfigurationError([Problem("", message, name)])
