"""The cluster's certificate authority and the certificates that it issues.

A certificate's CN is the node's id and its organisation (O) the role that the peer has. Control nodes serve under
:data:`~traefikee.cluster.roles.SERVER_NAME`, so that a client need not care which node answers behind an address (a
VIP, for example); their certificates name the advertised host too, because etcd checks it (RFC 6125).

The cryptography library takes 10 MB: what does not make certificates does not import this module.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import os
from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from traefikee.cluster import validity as validities
from traefikee.cluster.roles import SERVER_NAME, Role
from traefikee.config.certificates import CertificatePair
from traefikee.errors import RefusedError

NONCE_BYTES = 12


def new_key() -> ec.EllipticCurvePrivateKey:
    """Return a fresh P-256 private key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_to_pem(key: ec.EllipticCurvePrivateKey) -> str:
    """Return the key as unencrypted PKCS #8 PEM text."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _certificate_to_pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _name(common_name: str, organisation: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    validity: datetime.timedelta = validities.AUTHORITY,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - validities.CLOCK_SKEW)
        .not_valid_after(now + validity)
    )


def new_authority(cluster_id: str, mark: str = "") -> CertificatePair:
    """Make the cluster's CA: a self-signed certificate and its key.

    :param mark: tells its name from those of the cluster's authorities before it.
    """
    key = new_key()
    name = _name(f"traefikee cluster {cluster_id}" + (f" {mark}" if mark else ""), "traefikee")
    certificate = _authority_builder(name, name, key.public_key()).sign(key, hashes.SHA256())
    return CertificatePair(chain_pem=_certificate_to_pem(certificate), key_pem=key_to_pem(key))


def _authority_builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    return (
        _builder(subject, issuer, public_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=True,
                crl_sign=True,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def endorse(authority: CertificatePair, other_pem: str) -> str:
    """Return an endorsement of another authority by this one (see :mod:`traefikee.cluster.authorities`)."""
    other, own = _load(other_pem, "the CA certificate"), _load(authority.chain_pem, "the CA certificate")
    public_key = other.public_key()
    if not isinstance(public_key, ec.EllipticCurvePublicKey):
        raise RefusedError("the CA certificate is not for an elliptic-curve key", kind="invalid")
    builder = _authority_builder(other.subject, own.subject, public_key)
    return _certificate_to_pem(builder.sign(_signing_key(authority), hashes.SHA256()))


def endorsed(authority_pem: str, by_pem: str, endorsement_pem: str) -> bool:
    """Tell whether an authority is endorsed by another one."""
    try:
        one, by = _load(authority_pem, "the CA certificate"), _load(by_pem, "the CA certificate")
        endorsement = _load(endorsement_pem, "the endorsement")
        endorsement.verify_directly_issued_by(by)
    except (RefusedError, ValueError, TypeError, InvalidSignature):
        return False
    return endorsement.subject == one.subject and endorsement.public_key() == one.public_key()


def ended_certificate(certificate_pem: str, trusted: Sequence[str], now: datetime.datetime) -> tuple[str, str]:
    """Return CN and organisation of a certificate that an authority has issued, also if it has ended meanwhile.

    :param trusted: PEM texts of the authorities.
    :raises RefusedError: if it is from none of them, or has ended too long ago.
    """
    certificate = _load(certificate_pem, "the certificate")
    if not any(_issued_by(certificate, _load(one, "the CA certificate")) for one in trusted):
        raise RefusedError(
            "the certificate is not from an authority that this cluster trusts", validities.JOIN_AGAIN, kind="foreign"
        )
    ago = now - certificate.not_valid_after_utc
    if ago > validities.ENDED_AT_MOST:
        raise RefusedError(
            f"the certificate ended {ago.days} days ago, more than {validities.ENDED_AT_MOST.days}",
            validities.JOIN_AGAIN,
            kind="ended",
        )
    return (
        str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value),
        str(certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value),
    )


def _issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def sign(key_pem: str, message: bytes) -> bytes:
    """Return the signature (ECDSA, SHA-256) of a message by a node's key."""
    return _signing_key(CertificatePair(chain_pem="", key_pem=key_pem)).sign(message, ec.ECDSA(hashes.SHA256()))


def signed_by(certificate_pem: str, message: bytes, signature: bytes) -> bool:
    """Tell whether the signature of a message is by the key of a certificate."""
    public_key = _load(certificate_pem, "the certificate").public_key()
    if not isinstance(public_key, ec.EllipticCurvePublicKey):
        return False
    try:
        public_key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _signing_key(pair: CertificatePair) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pair.key_pem.encode(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise RefusedError("the key is not an elliptic-curve key", kind="invalid")
    return key


def _load(pem: str, what: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except ValueError as error:
        raise RefusedError(f"{what} cannot be read: {error}", kind="invalid") from error


def new_request(key: ec.EllipticCurvePrivateKey) -> str:
    """Return a certificate signing request (PKCS #10, PEM text) for the key; who signs decides on the names."""
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def issue(
    authority: CertificatePair, request_pem: str, *, identity: str, role: Role, hosts: tuple[str, ...] = ()
) -> str:
    """Sign a request and return the certificate's PEM text.

    :param identity: becomes the CN; the names inside the request are not looked at.
    :param hosts: IP addresses or DNS names that a control node is reached by.
    It is valid as long as :mod:`traefikee.cluster.validity` says for the role.

    :raises RefusedError: if the request is malformed, not signed by its own key, or not for a P-256 key.
    """
    try:
        request = x509.load_pem_x509_csr(request_pem.encode())
    except ValueError as error:
        raise RefusedError(f"the certificate request cannot be read: {error}", kind="invalid") from error
    public_key = request.public_key()
    if not request.is_signature_valid or not isinstance(public_key, ec.EllipticCurvePublicKey):
        raise RefusedError("the certificate request is not signed by a P-256 key of its own", kind="invalid")
    ca = _load(authority.chain_pem, "the cluster's CA certificate")
    ca_key = _signing_key(authority)
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
    names: list[x509.GeneralName] = []
    if role is Role.CONTROL:
        usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
        names = [x509.DNSName(SERVER_NAME), *(_general_name(host) for host in hosts)]
    validity = validities.operator() if role is Role.API else validities.node()
    builder = (
        _builder(_name(identity, role.value), ca.subject, public_key, validity)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    # rustls wants a subject alternative name in every certificate that it verifies as an end entity.
    names.append(x509.DNSName(f"{identity}.{role.value}.traefikee.internal"))
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return _certificate_to_pem(builder.sign(ca_key, hashes.SHA256()))


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def issue_for_new_key(
    authority: CertificatePair, *, identity: str, role: Role, hosts: tuple[str, ...] = ()
) -> CertificatePair:
    """Make a key and a certificate for it in one step, where both are made on this machine."""
    key = new_key()
    chain = issue(authority, new_request(key), identity=identity, role=role, hosts=hosts)
    return CertificatePair(chain_pem=chain, key_pem=key_to_pem(key))


def serial(certificate_pem: str) -> str:
    """Return the certificate's serial number in hexadecimal."""
    return format(_load(certificate_pem, "the certificate").serial_number, "x")


def new_default_certificate() -> CertificatePair:
    """Make the certificate that TLS entry points serve where no other fits (Traefik 1.7: ``TRAEFIK DEFAULT CERT``)."""
    key = new_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "TRAEFIK DEFAULT CERT")])
    label = hashlib.sha256(key_to_pem(key).encode()).hexdigest()
    host = f"{label[:32]}.{label[32:]}.traefik.default"
    certificate = (
        _builder(name, name, key.public_key())
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return CertificatePair(chain_pem=_certificate_to_pem(certificate), key_pem=key_to_pem(key))


def seal(cluster_key: bytes, plain: bytes) -> bytes:
    """Encrypt a secret of the cluster for the store (AES-256-GCM; a random nonce, then the ciphertext)."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(cluster_key).encrypt(nonce, plain, None)


def unseal(cluster_key: bytes, sealed: bytes) -> bytes:
    """Undo :func:`seal`.

    :raises cryptography.exceptions.InvalidTag: if the key is another one or the bytes were changed.
    """
    return AESGCM(cluster_key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None)
