"""What entry points and frontends have in common: who is let in, and where requests are sent instead.

Field names are those of Traefik 1.7 in snake case; its own spelling (``removeHeader``) is accepted on input too. Files
that options name are embedded: a configuration means the same on every node.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import ConfigDict
from pydantic.alias_generators import to_camel

from traefikee.config.model import Model


class MiddlewareModel(Model):
    """A model whose fields may be spelled as in Traefik 1.7."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class BasicAuth(MiddlewareModel):
    """``auth.basic``: ``name:hash`` for each user (``$apr1$``, ``$1$``, ``{SHA}``, bcrypt); RFC 7617.

    :ivar users_file: a path, or the text of such a file with one user a line; its users win over ``users``.
    :ivar remove_header: ``Authorization`` does not reach the server.
    """

    secret_fields: ClassVar[frozenset[str]] = frozenset({"users", "users_file"})

    users: tuple[str, ...] = ()
    users_file: str = ""
    remove_header: bool = False


class DigestAuth(MiddlewareModel):
    """``auth.digest``: ``name:realm:MD5(name:realm:password)`` for each user; RFC 7616 with MD5 and ``qop=auth``."""

    secret_fields: ClassVar[frozenset[str]] = frozenset({"users", "users_file"})

    users: tuple[str, ...] = ()
    users_file: str = ""
    remove_header: bool = False


class ForwardAuthTLS(MiddlewareModel):
    """TLS towards the authentication server; each text is a path or PEM."""

    secret_fields: ClassVar[frozenset[str]] = frozenset({"key"})

    ca: str = ""
    ca_optional: bool = False
    cert: str = ""
    key: str = ""
    insecure_skip_verify: bool = False


class ForwardAuth(MiddlewareModel):
    """``auth.forward``: another server is asked about every request, by GET at ``address``; 2xx lets it in."""

    address: str = ""
    trust_forward_header: bool = False
    auth_response_headers: tuple[str, ...] = ()
    tls: ForwardAuthTLS | None = None


class Auth(MiddlewareModel):
    """Who is let in: the first there is of basic, digest and forward counts.

    :ivar header_field: the request header that tells the server the user's name (basic and digest).
    """

    header_field: str = ""
    basic: BasicAuth | None = None
    digest: DigestAuth | None = None
    forward: ForwardAuth | None = None


class WhiteList(MiddlewareModel):
    """``whiteList``: addresses and networks that are let in; none lets everybody in."""

    source_range: tuple[str, ...] = ()
    use_x_forwarded_for: bool = False


class Redirect(MiddlewareModel):
    """``redirect``: to another entry point, or by a regular expression over the whole URL."""

    entry_point: str = ""
    regex: str = ""
    replacement: str = ""
    permanent: bool = False
