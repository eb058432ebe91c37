"""The keys of Traefik 1.7's key-value layout: what each object may hold, and what of it works."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

KeyKind: TypeAlias = Literal["text", "list", "bool", "int"]


@dataclass(slots=True)
class Key:
    """One level of the layout.

    :ivar kind: what a value here means, or None if this level only has children.
    :ivar supported: whether this version implements it; if not, only a value that means "off" is accepted.
    :ivar children: levels below by name; ``*`` stands for any name.
    """

    kind: KeyKind | None = None
    supported: bool = True
    children: dict[str, Key] = field(default_factory=dict)

    def child(self, name: str) -> Key | None:
        """Return the level below of this name, or None."""
        return self.children.get(name) or self.children.get("*")


def _layout(supported: dict[str, KeyKind], later: dict[str, KeyKind]) -> Key:
    root = Key()
    for keys, works in ((supported, True), (later, False)):
        for path, kind in keys.items():
            level = root
            for part in path.split("/"):
                level = level.children.setdefault(part, Key())
            level.kind, level.supported = kind, works
            if kind == "list":
                level.children["*"] = Key("text", works)
    return root


_SUBJECT = ("commonname", "country", "domaincomponent", "locality", "organization", "province", "serialnumber")
_HEADER_SWITCHES = (
    "sslredirect",
    "ssltemporaryredirect",
    "sslforcehost",
    "stsincludesubdomains",
    "stspreload",
    "forcestsheader",
    "framedeny",
    "contenttypenosniff",
    "browserxssfilter",
    "isdevelopment",
)
_HEADER_TEXTS = (
    "sslhost",
    "customframeoptionsvalue",
    "custombrowserxssvalue",
    "contentsecuritypolicy",
    "publickey",
    "referrerpolicy",
    "customrequestheaders/*",
    "customresponseheaders/*",
    "sslproxyheaders/*",
)

_FRONTEND_LATER: dict[str, KeyKind] = {
    "passtlscert": "bool",
    "passtlsclientcert/pem": "bool",
    **{f"passtlsclientcert/infos/{name}": "bool" for name in ("notafter", "notbefore", "sans")},
    **{f"passtlsclientcert/infos/{who}/{name}": "bool" for who in ("subject", "issuer") for name in _SUBJECT},
    "basicauth": "list",
    "auth/headerfield": "text",
    **{f"auth/{method}/users": "list" for method in ("basic", "digest")},
    **{f"auth/{method}/usersfile": "text" for method in ("basic", "digest")},
    **{f"auth/{method}/removeheader": "bool" for method in ("basic", "digest")},
    "auth/forward/address": "text",
    "auth/forward/.authresponseheaders": "list",
    "auth/forward/authresponseheaders": "list",
    "auth/forward/trustforwardheader": "bool",
    **{f"auth/forward/tls/{name}": "text" for name in ("ca", "cert", "key")},
    **{f"auth/forward/tls/{name}": "bool" for name in ("caoptional", "insecureskipverify")},
    "whitelist/sourcerange": "list",
    "whitelist/usexforwardedfor": "bool",
    "whitelistsourcerange": "list",
    **{f"redirect/{name}": "text" for name in ("entrypoint", "regex", "replacement")},
    "redirect/permanent": "bool",
    "errors/*/backend": "text",
    "errors/*/query": "text",
    "errors/*/status": "list",
    "ratelimit/extractorfunc": "text",
    **{f"ratelimit/rateset/*/{name}": "text" for name in ("period", "average", "burst")},
    **{f"headers/{name}": "text" for name in _HEADER_TEXTS},
    **{f"headers/{name}": "list" for name in ("allowedhosts", "hostsproxyheaders")},
    **{f"headers/{name}": "bool" for name in _HEADER_SWITCHES},
    "headers/stsseconds": "int",
}

FRONTEND = _layout(
    {
        "backend": "text",
        "entrypoints": "list",
        "priority": "int",
        "passhostheader": "bool",
        "passHostHeader": "bool",
        "routes/*/rule": "text",
    },
    _FRONTEND_LATER,
)
"""Below ``frontends/<name>``."""

_BACKEND_LATER: dict[str, KeyKind] = {
    "servers/*/tags": "list",
    "circuitbreaker/expression": "text",
    "loadbalancer/sticky": "bool",
    "loadbalancer/stickiness": "bool",
    "loadbalancer/stickiness/cookiename": "text",
    "loadbalancer/stickiness/secure": "bool",
    "loadbalancer/stickiness/httponly": "bool",
    "loadbalancer/stickiness/samesite": "text",
    "maxconn/amount": "int",
    "maxconn/extractorfunc": "text",
    "healthcheck/path": "text",
    "healthcheck/port": "int",
    "healthcheck/interval": "text",
    "healthcheck/scheme": "text",
    "healthcheck/hostname": "text",
    "healthcheck/headers/*": "text",
    "buffering/maxrequestbodybytes": "int",
    "buffering/memrequestbodybytes": "int",
    "buffering/maxresponsebodybytes": "int",
    "buffering/memresponsebodybytes": "int",
    "buffering/retryexpression": "text",
    "responseforwarding/flushinterval": "text",
}

BACKEND = _layout(
    {"servers/*/url": "text", "servers/*/weight": "int", "loadbalancer/method": "text"},
    _BACKEND_LATER,
)
"""Below ``backends/<name>``."""

TLS = _layout({"entrypoints": "list", "certificate/certfile": "text", "certificate/keyfile": "text"}, {})
"""Below ``tls/<name>``."""
