"""The rule language of frontends (Traefik 1.7): text in, matchers and modifiers out.

A rule such as ``Host:a.example;PathPrefixStrip:/api`` selects requests (matchers) and rewrites their path (modifiers).
This package only reads rules; the engine matches requests.
"""

from __future__ import annotations

from traefikee.rules.model import (
    AddPrefix,
    Headers,
    HeadersRegexp,
    Host,
    HostRegexp,
    Matcher,
    Method,
    Modifier,
    Path,
    PathPattern,
    PathPrefix,
    Query,
    QueryPattern,
    ReplacePath,
    ReplacePathRegex,
    Rule,
    StripPrefix,
    StripPrefixRegex,
)
from traefikee.rules.parser import NAMES, parse_rule
from traefikee.rules.regexp import RuleError

__all__ = [
    "NAMES",
    "AddPrefix",
    "Headers",
    "HeadersRegexp",
    "Host",
    "HostRegexp",
    "Matcher",
    "Method",
    "Modifier",
    "Path",
    "PathPattern",
    "PathPrefix",
    "Query",
    "QueryPattern",
    "ReplacePath",
    "ReplacePathRegex",
    "Rule",
    "RuleError",
    "StripPrefix",
    "StripPrefixRegex",
    "parse_rule",
]
