"""Who an operator is: a certificate of the role ``api`` on ``:55055``, or a user of this machine on the socket."""

from __future__ import annotations

import pwd

from starlette.requests import Request

from traefikee.api.serving import LOCAL_USER
from traefikee.cluster.audit import Actor

CERTIFICATE = "x-traefikee-peer-id"
"""The header in which the engine passes on the CN of a verified client certificate."""


def actor_of(request: Request) -> Actor:
    """Return who sends a request; what the caller itself says of that is not looked at."""
    host, port = request.client or ("", 0)
    if host == LOCAL_USER:
        return Actor(f"user {_user(port)}", "socket")
    return Actor(f"certificate {request.headers.get(CERTIFICATE, '?')}", "api")


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
