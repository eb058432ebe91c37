"""No request has failed because of a fault of the control plane (see `tests.chaos.excuses`)."""

from __future__ import annotations

from tests.chaos.excuses import is_excused, windows
from tests.chaos.history import History
from tests.support.wait import SLOWNESS


def check(history: History) -> list[str]:
    """Return what does not hold."""
    excused = {
        node: windows(history.faults_of(node), max(1.0, SLOWNESS)) for node in {one.node for one in history.requests}
    }
    return [
        f"a request to {one.node} on a {'kept' if one.kept else 'new'} connection failed after {one.begin:.2f} s "
        f"({one.end - one.begin:.2f} s long): {one.failure}"
        for one in history.requests
        if one.failure and not is_excused(one, excused[one.node])
    ]
