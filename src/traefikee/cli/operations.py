"""The commands that ``traefikee`` and ``traefikeectl`` share word for word, each made for one of the two ways in."""

from __future__ import annotations

from collections.abc import Callable

import click

from traefikee.cli.backup import backup_command
from traefikee.cli.config import config_group
from traefikee.cli.show import explain_command, routes_command
from traefikee.cli.target import Target

OPERATIONS: tuple[Callable[[Target], click.Command], ...] = (
    config_group,
    routes_command,
    explain_command,
    backup_command,
)
