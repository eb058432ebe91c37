"""Consul's last write is what every data node routes by, and none ever routes by an older one than before."""

from __future__ import annotations

from tests.chaos.history import History, Outcome
from tests.chaos.invariants.revisions import back


def check(history: History) -> list[str]:
    """Return what does not hold."""
    found = []
    for node in sorted({one.node for one in history.requests}):
        for kept in (False, True):
            # One connection's requests are one after the other.
            seen = [(one.end, one.mark) for one in history.requests if one.node == node and one.kept is kept]
            found += [
                f"{node} went back in what it routes by, {sentence}"
                for sentence in back([one for one in seen if one[1]], history.faults_of(node))
            ]
    final = history.final
    if final is None or final.converged is None:
        return found
    acknowledged = max((one.number for one in history.writes if one.outcome is Outcome.OK), default=0)
    if final.consul < acknowledged:
        found.append(f"Consul holds {final.consul} and had acknowledged {acknowledged}")
    found += [
        f"{node} routes by {number}, and Consul says {final.consul}"
        for node, number in sorted(final.served.items())
        if number != final.consul
    ]
    return found
