"""From a deployment to published snapshots: its providers run, what they emit is compiled, checked and published."""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from traefikee import log
from traefikee.cluster import state
from traefikee.cluster.fencing import DeposedError, FencedStore
from traefikee.cluster.mirror import Mirror
from traefikee.cluster.records import Deployment, Pointer, ProviderStatus, Secrets
from traefikee.cluster.store import Compare, Put
from traefikee.cluster.ticket_keys import TicketKeys
from traefikee.compile import changes
from traefikee.compile.compiler import Compiled, Memory, compile_snapshot
from traefikee.compile.snapshot import Snapshot
from traefikee.config.certificates import CertificatePair
from traefikee.config.constraints import all_hold
from traefikee.config.dynamic import DynamicConfiguration
from traefikee.config.runtime import ObjectError, located, told
from traefikee.config.static import StaticConfiguration
from traefikee.errors import TraefikeeError, UnreachableError
from traefikee.formats import NewerFieldError
from traefikee.node.deployed_files import read_files
from traefikee.node.engine import Engine, Problem
from traefikee.node.newer import without_newer
from traefikee.node.publishing import (
    Objects,
    Runtime,
    SnapshotStore,
    draft,
    in_format,
    is_long,
    snapshot_objects,
    text,
    whole,
)
from traefikee.node.retry import PAUSE, insist
from traefikee.providers.base import Emitted, Failed, Provider
from traefikee.providers.consul import ConsulProvider
from traefikee.providers.file.content import PROVIDER, Content
from traefikee.providers.file.provider import FileProvider
from traefikee.providers.steadiness import Steadiness

FIRST_WAIT = 3.0
"""Seconds that a new deployment waits for the first word of its providers before it is published without."""
LONGEST_MESSAGE = 2000
"""Characters of what is told of a provider's state."""
FLAPPING = "it comes and goes; what it said last is in force"
MOST_CHECKS = 10
"""How often a snapshot is compiled again without what the engine's check refused."""
PROVIDERS = ("consul", "file")
"""The options that are providers."""
OWN_KINDS = frozenset({"route", "service", "certificate"})
"""Kinds of engine problems that leave one object out; any other makes the deployment fail."""

_log = log.get("routing")


def make_providers(
    options: StaticConfiguration, files: Content | None = None, *, resuming: bool = False
) -> list[Provider]:
    """Return the providers that a deployment asks for.

    :param files: what the file provider's files said where it was deployed.
    :param resuming: what this deployment's providers said last is in force already.
    """
    found: list[Provider] = []
    if options.consul is not None:
        counts = all_hold((*options.constraints, *options.consul.constraints))
        found.append(ConsulProvider(options.consul, counts))
    if options.file is not None:
        found.append(FileProvider(options.file, files or Content(), resuming=resuming))
    return found


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


_NOTHING = Pointer(revision=0, config=0)


@dataclass(frozen=True)
class Published:
    """What was published last: the pointer, and the objects that its links make.

    :ivar at: the store's revision at which the pointer was written; 0 for none.
    """

    pointer: Pointer = _NOTHING
    snapshot: Objects = field(default_factory=dict)
    runtime: Objects = field(default_factory=dict)
    at: int = 0


class Routing:
    """One deployment in force on the leader; runs until it is cancelled or the leader is deposed."""

    def __init__(
        self,
        store: FencedStore,
        mirror: Mirror,
        snapshots: SnapshotStore,
        engine: Engine,
        deployment: Deployment,
        secrets: Callable[[], Secrets],
        ticket_keys: Callable[[], TicketKeys | None],
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._snapshots = snapshots
        self._engine = engine
        self._deployment = deployment
        self._secrets = secrets
        self._ticket_keys = ticket_keys
        self._emitted: dict[str, Emitted] = {}
        self._statuses: dict[str, ProviderStatus] = {}
        self._heard: set[str] = set()
        self._blind = False
        """Whether what providers had said before cannot be read: nothing may take its place until all have spoken."""
        self._last_heard: dict[str, Emitted | Failed] = {}
        self._news = asyncio.Event()
        self._memory = Memory()
        self._passed: Objects = {}
        """What the engine's check has found to be right."""
        self._published = Published()
        self._attempted: Published | None = None
        """What may have been published, or not."""

    async def run(self) -> None:
        """Publish what the providers say, at most once per ``providersThrottleDuration``.

        :raises DeposedError: when another node leads by now.
        """
        options = self._deployment.configuration
        resuming = await self._seed({name for name in PROVIDERS if getattr(options, name) is not None})
        files = await insist(lambda: read_files(self._store, self._deployment.files))
        providers = make_providers(options, files, resuming=resuming and PROVIDER in self._emitted)
        for provider in providers:
            known = self._emitted.get(provider.name)
            source = known.source if known else ""
            self._statuses[provider.name] = ProviderStatus(state="starting", since=_now(), source=source)
        async with asyncio.TaskGroup() as tasks:
            for provider in providers:
                tasks.create_task(provider.run(self._listener(provider.name)), name=f"provider {provider.name}")
            tasks.create_task(self._follow_ticket_keys(), name="ticket keys")
            tasks.create_task(self._publish_news({provider.name for provider in providers}), name="publisher")

    async def _seed(self, names: set[str]) -> bool:
        """Begin with what the leader before had last heard, so that a provider that is away loses nothing.

        Tells whether it has heard that for this very deployment.
        """
        pointer, at = await insist(self._snapshots.pointer)
        texts = await self._read_published(pointer, at)
        if pointer is None or texts is None:
            return False
        try:
            known = Runtime.load(texts).heard
        except UnreachableError as error:
            _log.warning("the last configuration of the providers cannot be read", reason=str(error))
            self._blind = True
            return False
        errors = {name: tuple(one for one in pointer.errors if one.provider == name) for name in known}
        sources = {name: status.source for name, status in self._mirror.state.providers.items()}
        self._emitted = {
            name: Emitted(known[name], errors[name], source=sources.get(name, "")) for name in known if name in names
        }
        return pointer.config == self._deployment.number

    async def _read_published(self, pointer: Pointer | None, at: int) -> changes.Texts | None:
        """Begin with what is published; return what it says of the providers, or None if that cannot be read."""
        bare = pointer.model_copy(update={"snapshot": (), "runtime": ()}) if pointer else _NOTHING
        self._published = Published(bare, at=at)
        if pointer is None:
            return None
        while True:
            try:
                snapshot = await self._snapshots.read(pointer.snapshot)
                runtime = await self._snapshots.read(pointer.runtime)
                break
            except UnreachableError as error:
                if error.kind not in ("unreadable", "superseded"):
                    # The store elects a leader of its own just now, for example: that passes.
                    await asyncio.sleep(PAUSE)
                    continue
                _log.warning("what is published cannot be read; it is published anew", reason=str(error))
                self._blind = True
                return None
        self._published = Published(pointer, snapshot.objects, runtime.objects, at)
        return runtime.objects

    def _listener(self, name: str) -> Callable[[Emitted | Failed], None]:
        steadiness = Steadiness()

        def listen(heard: Emitted | Failed) -> None:
            self._heard.add(name)
            now = time.monotonic()
            if isinstance(heard, Emitted):
                self._emitted[name] = heard
            else:
                steadiness.failed(now)
            tell(heard)

        def tell(heard: Emitted | Failed) -> None:
            self._last_heard[name] = heard
            if wait := steadiness.steady_in(time.monotonic()):
                # One status while it comes and goes, and not one with every turn.
                asyncio.get_running_loop().call_later(wait + 0.01, lambda: tell_again(heard))
                before = self._statuses[name]
                reason = heard.message if isinstance(heard, Failed) else ""
                told = before.message if before.message.startswith(FLAPPING) else f"{FLAPPING}, last: {reason}"
                self._note(name, "error", told)
            elif isinstance(heard, Emitted):
                self._note(name, "ok", "; ".join(heard.notes))
            else:
                self._note(name, "error", heard.message)

        def tell_again(heard: Emitted | Failed) -> None:
            if self._last_heard[name] is heard:
                tell(heard)

        return listen

    def _note(self, name: str, status: str, message: str) -> None:
        before = self._statuses[name]
        counted = self._emitted[name].configuration if name in self._emitted else DynamicConfiguration()
        self._statuses[name] = ProviderStatus(
            state=status,
            since=before.since if before.state == status else _now(),
            message=message if len(message) <= LONGEST_MESSAGE else f"{message[:LONGEST_MESSAGE]} ...",
            frontends=len(counted.frontends),
            backends=len(counted.backends),
            source=self._emitted[name].source if name in self._emitted else before.source,
            routers=len(counted.routers),
        )
        self._news.set()

    async def _follow_ticket_keys(self) -> None:
        """Publish again when the keys of TLS session tickets, or the format in force, have changed."""
        known = self._mirror.state.keys.get(state.TICKET_KEYS), self._mirror.state.format
        async for seen in self._mirror.states():
            found = seen.keys.get(state.TICKET_KEYS), seen.format
            if found != known:
                known = found
                self._news.set()

    async def _publish_news(self, names: set[str]) -> None:
        gap = self._deployment.configuration.providers_throttle_duration
        until = time.monotonic() + FIRST_WAIT
        while not names <= self._emitted.keys() if self._blind else self._heard < names and time.monotonic() < until:
            self._news.clear()
            try:
                async with asyncio.timeout(None if self._blind else until - time.monotonic()):
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
        before = await self._last()
        statuses = dict(self._statuses)
        number = self._mirror.state.format.number
        emitted = {name: without_newer(name, one, number) for name, one in self._emitted.items()}
        pointer = before.pointer
        try:
            compiled = await self._compile(emitted, pointer.revision)
        except UnreachableError:
            raise
        except TraefikeeError as error:
            await self._publish_failure(before, str(error))
            return
        effective = {name: one.model_copy(update={"tls": {}}) for name, one in compiled.effective.items()}
        runtime = Runtime({name: one.configuration for name, one in emitted.items()}, effective)
        # A new deployment gets a new revision even for the same content: who refused that before is to try it again.
        deployed = pointer.config != self._deployment.number
        try:
            after, frames = await asyncio.to_thread(self._draft, before, compiled.snapshot, runtime, deployed, number)
        except NewerFieldError as error:
            await self._publish_failure(before, f"not every node understands it yet: {error}")
            return
        errors = tuple(one for provider in emitted.values() for one in provider.errors)
        errors += tuple(_located(error, emitted) for error in compiled.errors)
        after = replace(after, pointer=after.pointer.model_copy(update={"errors": told(errors), "failure": ""}))
        await self._put_statuses(statuses)
        if after.pointer != pointer:
            await self._point(before, after, frames)
            _log.info(
                "snapshot published",
                revision=after.pointer.revision,
                routes=len(compiled.snapshot.routes),
                errors=sum(one.severity == "error" for one in errors),
                warnings=sum(one.severity == "warning" for one in errors),
                bytes=sum(map(len, frames)),
            )
        await self._shorten(after, number)

    def _draft(
        self, before: Published, snapshot: Snapshot, runtime: Runtime, deployed: bool, number: int
    ) -> tuple[Published, list[bytes]]:
        """Return what is to be published, written in a format, and the changes that are new in it."""
        revision = before.pointer.revision
        objects, runtime_objects = snapshot_objects(snapshot, number), in_format(runtime.objects(), number)
        one = draft(before.pointer.snapshot, before.snapshot, objects, revision + 1, new=deployed, number=number)
        two = draft(before.pointer.runtime, before.runtime, runtime_objects, revision + 1, new=False, number=number)
        pointer = Pointer(
            revision=revision + bool(one.frame),
            config=self._deployment.number,
            snapshot=one.links,
            runtime=two.links,
            term=before.pointer.term,
        )
        return Published(pointer, objects, runtime_objects), [frame for frame in (one.frame, two.frame) if frame]

    async def _shorten(self, published: Published, number: int) -> None:
        """Put wholes in the place of many changes, or of older formats: what is published stays the same."""
        pointer = published.pointer
        if not is_long(pointer.snapshot, number) and not is_long(pointer.runtime, number):
            return
        one = await asyncio.to_thread(whole, pointer.name, published.snapshot, pointer.revision, number)
        two = await asyncio.to_thread(whole, pointer.runtime[-1].name, published.runtime, pointer.revision, number)
        shorter = pointer.model_copy(update={"snapshot": one.links, "runtime": two.links})
        await self._point(published, replace(published, pointer=shorter), [one.frame, two.frame])

    async def _point(self, before: Published, after: Published, frames: list[bytes]) -> None:
        after = replace(after, pointer=after.pointer.model_copy(update={"term": self._store.fence.revision}))
        self._attempted = after
        at = await self._snapshots.publish(after.pointer, before.pointer, frames, self._store, before.at)
        self._published, self._attempted = replace(after, at=at), None

    async def _last(self) -> Published:
        """Return what was published last; the store says it where the outcome of a write is not known."""
        if self._attempted is not None:
            pointer, at = await self._snapshots.pointer()
            if pointer == self._attempted.pointer:
                self._published = replace(self._attempted, at=at)
            elif at != self._published.at:
                _log.warning("an earlier write arrived late; what is published is read again")
                await self._read_published(pointer, at)
            self._attempted = None
        return self._published

    async def _put_statuses(self, statuses: dict[str, ProviderStatus]) -> None:
        if statuses == dict(self._mirror.state.providers):
            return
        found = self._mirror.state.keys.get(state.PROVIDERS)
        unchanged = Compare.unchanged(state.PROVIDERS, found.mod_revision if found else 0)
        put = Put(state.PROVIDERS, state.stored_providers(statuses))
        if await insist(lambda: self._store.transact([unchanged], [put])) is None:
            # The mirror has not seen the last write yet: there is another turn for these.
            self._news.set()

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
                memory=self._memory,
            )
            compiled = replace(compiled, snapshot=self._with_ticket_keys(compiled.snapshot))
            problems = await self._engine.check(await asyncio.to_thread(to_check, compiled.snapshot, self._passed))
            own = {f"{problem.kind}:{problem.id}": problem.error for problem in problems if problem.kind in OWN_KINDS}
            if not problems:
                self._passed = snapshot_objects(compiled.snapshot)
                return compiled
            if len(own) < len(problems) or own.keys() <= rejected.keys():
                break
            rejected |= own
        raise TraefikeeError("; ".join(one.sentence() for one in problems), kind="snapshot")

    def _with_ticket_keys(self, snapshot: Snapshot) -> Snapshot:
        found = self._ticket_keys()
        settings = snapshot.settings.model_copy(update={"ticket_keys": found.keys if found else ()})
        return snapshot.model_copy(update={"settings": settings})

    async def _publish_failure(self, before: Published, failure: str) -> None:
        _log.error("the deployment cannot be compiled; the snapshot before stays", reason=failure)
        pointer = before.pointer.model_copy(update={"config": self._deployment.number, "failure": failure})
        if pointer != before.pointer:
            await self._point(before, replace(before, pointer=pointer), [])


def _located(error: ObjectError, emitted: Mapping[str, Emitted]) -> ObjectError:
    said = emitted.get(error.provider)
    return error if said is None else located(error, said.places)


def to_check(snapshot: Snapshot, passed: Objects) -> bytes:
    """Return as much of a snapshot as the engine has to check, if everything of ``passed`` is right."""
    objects = snapshot_objects(snapshot)
    if not passed or text(objects[changes.SETTINGS]) != text(passed[changes.SETTINGS]):
        return snapshot.to_json()
    new = {key for key, item in objects.items() if passed.get(key) is not item and passed.get(key) != item}
    routes = tuple(route for route in snapshot.routes if f"route/{route.id}" in new)
    named = {route.service for route in routes}
    services = tuple(one for one in snapshot.services if one.id in named or f"service/{one.id}" in new)
    update: dict[str, object] = {"routes": routes, "services": services}
    if not any(key == changes.ENTRY_POINTS or key.startswith("certificate/") for key in new):
        # A route's entry points have to be there; their certificates have not changed.
        bare = tuple(one.model_copy(update={"tls": None}) for one in snapshot.entry_points)
        update |= {"entry_points": bare, "certificates": ()}
    return snapshot.model_copy(update=update).to_json()
