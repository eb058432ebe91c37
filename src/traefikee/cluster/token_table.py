"""Which join tokens are good, and why others are not: a table in the store, as one immutable value.

There is a *standing* token for each role, which ``env`` prints at any time; its secret is kept. Tokens that end by
themselves, at a time or with the first join, are printed once; of them, and of tokens that have ended, only a digest is
kept, by which they are recognised and refused with the reason. What has ended is forgotten after :data:`REMEMBERED`.

Times are those of the control node that decides (seconds since 1970).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets as random_source
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from traefikee.cluster import tokens
from traefikee.cluster.roles import Role
from traefikee.errors import RefusedError

REMEMBERED = 30 * 86400.0
"""Seconds for which a token that has ended is refused with the reason; afterwards it is an unknown one."""
MOST_ENDED = 500
"""Ended tokens that are remembered at most, the newest."""
MOST_LIVE = 500
"""Tokens besides the standing ones that may be good at a time."""
LONGEST = 10 * 366 * 86400.0

JOINING_ROLES = (Role.CONTROL, Role.DATA)

End = Literal["replaced", "used", "expired", "revoked"]


class Used(BaseModel):
    """The one join that a token was good for.

    :ivar request: SHA-256 of the certificate request: who asks again because the answer was lost is let in again.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    node: str
    name: str
    at: float
    request: str


class TokenRecord(BaseModel):
    """One token.

    :ivar id: eight hexadecimal digits by which operators name it; says nothing of the secret.
    :ivar digest: SHA-256 of the secret, in hexadecimal.
    :ivar secret: of the standing tokens, otherwise empty.
    :ivar ends: when it ends by itself, or None; for a replaced one the end of its grace.
    :ivar once: it is good for one join.
    :ivar replaced_at: when it stopped being the standing token, and ``replaced_by`` by whom; ``revoked_...`` likewise.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    id: str
    role: Role
    digest: str
    secret: str = Field(default="", repr=False)
    made_at: float = 0.0
    made_by: str = ""
    ends: float | None = None
    once: bool = False
    used: Used | None = None
    replaced_at: float | None = None
    replaced_by: str = ""
    revoked_at: float | None = None
    revoked_by: str = ""

    @property
    def standing(self) -> bool:
        """Whether it is what ``env`` prints."""
        return bool(self.secret)

    def ended(self, now: float) -> tuple[End, float] | None:
        """Return how and when it ended, or None while it is good."""
        if self.revoked_at is not None:
            return "revoked", self.revoked_at
        if self.used is not None:
            return "used", self.used.at
        if self.replaced_at is not None and (self.ends is None or self.ends <= now):
            return "replaced", max(self.replaced_at, self.ends or 0.0)
        if self.ends is not None and self.ends <= now:
            return "expired", self.ends
        return None


class TokenTable(BaseModel):
    """All tokens that are good or were so not long ago."""

    model_config = ConfigDict(frozen=True, extra="allow")

    tokens: tuple[TokenRecord, ...] = ()

    def stored(self) -> bytes:
        """Return the form that the store keeps (JSON)."""
        return self.model_dump_json(exclude_defaults=True).encode()

    def standing(self, role: Role) -> TokenRecord:
        """Return the standing token of a role."""
        return next(one for one in self.tokens if one.standing and one.role is role)

    def live(self, now: float) -> tuple[TokenRecord, ...]:
        """Return those that are good now."""
        return tuple(one for one in self.tokens if one.ended(now) is None)


def digest_of(secret: str) -> str:
    """Return what is kept of a secret that need not be shown again."""
    return hashlib.sha256(secret.encode()).hexdigest()


def standing_table(control_secret: str, data_secret: str, at: float = 0.0) -> TokenTable:
    """Return the table of a cluster that has its standing tokens only; of a new one, or of the version before.

    The ids are made of the secrets, so that a table which is not stored yet says the same on every control node.
    """
    pairs = ((Role.CONTROL, control_secret), (Role.DATA, data_secret))
    return TokenTable(
        tokens=tuple(
            TokenRecord(
                id=digest_of("id " + secret)[:8], role=role, digest=digest_of(secret), secret=secret, made_at=at
            )
            for role, secret in pairs
        )
    )


def check(table: TokenTable, role: Role, secret: str, now: float, request: str = "") -> TokenRecord:
    """Return the token that a newcomer has shown, if it may join as this role with it.

    :param request: SHA-256 of the newcomer's certificate request.
    :raises RefusedError: why not, and what to do.
    """
    wanted = digest_of(secret)
    found = None
    for one in table.tokens:  # all of them, so that the time tells nothing
        if hmac.compare_digest(one.digest, wanted):
            found = one
    if found is None:
        raise RefusedError(
            "the cluster does not know this token",
            "take a current one from `traefikee env` on a control node",
            kind="token",
        )
    if found.role is not role:
        raise RefusedError(
            f"this is the token for {found.role.value} nodes, and a {role.value} node joins",
            f"use {role.value.upper()}_NODE_TOKEN from `traefikee env` on a control node",
            kind="token",
        )
    ended = found.ended(now)
    if ended is None or (ended[0] == "used" and found.used is not None and found.used.request == request):
        return found
    raise RefusedError(*_refusal(found, ended[0], ended[1]), kind="token")


def _refusal(token: TokenRecord, how: End, at: float) -> tuple[str, str]:
    """Return why a token that has ended is refused, and the next step."""
    if how == "replaced":
        grace = f", and was good until {when(at)}" if token.replaced_at is not None and at > token.replaced_at else ""
        return (
            f"this token was replaced on {when(token.replaced_at or at)} by {token.replaced_by}{grace}",
            "take the current one from `traefikee env` on a control node",
        )
    another = "make another with " + ("`traefikee env --once`" if token.once else "`traefikee env --ttl=1h`")
    if how == "expired":
        return f"this token expired on {when(at)}", another
    if how == "used" and token.used is not None:
        return f"this token was good for one join, and the node {token.used.name!r} used it on {when(at)}", another
    return f"this token was revoked on {when(at)} by {token.revoked_by}", another


def use(table: TokenTable, token: TokenRecord, used: Used) -> TokenTable:
    """Return the table in which a token for one join has been used."""
    return _with(table, token.model_copy(update={"used": used}), used.at)


def replace(table: TokenTable, roles: Sequence[Role], by: str, now: float, grace: float = 0.0) -> TokenTable:
    """Return the table with fresh standing tokens for the roles.

    Those before are good for ``grace`` seconds more, and at most for what an earlier grace has left them.
    """
    kept, fresh = [], []
    for one in table.tokens:
        if not one.standing or one.role not in roles:
            kept.append(one)
            continue
        ends = now + grace if grace > 0 else None
        kept.append(one.model_copy(update={"secret": "", "replaced_at": now, "replaced_by": by, "ends": ends}))
        fresh.append(_new(one.role, tokens.new_secret(), by, now, standing=True))
    if grace <= 0:
        # At once means all of them: one that an earlier replacement has left some time is stopped too.
        kept = [
            one.model_copy(update={"ends": None}) if one.role in roles and _in_grace(one, now) else one for one in kept
        ]
    return pruned(TokenTable(tokens=(*fresh, *kept)), now)


def _in_grace(one: TokenRecord, now: float) -> bool:
    return one.replaced_at is not None and one.ended(now) is None


def make(
    table: TokenTable, role: Role, by: str, now: float, *, ttl: float | None, once: bool
) -> tuple[TokenTable, TokenRecord, str]:
    """Return the table with one more token, its record, and its secret, which is kept nowhere.

    :param ttl: seconds after which it ends, or None.
    :raises RefusedError: if there are too many, or it would be good for ever.
    """
    if ttl is None and not once:
        raise RefusedError("a token that does not end is the standing one", "give --ttl or --once", kind="invalid")
    if ttl is not None and not 1 <= ttl <= LONGEST:
        raise RefusedError("a token is good for a second at least, and ten years at most", "", kind="invalid")
    others = [one for one in table.live(now) if not one.standing]
    if len(others) >= MOST_LIVE:
        raise RefusedError(
            f"{len(others)} tokens that end by themselves are good already",
            "look at them with `traefikee env --list`, and revoke those of no use with `traefikee env --revoke=<id>`",
        )
    secret = tokens.new_secret()
    record = _new(role, secret, by, now, standing=False).model_copy(
        update={"ends": now + ttl if ttl is not None else None, "once": once}
    )
    return pruned(TokenTable(tokens=(*table.tokens, record)), now), record, secret


def revoke(table: TokenTable, identity: str, by: str, now: float) -> TokenTable:
    """Return the table in which a token is good no more.

    :param identity: its id.
    :raises RefusedError: if there is none of that id, it has ended, or is a standing one.
    """
    found = next((one for one in table.tokens if one.id == identity), None)
    if found is None:
        raise RefusedError(
            f'there is no token "{identity}"', "`traefikee env --list` shows those that are good", kind="unknown"
        )
    if found.standing:
        raise RefusedError(
            f"{identity} is the standing token for {found.role.value} nodes",
            f"replace it with `traefikee rotate-tokens --role={found.role.value}`",
        )
    ended = found.ended(now)
    if ended is not None:
        raise RefusedError(_refusal(found, *ended)[0].replace("this token", f"the token {identity}", 1))
    return _with(table, found.model_copy(update={"revoked_at": now, "revoked_by": by}), now)


def pruned(table: TokenTable, now: float) -> TokenTable:
    """Return the table without what has ended long ago, or is beyond :data:`MOST_ENDED`."""
    ended = sorted(((end[1], one.id) for one in table.tokens if (end := one.ended(now)) is not None), reverse=True)
    kept = {identity for at, identity in ended[:MOST_ENDED] if now - at < REMEMBERED}
    return TokenTable(tokens=tuple(one for one in table.tokens if one.ended(now) is None or one.id in kept))


def when(at: float) -> str:
    """Return a time for a reader, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d at %H:%M:%S UTC")


def _new(role: Role, secret: str, by: str, now: float, *, standing: bool) -> TokenRecord:
    return TokenRecord(
        id=random_source.token_hex(4),
        role=role,
        digest=digest_of(secret),
        secret=secret if standing else "",
        made_at=now,
        made_by=by,
    )


def _with(table: TokenTable, changed: TokenRecord, now: float) -> TokenTable:
    return pruned(TokenTable(tokens=tuple(changed if one.id == changed.id else one for one in table.tokens)), now)
