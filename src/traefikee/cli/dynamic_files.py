"""The file provider's files, as ``deploy`` and ``config check`` read them on this machine."""

from __future__ import annotations

from pathlib import Path

from traefikee.compile.compiler import compile_snapshot
from traefikee.config.certificates import CertificatePair
from traefikee.config.documents import Document
from traefikee.config.errors import ConfigurationError, Problem
from traefikee.config.runtime import ObjectError, located
from traefikee.config.settings import FileSettings
from traefikee.config.static import FileOptions, StaticConfiguration
from traefikee.providers.file.content import PROVIDER, Content
from traefikee.providers.file.source import read_source

LARGEST = 12 << 20
"""Bytes that all files together may have: a control node takes requests of 16 MiB."""


def read_files(
    configuration: StaticConfiguration, settings: FileSettings | None
) -> tuple[StaticConfiguration, Content | None]:
    """Return what the files say that a configuration names, and the configuration with their absolute paths.

    :param settings: the configuration file, which may hold frontends and backends itself.
    :raises ConfigurationError: with all that keeps them from being read.
    """
    options = configuration.file
    if options is None:
        return configuration, None
    embedded = None
    if settings is not None and settings.dynamic:
        embedded = Document(settings.document.name, settings.dynamic, settings.document.lines)
    paths = {name: getattr(options, name) for name in ("filename", "directory")}
    content = read_source(FileOptions(**paths), embedded)
    if len(content.to_json()) > LARGEST:
        names = options.filename or options.directory or (settings.document.name if settings is not None else "")
        raise ConfigurationError([Problem("file", f"with what it names, is larger than {LARGEST >> 20} MiB", names)])
    # Those who watch them are elsewhere.
    absolute = {name: str(Path(path).absolute()) for name, path in paths.items() if path}
    return configuration.model_copy(update={"file": options.model_copy(update=absolute)}), content


def problems_of(configuration: StaticConfiguration, content: Content) -> tuple[ObjectError, ...]:
    """Return everything that is wrong with what files say, as the leader would tell it."""
    nobody = CertificatePair(chain_pem="", key_pem="")
    compiled = compile_snapshot(
        configuration, {PROVIDER: content.configuration}, revision=0, default_certificate=nobody
    )
    found = tuple(located(error, content.places) for error in compiled.errors)
    return tuple(dict.fromkeys((*content.errors, *found)))
