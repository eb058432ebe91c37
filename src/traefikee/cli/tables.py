"""Tables as the product prints them, and the same as JSON or YAML."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click


def table(heads: Sequence[tuple[str, int]], rows: Sequence[Sequence[str]]) -> str:
    """Return a table: columns padded with spaces, two between them, a dashed line under the heads.

    :param heads: each head and how many dashes stand under it.
    """
    lines = [[head for head, _ in heads], ["-" * dashes for _, dashes in heads], *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def print_data(data: Any, form: str) -> None:
    """Print data as ``json`` or ``yaml``."""
    if form == "json":
        click.echo(json.dumps(data, indent=2))
    else:
        import yaml

        click.echo(yaml.safe_dump(data, sort_keys=False, allow_unicode=True).rstrip())


def print_warnings(content: dict[str, Any]) -> None:
    """Print to standard error what is wrong with the nodes of ``/v1/nodes``."""
    if content["store"] != "ok":
        click.echo("Warning: this control node has no quorum; what it lists may be old", err=True)
    for sentence in content.get("warnings", ()):
        click.echo(f"Warning: {sentence}", err=True)


def print_local_nodes(nodes: Sequence[dict[str, Any]], *, details: bool) -> None:
    """Print the nodes as ``traefikee list-nodes`` does."""
    if details:
        heads = [(head, len(head)) for head in ("ID", "Name", "Membership", "Status", "Availability", "Role")]
        rows = [
            (node["id"], node["name"], node["membership"], node["status"], node["availability"], _role(node))
            for node in sorted(nodes, key=lambda node: str(node["id"]))
        ]
        click.echo(table(heads, rows))
        return
    heads = [("Name", 4), ("Role", 14)]
    marks = {"DOWN": " (DOWN)", "PENDING": " (PENDING)"}
    shown = [(node["name"], _role(node) + marks.get(node["status"], "") + _drain(node)) for node in nodes]
    click.echo(table(heads, shown))


def print_remote_nodes(nodes: Sequence[dict[str, Any]]) -> None:
    """Print the nodes as ``traefikeectl list-nodes`` does."""
    heads = [(head, len(head)) for head in ("Name", "Role", "Leader")]
    rows = [
        (node["name"], f"{node['role'].capitalize()} Node{_drain(node)}", "YES" if node["leader"] else "")
        for node in nodes
    ]
    click.echo(table(heads, rows))


def _drain(node: dict[str, Any]) -> str:
    return " (DRAIN)" if node["availability"] == "DRAIN" else ""


def _role(node: dict[str, Any]) -> str:
    return f"{node['role'].upper()} NODE" + (" (Current Leader)" if node["leader"] else "")


def plain(text: str) -> str:
    """Return a text of somebody else's that can do nothing to a terminal; the lines of a traceback stay lines."""
    return "".join(one if one.isprintable() or one == "\n" else f"\\x{ord(one):02x}" for one in text)
