"""A deployment's way: checked here, stored, compiled by the leader, applied by every live data node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from traefikee import known_faults
from traefikee.cluster import history, upgrade
from traefikee.cluster.admission import Admission
from traefikee.cluster.mirror import Mirror
from traefikee.cluster.records import ProviderStatus
from traefikee.cluster.roles import Role
from traefikee.cluster.state import ClusterState
from traefikee.cluster.store import Store
from traefikee.compile.compiler import compile_snapshot
from traefikee.config.certificates import CertificatePair
from traefikee.config.difference import Change, Kind, differences
from traefikee.config.places import place_of
from traefikee.config.static import StaticConfiguration
from traefikee.errors import RefusedError, UnreachableError
from traefikee.formats import newer_field
from traefikee.node import deployed_files
from traefikee.node.engine import Engine
from traefikee.node.storing import Order, check_revision, put_in_force
from traefikee.providers.file.content import Content
from traefikee.providers.file.differences import file_differences

COMPILE_DEADLINE = 30.0
"""Seconds that the leader may take; its providers get some of them."""
APPLY_DEADLINE = 30.0
"""Seconds that the data nodes may take to apply and to say so."""
BEAT = 2.0
MOST_NAMED = 20
"""Data nodes that are named one by one."""
PROGRESS_EVERY = 1.0
LOOK_PAUSE = 0.1
"""Seconds between two looks at very many reports, which come in quick succession."""

Step = Mapping[str, Any]


async def deploy(
    store: Store, mirror: Mirror, engine: Engine, admission: Admission, order: Order
) -> AsyncIterator[Step]:
    """Deploy; yields each step: ``stored``, ``provider``, ``problem``, ``compiled``, ``node``, ``waiting``, ``done``.

    The last step is ``done`` with ``ok`` and a ``message``.

    :raises TraefikeeError: if the configuration cannot be used, another one than expected is in force, or nobody leads.
    """
    check_format(mirror.state, order.configuration, order.files)
    await _check(engine, admission, order.configuration)
    if known_faults.is_on(known_faults.ACK_BEFORE_COMMIT):
        before = mirror.state.deployment
        yield {"event": "stored", "number": before.number + 1 if before else 1, "message": "Configuration stored."}
    number = await put_in_force(store, order, mirror.state.format.number)
    yield {"event": "stored", "number": number, "message": f"Configuration {number} stored."}
    if mirror.state.leader is None:
        yield {"event": "waiting", "message": "Waiting for a leader to be elected."}
    async for step in _until(
        mirror, lambda seen: _compiled(seen, number), COMPILE_DEADLINE, "the leader to compile it"
    ):
        yield step
    seen = mirror.state
    pointer = seen.pointer
    if pointer is None or pointer.config < number:
        raise UnreachableError(
            f"no leader compiled the configuration within {COMPILE_DEADLINE:.0f} s; it stays stored as number {number}",
            "look at `traefikee list-nodes` and the leader's log",
        )
    if pointer.config > number:
        yield {
            "event": "done",
            "ok": False,
            "message": f"A newer configuration ({pointer.config}) was deployed meanwhile.",
        }
        return
    if pointer.failure:
        raise RefusedError(f"the leader cannot use the configuration: {pointer.failure}", kind="configuration")
    for name, provider in sorted(seen.providers.items()):
        yield {
            "event": "provider",
            "name": name,
            "state": provider.state,
            "message": _provider_sentence(name, provider),
        }
    for error in pointer.errors:
        source = seen.providers[error.provider].source if error.provider in seen.providers else ""
        key = place_of(error, source)
        yield {"event": "problem", "severity": error.severity, "message": error.sentence(), "key": key}
    yield {"event": "compiled", "revision": pointer.revision, "message": f"Snapshot {pointer.revision} published."}
    async for step in _applied(mirror, pointer.revision):
        yield step


async def read_deployment(store: Store, number: int) -> tuple[StaticConfiguration, Content | None]:
    """Return a deployment that is kept: its static configuration, and what its files said.

    :raises RefusedError: if it is not kept.
    :raises TraefikeeError: if it cannot be read.
    """
    record = await history.need(store, number)
    configuration = await deployed_files.read_configuration(store, record.configuration)
    files = await deployed_files.read_files(store, record.files) if record.files is not None else None
    return configuration, files


async def plan(
    store: Store,
    mirror: Mirror,
    engine: Engine,
    admission: Admission,
    configuration: StaticConfiguration,
    files: Content | None = None,
    if_revision: int | None = None,
) -> dict[str, Any]:
    """Return what a deployment of this configuration would change, and change nothing.

    The answer has ``deployed``, the number of the configuration in force or None, and ``changes``, each with its
    ``path``, ``change`` (``added``, ``changed``, ``removed``), ``before``, ``after`` and ``message``; secrets masked.

    :raises TraefikeeError: if the configuration cannot be used, or another one than expected is in force.
    """
    check_format(mirror.state, configuration, files)
    await _check(engine, admission, configuration)
    current = mirror.state.deployment
    await check_revision(store, if_revision, current.number if current else 0)
    before = await deployed_files.read_files(store, current.files) if current and current.files else None
    changes = await asyncio.to_thread(
        _all_differences, current.configuration if current else None, configuration, before, files
    )
    return {"deployed": current.number if current else None, "changes": [_told(change) for change in changes]}


async def compare(store: Store, first: int, second: int) -> dict[str, Any]:
    """Return what differs between two deployments that are kept: ``changes`` as :func:`plan` has them.

    :raises TraefikeeError: if one of them is not kept, or cannot be read.
    """
    (one, one_files), (other, other_files) = [await read_deployment(store, number) for number in (first, second)]
    changes = await asyncio.to_thread(_all_differences, one, other, one_files, other_files)
    return {"from": first, "to": second, "changes": [_told(change) for change in changes]}


def _all_differences(
    before: StaticConfiguration | None, after: StaticConfiguration, files_before: Content | None, files: Content | None
) -> tuple[Change, ...]:
    changes = differences(before, after)
    if (files_before is None) == (files is None) and (files is None or files == files_before):
        return changes
    digests = [None if content is None else content.digest for content in (files_before, files)]
    kind: Kind = "added" if digests[0] is None else "removed" if digests[1] is None else "changed"
    old, new = (None if digest is None else f"content with SHA-256 {digest[:16]}" for digest in digests)
    return (*changes, Change("file.content", kind, old, new), *file_differences(files_before, files))


def _told(change: Change) -> dict[str, Any]:
    return {
        "path": change.path,
        "change": change.kind,
        "before": change.before,
        "after": change.after,
        "where": change.where,
        "message": change.sentence(),
    }


def _provider_sentence(name: str, provider: ProviderStatus) -> str:
    message = provider.message
    if provider.state == "error":
        return f"{name} cannot be read: {message}; it is tried again, and its frontends follow when it answers."
    if provider.state == "starting":
        return f"{name} has not answered yet; its frontends follow when it does."
    counts = [(provider.frontends, "frontend"), (provider.backends, "backend")]
    counts += [(provider.routers, "router")] * bool(provider.routers)
    counted = ", ".join(f"{count} {word}{'s' * (count != 1)}" for count, word in counts)
    return f"{name}: {counted} ({message})." if message else f"{name}: {counted}."


def check_format(seen: ClusterState, *configured: object) -> None:
    """Refuse what not every node understands yet.

    :raises RefusedError: naming the option and who does not.
    """
    for one in configured:
        newer = newer_field(one, seen.format.number)
        if newer is not None:
            raise upgrade.needs_upgrade(seen, newer)


async def _check(engine: Engine, admission: Admission, configuration: StaticConfiguration) -> None:
    """Refuse before it is stored what no engine could use, whatever the providers say."""
    secrets = admission.secrets()
    pair = CertificatePair(chain_pem=secrets.default_certificate_pem, key_pem=secrets.default_key_pem)
    compiled = compile_snapshot(configuration, {}, revision=0, default_certificate=pair)
    problems = await engine.check(compiled.snapshot.to_json())
    if problems:
        words = "; ".join(problem.sentence() for problem in problems)
        raise RefusedError(f"the configuration cannot be used: {words}", kind="configuration")


def _compiled(seen: ClusterState, number: int) -> bool:
    return seen.pointer is not None and seen.pointer.config >= number


async def _until(mirror: Mirror, holds: Any, deadline: float, what: str) -> AsyncIterator[Step]:
    """Yield a ``waiting`` step every now and then until the condition holds or the deadline (seconds) passes."""
    loop = asyncio.get_running_loop()
    until = loop.time() + deadline
    while not holds(mirror.state) and loop.time() < until:
        try:
            async with asyncio.timeout(BEAT):
                await mirror.wait_for(holds)
        except TimeoutError:
            yield {"event": "waiting", "message": f"Waiting for {what}."}


@dataclass(frozen=True)
class Outcome:
    """How far the data nodes that are alive are with a snapshot, by their names in their order.

    :ivar refused: with the reasons.
    """

    applied: tuple[str, ...]
    refused: Mapping[str, str]
    waiting: tuple[str, ...]


def outcome(seen: ClusterState, revision: int) -> Outcome:
    """Return how far the data nodes are with a snapshot."""
    applied, refused, waiting = [], {}, []
    for node in seen.with_role(Role.DATA):
        report, name = node.report, node.record.name
        if report is None:
            continue
        if report.refused_revision is not None and report.refused_revision >= revision:
            refused[name] = report.refusal
        elif report.revision is not None and report.revision >= revision:
            applied.append(name)
        else:
            waiting.append(name)
    return Outcome(tuple(applied), refused, tuple(waiting))


def some_of(names: Sequence[str]) -> str:
    """Return names for a sentence; of many the first, and how many there are besides."""
    if len(names) <= MOST_NAMED:
        return ", ".join(names)
    return f"{', '.join(names[: MOST_NAMED // 2])} and {len(names) - MOST_NAMED // 2} others"


async def _applied(mirror: Mirror, revision: int) -> AsyncIterator[Step]:
    """Yield a ``node`` step for each data node that has the snapshot or refuses it, then ``done``.

    Of more than :data:`MOST_NAMED` data nodes only those that refuse are named, and ``progress`` steps tell how many
    have it.
    """
    told: dict[str, bool] = {}
    loop = asyncio.get_running_loop()
    until, progress_at = loop.time() + APPLY_DEADLINE, loop.time() + PROGRESS_EVERY
    while True:
        seen = mirror.state
        now = outcome(seen, revision)
        of = len(now.applied) + len(now.refused) + len(now.waiting)
        many = of > MOST_NAMED
        for name, reason in now.refused.items():
            if name not in told:
                told[name] = False
                yield {"event": "node", "ok": False, "name": name, "message": f"{name}: refused: {reason}"}
        for name in now.applied:
            if name not in told:
                told[name] = True
                if not many:
                    yield {"event": "node", "ok": True, "name": name, "message": f"{name}: applied"}
        waiting = [name for name in now.waiting if name not in told]
        if not waiting:
            break
        if loop.time() > until:
            message = f"No answer within {APPLY_DEADLINE:.0f} s from {some_of(waiting)}."
            yield {"event": "done", "ok": False, "message": message}
            return
        if many and loop.time() > progress_at:
            progress_at = loop.time() + PROGRESS_EVERY
            done = sum(told.values())
            yield {"event": "progress", "applied": done, "of": of, "message": f"Applied by {done} of {of} data nodes."}
        try:
            async with asyncio.timeout(PROGRESS_EVERY if many else BEAT):
                await mirror.wait_for(lambda now, last=seen: now is not last)  # type: ignore[misc]
        except TimeoutError:
            if not many:
                yield {"event": "waiting", "message": f"Waiting for {some_of(waiting)}."}
        if many:
            await asyncio.sleep(LOOK_PAUSE)
    refused = sorted(name for name, ok in told.items() if not ok)
    if refused:
        yield {"event": "done", "ok": False, "message": f"Refused by {some_of(refused)}."}
    elif not told:
        yield {"event": "done", "ok": True, "message": "No data node is running: those that start will apply it."}
    else:
        yield {"event": "done", "ok": True, "message": f"Applied by {len(told)} data node{'s' * (len(told) != 1)}."}
