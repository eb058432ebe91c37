"""Which authorities the cluster trusts, and which one signs: one, or two while one takes the other's place.

In the store (``cluster/authorities``), and beside it ``ClusterInfo.ca_pem``, which is always the one that signs.
Whoever trusts only one of two learns of the other by an *endorsement*: a certificate for the other's key, signed by the
one that is trusted. It serves as a signed statement alone: authorities have a path length of 0, so no TLS library takes
it for an intermediate certificate.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from traefikee.cluster import tokens, x509_fields


class RotationPhase(StrEnum):
    """How far the replacement of the authority is."""

    TRUST = "trust"
    """The new one is to be trusted by everybody beside the old one, which signs."""
    ISSUE = "issue"
    """The new one signs; every certificate is to be issued again."""
    RETIRE = "retire"
    """The old one is to be trusted by nobody."""


class Rotation(BaseModel):
    """A replacement of the authority that is under way.

    :ivar started_at: seconds since 1970; ``started_by`` says by whom.
    :ivar grace: seconds for which the old one is trusted from when the new one signs, at least.
    :ivar retire_after: when that is over (seconds since 1970); None before the new one signs.
    :ivar endorsements: each authority, endorsed by the other.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    phase: RotationPhase
    started_at: float
    started_by: str
    grace: float
    retire_after: float | None = None
    endorsements: tuple[str, ...] = ()


class Authorities(BaseModel):
    """The authorities.

    :ivar trusted: PEM texts, the one that signs first.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    trusted: tuple[str, ...]
    rotation: Rotation | None = None

    def stored(self) -> bytes:
        """Return the form that the store keeps (JSON)."""
        return self.model_dump_json().encode()

    @property
    def signing(self) -> str:
        """The one that signs."""
        return self.trusted[0]

    @property
    def bundle(self) -> str:
        """All of them as one PEM text."""
        return "".join(self.trusted)


@functools.lru_cache(maxsize=64)
def digests(bundle: str) -> tuple[str, ...]:
    """Return the digest of each certificate of a PEM text: what names an authority."""
    return tuple(tokens.authority_digest(one) for one in x509_fields.split(bundle))


def issuer_digest(certificate_pem: str, bundle: str) -> str:
    """Return the digest of the authority in a bundle that has issued a certificate, or an empty text.

    Told by the names, which differ from one authority of a cluster to the next.
    """
    issuer = x509_fields.read(certificate_pem).issuer
    for one in x509_fields.split(bundle):
        if x509_fields.read(one).subject == issuer:
            return tokens.authority_digest(one)
    return ""


def adopt(
    known: Iterable[str], offered: Sequence[str], endorsements: Sequence[str], endorsed: Callable[[str, str, str], bool]
) -> tuple[str, ...]:
    """Return the offered authorities that may be trusted: the known ones, and those that a trusted one endorses.

    :param known: digests.
    :param endorsed: whether an authority (first argument) is endorsed by another one (second) with a text (third).
    """
    digest = {one: tokens.authority_digest(one) for one in offered}
    wanted = set(known)
    trusted = [one for one in offered if digest[one] in wanted]
    pending = [one for one in offered if one not in trusted]
    found = True
    while found:
        found = False
        for one in pending:
            if any(endorsed(one, by, proof) for by in trusted for proof in endorsements):
                trusted.append(one)
                pending.remove(one)
                found = True
                break
    return tuple(one for one in offered if one in trusted)
