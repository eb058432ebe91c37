"""Joins with tokens and renewals against a real etcd: what has to happen in one transaction does."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.etcd.stores import opened
from traefikee.cluster import certificate_request, pki, renewal, state, token_table, validity, x509_fields
from traefikee.cluster.admission import Admission
from traefikee.cluster.audit import AUDIT, Actor
from traefikee.cluster.authorities import RotationPhase, digests, issuer_digest
from traefikee.cluster.certificate_request import Proof
from traefikee.cluster.fencing import DeposedError, FencedStore
from traefikee.cluster.messages import JoinRequest, RenewRequest
from traefikee.cluster.mirror import Mirror
from traefikee.cluster.records import CertificateReport, ClusterInfo, Phase, Report, Secrets
from traefikee.cluster.renewal import Renewal
from traefikee.cluster.roles import Role
from traefikee.cluster.store import Put, Store
from traefikee.config.certificates import CertificatePair
from traefikee.errors import RefusedError
from traefikee.node import authority_rotation

KEY = b"k" * 32
ACTOR = Actor("user root", "socket")
AUTHORITY = pki.new_authority("cluster", "1")
CONTROL, DATA = "c" * 40, "d" * 40


class Control:
    """The parts of a control node that let others in."""

    def __init__(self, store: Store, mirror: Mirror) -> None:
        self.store = store
        self.mirror = mirror
        self.admission = Admission(store, mirror, KEY)
        self.renewal = Renewal(store, mirror, self.admission)

    async def table(self, change: Callable[[token_table.TokenTable], token_table.TokenTable]) -> None:
        """Change the tokens, and wait until it is seen."""
        after = change(self.mirror.state.tokens)
        done = await self.store.transact([], [Put(state.TOKENS, after.stored())])
        await self.mirror.wait_for(lambda seen: seen.revision >= (done or 0))

    async def join(self, name: str, secret: str, request: str = "") -> Any:
        """Ask for an identity as a data node."""
        pem = request or pki.new_request(pki.new_key())
        return await self.admission.admit(JoinRequest(role=Role.DATA, name=name, request_pem=pem, secret=secret))

    async def serial(self, identity: str) -> str:
        """The serial number in the list."""
        found = await self.store.get(state.NODES + identity)
        assert found is not None
        return str(json.loads(found.value)["certificate_serial"])


@asynccontextmanager
async def control(path: Path, *, tokens: bool = True) -> AsyncIterator[Control]:
    """A formed cluster in an empty store."""
    async with opened(path) as store:
        info = ClusterInfo(
            id="cluster",
            ca_pem=AUTHORITY.chain_pem,
            control_secret=CONTROL,
            data_secret=DATA,
            licence="l",
            control_nodes=1,
            api=False,
        )
        secrets = Secrets(ca_key_pem=AUTHORITY.key_pem, default_certificate_pem="", default_key_pem="")
        puts = [
            Put(state.INFO, info.stored()),
            Put(state.PHASE, Phase.FORMED.encode()),
            Put(state.SECRETS, pki.seal(KEY, secrets.stored())),
        ]
        if tokens:
            puts.append(Put(state.TOKENS, token_table.standing_table(CONTROL, DATA).stored()))
        await store.transact([], puts)
        mirror = Mirror(store)
        running = asyncio.create_task(mirror.run())
        await mirror.wait_for(lambda seen: seen.info is not None)
        try:
            yield Control(store, mirror)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def run(path: Path, body: Callable[[Control], Awaitable[None]], *, tokens: bool = True) -> None:
    """Run a coroutine with such a cluster."""

    async def work() -> None:
        async with control(path, tokens=tokens) as made:
            await body(made)

    asyncio.run(work())


# --- tokens ---


def test_of_many_joins_with_a_token_for_one_a_single_one_is_let_in(socket: Path) -> None:
    async def body(cluster: Control) -> None:
        made: list[str] = []

        def one(table: token_table.TokenTable) -> token_table.TokenTable:
            after, _, secret = token_table.make(table, Role.DATA, "x", time.time(), ttl=None, once=True)
            made.append(secret)
            return after

        await cluster.table(one)
        joins = [cluster.join(f"node-{number}", made[0]) for number in range(8)]
        results = await asyncio.gather(*joins, return_exceptions=True)
        admitted = [one for one in results if not isinstance(one, BaseException)]
        assert len(admitted) == 1, results
        refused = [str(one) for one in results if isinstance(one, RefusedError)]
        assert len(refused) == 7
        assert all("good for one join" in one for one in refused)
        _, found = await cluster.store.read_prefix(state.NODES)
        assert [one.key for one in found] == [state.NODES + admitted[0].id]

    run(socket, body)


def test_a_join_whose_answer_was_lost_is_let_in_again_under_its_id(socket: Path) -> None:
    async def body(cluster: Control) -> None:
        made: list[str] = []

        def one(table: token_table.TokenTable) -> token_table.TokenTable:
            after, _, secret = token_table.make(table, Role.DATA, "x", time.time(), ttl=None, once=True)
            made.append(secret)
            return after

        await cluster.table(one)
        request = pki.new_request(pki.new_key())
        first = await cluster.join("web", made[0], request)
        second = await cluster.join("web", made[0], request)
        assert second.id == first.id
        with pytest.raises(RefusedError, match="used it"):
            await cluster.join("web", made[0])

    run(socket, body)


def test_a_cluster_of_the_version_before_is_joined_with_its_tokens(socket: Path) -> None:
    async def body(cluster: Control) -> None:
        assert (await cluster.join("web", DATA)).certificate_pem
        with pytest.raises(RefusedError, match="does not know this token"):
            await cluster.join("web-2", "e" * 40)
        await cluster.table(lambda table: token_table.replace(table, [Role.DATA], "user root", time.time()))
        with pytest.raises(RefusedError, match=r"was replaced on .* by user root"):
            await cluster.join("web-3", DATA)

    run(socket, body, tokens=False)


# --- renewal ---


def test_a_data_node_renews_and_the_list_follows(socket: Path) -> None:
    async def body(cluster: Control) -> None:
        joined = await cluster.join("web", DATA)
        made = certificate_request.make()
        answer = await cluster.renewal.renew(RenewRequest(request_pem=made.request_pem), joined.id)
        assert pki.serial(answer.certificate_pem) == answer.serial == await cluster.serial(joined.id)
        assert answer.authorities == (AUTHORITY.chain_pem,)
        assert pki.ended_certificate(answer.certificate_pem, answer.authorities, datetime.now(UTC)) == (
            joined.id,
            "data",
        )

    run(socket, body)


def proven(cluster: Control, pair: CertificatePair, **changed: str) -> RenewRequest:
    nonce = cluster.renewal.nonce()
    made = certificate_request.make(Proof(key_pem=pair.key_pem, nonce=nonce))
    told = {
        "request_pem": made.request_pem,
        "certificate_pem": pair.chain_pem,
        "nonce": nonce,
        "signature": made.signature,
        **changed,
    }
    return RenewRequest.model_validate(told)


def test_an_ended_certificate_is_renewed_for_who_has_its_key(
    socket: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def issued(seconds: float, role: Role = Role.DATA, authority: CertificatePair = AUTHORITY) -> CertificatePair:
        monkeypatch.setenv("TRAEFIKEE_TEST_CERTIFICATE_SECONDS", str(seconds))
        pair = pki.issue_for_new_key(authority, identity="id-web", role=role)
        monkeypatch.delenv("TRAEFIKEE_TEST_CERTIFICATE_SECONDS")
        return pair

    async def body(cluster: Control) -> None:
        ended = issued(-5)
        assert (await cluster.renewal.renew(proven(cluster, ended), "")).certificate_pem
        other = issued(-5)
        another = pki.new_request(pki.new_key())
        monkeypatch.setattr(validity, "CLOCK_SKEW", timedelta(days=800))
        too_long = issued(-validity.ENDED_AT_MOST.total_seconds() - 60)
        at, tag = cluster.renewal.nonce().split(".")
        old = str(int(at) - int(renewal.NONCE_SECONDS) - 1)
        refused = [
            (proven(cluster, other, certificate_pem=ended.chain_pem), "not signed by the certificate's key"),
            (proven(cluster, ended, request_pem=another), "not signed by the certificate's key"),
            (proven(cluster, ended, signature="%"), "not signed by the certificate's key"),
            (proven(cluster, ended, signature=base64.b64encode(b"x").decode()), "not signed by the certificate's key"),
            (proven(cluster, ended, nonce=cluster.renewal.nonce() + "0"), "nonce is not a fresh one"),
            (proven(cluster, ended, nonce=f"{old}.{tag}"), "nonce is not a fresh one"),
            (proven(cluster, ended, nonce="x"), "nonce is not a fresh one"),
            (proven(cluster, ended, certificate_pem="x"), "certificate cannot be read"),
            (proven(cluster, issued(-5, Role.CONTROL)), "of the role control is not renewed so"),
            (proven(cluster, issued(-5, Role.API)), "of the role api is not renewed so"),
            (proven(cluster, issued(-5, authority=pki.new_authority("cluster", "1"))), "not from an authority"),
            (proven(cluster, too_long), "ended 365 days ago, more than 365; remove the node"),
        ]
        for request, reason in refused:
            with pytest.raises(RefusedError, match=reason):
                await cluster.renewal.renew(request, "")

    run(socket, body)


# --- the authority ---


def test_a_rotation_goes_through_its_phases_and_fences_a_deposed_leader(socket: Path) -> None:
    async def body(cluster: Control) -> None:
        store, mirror = cluster.store, cluster.mirror
        joined = await cluster.join("web", DATA)
        await mirror.wait_for(lambda seen: seen.node(joined.id) is not None)

        async def reports(issuer: str) -> None:
            told = CertificateReport(
                not_after="2030-01-01T00:00:00+00:00", issuer=issuer, trusts=digests(mirror.state.authorities.bundle)
            )
            await store.transact(
                [], [Put(state.ALIVE + joined.id, Report(agent_version="1", certificate=told).stored())]
            )

        old = digests(AUTHORITY.chain_pem)[0]
        await reports(old)
        await mirror.wait_for(lambda seen: any(one.report for one in seen.nodes))
        await authority_rotation.begin(store, mirror, cluster.admission, 3600.0, ACTOR, "c1")
        seen = await mirror.wait_for(lambda now: now.authorities.rotation is not None)
        new = digests(seen.authorities.bundle)[1]
        assert (await cluster.join("early", DATA)).certificate_pem, "the old one signs"
        with pytest.raises(RefusedError, match="being replaced already"):
            await authority_rotation.begin(store, mirror, cluster.admission, 3600.0, ACTOR, "c1")

        lost = FencedStore(store, 1)
        deposed = asyncio.create_task(authority_rotation.carry_on(lost, mirror, cluster.admission, "c0"))
        await reports(old)
        with pytest.raises(DeposedError):
            await asyncio.wait_for(deposed, 5)
        assert mirror.state.authorities.rotation is not None
        assert mirror.state.authorities.rotation.phase is RotationPhase.TRUST, "a deposed leader changes nothing"

        held = await store.transact([], [Put(state.LEADER, b"me")])
        term = FencedStore(store, held or 0)
        leading = asyncio.create_task(authority_rotation.carry_on(term, mirror, cluster.admission, "c1"))
        seen = await mirror.wait_for(lambda now: digests(now.authorities.signing)[0] == new)
        # What the version before reads says the same.
        assert seen.info is not None
        assert seen.info.ca_pem == seen.authorities.signing
        late = await cluster.join("late", DATA)
        assert issuer_digest(late.certificate_pem, seen.authorities.bundle) == new
        await reports(new)
        await asyncio.sleep(0.3)
        assert len(mirror.state.authorities.trusted) == 2, "the grace is not over"
        await authority_rotation.finish(store, mirror, ACTOR, "c1")
        await mirror.wait_for(lambda now: len(now.authorities.trusted) == 1)
        with pytest.raises(RefusedError, match="being retired already"):
            await authority_rotation.finish(store, mirror, ACTOR, "c1")
        await reports(new)
        seen = await mirror.wait_for(lambda now: now.authorities.rotation is None)
        assert seen.authorities.trusted == (seen.authorities.signing,)
        with pytest.raises(RefusedError, match="is not being replaced"):
            await authority_rotation.finish(store, mirror, ACTOR, "c1")
        leading.cancel()
        await asyncio.gather(leading, return_exceptions=True)
        entries = [json.loads(one.value) for one in (await store.read_prefix(AUDIT))[1]]
        told = [one["detail"] for one in entries if one["action"] == "rotate-ca"]
        assert [one.partition(";")[0].partition(":")[0] for one in told] == [
            "a new authority is to replace the one that signs",
            "the new authority signs",
            "the old authority is to be retired without further grace",
            "the old authority is trusted no more",
            "the authority has been replaced",
        ]
        assert "PRIVATE KEY" not in "".join(told)
        assert x509_fields.read(seen.authorities.signing).subject != x509_fields.read(AUTHORITY.chain_pem).subject

    run(socket, body)
