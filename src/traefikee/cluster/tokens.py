"""Join tokens: a secret, and the digest of the cluster CA that the newcomer checks before it says the secret.

Form: ``TKEE-1-<64 hex digits: SHA-256 of the CA certificate>-<40 hex digits: secret>``.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import ssl
from dataclasses import dataclass, field

from traefikee.errors import RefusedError

_FORM = re.compile(r"TKEE-1-(?P<digest>[0-9a-f]{64})-(?P<secret>[0-9a-f]{40})")
SECRET_BYTES = 20


@dataclass(frozen=True)
class Token:
    """A join token: the digest names the cluster, the secret proves that the bearer may join."""

    digest: str
    secret: str = field(repr=False)

    def __str__(self) -> str:
        return f"TKEE-1-{self.digest}-{self.secret}"


def authority_digest(ca_pem: str) -> str:
    """Return the SHA-256 of a CA certificate's DER form as 64 hexadecimal digits: what a token pins.

    :raises RefusedError: if the text is not a PEM certificate.
    """
    try:
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(ca_pem)).hexdigest()
    except ValueError as error:
        raise RefusedError(f"the CA certificate cannot be read: {error}", kind="invalid") from error


def new_secret() -> str:
    """Return a fresh token secret."""
    return secrets.token_hex(SECRET_BYTES)


def parse(text: str) -> Token:
    """Read a token as a user gave it; blanks around it do not matter.

    :raises RefusedError: naming what is wrong with its form, never showing the token.
    """
    if not text.strip():
        raise RefusedError(
            "no token is given",
            "take one from `traefikee env` on a control node and pass it with --token",
            kind="token",
        )
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise RefusedError(
            "the token is malformed: it should look like TKEE-1-<64 hex digits>-<40 hex digits>",
            "copy it whole from `traefikee env` on a control node",
            kind="token",
        )
    return Token(match["digest"], match["secret"])


def matches(secret: str, expected: str) -> bool:
    """Compare two secrets in constant time."""
    return hmac.compare_digest(secret.encode(), expected.encode())
