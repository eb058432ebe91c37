"""What of a snapshot the leader has its engine check."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

from traefikee.cluster import state
from traefikee.cluster.records import Deployment, Pointer, ProviderStatus
from traefikee.compile import snapshot as snap
from traefikee.compile.changes import State
from traefikee.config.dynamic import DynamicConfiguration
from traefikee.config.static import ConsulOptions, StaticConfiguration
from traefikee.errors import UnreachableError
from traefikee.node.publishing import snapshot_objects
from traefikee.node.routing import FLAPPING, LONGEST_MESSAGE, Routing, make_providers, to_check
from traefikee.providers.base import Emitted, Failed
from traefikee.providers.consul import ConsulProvider


def whole(*hosts: str, certificate: str = "c", level: Any = "error") -> snap.Snapshot:
    """A route and a service for each host."""
    return snap.Snapshot(
        revision=1,
        settings=snap.Settings(log_level=level),
        entry_points=(
            snap.EntryPoint(
                name="https", address=":443", tls=snap.TLS(certificates=(), default_certificate=certificate)
            ),
        ),
        routes=tuple(
            snap.Route(
                id=f"r{number}",
                entry_points=("https",),
                priority=1,
                matchers=(snap.HostMatcher(hosts=(host,)),),
                modifiers=(),
                service=f"s{number}",
                pass_host_header=True,
            )
            for number, host in enumerate(hosts)
        ),
        services=tuple(snap.Service(id=f"s{number}") for number, _ in enumerate(hosts)),
        certificates=(snap.Certificate(id=certificate, chain_pem="x", key_pem="y"),),
    )


def checked(before: snap.Snapshot, after: snap.Snapshot) -> dict[str, list[str]]:
    """The ids of what is checked."""
    told = json.loads(to_check(after, snapshot_objects(before)))
    return {kind: [one["id"] for one in told[kind]] for kind in ("routes", "services", "certificates")}


def test_everything_at_first_and_when_the_settings_change() -> None:
    first = whole("a", "b")
    assert to_check(first, {}) == first.to_json()
    changed = whole("a", "b", level="info")
    assert to_check(changed, snapshot_objects(first)) == changed.to_json()


def test_only_what_changed_with_what_it_names() -> None:
    first = whole("a", "b", "c")
    assert checked(first, first) == {"routes": [], "services": [], "certificates": []}
    assert checked(first, whole("a", "x", "c")) == {"routes": ["r1"], "services": ["s1"], "certificates": []}
    assert checked(first, whole("a", "b", "c", "d")) == {"routes": ["r3"], "services": ["s3"], "certificates": []}
    assert checked(first, whole("a")) == {"routes": [], "services": [], "certificates": []}


def test_certificates_with_the_entry_points_that_name_them() -> None:
    told = json.loads(to_check(whole("a", certificate="d"), snapshot_objects(whole("a"))))
    assert [one["id"] for one in told["certificates"]] == ["d"]
    assert told["entry_points"][0]["tls"]["default_certificate"] == "d"
    same = json.loads(to_check(whole("b"), snapshot_objects(whole("a"))))
    assert same["entry_points"][0]["tls"] is None


def test_constraints_reach_the_provider() -> None:
    static = StaticConfiguration(constraints=("tag==web",), consul=ConsulOptions(constraints=("tag!=old",)))
    (provider,) = make_providers(static)
    assert isinstance(provider, ConsulProvider)
    assert provider.counts(("web",))
    assert not provider.counts(("web", "old"))
    assert not provider.counts(())
    assert make_providers(StaticConfiguration()) == []


# --- what the leader before had heard ---


class _Published:
    """A store of which the reading fails in turn, then succeeds."""

    def __init__(self, *failures: UnreachableError) -> None:
        self.failures = list(failures)

    async def pointer(self) -> tuple[Pointer, int]:
        return Pointer(revision=3, config=1), 7

    async def read(self, links: object) -> State:
        if self.failures:
            raise self.failures.pop(0)
        return State("name", 3, {"heard/consul": b"{}"})


def seeded(published: _Published) -> tuple[bool, bool, list[str]]:
    """Whether a leader resumes, whether it is blind, and the providers of which it knows something."""
    deployment = Deployment(number=1, at="", by="", command="", configuration=StaticConfiguration())
    mirror = SimpleNamespace(state=state.from_keys(0, {}))
    parts: Any = (None, mirror, published, None, deployment, None, None)
    routing = Routing(*parts)
    resumes = asyncio.run(asyncio.wait_for(routing._seed({"consul"}), 10))
    return resumes, routing._blind, sorted(routing._emitted)


def test_a_store_that_does_not_answer_now_is_asked_again() -> None:
    published = _Published(*(UnreachableError("etcd: leader changed", kind="store") for _ in range(2)))
    assert seeded(published) == (True, False, ["consul"])


def test_nothing_takes_the_place_of_what_cannot_be_read_until_all_providers_have_spoken() -> None:
    assert seeded(_Published(UnreachableError("of another form", kind="unreadable"))) == (False, True, [])


def test_a_provider_that_comes_and_goes_has_one_status() -> None:
    async def turns() -> None:
        routing = Routing.__new__(Routing)
        routing._emitted, routing._last_heard, routing._heard = {}, {}, set()
        routing._news = asyncio.Event()
        routing._statuses = {"consul": ProviderStatus(state="starting", since="")}
        listen = routing._listener("consul")
        statuses = []
        for number in range(6):
            listen(Emitted(DynamicConfiguration()))
            statuses.append(routing._statuses["consul"])
            listen(Failed(f"refused {number}"))
            statuses.append(routing._statuses["consul"])
        assert [one.state for one in statuses[:5]] == ["ok", "error", "ok", "error", "ok"]
        assert len(set(statuses[5:])) == 1, "from the third failure on nothing is written any more"
        assert statuses[-1].message == f"{FLAPPING}, last: refused 2"

    asyncio.run(turns())


def test_a_long_message_is_cut() -> None:
    async def turns() -> None:
        routing = Routing.__new__(Routing)
        routing._emitted, routing._last_heard, routing._heard = {}, {}, set()
        routing._news = asyncio.Event()
        routing._statuses = {"consul": ProviderStatus(state="starting", since="")}
        routing._listener("consul")(Failed("x" * 10_000))
        assert len(routing._statuses["consul"].message) < LONGEST_MESSAGE + 10

    asyncio.run(turns())
