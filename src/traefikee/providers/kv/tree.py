"""Pairs of keys and values as a tree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Node:
    """One key: its value, if it has one, and what is below it."""

    value: bytes | None = None
    children: dict[str, Node] = field(default_factory=dict)

    def sorted(self) -> list[tuple[str, Node]]:
        """Return what is below, by name."""
        return sorted(self.children.items()) if len(self.children) > 1 else list(self.children.items())


def tree_of(pairs: Mapping[str, bytes], keys: Iterable[str], root: str) -> Node:
    """Return the tree of some keys below a root; slashes around a key do not count.

    Of two keys that are the same but for slashes the last one in order counts.
    """
    tree = Node()
    skip = len(root) + 1 if root else 0
    for key in sorted(keys):
        node = tree
        for part in key.lstrip("/")[skip:].strip("/").split("/"):
            below = node.children.get(part)
            if below is None:
                below = node.children[part] = Node()
            node = below
        node.value = pairs[key]
    return tree
