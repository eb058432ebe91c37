"""Fields that are read without the cryptography library are those that it reads."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from traefikee.cluster import pki, x509_fields
from traefikee.cluster.roles import Role
from traefikee.errors import RefusedError

AUTHORITY = pki.new_authority("c" * 25, "00112233")


def agree(pem: str) -> None:
    fields, known = x509_fields.read(pem), x509.load_pem_x509_certificate(pem.encode())
    assert fields.not_before == known.not_valid_before_utc
    assert fields.not_after == known.not_valid_after_utc
    assert fields.issuer == known.issuer.public_bytes()
    assert fields.subject == known.subject.public_bytes()


def test_those_of_an_authority_and_of_what_it_issues() -> None:
    agree(AUTHORITY.chain_pem)
    for role in Role:
        agree(pki.issue_for_new_key(AUTHORITY, identity="n" * 25, role=role, hosts=("10.0.0.1",)).chain_pem)


@settings(max_examples=50, deadline=None)
@given(
    begin=st.datetimes(datetime(1951, 1, 1), datetime(2090, 1, 1)),  # noqa: DTZ001 - Hypothesis wants it so
    life=st.timedeltas(timedelta(seconds=1), timedelta(days=30000)),
    # A common name has 64 bytes at most.
    name=st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), min_size=1, max_size=64).filter(
        lambda name: len(name.encode()) <= 64
    ),
)
def test_any_times_and_names(begin: datetime, life: timedelta, name: str) -> None:
    key = pki.new_key()
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin.replace(tzinfo=UTC))
        .not_valid_after(begin.replace(tzinfo=UTC) + life)
        .sign(key, hashes.SHA256())
    )
    agree(certificate.public_bytes(Encoding.PEM).decode())


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", AUTHORITY.key_pem],
)
def test_what_is_no_certificate_is_refused(text: str) -> None:
    with pytest.raises(RefusedError, match="the certificate cannot be read"):
        x509_fields.read(text)


def test_a_bundle_is_taken_apart() -> None:
    other = pki.new_authority("c" * 25)
    assert x509_fields.split(AUTHORITY.chain_pem + other.chain_pem) == (AUTHORITY.chain_pem, other.chain_pem)
    assert x509_fields.split(AUTHORITY.key_pem) == ()
