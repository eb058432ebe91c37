"""Certificates and keys as options give them: the path of a file, or PEM text in its place."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import ClassVar, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates

from traefikee.config.model import Model

ReadFile: TypeAlias = Callable[[str], bytes]
"""Returns a file's content. Raises FileNotFoundError or another OSError."""

_ARMOUR = "-----BEGIN "
_checked: dict[bytes, str] = {}
_CHECKED_LIMIT = 4096


class CertificatePair(Model):
    """A server certificate with its chain, leaf first, and its private key; both PEM texts."""

    secret_fields: ClassVar[frozenset[str]] = frozenset({"key_pem"})

    chain_pem: str
    key_pem: str

    @property
    def id(self) -> str:
        """The SHA-256 of the chain's text in hexadecimal: equal certificates have equal ids."""
        return hashlib.sha256(self.chain_pem.encode()).hexdigest()


def load_pem(text: str, read_file: ReadFile) -> str:
    """Return PEM text: the text itself if it is PEM, else the content of the file that it names.

    :raises ValueError: the file cannot be read or is not PEM. The text names the path but never holds content.
    """
    if _ARMOUR in text:
        return text
    shown = _shown_path(text)
    try:
        content = read_file(text)
    except FileNotFoundError:
        raise ValueError(f"there is no file {shown}, and it is not PEM text either") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "its name is not valid"
        raise ValueError(f"file {shown} cannot be read: {reason}") from None
    try:
        pem = content.decode()
    except UnicodeDecodeError:
        raise ValueError(f"file {shown} is not PEM but binary; convert it to PEM") from None
    if _ARMOUR not in pem:
        raise ValueError(f"file {shown} is not PEM")
    return pem


def _shown_path(text: str) -> str:
    """Return the path in quotes, unless it may as well be a key that lost its PEM armour."""
    if len(text) < 256 and text.isprintable() and (text.startswith(("/", "~")) or "." in text):
        return f'"{text}"'
    return "of that name (not shown, it does not look like a path)"


def check_certificates(pem: str) -> str | None:
    """Return why a PEM text is not one or several certificates, or None if it is."""
    try:
        found = load_pem_x509_certificates(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        return "the certificate cannot be read; it has to be PEM (-----BEGIN CERTIFICATE-----)"
    return None if found else "there is no certificate in it"


def check_pair(pair: CertificatePair) -> str | None:
    """Return why a certificate and a key do not make a pair, or None if they do. Holds no content of either."""
    digest = hashlib.sha256(f"{len(pair.chain_pem)}\0{pair.chain_pem}{pair.key_pem}".encode()).digest()
    known = _checked.get(digest)
    if known is None:
        if len(_checked) >= _CHECKED_LIMIT:
            _checked.clear()
        known = _checked[digest] = _check_pair(pair)
    return known or None


def _check_pair(pair: CertificatePair) -> str:
    reason = check_certificates(pair.chain_pem)
    if reason:
        return reason
    leaf = load_pem_x509_certificates(pair.chain_pem.encode())[0]
    try:
        key = load_pem_private_key(pair.key_pem.encode(), password=None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        return "the key is encrypted; give it without a passphrase"
    except (ValueError, UnsupportedAlgorithm):
        return "the key cannot be read; it has to be PEM (-----BEGIN PRIVATE KEY-----)"
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    try:
        belongs = leaf.public_key().public_bytes(*form) == key.public_key().public_bytes(*form)
    except (ValueError, UnsupportedAlgorithm):
        return "the certificate's key is of an unknown kind"
    return "" if belongs else "the key does not belong to the certificate"
