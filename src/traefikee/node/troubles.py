"""What is wrong with a node right now, in sentences for whoever operates it.

They are in the node's log when they begin and end, and in its report, and so in what ``list-nodes`` warns of on every
control node.
"""

from __future__ import annotations

from collections.abc import Callable

from traefikee import log
from traefikee.errors import TraefikeeError

_log = log.get("node")


def unwritten(error: TraefikeeError, older: str) -> str:
    """Return the trouble of a file that could not be written.

    :param older: what the next start would begin with.
    """
    return f"{error.cause}, and a restart would begin with {older}; {error.next_step}"


class Troubles:
    """The present troubles of one node.

    :param on_change: called when there is another set of them.
    """

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        self._found: dict[str, str] = {}
        self._on_change = on_change

    def note(self, what: str, sentence: str) -> None:
        """Tell that something is wrong, or with an empty sentence that it no longer is.

        :param what: names the thing; there is one trouble at a time with it.
        :param sentence: what is wrong; after a semicolon the next step.
        """
        before = self._found.get(what, "")
        if sentence == before:
            return
        if sentence:
            self._found[what] = sentence
            if not before:
                _log.error(sentence)
        else:
            del self._found[what]
            _log.info("this trouble is over", was=before)
        self._on_change()

    def get(self, what: str) -> str:
        """Return what is wrong with something, or an empty text."""
        return self._found.get(what, "")

    def all(self) -> tuple[str, ...]:
        """Return them all."""
        return tuple(self._found.values())
