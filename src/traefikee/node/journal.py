"""What a data node keeps of the snapshot for its next start: a whole and the changes since, in one file.

The file consists of frames (:mod:`traefikee.compile.changes`) as they came. A change is appended; when the changes have
outgrown the whole, the file is written anew. What a crash has left half written at its end is dropped: a control node
sends it again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from traefikee import known_faults, log
from traefikee.compile import changes
from traefikee.compile.changes import Change, Header, State
from traefikee.node.statedir import StateDir, unwritable

FILE = "snapshot"
LEAST = 256 * 1024
"""Bytes of changes that are never too many, however small the whole is."""

_log = log.get("data")


class Journal:
    """The file, and what of it is still to be written."""

    def __init__(self, statedir: StateDir) -> None:
        self._statedir = statedir
        self._unsaved: list[bytes] = []
        self._whole = 0
        self._changes = 0

    def load(self) -> State:
        """Return the state that is kept; an empty one if there is none that can be read."""
        try:
            content = self._statedir.read(FILE)
            if content is None:
                return State()
            frames, is_complete = changes.split(content)
            state = changes.follow(State(), frames)
        except (OSError, ValueError) as error:
            _log.error("the saved snapshot cannot be read; a control node has to send it again", reason=str(error))
            return State()
        if is_complete and frames:
            self._whole, self._changes = len(frames[0]), len(content) - len(frames[0])
        return state

    def hear(self, frames: Sequence[bytes]) -> None:
        """Keep changes in mind until they are saved, which they are together with the first one that is in force."""
        self._unsaved += frames
        if sum(map(len, self._unsaved)) > max(self._whole, LEAST):
            self._unsaved, self._whole = [], 0

    def save(self, state: State) -> None:
        """Write what is not written yet, so that the file holds ``state``.

        :raises TraefikeeError: if the disk does not take it.
        """
        if known_faults.is_on(known_faults.OLD_JOURNAL) and (self._statedir.path / FILE).exists():
            return
        unsaved, self._unsaved = self._unsaved, []
        added = sum(map(len, unsaved))
        begins = any(not changes.unpack(frame)[0].base for frame in unsaved)
        # What the disk does not take now cannot be followed by anything: then the next one is whole.
        whole, self._whole = self._whole, 0
        if whole and not begins and self._changes + added <= max(whole, LEAST):
            self._append(b"".join(unsaved))
            self._changes += added
            self._whole = whole
            return
        header = Header(format=state.format, base="", name=state.name, revision=state.revision)
        frame = changes.pack(header, Change(state.objects))
        self._statedir.write(FILE, frame)
        self._whole, self._changes = len(frame), 0

    def _append(self, content: bytes) -> None:
        path = self._statedir.path / FILE
        try:
            with path.open("ab") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise unwritable(path, error) from error
