"""What an agent has to know of its own certificate at any time, read without the cryptography library.

That library takes 10 MB, which a data node's agent otherwise never needs. Nothing is verified here: what is read is the
node's own, or was verified by the TLS library.
"""

from __future__ import annotations

import functools
import re
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime

from traefikee.errors import RefusedError

_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n?")
_INTEGER, _SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x02, 0x30, 0xA0, 0x17, 0x18


@dataclass(frozen=True)
class Fields:
    """Some fields of a certificate (RFC 5280).

    :ivar issuer: DER of the issuer's name; ``subject`` likewise.
    """

    issuer: bytes
    subject: bytes
    not_before: datetime
    not_after: datetime


def split(bundle: str) -> tuple[str, ...]:
    """Return the certificates of a PEM text one by one."""
    return tuple(match[0].strip() + "\n" for match in _BLOCK.finditer(bundle))


@functools.lru_cache(maxsize=64)
def read(pem: str) -> Fields:
    """Return the fields of the first certificate of a PEM text.

    :raises RefusedError: if there is none, or it cannot be read.
    """
    blocks = split(pem)
    try:
        der = ssl.PEM_cert_to_DER_cert(blocks[0])
        start, _ = _enter(der, 0, _SEQUENCE)
        at, _ = _enter(der, start, _SEQUENCE)
        if der[at] == _VERSION:
            at = _end(der, at)
        _enter(der, at, _INTEGER)
        at = _end(der, at)  # the serial number
        issuer = _end(der, at)  # after the signature's algorithm
        validity = _end(der, issuer)
        subject = _end(der, validity)
        begin, _ = _enter(der, validity, _SEQUENCE)
        return Fields(
            issuer=der[issuer:validity],
            subject=der[subject : _end(der, subject)],
            not_before=_time(der, begin),
            not_after=_time(der, _end(der, begin)),
        )
    except (ValueError, IndexError) as error:
        raise RefusedError(f"the certificate cannot be read: {error}", kind="invalid") from error


def _enter(der: bytes, at: int, tag: int | None = None) -> tuple[int, int]:
    """Return where the content of the element at a place begins and ends (X.690: definite lengths)."""
    if tag is not None and der[at] != tag:
        raise ValueError(f"tag {der[at]:#x} instead of {tag:#x}")
    length, start = der[at + 1], at + 2
    if length >= 0x80:
        count = length & 0x7F
        length, start = int.from_bytes(der[start : start + count], "big"), start + count
    if start + length > len(der):
        raise ValueError("it is cut off")
    return start, start + length


def _end(der: bytes, at: int) -> int:
    return _enter(der, at)[1]


def _time(der: bytes, at: int) -> datetime:
    start, end = _enter(der, at)
    text = der[start:end].decode("ascii")
    if der[at] == _UTC_TIME:
        # RFC 5280, 4.1.2.5.1: years from 50 on are those of the last century.
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    elif der[at] != _GENERALIZED_TIME:
        raise ValueError("a time is of an unknown form")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
