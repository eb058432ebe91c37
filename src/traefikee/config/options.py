"""The options of ``deploy``: one declaration that feeds the flags, their help and the parser."""

from __future__ import annotations

from traefikee.config.build import build_static
from traefikee.config.names import NOT_YET, OPTIONS, Option, OptionKind

__all__ = ["NOT_YET", "OPTIONS", "Option", "OptionKind", "build_static"]
