"""The cluster as one immutable value, read from the store's keys.

A decision loop reads one :class:`ClusterState`; it never goes back to the store in between. The keys::

    /traefikee/state/cluster/info          ClusterInfo, written by bootstrap; CA and tokens in it follow the two below
    /traefikee/state/cluster/tokens        TokenTable
    /traefikee/state/cluster/authorities   Authorities; absent before the first rotation of the CA
    /traefikee/state/cluster/licence       LicenceStatus (cluster/licence.py)
    /traefikee/state/cluster/format        ClusterFormat: the format in force; absent: 1
    /traefikee/state/cluster/phase         forming | formed | aborted
    /traefikee/state/cluster/generation    when it was restored or recovered (traefikee.backup.rebirth), if ever
    /traefikee/state/cluster/secrets       sealed: CA key, default certificate
    /traefikee/state/cluster/ticket-keys   sealed: keys of TLS session tickets
    /traefikee/state/nodes/<id>            NodeRecord
    /traefikee/state/names/<name>          the id that holds the name
    /traefikee/state/alive/<id>            Report; of a data node under the lease of the control node that hears it
    /traefikee/state/drained/<id>          Mark: who took the node out of service; it outlives the node's record
    /traefikee/state/removed/<id>          Removal: a node that an operator removed and that may not come back
    /traefikee/state/removal               the id of the control node that was removed last: removals take turns here
    /traefikee/state/traffic/<id>          Traffic of the data nodes that a control node hears, under its lease
    /traefikee/state/leader                the leader's id, under its lease
    /traefikee/state/restarting            the control node that restarts its etcd, under its lease
    /traefikee/state/joining               the member that joins etcd now, under the lease of who lets it in
    /traefikee/state/config/current        n, the number of the deployment in force
    /traefikee/state/config/<n>            Deployment in force; those before are in /traefikee/history/
    /traefikee/state/config-part/<id>/<m>  its configuration, where that is too large for one key
    /traefikee/state/providers             {name: ProviderStatus}
    /traefikee/state/snapshot              Pointer to the published snapshot
    /traefikee/blob/<digest>/<part>        the changes that it consists of, not watched
    /traefikee/history/<n>                 every kept deployment (cluster/history.py), not watched
    /traefikee/files/<digest>/<part>       the configurations of those, and what files said when they were deployed
    /traefikee/audit/<time>-<random>       who changed what (cluster/audit.py), not watched

Nodes of two versions share these keys (:mod:`traefikee.formats`): a field that this version does not know is kept when
a value is read and written again, a key that it does not know is left alone.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, TypeVar

from pydantic import ValidationError

from traefikee import log
from traefikee.cluster.authorities import Authorities
from traefikee.cluster.records import (
    ClusterFormat,
    ClusterInfo,
    Deployment,
    Link,
    Mark,
    NodeRecord,
    Phase,
    Pointer,
    ProviderStatus,
    Removal,
    Report,
    Stored,
    Traffic,
)
from traefikee.cluster.roles import Role
from traefikee.cluster.store import KeyValue
from traefikee.cluster.token_table import TokenTable, standing_table
from traefikee.formats import Understood

STATE = "/traefikee/state/"
BLOBS = "/traefikee/blob/"
FILES = "/traefikee/files/"

INFO = STATE + "cluster/info"
FORMAT = STATE + "cluster/format"
PHASE = STATE + "cluster/phase"
GENERATION = STATE + "cluster/generation"
SECRETS = STATE + "cluster/secrets"
TOKENS = STATE + "cluster/tokens"
AUTHORITIES = STATE + "cluster/authorities"
TICKET_KEYS = STATE + "cluster/ticket-keys"
NODES = STATE + "nodes/"
NAMES = STATE + "names/"
ALIVE = STATE + "alive/"
DRAINED = STATE + "drained/"
REMOVED = STATE + "removed/"
REMOVAL = STATE + "removal"
TRAFFIC = STATE + "traffic/"
LEADER = STATE + "leader"
JOINING = STATE + "joining"
RESTARTING = STATE + "restarting"
CONFIGS = STATE + "config/"
CURRENT = STATE + "config/current"
CONFIG_PARTS = STATE + "config-part/"
PROVIDERS = STATE + "providers"
SNAPSHOT = STATE + "snapshot"

S = TypeVar("S", bound=Stored)

_log = log.get("state")


@dataclass(frozen=True)
class Node:
    """A node's record joined with its sign of life."""

    record: NodeRecord
    report: Report | None
    is_leader: bool
    drained: Mark | None = None
    removed: Removal | None = None
    """It is about to leave: only control nodes stay in the list until they have."""

    @property
    def ready(self) -> bool:
        """Whether it is alive (and, for a control node, in the store's membership)."""
        return self.report is not None and (self.record.role is not Role.CONTROL or self.votes)

    @property
    def status(self) -> str:
        """READY, PENDING (it joins) or DOWN."""
        if self.ready:
            return "READY"
        joining = self.record.role is Role.CONTROL and not self.record.member
        return "PENDING" if joining else "DOWN"

    @property
    def given_up(self) -> bool:
        """Whether it was admitted but never came in, and nobody lets it in now: its name and address are free."""
        return self.status == "PENDING" and self.report is None

    @property
    def votes(self) -> bool:
        """Whether it is one of the members of the store whose quorum counts."""
        return self.record.member != 0 and not self.record.left

    @property
    def understood(self) -> Understood | None:
        """The formats that it understands, or None while it gives no sign of life."""
        return Understood(*self.report.formats) if self.report is not None else None


@dataclass(frozen=True)
class ClusterState:
    """Everything that is agreed, as of one revision of the store."""

    revision: int
    keys: Mapping[str, KeyValue] = field(repr=False)
    info: ClusterInfo | None
    phase: Phase
    nodes: tuple[Node, ...]
    """Sorted by role (control nodes first), then name."""
    leader: str | None
    """The leader's node id."""
    leader_creation: int
    """The create-revision of the leader key: what fences its writes."""
    deployment: Deployment | None
    pointer: Pointer | None
    providers: Mapping[str, ProviderStatus]
    traffic: Mapping[str, Traffic] = field(default_factory=dict)
    """By the id of the control node that heard it."""
    by_id: Mapping[str, Node] = field(default_factory=dict, repr=False)
    """The nodes by their ids, in their order."""
    removed: Mapping[str, Removal] = field(default_factory=dict)
    """Nodes that operators have removed, by id."""
    news: int = field(default=0, compare=False)
    """The revision of the last change of anything but what data nodes report: only then are they told something."""
    format: ClusterFormat = field(default_factory=ClusterFormat)
    """The format in force."""

    def node(self, identity: str) -> Node | None:
        """Return a node by its id."""
        return self.by_id.get(identity)

    def holder(self, name: str) -> Node | None:
        """Return the node that has a name."""
        return next((node for node in self.nodes if node.record.name == name), None)

    def with_role(self, role: Role) -> tuple[Node, ...]:
        """Return the nodes of a role."""
        return self._by_role[role]

    @cached_property
    def _by_role(self) -> Mapping[Role, tuple[Node, ...]]:
        return {role: tuple(node for node in self.nodes if node.record.role is role) for role in Role}

    @property
    def generation(self) -> int:
        """When the cluster was restored or recovered, in milliseconds since 1970; 0: never."""
        found = self.keys.get(GENERATION)
        return read_generation(found.value if found else None)

    @cached_property
    def control_addresses(self) -> tuple[str, ...]:
        """The advertised addresses of the control nodes that are in the membership, those alive first."""
        control = [node for node in self.with_role(Role.CONTROL) if node.votes]
        return tuple(node.record.advertise for node in sorted(control, key=lambda node: not node.ready))

    @cached_property
    def authorities(self) -> Authorities:
        """Whom the cluster trusts.

        :raises ValueError: before there is a cluster.
        """
        found = _parse(Authorities, self.keys.get(AUTHORITIES))
        if isinstance(found, Authorities):
            return found
        if self.info is None:
            raise ValueError("there is no cluster yet")
        return Authorities(trusted=(self.info.ca_pem,))

    @cached_property
    def tokens(self) -> TokenTable:
        """The join tokens; made of what the version before has written, as long as there is nothing else.

        :raises ValueError: before there is a cluster.
        """
        if self.info is None:
            raise ValueError("there is no cluster yet")
        return read_tokens(self.keys.get(TOKENS), self.info)

    @property
    def dashboard(self) -> bool:
        """Whether control nodes serve the API and the dashboard on :8080."""
        asked = self.deployment is not None and self.deployment.configuration.api
        return asked or (self.info is not None and self.info.api)


def read_generation(stored: bytes | None) -> int:
    """Return a generation as it is kept in a store or a file; what is not there or cannot be read counts as 0."""
    return int(stored) if stored is not None and stored.isdigit() else 0


def _parse(model: type[Any], found: KeyValue | None) -> Any:
    if found is None:
        return None
    try:
        return model.model_validate_json(found.value)
    except ValidationError as error:
        # Only another version of this program writes such a value: leave the key out, and say so.
        _tell_unreadable(found.key, found.mod_revision, str(error.errors()[0]["msg"]))
        return None


@lru_cache(maxsize=1024)
def _tell_unreadable(key: str, _revision: int, reason: str) -> None:
    """Say it once for each value: the state is read again with every change of any key."""
    _log.error("a key of the store cannot be read; was it written by another version?", key=key, error=reason)


def _phase(found: KeyValue | None) -> Phase:
    """Return the phase; one that only a newer version knows is none in which a cluster is still made or given up."""
    if found is None:
        return Phase.FORMING
    try:
        return Phase(found.value.decode())
    except ValueError:
        _tell_unreadable(found.key, found.mod_revision, f"{found.value.decode(errors='replace')!r} is no phase")
        return Phase.FORMED


_NOTHING = ClusterState(0, {}, None, Phase.FORMING, (), None, 0, None, None, {})


def _deployment(keys: Mapping[str, KeyValue], number: str) -> Deployment | None:
    def value(key: str) -> bytes | None:
        found = keys.get(key)
        return found.value if found else None

    return read_deployment(value, number)


def read_deployment(value: Callable[[str], bytes | None], number: str) -> Deployment | None:
    """Return a deployment with its configuration, wherever that lies; None if it is not there whole.

    :param value: returns what a key of the store holds.
    """
    stored = value(CONFIGS + number)
    if stored is None:
        return None
    link = packed_link(stored)
    parts = [value(f"{CONFIG_PARTS}{link.blob}/{part:06}") for part in range(link.parts)] if link else []
    return _read_deployment(stored, tuple(part or b"" for part in parts))


# Configurations may be large, and are the same in nearly every state.
@lru_cache(maxsize=4)
def packed_link(stored: bytes) -> Link | None:
    """Return where the configuration of a stored deployment lies, or None if it is in it."""
    try:
        raw = json.loads(stored)
        return Link.model_validate(raw["packed"]) if raw.get("packed") else None
    except (ValueError, AttributeError):
        return None


@lru_cache(maxsize=4)
def _read_deployment(stored: bytes, parts: tuple[bytes, ...]) -> Deployment | None:
    try:
        if parts:
            configuration = json.loads(zlib.decompress(b"".join(parts)))
            stored = json.dumps({**json.loads(stored), "configuration": configuration}).encode()
        return Deployment.model_validate_json(stored)
    except (ValueError, zlib.error) as error:
        first = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        _log.error("the deployed configuration cannot be read", error=first)
        return None


def from_keys(revision: int, keys: Mapping[str, KeyValue]) -> ClusterState:
    """Read the state from the store's keys (those below :data:`STATE`)."""
    return _read(revision, keys, _NOTHING, keys.keys())


def advance(before: ClusterState, revision: int, changes: Iterable[tuple[str, KeyValue | None]]) -> ClusterState:
    """Return the state that changes make of another one: the one that :func:`from_keys` reads from all keys.

    Only what was changed is read; everything else is taken from the state before. With a thousand nodes that is the
    difference between microseconds and tens of milliseconds for each change.

    :param changes: keys with their new values, or None where they were deleted, in order.
    """
    keys = dict(before.keys)
    touched = set()
    for key, now in changes:
        touched.add(key)
        if now is None:
            keys.pop(key, None)
        else:
            keys[key] = now
    return _read(revision, keys, before, touched)


def _read(revision: int, keys: Mapping[str, KeyValue], before: ClusterState, touched: Collection[str]) -> ClusterState:
    """Read the state from all keys, but take from the state before what hangs on no key that was touched."""

    def one(model: type[Any], key: str, earlier: Any) -> Any:
        return _parse(model, keys.get(key)) if key in touched else earlier

    leader_key = keys.get(LEADER)
    leader = leader_key.value.decode() if leader_key else None
    current = keys.get(CURRENT)
    deployment = None
    if current is not None:
        key = CONFIGS + current.value.decode()
        # Another number is another deployment, even if its key was not touched now.
        known = CURRENT not in touched and key not in touched
        deployment = before.deployment if known else _deployment(keys, current.value.decode())
    providers = before.providers
    if PROVIDERS in touched:
        read = _parse(_Providers, keys.get(PROVIDERS))
        providers = read.providers if read else {}
    form = before.format
    if FORMAT in touched:
        # One that cannot be read is understood by nobody.
        form = _parse(ClusterFormat, keys.get(FORMAT)) or ClusterFormat(number=0 if FORMAT in keys else 1)
    removed = _followed(before.removed, REMOVED, Removal, keys, touched)
    by_id = _nodes(keys, before, touched, leader, removed)
    return ClusterState(
        revision=revision,
        keys=keys,
        info=one(ClusterInfo, INFO, before.info),
        phase=_phase(keys.get(PHASE)),
        nodes=before.nodes if by_id is before.by_id else tuple(by_id.values()),
        leader=leader,
        leader_creation=leader_key.create_revision if leader_key else 0,
        deployment=deployment,
        pointer=one(Pointer, SNAPSHOT, before.pointer),
        providers=providers,
        traffic=_followed(before.traffic, TRAFFIC, Traffic, keys, touched),
        by_id=by_id,
        removed=removed,
        news=revision if any(_is_news(key, by_id) for key in touched) else before.news,
        format=form,
    )


def _is_news(key: str, by_id: Mapping[str, Node]) -> bool:
    """Whether data nodes may have to be told of a change of this key."""
    if key.startswith(ALIVE):
        node = by_id.get(key.removeprefix(ALIVE))
        return node is None or node.record.role is not Role.DATA
    return not key.startswith(TRAFFIC)


def _nodes(
    keys: Mapping[str, KeyValue],
    before: ClusterState,
    touched: Collection[str],
    leader: str | None,
    removed: Mapping[str, Removal],
) -> Mapping[str, Node]:
    """Return the nodes by their ids, control nodes first, then by name; each as before unless its keys were touched."""
    changed = {key.rpartition("/")[2] for key in touched if key.startswith((NODES, ALIVE, DRAINED, REMOVED))}
    if leader != before.leader:
        changed |= {one for one in (leader, before.leader) if one is not None}
    if not changed:
        return before.by_id
    found = dict(before.by_id)
    in_order = True
    for identity in changed:
        earlier = before.by_id.get(identity)
        record_key, alive_key = NODES + identity, ALIVE + identity
        known = earlier is not None and record_key not in touched
        record = earlier.record if earlier and known else _parse(NodeRecord, keys.get(record_key))
        if record is None:
            found.pop(identity, None)
            continue
        known = earlier is not None and alive_key not in touched
        report = earlier.report if earlier and known else _parse(Report, keys.get(alive_key))
        drained_key = DRAINED + identity
        known = earlier is not None and drained_key not in touched
        drained = earlier.drained if earlier and known else _parse(Mark, keys.get(drained_key))
        found[identity] = Node(record, report, identity == leader, drained, removed.get(identity))
        in_order = in_order and earlier is not None and _place(earlier.record) == _place(record)
    if in_order:
        return found
    return dict(sorted(found.items(), key=lambda item: _place(item[1].record)))


def _place(record: NodeRecord) -> tuple[bool, str, str]:
    """Where a node stands in the list."""
    return record.role is not Role.CONTROL, record.name, record.id


def _followed(
    before: Mapping[str, S], prefix: str, model: type[S], keys: Mapping[str, KeyValue], touched: Collection[str]
) -> Mapping[str, S]:
    """Return the values below a prefix, by what their keys end with; the same object if none was touched."""
    changed = [key for key in touched if key.startswith(prefix)]
    if not changed:
        return before
    found = dict(before)
    for key in changed:
        identity = key.removeprefix(prefix)
        found.pop(identity, None)
        value = _parse(model, keys.get(key))
        if value is not None:
            found[identity] = value
    return found


def read_tokens(found: KeyValue | None, info: ClusterInfo) -> TokenTable:
    """Read the key of the join tokens, where it is there."""
    table = _parse(TokenTable, found)
    return table if isinstance(table, TokenTable) else standing_table(info.control_secret, info.data_secret)


class _Providers(Stored):
    providers: dict[str, ProviderStatus]


def stored_providers(providers: Mapping[str, ProviderStatus]) -> bytes:
    """Return the form in which the providers' statuses are stored."""
    return _Providers(providers=dict(providers)).stored()
