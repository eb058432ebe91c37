"""What the tests of real processes stand on: deadlines, addresses, processes, servers, machines."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The repository."""

BIN = ROOT / ".venv" / "bin"
"""Where `make build` puts the commands."""
