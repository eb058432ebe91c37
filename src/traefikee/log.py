"""Logging of the agent: one event a line, on standard error: text for people, JSON for machines, or for the journal.

The newest lines are kept in memory too, for `logs` (:mod:`traefikee.log_lines`).
"""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict

from traefikee import log_lines

PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""syslog's priorities of the levels (syslog(3))."""
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}


def configure(log_format: str = "text", level: str = "info", stream: TextIO | None = None) -> None:
    """Set up structlog for this process.

    :param log_format: ``text`` (time, level, event, key=value) or ``json`` (one object a line with ``timestamp``,
        ``level``, ``event``), or ``journal``: text without a time, each line beginning with its priority (``<6>``), as
        systemd reads it (sd-daemon(3)).
    :param level: ``debug``, ``info``, ``warn`` or ``error``.
    :param stream: where lines go; standard error by default.
    """
    out = stream or sys.stderr
    stamp: list[Any] = [structlog.processors.TimeStamper(fmt="iso", utc=True)]
    renderer: Any
    if log_format == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=out.isatty(), pad_event_to=0, sort_keys=False)
    if log_format == "journal":
        stamp, renderer = [], _for_journal(renderer)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            *stamp,
            structlog.processors.format_exc_info,
            log_lines.masking,
            log_lines.RING.keep,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=out),
    )


def _for_journal(text: Any) -> Any:
    def render(logger: Any, name: str, event: EventDict) -> str:
        prefix = f"<{PRIORITIES.get(event.pop('level', 'info'), 6)}>"
        # The journal has the priority of each line from that line.
        return "\n".join(prefix + line for line in text(logger, name, event).splitlines())

    return render


def get(component: str) -> Any:
    """Return the logger of a component (``store``, ``leader``, ``consul`` ...), named in each of its lines."""
    return structlog.get_logger(component=component)
