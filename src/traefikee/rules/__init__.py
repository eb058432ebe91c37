"""The rule languages of frontends (Traefik 1.7) and routers (2 and 3): text in, matchers and modifiers out.

A rule such as ``Host:a.example;PathPrefixStrip:/api`` selects requests (matchers) and rewrites their path (modifiers);
one such as ``Host(`a.example`) && PathPrefix(`/api`)`` only selects, and stands for several alternatives.
This package only reads rules; the engine matches requests.
"""

from __future__ import annotations

from traefikee.rules.expression import Syntax, parse_expression
from traefikee.rules.model import (
    AddPrefix,
    AnyMatcher,
    ClientIP,
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
    Unless,
)
from traefikee.rules.parser import NAMES, parse_rule
from traefikee.rules.regexp import RuleError

__all__ = [
    "NAMES",
    "AddPrefix",
    "AnyMatcher",
    "ClientIP",
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
    "Syntax",
    "Unless",
    "parse_expression",
    "parse_rule",
]
