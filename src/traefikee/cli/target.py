"""How a command that both ``traefikee`` and ``traefikeectl`` have reaches a control node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from traefikee.cli.client import Client


@dataclass(frozen=True)
class Target:
    """How a command reaches a control node.

    :ivar add_option: adds the option that says where it is.
    :ivar connect: a client, of what the options say.
    """

    add_option: Callable[[Any], Any]
    connect: Callable[[Mapping[str, Any]], Client]
