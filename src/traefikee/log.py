"""Logging of the agent: one event a line, text for people or JSON for machines, on standard error.

The newest lines are kept in memory too, for `logs` (:mod:`traefikee.log_lines`).
"""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import structlog

from traefikee import log_lines

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}


def configure(log_format: str = "text", level: str = "info", stream: TextIO | None = None) -> None:
    """Set up structlog for this process.

    :param log_format: ``text`` (time, level, event, key=value) or ``json`` (one object a line with ``timestamp``,
        ``level``, ``event``).
    :param level: ``debug``, ``info``, ``warn`` or ``error``.
    :param stream: where lines go; standard error by default.
    """
    out = stream or sys.stderr
    renderer: Any
    if log_format == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=out.isatty(), pad_event_to=0, sort_keys=False)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            log_lines.masking,
            log_lines.RING.keep,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=out),
    )


def get(component: str) -> Any:
    """Return the logger of a component (``store``, ``leader``, ``consul`` ...), named in each of its lines."""
    return structlog.get_logger(component=component)
