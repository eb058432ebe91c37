"""What is said to be in force is what serves: each data node listens where the last deployment says, and nowhere else.

Every deployment has an entry point of its own, at a port that tells its number.
"""

from __future__ import annotations

from tests.chaos.history import History
from tests.chaos.store_log import config_number, deployed_number


def check(history: History) -> list[str]:
    """Return what does not hold."""
    final = history.final
    if final is None or final.converged is None:
        return []
    numbers = {
        number: deployed_number(one)
        for one in history.stored
        if (number := config_number(one.key)) is not None and one.value is not None
    }
    last = numbers[max(numbers)] if numbers else None
    return [
        f"{node} has deploy {last} in force and listens for {ports or 'none'}"
        for node, ports in sorted(final.ports.items())
        if ports != [last]
    ]
