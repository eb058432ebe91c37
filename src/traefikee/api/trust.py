"""Tokens, authorities, certificates and API credentials, as operators look at and change them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from traefikee.api.actor import CERTIFICATE, actor_of
from traefikee.api.answers import lines, read_body
from traefikee.api.parts import Parts
from traefikee.cluster import audit, rotation, state, token_table, validity, x509_fields
from traefikee.cluster.authorities import Authorities, digests
from traefikee.cluster.messages import NAME_PATTERN
from traefikee.cluster.records import ClusterInfo
from traefikee.cluster.renewal import ends_soon, told_authorities
from traefikee.cluster.roles import Role
from traefikee.cluster.state import ClusterState, Node
from traefikee.cluster.store import OPERATOR_PATIENCE, Compare, Put
from traefikee.cluster.token_table import JOINING_ROLES, TokenRecord, TokenTable
from traefikee.cluster.tokens import Token
from traefikee.errors import RefusedError, UnreachableError
from traefikee.node import authority_rotation

TRIES = 5
BEAT = 2.0

RoleName = Literal["control", "data", "all"]


class MakeTokens(BaseModel):
    """``POST /v1/tokens``: tokens that end by themselves.

    :ivar ttl: seconds after which they end, or None.
    :ivar once: each is good for one join.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: RoleName = "all"
    ttl: float | None = None
    once: bool = False


class RotateTokens(BaseModel):
    """``POST /v1/tokens/rotate``: ``grace`` is for how many seconds those before are good."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: RoleName = "all"
    grace: float = Field(default=0.0, ge=0, le=token_table.LONGEST)


class RevokeToken(BaseModel):
    """``POST /v1/tokens/revoke``: the id of a token."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str


class RotateAuthority(BaseModel):
    """``POST /v1/authorities/rotate``: begin, or with ``finish`` end the grace of the one before."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    grace: float = 86400.0
    finish: bool = False


class Credentials(BaseModel):
    """``POST /v1/credentials``: a certificate for traefikeectl. Without a name: for who asks, by its certificate."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    request_pem: str
    name: str = Field(default="", max_length=63, pattern=f"({NAME_PATTERN})|^$")


def routes(parts: Parts) -> Sequence[Route]:
    """Return the routes of this topic."""
    trust = _Trust(parts)
    return [
        Route("/v1/tokens", trust.tokens),
        Route("/v1/tokens", trust.make_tokens, methods=["POST"]),
        Route("/v1/tokens/list", trust.list_tokens),
        Route("/v1/tokens/rotate", trust.rotate_tokens, methods=["POST"]),
        Route("/v1/tokens/revoke", trust.revoke_token, methods=["POST"]),
        Route("/v1/authorities", trust.authorities),
        Route("/v1/authorities/rotate", trust.rotate, methods=["POST"]),
        Route("/v1/authorities/progress", trust.progress, methods=["POST"]),
        Route("/v1/certificates", trust.certificates),
        Route("/v1/credentials", trust.credentials, methods=["POST"]),
    ]


class _Trust:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    # --- tokens ---

    async def tokens(self, _request: Request) -> Response:
        """``GET /v1/tokens``: the standing join tokens."""
        seen, _ = self._parts.state()
        return JSONResponse(
            {f"{role.value}_node_token": _text(seen, seen.tokens.standing(role).secret) for role in JOINING_ROLES}
        )

    async def list_tokens(self, _request: Request) -> Response:
        """``GET /v1/tokens/list``: the tokens that are good, without their secrets."""
        seen, _ = self._parts.state()
        now = time.time()
        return JSONResponse({"tokens": [token_json(one, now) for one in seen.tokens.live(now)]})

    async def make_tokens(self, request: Request) -> Response:
        """``POST /v1/tokens``: make tokens that end by themselves; the answer is the only place where they are."""
        seen, _ = self._parts.state()
        body: MakeTokens = await read_body(request, MakeTokens)
        actor = actor_of(request)
        made: dict[str, str] = {}
        records: list[TokenRecord] = []

        def change(table: TokenTable, now: float) -> TokenTable:
            made.clear()
            records.clear()
            for role in _roles(body.role):
                table, record, secret = token_table.make(table, role, actor.who, now, ttl=body.ttl, once=body.once)
                made[f"{role.value}_node_token"] = _text(seen, secret)
                records.append(record)
            return table

        def told() -> str:
            names = ", ".join(f"{one.id} for {one.role.value} nodes" for one in records)
            ends = f", good until {token_table.when(records[0].ends)}" if records[0].ends is not None else ""
            return f"tokens made: {names}{', each for one join' if body.once else ''}{ends}"

        await self._change(request, "env", change, told)
        now = time.time()
        return JSONResponse({**made, "tokens": [token_json(one, now) for one in records]})

    async def rotate_tokens(self, request: Request) -> Response:
        """``POST /v1/tokens/rotate``: put fresh standing tokens in the place of those that are."""
        self._parts.state()
        body: RotateTokens = await read_body(request, RotateTokens)
        who, roles = actor_of(request).who, _roles(body.role)

        def told() -> str:
            until = f"; those before are good for {body.grace:.0f} s more" if body.grace else ""
            return f"the tokens for {' and '.join(role.value for role in roles)} nodes were replaced{until}"

        at = await self._change(
            request, "rotate-tokens", lambda table, now: token_table.replace(table, roles, who, now, body.grace), told
        )
        until = datetime.fromtimestamp(at + body.grace, UTC).isoformat(timespec="seconds") if body.grace else None
        return JSONResponse({"roles": [role.value for role in roles], "old_good_until": until})

    async def revoke_token(self, request: Request) -> Response:
        """``POST /v1/tokens/revoke``: refuse a token from now on."""
        self._parts.state()
        body: RevokeToken = await read_body(request, RevokeToken)
        who = actor_of(request).who
        await self._change(
            request,
            "env",
            lambda table, now: token_table.revoke(table, body.id, who, now),
            lambda: f"token {body.id} revoked",
        )
        return JSONResponse({"revoked": body.id})

    async def _change(
        self,
        request: Request,
        action: str,
        change: Callable[[TokenTable, float], TokenTable],
        told: Callable[[], str],
    ) -> float:
        """Change the table as the store has it now, with an entry in the audit log; return the time of the change.

        :raises UnreachableError: if others change it all the time.
        """
        store = self._parts.store
        for _ in range(TRIES):
            _, info = self._parts.state()
            found = await store.get(state.TOKENS)
            found_info = await store.get(state.INFO)
            if found_info is None:
                break
            now = time.time()
            after = change(state.read_tokens(found, info), now)
            # The version before reads the standing tokens there.
            current = ClusterInfo.model_validate_json(found_info.value)
            written = current.model_copy(
                update={
                    "control_secret": after.standing(Role.CONTROL).secret,
                    "data_secret": after.standing(Role.DATA).secret,
                }
            )
            compares = [
                Compare.unchanged(state.TOKENS, found.mod_revision if found else 0),
                Compare.unchanged(state.INFO, found_info.mod_revision),
            ]
            operations = [Put(state.TOKENS, after.stored())]
            if written != current:
                operations.append(Put(state.INFO, written.stored()))
            entry = audit.entry(actor_of(request), self._parts.identity.name, action, told())
            if await store.transact(compares, [*operations, entry], patience=OPERATOR_PATIENCE) is not None:
                return now
        raise UnreachableError("the tokens are changed by others at this moment", "try again", kind="conflict")

    # --- authorities ---

    async def authorities(self, _request: Request) -> Response:
        """``GET /v1/authorities``: whom the cluster trusts, with their endorsements, and how far a rotation is."""
        seen, _ = self._parts.state()
        known = told_authorities(seen, ())
        return JSONResponse(
            {
                **known.model_dump(mode="json"),
                "signing": digests(known.ca_pem)[0],
                "trusted": list(digests("".join(known.authorities))),
                "rotation": rotation_json(seen),
            }
        )

    async def rotate(self, request: Request) -> Response:
        """``POST /v1/authorities/rotate``: begin to replace the authority, or end its grace; then as progress."""
        self._parts.state()
        body: RotateAuthority = await read_body(request, RotateAuthority)
        parts, actor = self._parts, actor_of(request)
        if body.finish:
            await authority_rotation.finish(parts.store, parts.mirror, actor, parts.identity.name)
        else:
            await authority_rotation.begin(
                parts.store, parts.mirror, parts.admission, body.grace, actor, parts.identity.name
            )
        await parts.mirror.wait_for(lambda seen: seen.authorities.rotation is not None)
        return lines(self._steps(to_the_end=body.finish or body.grace == 0))

    async def progress(self, _request: Request) -> Response:
        """``POST /v1/authorities/progress``: the steps of the rotation that is under way, as they happen."""
        self._parts.state()
        return lines(self._steps(to_the_end=True))

    async def _steps(self, *, to_the_end: bool) -> AsyncIterator[Mapping[str, Any]]:
        """Tell what happens; ends with the rotation, or where nothing is left but to wait for the grace to end."""
        mirror, told = self._parts.mirror, ""
        seen = mirror.state
        while seen.authorities.rotation is not None:
            document = rotation_json(seen)
            message = document["message"] if document is not None else ""
            waits = document is not None and document["waiting_for_grace"]
            if message != told:
                told = message
                yield {"event": "phase", "phase": seen.authorities.rotation.phase.value, "message": message}
            if waits and not to_the_end:
                yield {"event": "done", "ok": True, "message": "every live node has a certificate of the new authority"}
                return
            before = seen
            try:
                async with asyncio.timeout(BEAT):
                    seen = await mirror.wait_for(lambda now, last=before: now is not last)  # type: ignore[misc]
            except TimeoutError:
                yield {"event": "still_here"}
        yield {"event": "done", "ok": True, "message": "the authority has been replaced; nobody trusts the old one"}

    # --- certificates ---

    async def certificates(self, _request: Request) -> Response:
        """``GET /v1/certificates``: the authorities' and the nodes', with when they end."""
        seen, _ = self._parts.state()
        now = datetime.now(UTC)
        rows = [authority_json(one, seen.authorities, now) for one in seen.authorities.trusted]
        rows += [certificate_json(node, seen.authorities, now) for node in seen.nodes]
        return JSONResponse({"certificates": rows, "rotation": rotation_json(seen)})

    async def credentials(self, request: Request) -> Response:
        """``POST /v1/credentials``: sign a certificate of the role ``api``."""
        seen, _ = self._parts.state()
        body: Credentials = await read_body(request, Credentials)
        actor = actor_of(request)
        own = request.headers.get(CERTIFICATE, "") if actor.through == "api" else ""
        name = body.name or own
        if not name:
            raise RefusedError("the credentials need a name", "give one with --name", kind="invalid")
        certificate = self._parts.admission.issue(body.request_pem, name, Role.API)
        until = x509_fields.read(certificate).not_after.isoformat(timespec="seconds")
        what = "renewed" if name == own and not body.name else "made"
        entry = audit.entry(
            actor, self._parts.identity.name, "new-credentials", f'API credentials "{name}" {what}, good until {until}'
        )
        await self._parts.store.transact([], [entry], patience=OPERATOR_PATIENCE)
        return JSONResponse(
            {"certificate_pem": certificate, "authorities": list(seen.authorities.trusted), "not_after": until}
        )


def _roles(name: RoleName) -> tuple[Role, ...]:
    return JOINING_ROLES if name == "all" else (Role(name),)


def _text(seen: ClusterState, secret: str) -> str:
    """Return a token; it pins the authority that signs. While two are trusted, that of either serves."""
    return str(Token(digests(seen.authorities.signing)[0], secret))


def _time(at: float | None) -> str | None:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds") if at else None


def token_json(one: TokenRecord, now: float) -> dict[str, Any]:
    """Return a token as the API shows it: never its secret."""
    kind = "standing" if one.standing else "replaced" if one.replaced_at is not None else "once" if one.once else "ttl"
    return {
        "id": one.id,
        "role": one.role.value,
        "kind": kind,
        "good_until": _time(one.ends),
        "seconds_left": max(0, round(one.ends - now)) if one.ends is not None else None,
        "made_at": _time(one.made_at),
        "made_by": one.made_by,
    }


def rotation_json(seen: ClusterState) -> dict[str, Any] | None:
    """Return the rotation that is under way, with what it waits for; None if there is none."""
    running = seen.authorities.rotation
    decision = rotation.decide(seen, time.time())
    if running is None or decision is None:
        return None
    confirmed = not any(
        rotation.behind(node, seen.authorities) for node in seen.nodes if node.report and not node.record.left
    )
    return {
        "phase": running.phase.value,
        "message": decision.reason,
        "waiting_for_grace": confirmed and isinstance(decision, rotation.Wait),
        "started_at": _time(running.started_at),
        "started_by": running.started_by,
        "old_trusted_until": _time(running.retire_after),
    }


def authority_json(pem: str, known: Authorities, now: datetime) -> dict[str, Any]:
    """Return an authority as the API shows it."""
    fields = x509_fields.read(pem)
    two = known.rotation is not None
    signs = pem == known.signing
    old = two and signs == (known.rotation is not None and known.rotation.phase.value == "trust")
    return {
        "kind": "authority",
        "name": f"{'old' if old else 'new'} authority" if two else "authority",
        "issuer": digests(pem)[0],
        "not_after": fields.not_after.isoformat(timespec="seconds"),
        "state": "signs" if signs else "trusted",
        "warning": "ends soon: replace it with `traefikee rotate-ca`"
        if fields.not_after - now < validity.AUTHORITY / 20
        else "",
    }


def certificate_json(node: Node, known: Authorities, now: datetime) -> dict[str, Any]:
    """Return a node's certificate as the API shows it."""
    told = node.report.certificate if node.report is not None else None
    signing = digests(known.signing)[0]
    return {
        "kind": "node",
        "name": node.record.name,
        "issuer": told.issuer if told else None,
        "not_after": told.not_after if told else None,
        "state": node.status if told is None else "current" if told.issuer == signing else "of the old authority",
        "warning": warning(node, now),
    }


def warning(node: Node, now: datetime) -> str:
    """Say what is wrong with a live node's certificate, or return an empty text."""
    told = node.report.certificate if node.report is not None else None
    if told is None or not ends_soon(told.not_after, now):
        return ""
    return f"ends on {told.not_after} and was not renewed: look at the node's log"
