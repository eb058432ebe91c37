"""The file provider on the leader: what was deployed, and its own copy of the files, if they are to be watched."""

from __future__ import annotations

import asyncio

from traefikee import log
from traefikee.config.errors import ConfigurationError
from traefikee.config.static import FileOptions
from traefikee.providers.base import Emitted, Failed, Listener, Provider
from traefikee.providers.file.content import PROVIDER, Content
from traefikee.providers.file.source import Fingerprint, fingerprint, read_source

EVERY = 1.0
"""Seconds between two looks at files that are watched."""
MOST_TOLD = 10
"""Problems of files that are told."""


class FileProvider(Provider):
    """Frontends, backends and certificates from files.

    :param options: the deployed ``file`` options; its path is absolute if it is watched.
    :param deployed: what the files said where ``deploy`` ran.
    :param resuming: what this deployment's files said last is in force already: a copy that cannot be read now leaves
        it there.
    """

    name = PROVIDER

    def __init__(self, options: FileOptions, deployed: Content, *, resuming: bool = False) -> None:
        self._options = options
        self._deployed = deployed
        self._resuming = resuming
        self._log = log.get(self.name)

    async def run(self, listener: Listener) -> None:
        """See :meth:`Provider.run`. Ends at once if nothing is watched."""
        if not self._options.watch:
            listener(_emitted(self._deployed, self._options))
            return
        seen: Fingerprint | None = None
        told, failed = "", ""
        if not self._resuming:
            listener(_emitted(self._deployed, self._options))
            told = self._deployed.digest
        while True:
            now = await asyncio.to_thread(fingerprint, self._options)
            if now != seen:
                try:
                    content = await asyncio.to_thread(read_source, self._options)
                except ConfigurationError as error:
                    message = _sentence(error)
                    if message != failed:
                        self._log.warning("the watched files cannot be read; what is in force stays", reason=message)
                        listener(Failed(message))
                        failed = message
                else:
                    if content.digest != told or failed:
                        self._log.info("read from this node's files", files=list(content.files))
                        listener(_emitted(content, self._options))
                        told, failed = content.digest, ""
                # What was changed while it was read is read again.
                seen = now
            await asyncio.sleep(EVERY)


def _sentence(error: ConfigurationError) -> str:
    more = len(error.problems) - MOST_TOLD
    told = [str(problem) for problem in error.problems[:MOST_TOLD]]
    return "; ".join(told + [f"{more} more"] * (more > 0))


def _emitted(content: Content, options: FileOptions) -> Emitted:
    source = options.filename or options.directory or ", ".join(content.files)
    return Emitted(content.configuration, content.errors, source=source, places=content.places)
