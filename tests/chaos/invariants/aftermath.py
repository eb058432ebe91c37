"""A cluster whose control nodes were lost comes back as it was: the same configuration, tokens and authority.

Data nodes follow by themselves, and the next deployment is served. That no request fails meanwhile is asked elsewhere.
"""

from __future__ import annotations

from tests.chaos.history import History


def check(history: History) -> list[str]:
    """Return what does not hold."""
    seen = history.aftermath
    if seen is None:
        return []
    if seen.whole is None:
        return [f"after {seen.what} no agreement within {seen.limit:g} s: {seen.disagreement}"]
    found = []
    before, after = seen.ports
    found += [
        f"after {seen.what} {name} listens for {after.get(name)}, and for {ports} before"
        for name, ports in sorted(before.items())
        if after.get(name) != ports
    ]
    if seen.trust[0].tokens != seen.trust[1].tokens:
        found.append(f"after {seen.what} the tokens are others")
    if seen.trust[0].trusted != seen.trust[1].trusted:
        found.append(f"after {seen.what} another authority is trusted")
    found += [
        f"after {seen.what} deploy {seen.next} was acknowledged, and {name} listens for {ports or 'none'}"
        for name, ports in sorted(seen.served.items())
        if ports != [seen.next]
    ]
    return found
