"""Control nodes agree on tokens and on the authority, and what was replaced is told of in the audit log, once.

In the end one authority is trusted, the one that signs, and every node has a certificate of it.
"""

from __future__ import annotations

from tests.chaos.history import Final, History, Outcome

ACTIONS = {"tokens": "rotate-tokens", "authority": "rotate-ca"}


def check(history: History) -> list[str]:
    """Return what does not hold."""
    final = history.final
    if final is None or final.trust is None:
        return []
    return _agreed(final) + _told(history, final)


def _agreed(final: Final) -> list[str]:
    found = []
    nodes = sorted((final.trust or {}).items())
    for name, trust in nodes:
        if trust.tokens != nodes[0][1].tokens:
            found.append(f"{name} has other tokens than {nodes[0][0]}")
        if trust.trusted != nodes[0][1].trusted:
            found.append(f"{name} trusts other authorities than {nodes[0][0]}")
        if len(trust.trusted) != 1:
            found.append(f"{name} trusts {len(trust.trusted)} authorities")
        if trust.foreign:
            found.append(f"{', '.join(trust.foreign)} are told by {name} to have no certificate of the authority")
    return found


def _told(history: History, final: Final) -> list[str]:
    found = []
    for what, action in ACTIONS.items():
        done = [one for one in history.rotations if one.what == what and one.outcome is not Outcome.FAIL]
        acknowledged = sum(one.outcome is Outcome.OK for one in done)
        told = final.audited.get(action, 0)
        if told < acknowledged:
            found.append(f"{action} was acknowledged {acknowledged} times, and the audit log has {told} entries")
        # The replacement of an authority has an entry for each of its phases.
        if told > len(done) and (what == "tokens" or not done):
            found.append(f"{action} was asked for {len(done)} times, and the audit log has {told} entries")
    return found
