"""Options of Traefik 1.7 that have no meaning in a cluster of this product: each with the reason and what to use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an option, and everything below it, is refused.

    :ivar reason: a sentence without its full stop: why, and what to use instead.
    :ivar harmless: the value (as on a command line, in lower case) that asks for what happens anyway; it is accepted.
    """

    reason: str
    harmless: str = ""


_LOG = (
    "nodes log on their standard error, where systemd or a container's engine takes it; --logFormat of the commands "
    "that start them chooses its form"
)
_API = "API and dashboard are served by the control nodes, at their --dashboardlisten, and not at an entry point"
_CNAME = "names are not resolved for requests: name the aliases in the Host rule itself"

REFUSALS: Mapping[str, Refusal] = {
    "api.dashboard": Refusal("the dashboard comes with the API; leave the whole api out to have neither", "true"),
    "api.debug": Refusal("there are no Go profiles; see the observability page for what there is", "false"),
    "api.entryPoint": Refusal(_API, "traefik"),
    "boltdb": Refusal("a file on one machine is no store for a cluster; use consul"),
    "checkNewVersion": Refusal("nothing here asks for new versions; leave it out", "false"),
    "cluster": Refusal("a cluster is what traefikee always is: bootstrap makes it, and nodes name themselves (--name)"),
    "hostResolver.cnameFlattening": Refusal(_CNAME, "false"),
    "hostResolver.resolvConfig": Refusal(_CNAME),
    "hostResolver.resolvDepth": Refusal(_CNAME),
    "sendAnonymousUsage": Refusal("nothing is ever sent to anybody; leave it out", "false"),
    "traefikLog.filePath": Refusal(_LOG),
    "traefikLog.format": Refusal(_LOG, "common"),
    "traefikLogsFile": Refusal(_LOG),
    "web": Refusal("it was deprecated in 1.7; use api, ping and metrics.prometheus"),
}

TABLES = frozenset({"hostResolver", "traefikLog"})
"""Tables that say nothing by being there: only what is in them is looked at."""

_BY_FOLDED = {name.lower(): refusal for name, refusal in REFUSALS.items()}
_TABLES_FOLDED = frozenset(name.lower() for name in TABLES)


def find_refusal(name: str) -> Refusal | None:
    """Return why an option (dotted, in any case) has no meaning, or None."""
    parts = name.lower().split(".")
    found = (_BY_FOLDED.get(".".join(parts[:length])) for length in range(1, len(parts) + 1))
    return next((refusal for refusal in found if refusal is not None), None)


def is_empty_table(name: str) -> bool:
    """Tell whether an option is a table that says nothing by being there."""
    return name.lower() in _TABLES_FOLDED
