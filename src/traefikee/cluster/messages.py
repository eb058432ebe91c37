"""What nodes say to each other on ``:4242``, as models: both sides read them strictly."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

from traefikee.cluster.records import Report
from traefikee.cluster.roles import Role
from traefikee.config.addresses import split_address

BEAT = 2.0
"""Seconds between two lines of a stream on which nothing happens."""
LIFE = 3.0
"""Seconds between two signs of life of a data node to its control node, and back."""
QUIET = 8.0
"""Seconds without one after which a data node looks for another control node."""

NAME_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"
"""What a node may be called: a host name, or something like one."""
NAME_LIMIT = 253


class JoinRequest(BaseModel):
    """What a newcomer says of itself (``POST /v1/join``)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Role
    name: str = Field(max_length=NAME_LIMIT, pattern=NAME_PATTERN)
    advertise: str = ""
    request_pem: str
    secret: str = Field(default="", repr=False)
    """The token's secret; not needed with a certificate of this cluster."""

    @field_validator("advertise")
    @classmethod
    def _is_address(cls, value: str) -> str:
        if value:
            split_address(value)
        return value


class JoinAnswer(BaseModel):
    """What it gets: an identity."""

    model_config = ConfigDict(frozen=True)

    id: str
    cluster_id: str
    certificate_pem: str
    peers: list[str]
    cluster_key: str = Field(default="", repr=False)


class MemberRequest(BaseModel):
    """What a control node says when it wants to be brought into etcd (``POST /v1/members``)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    started: bool
    """Whether its etcd runs already, as the member that the membership has at its address."""


class Standing(BaseModel):
    """What the cluster knows of a node (``GET /v1/self``).

    :ivar listed: whether it is in the list.
    :ivar member: whether it is in etcd's membership.
    :ivar removed: who removed it and when, as a sentence; empty if nobody did.
    :ivar generation: the cluster's generation.
    """

    model_config = ConfigDict(frozen=True)

    listed: bool
    member: bool
    removed: str = ""
    generation: int = 0


class DataReport(BaseModel):
    """What a data node says of itself every few seconds (``POST /v1/report``)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    certificate_serial: str
    report: Report
    leaving: bool = False


class RenewRequest(BaseModel):
    """``POST /v1/renew``: a data node wants a new certificate.

    :ivar certificate_pem: the one that it has, if that has ended and cannot be shown in the handshake; ``nonce`` and
        ``signature`` then prove that its key is there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    request_pem: str
    certificate_pem: str = ""
    nonce: str = ""
    signature: str = ""


class RenewAnswer(BaseModel):
    """What it gets.

    :ivar authorities: whom to trust from now on, as PEM texts, the one that has signed first.
    """

    model_config = ConfigDict(frozen=True)

    certificate_pem: str
    serial: str
    authorities: tuple[str, ...]


class AuthorityAnswer(BaseModel):
    """``GET /v1/ca``: the authorities, for whoever trusts one of them and does not know the other.

    :ivar ca_pem: the one that signs; what the version before reads.
    """

    model_config = ConfigDict(frozen=True)

    ca_pem: str
    authorities: tuple[str, ...] = ()
    endorsements: tuple[str, ...] = Field(default=(), repr=False)
