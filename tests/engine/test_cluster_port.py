"""A control node's port while certificates and authorities change: the real engine, the agent's own client."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.conftest import StartProcess
from tests.support.engine import engine_binary
from traefikee.api import serving
from traefikee.api.answers import lines
from traefikee.cluster import pki
from traefikee.cluster.authorities import digests
from traefikee.cluster.peers import Peer, fetch_authority, learn_authorities
from traefikee.cluster.roles import Role
from traefikee.config.certificates import CertificatePair
from traefikee.errors import RefusedError, TraefikeeError, UnreachableError
from traefikee.node import engine as engines
from traefikee.node.data_certificate import has_ended
from traefikee.node.engine import Engine
from traefikee.node.internal import Addresses, Sockets, compile_internal
from traefikee.node.statedir import Identity

OLD, NEW = pki.new_authority("cluster"), pki.new_authority("cluster", "2")
BEFORE, AFTER = OLD.chain_pem, NEW.chain_pem
ME = "i" * 25
WITHIN = 20.0


def issued(authority: CertificatePair, role: Role) -> CertificatePair:
    return pki.issue_for_new_key(authority, identity=ME, role=role, hosts=("127.0.0.1",))


class Port:
    """The engine of a control node, and behind it an agent that tells who asks."""

    def __init__(self, engine: Engine, folder: Path, address: str) -> None:
        self.engine = engine
        self.address = address
        self.told: dict[str, Any] = {}
        self._sockets = Sockets(folder / "peer", folder / "agent.sock", folder / "api", folder / "dashboard")

    async def show(self, pair: CertificatePair, trusted: str) -> None:
        """Have the engine show a certificate, and trust these authorities."""
        identity = Identity(
            id=ME,
            name="control",
            role=Role.CONTROL,
            cluster_id="c",
            ca_pem=trusted,
            certificate_pem=pair.chain_pem,
            certificate_serial=pki.serial(pair.chain_pem),
            key_pem=pair.key_pem,
        )
        snapshot = compile_internal(identity, Addresses(self.address, None, None), self._sockets)
        await self.engine.apply(snapshot.to_json())

    def app(self) -> Starlette:
        async def who(request: Request) -> Response:
            return JSONResponse({"role": request.headers.get("x-traefikee-peer-role", "")})

        async def stream(_request: Request) -> Response:
            async def beats() -> AsyncIterator[Mapping[str, Any]]:
                while True:
                    yield {"event": "alive"}
                    await asyncio.sleep(0.05)

            return lines(beats())

        async def authority(_request: Request) -> Response:
            return JSONResponse(self.told)

        return Starlette(routes=[Route("/v1/who", who), Route("/v1/stream", stream), Route("/v1/ca", authority)])

    async def refusal(self, trusted: str, own: CertificatePair) -> TraefikeeError:
        """Why a request with a certificate fails."""
        async with Peer(self.address, trusted, own) as peer:
            with pytest.raises(UnreachableError) as refused:
                await peer.request("GET", "/v1/who")
        return refused.value


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: sockets are in it."""
    with tempfile.TemporaryDirectory(prefix="port-") as name:
        yield Path(name)


Run = Callable[[Callable[[Port], Awaitable[None]]], None]


@pytest.fixture
def run(folder: Path, address: str, start_process: StartProcess) -> Run:
    """Runs a coroutine with such a port."""

    def go(body: Callable[[Port], Awaitable[None]]) -> None:
        control = folder / "engine.sock"
        argv = engines.command(str(engine_binary()), control, log_format="text", die_with_parent=False)
        start_process(argv, cwd=folder, name="engine")

        async def work() -> None:
            async with asyncio.timeout(WITHIN):
                engine = Engine(control)
                await engine.wait_until_it_answers(10)
                port = Port(engine, folder, f"{address}:4242")
                serve = serving.serve(port.app(), [serving.listen(folder / "agent.sock")])
                running = asyncio.create_task(serve)
                try:
                    await body(port)
                finally:
                    # The engine first: with it end its connections to the agent.
                    await engine.stop()
                    with contextlib.suppress(UnreachableError):
                        while True:
                            await engine.status()
                            await asyncio.sleep(0.02)
                    await asyncio.sleep(0.05)
                    running.cancel()
                    await asyncio.gather(running, return_exceptions=True)
                    await engine.close()

        asyncio.run(work())

    return go


def test_refused_certificates_are_told_apart(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(port: Port) -> None:
        await port.show(issued(OLD, Role.CONTROL), BEFORE)
        good = issued(OLD, Role.DATA)
        async with Peer(port.address, BEFORE, good) as peer:
            assert await peer.request("GET", "/v1/who") == {"role": "data"}
        monkeypatch.setenv("TRAEFIKEE_TEST_CERTIFICATE_SECONDS", "-5")
        ended, server = issued(OLD, Role.DATA), issued(OLD, Role.CONTROL)
        refused = await port.refusal(BEFORE, ended)
        assert has_ended(refused)
        assert refused.kind == "peer"
        foreign = await port.refusal(BEFORE, issued(NEW, Role.DATA))
        assert foreign.kind == "foreign" or has_ended(foreign)
        monkeypatch.delenv("TRAEFIKEE_TEST_CERTIFICATE_SECONDS")
        foreign = await port.refusal(BEFORE, issued(NEW, Role.DATA))
        assert foreign.kind == "foreign"
        assert "does not trust the authority that this node's certificate is from" in foreign.cause
        foreign = await port.refusal(AFTER, good)
        assert foreign.kind == "foreign"
        assert "its certificate is from another authority" in foreign.cause
        await port.show(server, BEFORE)
        late = await port.refusal(BEFORE, good)
        assert late.kind == "peer"
        assert not has_ended(late)
        assert "is not valid by this machine's clock" in late.cause

    run(body)


def test_a_stream_and_its_client_outlive_every_change_of_certificates_and_authorities(run: Run) -> None:
    async def body(port: Port) -> None:
        await port.show(issued(OLD, Role.CONTROL), BEFORE)
        mine = issued(OLD, Role.DATA)
        beats = 0

        async def follow(peer: Peer) -> None:
            nonlocal beats
            async for _ in peer.stream("GET", "/v1/stream"):
                beats += 1

        async def goes_on() -> None:
            before = beats
            while beats < before + 5:
                assert not following.done()
                await asyncio.sleep(0.02)

        async def answers(peer: Peer, *, at_once: bool) -> None:
            if not at_once:
                # Who asks on a kept connection may meet its end once, as with any server.
                with contextlib.suppress(UnreachableError):
                    await peer.request("GET", "/v1/who")
            assert await peer.request("GET", "/v1/who") == {"role": "data"}

        async with Peer(port.address, BEFORE, mine) as peer:
            following = asyncio.create_task(follow(peer))
            await goes_on()
            await answers(peer, at_once=True)
            await port.show(issued(OLD, Role.CONTROL), BEFORE)
            await answers(peer, at_once=True)
            await goes_on()
            await port.show(issued(OLD, Role.CONTROL), BEFORE + AFTER)
            peer.show(mine, BEFORE + AFTER)
            await answers(peer, at_once=False)
            await goes_on()
            await port.show(issued(NEW, Role.CONTROL), AFTER + BEFORE)
            await answers(peer, at_once=True)
            peer.show(issued(NEW, Role.DATA), AFTER + BEFORE)
            await port.show(issued(NEW, Role.CONTROL), AFTER)
            await answers(peer, at_once=False)
            await goes_on()
            following.cancel()
        assert (await port.refusal(BEFORE + AFTER, mine)).kind == "foreign"

    run(body)


def test_who_knows_one_authority_learns_of_the_other_only_while_it_vouches(run: Run) -> None:
    async def body(port: Port) -> None:
        await port.show(issued(NEW, Role.CONTROL), AFTER + BEFORE)
        both = [AFTER, BEFORE]
        endorsements = [pki.endorse(OLD, AFTER), pki.endorse(NEW, BEFORE)]
        port.told = {"ca_pem": AFTER, "authorities": both, "endorsements": endorsements}
        assert await learn_authorities(port.address, BEFORE) == AFTER + BEFORE
        for token in digests(AFTER + BEFORE):
            assert await fetch_authority(port.address, token) == AFTER + BEFORE
        port.told = {"ca_pem": AFTER, "authorities": both, "endorsements": []}
        assert await learn_authorities(port.address, BEFORE) == BEFORE
        port.told = {"ca_pem": AFTER, "authorities": [AFTER], "endorsements": endorsements}
        assert await learn_authorities(port.address, BEFORE) == ""
        with pytest.raises(RefusedError, match="or for its authority before `rotate-ca`"):
            await fetch_authority(port.address, digests(BEFORE)[0])
        # The version before tells the one that signs, and nothing else.
        port.told = {"ca_pem": AFTER}
        assert await fetch_authority(port.address, digests(AFTER)[0]) == AFTER

    run(body)
