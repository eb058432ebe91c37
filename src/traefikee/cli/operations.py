"""The commands that ``traefikee`` and ``traefikeectl`` share word for word, each made for one of the two ways in."""

from __future__ import annotations

from collections.abc import Callable

import click

from traefikee.cli.audit import audit_command
from traefikee.cli.backup import backup_command
from traefikee.cli.config import config_group
from traefikee.cli.history import diff_command, history_command, rollback_command
from traefikee.cli.leaving import drain_node_command, rm_node_command
from traefikee.cli.licence import update_license_command
from traefikee.cli.logs import logs_command
from traefikee.cli.show import explain_command, routes_command
from traefikee.cli.target import Target
from traefikee.cli.tokens import env_command, rotate_tokens_command
from traefikee.cli.trust import list_certificates_command, new_credentials_command, rotate_ca_command

OPERATIONS: tuple[Callable[[Target], click.Command], ...] = (
    config_group,
    routes_command,
    explain_command,
    rm_node_command,
    drain_node_command,
    env_command,
    rotate_tokens_command,
    rotate_ca_command,
    list_certificates_command,
    new_credentials_command,
    backup_command,
    history_command,
    diff_command,
    rollback_command,
    audit_command,
    update_license_command,
    logs_command,
)
