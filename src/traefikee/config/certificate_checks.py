"""Whether PEM texts are certificates, and whether a certificate and a key belong together."""

from __future__ import annotations

import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates

from traefikee.config.certificates import CertificatePair
from traefikee.config.ocsp import check_ocsp, split_ocsp

_checked: dict[bytes, str] = {}
_CHECKED_LIMIT = 4096


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
    chain, response = split_ocsp(pair.chain_pem)
    reason = check_certificates(chain)
    if reason:
        return reason
    leaf = load_pem_x509_certificates(chain.encode())[0]
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
    if not belongs:
        return "the key does not belong to the certificate"
    return check_ocsp(response, leaf) if response else ""
