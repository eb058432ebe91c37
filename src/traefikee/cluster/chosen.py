"""Which nodes an operator means by names and ids."""

from __future__ import annotations

from collections.abc import Sequence

from traefikee.cluster.state import ClusterState, Node
from traefikee.config.errors import did_you_mean
from traefikee.errors import RefusedError


def choose(seen: ClusterState, words: Sequence[str]) -> list[Node]:
    """Return the nodes that are named, each once, in the order in which they are.

    :param words: ids, or names; an id counts more.
    :raises RefusedError: naming every word that is none, with the most similar name, and who removed such a node.
    """
    chosen: dict[str, Node] = {}
    unknown = []
    for word in words:
        node = seen.node(word) or seen.holder(word)
        if node is None:
            unknown.append(_unknown(seen, word))
        else:
            chosen.setdefault(node.record.id, node)
    if unknown:
        raise RefusedError("; ".join(unknown), "list-nodes shows the nodes that there are", kind="unknown")
    return list(chosen.values())


def _unknown(seen: ClusterState, word: str) -> str:
    gone = [one for one in seen.removed.values() if word in (one.id, one.name)]
    if gone:
        return f'there is no node "{word}" any more: {max(gone, key=lambda one: one.at).sentence()}'
    names = [node.record.name for node in seen.nodes]
    return f'there is no node "{word}"{did_you_mean(word, names)}'
