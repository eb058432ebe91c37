"""The keys of Traefik 1.7's key-value layout: those of files in lower case, and some of its own."""

from __future__ import annotations

from traefikee.providers import layout
from traefikee.providers.layout import Key

__all__ = ["BACKEND", "FRONTEND", "HEADER_MAPS", "REMOVING", "TLS", "Key"]

ENABLED = "enabled"
"""The field of a key that has both a value, which switches it on, and keys below it."""
LEGACY = "legacy_pass_host_header"
TAGS = "tags"
DOTTED = "dotted_auth_response_headers"

HEADER_MAPS = frozenset({"customRequestHeaders", "customResponseHeaders", "sslProxyHeaders", "headers"})
"""Maps whose names are header names, and written as such (``X-Foo`` for ``x-foo``)."""
REMOVING = frozenset({"customrequestheaders", "customresponseheaders"})
"""Maps in which an empty value means something: the header is removed."""

FRONTEND = layout.FRONTEND.copy()
"""Below ``frontends/<name>``."""
FRONTEND.children["passHostHeader"] = Key("passHostHeader", LEGACY, "bool")
FRONTEND.at("auth/forward").children[".authresponseheaders"] = Key(
    ".authResponseHeaders", DOTTED, "list", deprecated="auth.forward.authResponseHeaders"
)

BACKEND = layout.BACKEND.copy()
"""Below ``backends/<name>``. Tags are for constraints alone."""
BACKEND.at("servers/*").children["tags"] = Key("tags", TAGS, "list")
BACKEND.at("loadbalancer/stickiness").kind = "bool"

TLS = layout.TLS.copy()
"""Below ``tls/<name>``."""
