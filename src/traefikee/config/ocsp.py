"""OCSP responses that come with a certificate: a block of their own in its PEM text (RFC 6960)."""

from __future__ import annotations

import base64
import binascii
import re

from cryptography.x509 import Certificate, ocsp

_BLOCK = re.compile(r"-----BEGIN OCSP RESPONSE-----(.*?)-----END OCSP RESPONSE-----[\r\n]*", re.DOTALL)


def split_ocsp(pem: str) -> tuple[str, str]:
    """Return the text without its ``OCSP RESPONSE`` blocks, and the content of the last one (DER in base64), or ""."""
    found = _BLOCK.findall(pem)
    if not found:
        return pem, ""
    return _BLOCK.sub("", pem), "".join(found[-1].split())


def check_ocsp(response: str, leaf: Certificate) -> str:
    """Return why a response (DER in base64) cannot be stapled to a certificate, or "" if it can.

    Whether it is still valid is not looked at: it is when it is read, and who renews certificates renews it.
    """
    try:
        found = ocsp.load_der_ocsp_response(base64.b64decode(response, validate=True))
    except (ValueError, binascii.Error):
        return "its OCSP response cannot be read"
    if found.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        return "its OCSP response says that the responder has failed"
    try:
        serial, status = found.serial_number, found.certificate_status
    except ValueError:
        return "its OCSP response is not about a single certificate"
    if serial != leaf.serial_number:
        return "its OCSP response is about another certificate"
    if status is not ocsp.OCSPCertStatus.GOOD:
        return "its OCSP response does not say that it is good"
    return ""
