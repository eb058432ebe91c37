"""What the store holds, as models: one node and its report, a deployment, the pointer to the published snapshot ...

Which key holds what is told in :mod:`traefikee.cluster.state`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from traefikee import formats
from traefikee.cluster.roles import Role
from traefikee.config.runtime import ObjectError
from traefikee.config.static import StaticConfiguration


class Phase(StrEnum):
    """How far the cluster's making is."""

    FORMING = "forming"
    FORMED = "formed"
    ABORTED = "aborted"


class Stored(BaseModel):
    """A value of the store."""

    # What a newer version has added stays in a value that is changed and written back.
    model_config = ConfigDict(frozen=True, extra="allow")

    def stored(self, number: int = formats.NEWEST) -> bytes:
        """Return what the store keeps (JSON).

        :param number: the format in force, for values that hold a configuration.
        :raises NewerFieldError: if something is set that the format has no form for.
        """
        return formats.in_format(self, self.model_dump_json().encode(), number)


class ClusterFormat(Stored):
    """The format in force in the cluster.

    :ivar version: the version of the node that has put it in force.
    :ivar at: when (ISO 8601, UTC).
    """

    number: int = 1
    version: str = ""
    at: str = ""


class ClusterInfo(Stored):
    """What bootstrap fixed for the cluster's life, and what the version before reads here: CA and standing tokens."""

    id: str
    ca_pem: str
    """The authority that signs."""
    control_secret: str = Field(repr=False)
    """Of the standing token; the token table is what counts. ``data_secret`` likewise."""
    data_secret: str = Field(repr=False)
    licence: str = Field(repr=False)
    control_nodes: int
    api: bool
    """Whether every control node serves the dashboard."""


class Secrets(Stored):
    """The part of the cluster's state that is sealed under the cluster key."""

    ca_key_pem: str = Field(repr=False)
    """The key of ``ClusterInfo.ca_pem``."""
    default_certificate_pem: str
    default_key_pem: str = Field(repr=False)
    next_ca_key_pem: str = Field(default="", repr=False)
    """The key of the authority that is to sign next, while it is made known."""


class NodeRecord(Stored):
    """One node, from its join until it is cleaned from the list."""

    id: str
    name: str
    role: Role
    advertise: str = ""
    certificate_serial: str
    member: int = 0
    """etcd's member id of a control node; 0 until it has joined etcd."""
    bootstrap: bool = False
    """The ephemeral bootstrap node, which is to leave."""
    left: bool = False
    """It has left for good: it shows as DOWN until it is cleaned from the list."""


class Counters(Stored):
    """What a data node has carried since its engine started."""

    by_status: dict[str, int] = Field(default_factory=dict)
    duration_seconds_total: float = 0.0
    response_bytes_total: int = 0


class Traffic(Stored):
    """What the data nodes carry that report to one control node, together.

    :ivar counters: their sum, some seconds old.
    :ivar data_nodes: how many they are.
    """

    counters: Counters = Counters()
    data_nodes: int = 0


class Mark(Stored):
    """Who drained a node, and when.

    :ivar at: ISO 8601, UTC; it tells one drain of a node from the next.
    """

    by: str
    at: str


class Removal(Stored):
    """A node that was removed by an operator. Its certificate does not let it in again.

    :ivar at: ISO 8601, UTC.
    """

    id: str
    name: str
    role: Role
    certificate_serial: str
    by: str
    at: str

    def sentence(self) -> str:
        """Say who removed it and when, for its log and for whoever asks for it."""
        return f"the {self.role.value} node {self.name!r} was removed from its cluster by {self.by} at {self.at}"


class Emptying(Stored):
    """How far a drained data node is.

    :ivar mark: the :attr:`Mark.at` of the drain that it follows.
    :ivar done: whether nothing is accepted any more and all that was open has ended.
    :ivar accepting: whether it still accepts, while its pings say that it is about to stop.
    :ivar connections: those of clients that are still open; ``requests`` that are under way.
    """

    mark: str
    accepting: bool = True
    done: bool = False
    connections: int = 0
    requests: int = 0


class CertificateReport(Stored):
    """What a node says of its certificate, and of whom it trusts.

    :ivar issuer: digest of the authority that has issued it.
    :ivar trusts: digests of the authorities that its connections are verified with.
    :ivar store_trusts: the same of a control node's etcd, which has to be restarted for another answer.
    """

    not_after: str
    """ISO 8601, UTC."""
    issuer: str
    trusts: tuple[str, ...]
    store_trusts: tuple[str, ...] = ()


class Report(Stored):
    """What a node says of itself while it is alive."""

    agent_version: str
    engine_version: str = ""
    formats: tuple[int, int] = (1, 1)
    """The oldest and the newest format that its agent and its engine understand (:mod:`traefikee.formats`)."""
    revision: int | None = None
    """The snapshot in force in its engine."""
    refused_revision: int | None = None
    refusal: str = ""
    """Why its engine refused ``refused_revision``."""
    counters: Counters = Counters()
    """Of a data node, in what it sends. In the store they are left out: a control node keeps their sum (Traffic)."""
    down: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """URLs of the servers that its health checks have found to be down, by service, as long as there are any."""
    down_unlisted: int = 0
    """Services with such servers that are too many for the list."""
    emptying: Emptying | None = None
    """As long as it is drained; with ``undrain_problem`` it cannot accept again as it should."""
    undrain_problem: str = ""
    certificate: CertificateReport | None = None
    """None of the version before."""
    troubles: tuple[str, ...] = ()
    """What is wrong with the node, in sentences."""


class Link(Stored):
    """One change of a configuration, or a whole, where it lies in the store; or what files said.

    :ivar name: the name of the state that it makes (see :mod:`traefikee.compile.changes`).
    :ivar blob: what names its parts.
    :ivar size: bytes of all parts.
    """

    name: str
    blob: str
    parts: int
    size: int
    format: int = 1
    """The format that it is written in."""


class Deployment(Stored):
    """One deployed static configuration, with who, when and how.

    :ivar id: what tells it from every other attempt to deploy.
    :ivar by: who deployed it, as the command itself said (``user@host``).
    :ivar who: the same as the control node saw it (see :class:`traefikee.cluster.audit.Actor`); ``through`` likewise.
    :ivar rollback_of: the number of the deployment that was deployed again.
    :ivar packed: where its configuration lies, if it is too large for one key.
    """

    number: int
    at: str
    by: str
    command: str
    configuration: StaticConfiguration
    files: Link | None = None
    """What the file provider's files said where it was deployed."""
    id: str = ""
    who: str = ""
    through: str = ""
    rollback_of: int | None = None
    packed: Link | None = None


class ProviderStatus(Stored):
    """How a provider fares: ``ok``, ``starting`` or ``error``."""

    state: str
    since: str
    message: str = ""
    frontends: int = 0
    backends: int = 0
    routers: int = 0
    source: str = ""
    """Where it reads: the prefix of its keys, or a file."""


class Pointer(Stored):
    """The published snapshot: where its parts lie, and what was left out of it.

    :ivar snapshot: a whole and the changes that make of it what is published, in order.
    :ivar runtime: the same for the dynamic configurations that it was compiled from, by provider.
    """

    revision: int
    config: int
    """The deployment that it was compiled from."""
    snapshot: tuple[Link, ...] = ()
    runtime: tuple[Link, ...] = ()
    errors: tuple[ObjectError, ...] = ()
    term: int = 0
    """The term in which it was written: the create-revision of its writer's leader key."""
    failure: str = ""
    """Why deployment ``config`` could not be compiled; the snapshot is then still the one before."""

    @field_validator("errors", mode="before")
    @classmethod
    def _readable(cls, errors: Any) -> Any:
        """Leave out errors in a form of another version: a pointer has to be read whatever was wrong with objects."""
        if not isinstance(errors, (list, tuple)):
            return errors
        return [one for one in errors if isinstance(one, ObjectError) or _is_error(one)]

    @property
    def name(self) -> str:
        """The name of the published snapshot, or an empty text."""
        return self.snapshot[-1].name if self.snapshot else ""


def _is_error(raw: Any) -> bool:
    try:
        ObjectError.model_validate(raw)
    except ValidationError:
        return False
    return True
