"""What the handlers of the operator API work with: one control node's parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from traefikee.cluster.admission import Admission
from traefikee.cluster.mirror import Mirror
from traefikee.cluster.records import ClusterInfo
from traefikee.cluster.state import ClusterState
from traefikee.cluster.store import Store
from traefikee.errors import UnreachableError
from traefikee.node.engine import Engine
from traefikee.node.log_collecting import Sources
from traefikee.node.publishing import SnapshotStore
from traefikee.node.statedir import Identity
from traefikee.node.troubles import Troubles


@dataclass
class Parts:
    """The parts of a control node that its operators may ask or change.

    :ivar who: returns who this node is, with the certificate that it has by now.
    :ivar has_quorum: whether the store takes writes here.
    :ivar log_sources: the log lines that this node can tell.
    """

    who: Callable[[], Identity]
    mirror: Mirror
    store: Store
    engine: Engine
    admission: Admission
    has_quorum: Callable[[], bool]
    snapshots: SnapshotStore
    log_sources: Sources
    troubles: Troubles = field(default_factory=Troubles)
    _came_up: bool = field(default=False, init=False)

    @property
    def identity(self) -> Identity:
        """Who this node is."""
        return self.who()

    def state(self) -> tuple[ClusterState, ClusterInfo]:
        """Return the agreed state as this node knows it.

        :raises UnreachableError: until the node has joined.
        """
        seen = self.mirror.state
        me = seen.node(self.identity.id)
        self._came_up = self._came_up or (me is not None and me.ready)
        if seen.info is None or not self._came_up:
            raise UnreachableError(
                f"{self.identity.name!r} has not joined the cluster's store yet",
                "; ".join(self.troubles.all()) or "try again in a moment",
                kind="joining",
            )
        return seen, seen.info
