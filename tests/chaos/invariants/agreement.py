"""The control nodes' stores hold the same, and that is what their history says: nothing that was seen got lost."""

from __future__ import annotations

from tests.chaos.history import History
from tests.chaos.store_log import at

REVISION = ""
"""The key under which `Final.stores` keeps the revision that was read."""


def check(history: History) -> list[str]:
    """Return what does not hold."""
    final = history.final
    if final is None or final.converged is None:
        return []
    found = []
    for node, keys in sorted(final.stores.items()):
        expected = {key: one.revision for key, one in at(history.stored, keys[REVISION]).items()}
        held = {key: revision for key, revision in keys.items() if key != REVISION}
        wrong = [key for key in sorted(expected.keys() | held.keys()) if expected.get(key) != held.get(key)]
        if wrong:
            told = ", ".join(f"{key} ({expected.get(key)} in the history, {held.get(key)} held)" for key in wrong[:5])
            found.append(f"the store of {node} differs from its history in {len(wrong)} keys: {told}")
    return found
