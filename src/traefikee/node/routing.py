"""From a deployment to published snapshots: its providers run, what they emit is compiled, checked and published."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import time
from collections.abc import Callable

from traefikee import log
from traefikee.cluster import state
from traefikee.cluster.mirror import Mirror
from traefikee.cluster.state import Deployment, Pointer, ProviderStatus, Secrets
from traefikee.cluster.store import Compare, Put, Store
from traefikee.compile.compiler import Compiled, compile_snapshot
from traefikee.config.certificates import CertificatePair
from traefikee.config.dynamic import DynamicConfiguration
from traefikee.errors import TraefikeeError, UnreachableError
from traefikee.node.engine import Engine, Problem
from traefikee.node.publishing import DeposedError, Runtime, SnapshotStore
from traefikee.node.retry import PAUSE, insist
from traefikee.providers.base import Emitted, Failed, Provider
from traefikee.providers.consul import ConsulProvider

FIRST_WAIT = 3.0
"""Seconds that a new deployment waits for the first word of its providers before it is published without."""
MOST_CHECKS = 10
"""How often a snapshot is compiled again without what the engine's check refused."""
OWN_KINDS = frozenset({"route", "service", "certificate"})
"""Kinds of engine problems that leave one object out; any other makes the deployment fail."""

_log = log.get("routing")


def make_providers(deployment: Deployment) -> list[Provider]:
    """Return the providers that a deployment asks for."""
    options = deployment.configuration
    return [ConsulProvider(options.consul)] if options.consul is not None else []


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


class Routing:
    """One deployment in force on the leader; runs until it is cancelled or the leader is deposed."""

    def __init__(
        self,
        store: Store,
        mirror: Mirror,
        snapshots: SnapshotStore,
        engine: Engine,
        deployment: Deployment,
        fence: Compare,
        secrets: Callable[[], Secrets],
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._snapshots = snapshots
        self._engine = engine
        self._deployment = deployment
        self._fence = fence
        self._secrets = secrets
        self._emitted: dict[str, Emitted] = {}
        self._statuses: dict[str, ProviderStatus] = {}
        self._heard: set[str] = set()
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Publish what the providers say, at most once per ``providersThrottleDuration``.

        :raises DeposedError: when another node leads by now.
        """
        providers = make_providers(self._deployment)
        await self._seed({provider.name for provider in providers})
        for provider in providers:
            self._statuses[provider.name] = ProviderStatus(state="starting", since=_now())
        async with asyncio.TaskGroup() as tasks:
            for provider in providers:
                tasks.create_task(provider.run(self._listener(provider.name)), name=f"provider {provider.name}")
            tasks.create_task(self._publish_news({provider.name for provider in providers}), name="publisher")

    async def _seed(self, names: set[str]) -> None:
        """Begin with what the leader before had last heard, so that a provider that is away loses nothing."""
        pointer = self._mirror.state.pointer
        if pointer is None or not pointer.runtime:
            return
        try:
            document = await self._snapshots.read(pointer.runtime, pointer.runtime_parts)
            known = Runtime.load(document).heard
        except UnreachableError as error:
            _log.warning("the last configuration of the providers cannot be read", reason=str(error))
            return
        errors = {name: tuple(one for one in pointer.errors if one.provider == name) for name in known}
        self._emitted = {name: Emitted(known[name], errors[name]) for name in known if name in names}

    def _listener(self, name: str) -> Callable[[Emitted | Failed], None]:
        def listen(heard: Emitted | Failed) -> None:
            self._heard.add(name)
            before = self._statuses[name]
            if isinstance(heard, Emitted):
                self._emitted[name] = heard
                status, message = "ok", "; ".join(heard.notes)
            else:
                status, message = "error", heard.message
            counted = self._emitted[name].configuration if name in self._emitted else DynamicConfiguration()
            self._statuses[name] = ProviderStatus(
                state=status,
                since=before.since if before.state == status else _now(),
                message=message,
                frontends=len(counted.frontends),
                backends=len(counted.backends),
            )
            self._news.set()

        return listen

    async def _publish_news(self, names: set[str]) -> None:
        gap = self._deployment.configuration.providers_throttle_duration
        until = time.monotonic() + FIRST_WAIT
        while self._heard < names and time.monotonic() < until:
            self._news.clear()
            try:
                async with asyncio.timeout(until - time.monotonic()):
                    await self._news.wait()
            except TimeoutError:
                break
        while True:
            self._news.clear()
            started = time.monotonic()
            try:
                await self._publish()
            except DeposedError:
                raise
            except UnreachableError as error:
                _log.warning("publishing is tried again", reason=str(error))
                self._news.set()
                await asyncio.sleep(PAUSE)
            await self._news.wait()
            await asyncio.sleep(max(0.0, gap - (time.monotonic() - started)))

    async def _publish(self) -> None:
        before = self._mirror.state.pointer
        statuses = dict(self._statuses)
        emitted = dict(self._emitted)
        try:
            compiled = await self._compile(emitted, before.revision if before else 0)
        except UnreachableError:
            raise
        except TraefikeeError as error:
            await self._publish_failure(before, str(error))
            return
        document = await asyncio.to_thread(compiled.snapshot.to_json)
        revision = before.revision if before else 0
        # A new deployment gets a new revision even for the same content: who refused that before is to try it again.
        deployed = before is None or before.config != self._deployment.number
        if deployed or before is None or hashlib.sha256(document).hexdigest() != before.snapshot:
            revision += 1
            document = await asyncio.to_thread(compiled.snapshot.model_copy(update={"revision": revision}).to_json)
        digest, parts = await self._snapshots.write(document, self._fence)
        runtime = Runtime(
            heard={name: one.configuration for name, one in emitted.items()},
            effective={name: one.model_copy(update={"tls": {}}) for name, one in compiled.effective.items()},
        )
        runtime_digest, runtime_parts = await self._snapshots.write(runtime.stored(), self._fence)
        errors = tuple(one for provider in emitted.values() for one in provider.errors) + compiled.errors
        pointer = Pointer(
            revision=revision,
            config=self._deployment.number,
            snapshot=digest,
            snapshot_parts=parts,
            runtime=runtime_digest,
            runtime_parts=runtime_parts,
            errors=errors,
        )
        await self._put_statuses(statuses)
        if pointer != before:
            await self._snapshots.publish(pointer, before, self._fence)
            _log.info(
                "snapshot published",
                revision=revision,
                routes=len(compiled.snapshot.routes),
                left_out=len(errors),
                bytes=len(document),
            )

    async def _put_statuses(self, statuses: dict[str, ProviderStatus]) -> None:
        if statuses != dict(self._mirror.state.providers):
            stored = state.stored_providers(statuses)
            if await insist(lambda: self._store.transact([self._fence], [Put(state.PROVIDERS, stored)])) is None:
                raise DeposedError

    async def _compile(self, emitted: dict[str, Emitted], revision: int) -> Compiled:
        """Compile, and leave out one by one what the engine's own check cannot use.

        :raises TraefikeeError: if the engine refuses something that is not a provider's object.
        """
        secrets = self._secrets()
        pair = CertificatePair(chain_pem=secrets.default_certificate_pem, key_pem=secrets.default_key_pem)
        dynamic = {name: one.configuration for name, one in emitted.items()}
        rejected: dict[str, str] = {}
        problems: tuple[Problem, ...] = ()
        for _ in range(MOST_CHECKS):
            compiled = await asyncio.to_thread(
                compile_snapshot,
                self._deployment.configuration,
                dynamic,
                revision=revision,
                default_certificate=pair,
                rejected=dict(rejected),
            )
            problems = await self._engine.check(await asyncio.to_thread(compiled.snapshot.to_json))
            own = {f"{problem.kind}:{problem.id}": problem.error for problem in problems if problem.kind in OWN_KINDS}
            if not problems:
                return compiled
            if len(own) < len(problems) or own.keys() <= rejected.keys():
                break
            rejected |= own
        raise TraefikeeError("; ".join(one.sentence() for one in problems), kind="snapshot")

    async def _publish_failure(self, before: Pointer | None, failure: str) -> None:
        _log.error("the deployment cannot be compiled; the snapshot before stays", reason=failure)
        blank = Pointer(revision=0, config=0, snapshot="", snapshot_parts=0, runtime="", runtime_parts=0)
        pointer = (before or blank).model_copy(update={"config": self._deployment.number, "failure": failure})
        if pointer != before:
            await self._snapshots.publish(pointer, before, self._fence)
