"""Which failed requests are no finding: the written rule.

A request to a data node may fail if it ran, for a part of its time, while that node itself was struck in a way that
touches its traffic, or shortly after, while it came back. A fault of a control node, of Consul, or of a data node's
*agent* or *disk* excuses nothing: traffic needs none of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.chaos.history import Request, Struck
from tests.chaos.schedule import Kind

BACK = {
    Kind.KILL_ENGINE: 5.0,
    Kind.KILL_NODE: 10.0,
    Kind.STOP: 10.0,
    Kind.CLOCK: 10.0,
    Kind.REPLACE: 15.0,
    Kind.PAUSE_NODE: 2.0,
    Kind.LINK_DOWN: 3.0,
    Kind.LINK_IN: 3.0,
    Kind.LINK_OUT: 3.0,
    Kind.LOSSY: 3.0,
    Kind.SLOW: 3.0,
    Kind.DRAIN: 5.0,
}
"""What touches a data node's traffic, and the seconds that it may take to be back after the end of that."""
RESTARTS = frozenset({Kind.KILL_ENGINE, Kind.KILL_NODE, Kind.STOP, Kind.CLOCK, Kind.REPLACE})
NEEDED = frozenset({Kind.KILL_AGENT, Kind.PAUSE_AGENT, Kind.DISK_FULL})
"""Faults that touch no traffic, but keep an engine that has ended from being started again."""


def windows(faults: Sequence[Struck], slowness: float = 1) -> list[tuple[float, float]]:
    """Return from when until when requests to a node are excused, by the faults of that node.

    :param slowness: by how much more time the machine needs than an idle one.
    """
    found = []
    for fault in faults:
        kind = Kind(fault.kind)
        if kind not in BACK:
            continue
        back = BACK[kind] * slowness
        end = fault.end + back
        if kind in RESTARTS:
            # Nothing starts an engine while its agent is away or the disk takes nothing.
            for other in sorted(faults, key=lambda one: one.begin):
                if Kind(other.kind) in NEEDED and other.begin <= end and other.end >= fault.begin:
                    end = max(end, other.end + back)
        found.append((fault.begin, end))
    return found


def is_excused(request: Request, excused: Sequence[tuple[float, float]]) -> bool:
    """Tell whether a request ran, in part, within one of these times."""
    return any(request.begin <= end and request.end >= begin for begin, end in excused)
