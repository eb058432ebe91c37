"""What the compiler makes of static options, beside what is as simple as a number."""

from __future__ import annotations

from traefikee.compile import snapshot_middlewares as middle
from traefikee.compile import snapshot_services as parts
from traefikee.compile.middlewares import entry_point_middlewares
from traefikee.compile.problems import Problems
from traefikee.config.errors import ConfigurationError, Problem
from traefikee.config.static import EntryPoint, StaticConfiguration


def retry_of(static: StaticConfiguration) -> parts.Retry | None:
    """Return how often a request is tried (``retry.attempts``)."""
    return None if static.retry is None else parts.Retry(attempts=static.retry.attempts)


def middlewares_of(static: StaticConfiguration, entry_point: EntryPoint) -> tuple[middle.Middleware, ...]:
    """Return an entry point's middlewares.

    :raises ConfigurationError: with everything that is wrong with them or has no effect; ``deploy`` refuses that.
    """
    problems = Problems("static")
    found = entry_point_middlewares(
        entry_point.name,
        {one.name: one for one in static.entry_points},
        problems,
        redirect=entry_point.redirect,
        auth=entry_point.auth,
        compress=entry_point.compress,
        white_list=entry_point.white_list,
    )
    if problems.found:
        prefix = f"entryPoints.{entry_point.name}."
        raise ConfigurationError(
            [Problem(prefix + one.path, one.message.removeprefix(f"{one.path}: ")) for one in problems.found]
        )
    return found
