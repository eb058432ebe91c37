"""From configurations to the routing snapshot that the engine runs; pure functions, no I/O."""

from __future__ import annotations

from traefikee.compile.compiler import Compiled, compile_snapshot
from traefikee.compile.snapshot import Snapshot, localise

__all__ = ["Compiled", "Snapshot", "compile_snapshot", "localise"]
