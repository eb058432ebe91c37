"""The cluster's authority: who gets which certificate."""

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from traefikee.cluster import pki, roles, tokens
from traefikee.cluster.roles import Role
from traefikee.config.certificate_checks import check_pair
from traefikee.config.certificates import CertificatePair
from traefikee.errors import RefusedError


@pytest.fixture(scope="module")
def authority() -> CertificatePair:
    return pki.new_authority("cluster")


def load(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.encode())


def names(certificate: x509.Certificate) -> list[str]:
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in extension]


def usages(certificate: x509.Certificate) -> list[x509.ObjectIdentifier]:
    return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def test_a_control_node_serves_under_the_common_name_and_its_own_address(authority: CertificatePair) -> None:
    pair = pki.issue_for_new_key(authority, identity="me", role=Role.CONTROL, hosts=("10.10.0.2", "c1.example"))
    certificate = load(pair.chain_pem)
    assert {roles.SERVER_NAME, "10.10.0.2", "c1.example"} <= set(names(certificate))
    assert ExtendedKeyUsageOID.SERVER_AUTH in usages(certificate)
    assert certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "me"
    assert certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value == "control"
    assert check_pair(pair) is None


@pytest.mark.parametrize("role", [Role.DATA, Role.API])
def test_the_others_cannot_pose_as_a_control_node(authority: CertificatePair, role: Role) -> None:
    certificate = load(pki.issue_for_new_key(authority, identity="me", role=role).chain_pem)
    assert usages(certificate) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert roles.SERVER_NAME not in names(certificate)


def test_the_names_inside_a_request_are_not_looked_at(authority: CertificatePair) -> None:
    key = pki.new_key()
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "control")]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(roles.SERVER_NAME)]), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
        .decode()
    )
    certificate = load(pki.issue(authority, request, identity="me", role=Role.DATA))
    assert certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value == "data"
    assert roles.SERVER_NAME not in names(certificate)


def test_requests_that_are_none_are_refused(authority: CertificatePair) -> None:
    weak = rsa.generate_private_key(65537, 2048)
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(weak, hashes.SHA256())
    for text in ("nonsense", request.public_bytes(Encoding.PEM).decode()):
        with pytest.raises(RefusedError, match="certificate request"):
            pki.issue(authority, text, identity="me", role=Role.DATA)


def test_the_digest_tells_authorities_apart(authority: CertificatePair) -> None:
    other = pki.new_authority("cluster")
    assert tokens.authority_digest(authority.chain_pem) != tokens.authority_digest(other.chain_pem)
    with pytest.raises(RefusedError, match="CA certificate cannot be read"):
        tokens.authority_digest("")


def test_sealed_secrets_open_with_their_key_only() -> None:
    key, other = b"k" * 32, b"o" * 32
    sealed = pki.seal(key, b"secret")
    assert b"secret" not in sealed
    assert pki.unseal(key, sealed) == b"secret"
    assert pki.seal(key, b"secret") != sealed
    with pytest.raises(InvalidTag):
        pki.unseal(other, sealed)
    with pytest.raises(InvalidTag):
        pki.unseal(key, sealed[:-1] + bytes([sealed[-1] ^ 1]))


def test_the_default_certificate_is_named_as_in_traefik() -> None:
    pair = pki.new_default_certificate()
    certificate = load(pair.chain_pem)
    assert certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "TRAEFIK DEFAULT CERT"
    assert names(certificate)[0].endswith(".traefik.default")
    assert check_pair(pair) is None
