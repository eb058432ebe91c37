"""Certificates and keys as options give them: the path of a file, or PEM text in its place."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import ClassVar, TypeAlias

from traefikee.config.model import Model

ReadFile: TypeAlias = Callable[[str], bytes]
"""Returns a file's content. Raises FileNotFoundError or another OSError."""

_ARMOUR = "-----BEGIN "


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
    content = _read(text, read_file, ", and it is not PEM text either")
    try:
        pem = content.decode()
    except UnicodeDecodeError:
        raise ValueError(f"file {shown} is not PEM but binary; convert it to PEM") from None
    if _ARMOUR not in pem:
        raise ValueError(f"file {shown} is not PEM")
    return pem


def load_text(path: str, read_file: ReadFile) -> str:
    """Return the text of a file in UTF-8.

    :raises ValueError: it cannot be read, or is no text. The message names the path but never holds content.
    """
    content = _read(path, read_file, "")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ValueError(f"file {_shown_path(path)} is not text in UTF-8") from None


def _read(path: str, read_file: ReadFile, missing: str) -> bytes:
    shown = _shown_path(path)
    try:
        return read_file(path)
    except FileNotFoundError:
        raise ValueError(f"there is no file {shown}{missing}") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "its name is not valid"
        raise ValueError(f"file {shown} cannot be read: {reason}") from None


def _shown_path(text: str) -> str:
    """Return the path in quotes, unless it may as well be a key that lost its PEM armour."""
    if len(text) < 256 and text.isprintable() and (text.startswith(("/", "~")) or "." in text):
        return f'"{text}"'
    return "of that name (not shown, it does not look like a path)"
