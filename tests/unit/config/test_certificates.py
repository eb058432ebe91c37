from __future__ import annotations

from pathlib import Path

import pytest

from traefikee.config.certificate_checks import check_certificates, check_pair
from traefikee.config.certificates import CertificatePair, load_pem

FILES = Path(__file__).parents[2] / "golden" / "files"
CERT, KEY, OTHER_KEY = ((FILES / name).read_text() for name in ("a.example.crt", "a.example.key", "b.example.key"))


def read_file(name: str) -> bytes:
    if name == "binary.p12":
        return b"\xff\xfe"
    if name == "text.txt":
        return b"geheim"
    if name == "closed.pem":
        raise PermissionError(13, "Permission denied")
    return (FILES / name).read_bytes()


def test_pem_text_stands_for_itself() -> None:
    assert load_pem(CERT, read_file) == CERT
    assert load_pem("a.example.crt", read_file) == CERT


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("missing.pem", 'there is no file "missing.pem", and it is not PEM text either'),
        ("closed.pem", 'file "closed.pem" cannot be read: Permission denied'),
        ("binary.p12", 'file "binary.p12" is not PEM but binary; convert it to PEM'),
        ("text.txt", 'file "text.txt" is not PEM'),
        ("a\0b.pem",
         "file of that name (not shown, it does not look like a path) cannot be read: its name is not valid"),
        ("MHcCAQEEIO", "there is no file of that name (not shown, it does not look like a path), "
         "and it is not PEM text either"),
    ],
)  # fmt: skip
def test_errors_name_the_path_and_hold_no_content(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        load_pem(text, read_file)
    assert str(caught.value) == message


def test_pairs() -> None:
    assert check_pair(CertificatePair(chain_pem=CERT, key_pem=KEY)) is None
    assert check_pair(CertificatePair(chain_pem=CERT + CERT, key_pem=KEY)) is None
    assert (
        check_pair(CertificatePair(chain_pem=CERT, key_pem=OTHER_KEY)) == "the key does not belong to the certificate"
    )
    assert (
        check_pair(CertificatePair(chain_pem=CERT, key_pem=OTHER_KEY)) == "the key does not belong to the certificate"
    )
    unreadable = "the key cannot be read; it has to be PEM (-----BEGIN PRIVATE KEY-----)"
    assert check_pair(CertificatePair(chain_pem=CERT, key_pem=KEY[:90])) == unreadable
    assert check_pair(CertificatePair(chain_pem=CERT, key_pem="")) == unreadable


@pytest.mark.parametrize("text", ["", "x", KEY, CERT[:100], CERT.replace("M", "!", 3)])
def test_what_is_not_a_certificate(text: str) -> None:
    reason = check_certificates(text)
    assert reason == "the certificate cannot be read; it has to be PEM (-----BEGIN CERTIFICATE-----)"
    assert check_pair(CertificatePair(chain_pem=text, key_pem=KEY)) == reason


def test_ids_are_those_of_the_chain() -> None:
    one, other = CertificatePair(chain_pem=CERT, key_pem=KEY), CertificatePair(chain_pem=CERT, key_pem="")
    assert one.id == other.id
    assert len(one.id) == 64
    assert KEY not in repr(one)
