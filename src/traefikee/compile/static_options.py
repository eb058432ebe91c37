"""Static options that the compiler reads by name: one line each."""

from __future__ import annotations

from typing import Any

from traefikee.compile import snapshot_middlewares as middle
from traefikee.compile import snapshot_services as parts
from traefikee.compile.middlewares import entry_point_middlewares
from traefikee.compile.problems import Problems
from traefikee.config.errors import ConfigurationError, Problem
from traefikee.config.static import EntryPoint, StaticConfiguration


def retry_of(static: StaticConfiguration) -> parts.Retry | None:
    """Return how often a request is tried (``retry.attempts``)."""
    given: Any = getattr(static, "retry", None)
    return None if given is None else parts.Retry(attempts=given.attempts)


def health_check_interval_of(static: StaticConfiguration) -> float:
    """Return the seconds between two health checks of backends that name none (``healthCheck.interval``)."""
    return float(getattr(static, "health_check_interval", 30.0))


def middlewares_of(static: StaticConfiguration, entry_point: EntryPoint) -> tuple[middle.Middleware, ...]:
    """Return an entry point's middlewares.

    :raises ConfigurationError: with everything that is wrong with them or has no effect; ``deploy`` should refuse that.
    """
    problems = Problems("static")
    found = entry_point_middlewares(
        entry_point.name,
        {one.name: one for one in static.entry_points},
        problems,
        redirect=getattr(entry_point, "redirect", None),
        auth=getattr(entry_point, "auth", None),
        compress=getattr(entry_point, "compress", False),
        white_list=getattr(entry_point, "white_list", None),
    )
    if problems.found:
        prefix = f"entryPoints.{entry_point.name}."
        raise ConfigurationError(
            [Problem(prefix + one.path, one.message.removeprefix(f"{one.path}: ")) for one in problems.found]
        )
    return found
