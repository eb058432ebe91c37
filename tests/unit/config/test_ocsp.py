from __future__ import annotations

import base64
import datetime

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from tests.support.certificates import Authority, Certificate, authority

from traefikee.compile.compiler import compile_snapshot
from traefikee.config.certificate_checks import check_pair
from traefikee.config.certificates import CertificatePair
from traefikee.config.ocsp import split_ocsp
from traefikee.config.static import EntryPoint, EntryPointTLS, StaticConfiguration


@pytest.fixture(scope="module")
def ca() -> Authority:
    return authority()


def response(ca: Authority, about: Certificate, status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD) -> bytes:
    now = datetime.datetime.now(datetime.UTC)
    revoked = now if status is ocsp.OCSPCertStatus.REVOKED else None
    builder = ocsp.OCSPResponseBuilder().add_response(
        about.certificate, ca.certificate, hashes.SHA256(), status, now, now, revoked, None
    )
    signed = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, ca.certificate).sign(ca.key, hashes.SHA256())
    return signed.public_bytes(Encoding.DER)


def armoured(der: bytes) -> str:
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN OCSP RESPONSE-----\n{body}-----END OCSP RESPONSE-----\n"


def test_it_is_told_from_the_chain() -> None:
    assert split_ocsp("chain") == ("chain", "")
    assert split_ocsp(f"one\n{armoured(b'old')}two\n{armoured(b'new')}") == (
        "one\ntwo\n",
        base64.b64encode(b"new").decode(),
    )


def test_it_reaches_the_snapshot(ca: Authority) -> None:
    own = ca.issue("a.example")
    der = response(ca, own)
    pair = CertificatePair(chain_pem=own.chain_pem + armoured(der), key_pem=own.key_pem)
    point = EntryPoint(name="https", address=":443", tls=EntryPointTLS(certificates=(pair,)))
    static = StaticConfiguration(entry_points=(point,), default_entry_points=("https",))
    (found,) = compile_snapshot(static, {}, revision=1, default_certificate=pair).snapshot.certificates
    assert (found.chain_pem, base64.b64decode(found.ocsp_response)) == (own.chain_pem, der)
    assert check_pair(pair) is None


def test_what_cannot_be_stapled_is_told(ca: Authority) -> None:
    own, other = ca.issue("a.example"), ca.issue("b.example")

    def reason(der: bytes) -> str | None:
        return check_pair(CertificatePair(chain_pem=own.chain_pem + armoured(der), key_pem=own.key_pem))

    assert reason(b"nonsense") == "its OCSP response cannot be read"
    assert reason(response(ca, other)) == "its OCSP response is about another certificate"
    revoked = response(ca, own, ocsp.OCSPCertStatus.REVOKED)
    assert reason(revoked) == "its OCSP response does not say that it is good"
    failed = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)
    assert reason(failed.public_bytes(Encoding.DER)) == "its OCSP response says that the responder has failed"
