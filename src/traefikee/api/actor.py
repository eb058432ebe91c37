"""Who an operator is: a certificate of the role ``api`` on ``:55055``, or a user of this machine on the socket."""

from __future__ import annotations

import pwd

from starlette.requests import Request

from traefikee.api.serving import LOCAL_USER
from traefikee.cluster.audit import Actor

CERTIFICATE = "x-traefikee-peer-id"
"""The header in which the engine passes on the CN of a verified client certificate."""
SERIAL = "x-traefikee-peer-serial"
"""The same for its serial number, in hexadecimal."""
SAYS = "x-traefikee-says"
"""The header in which a command says who runs it and where: ``user@host``."""
LONGEST = 200


def actor_of(request: Request) -> Actor:
    """Return who sends a request; what the caller itself says of that is kept apart."""
    says = request.headers.get(SAYS, "")[:LONGEST]
    says = says if says.isprintable() else ""
    host, port = request.client or ("", 0)
    if host == LOCAL_USER:
        return Actor(f"user {_user(port)}", "socket", says)
    serial = request.headers.get(SERIAL, "")
    certificate = request.headers.get(CERTIFICATE, "?")
    return Actor(f"certificate {certificate}" + (f" (serial {serial})" if serial else ""), "api", says)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
