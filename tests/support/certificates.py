"""Certificates for tests."""

import base64
import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Certificate:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def chain_pem(self) -> str:
        """PEM of the certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        """PEM of the key, PKCS#8."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()

    @property
    def der(self) -> bytes:
        """What a TLS peer sees."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    def for_snapshot(self, id: str, ocsp_response: bytes = b"") -> dict[str, str]:  # noqa: A002 - the snapshot's own word
        """An entry of a snapshot's `certificates`; the OCSP response is DER."""
        ocsp = base64.b64encode(ocsp_response).decode()
        return {"id": id, "chain_pem": self.chain_pem, "key_pem": self.key_pem, "ocsp_response": ocsp}

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """As files: certificate and key."""
        certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
        certificate.write_text(self.chain_pem)
        key.write_text(self.key_pem)
        return certificate, key


class Authority(Certificate):
    """A CA."""

    def issue(self, *names: str, common_name: str = "", organisation: str = "") -> Certificate:
        """A certificate for host names and addresses, for servers and clients alike."""
        return _make(names, common_name or (names[0] if names else ""), organisation, self)


def authority(name: str = "test CA") -> Authority:
    """A new CA."""
    made = _make((), name, "", None)
    return Authority(made.certificate, made.key)


def _make(names: tuple[str, ...], common_name: str, organisation: str, issuer: Certificate | None) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organisation:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    subject = x509.Name(attributes)
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=7))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
    return Certificate(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
