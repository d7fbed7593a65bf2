"""One-time TLS certificates; only a client that has one can connect to the engine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

__all__ = ["Certificates", "make_certificates"]

_LIFETIME = timedelta(days=365)


@dataclass(frozen=True)
class Certificates:
    """The certificate of one side and the authority that it trusts, each as PEM text or as the path of a PEM file.

    Parameters
    ----------
    ca : str
        The authority whose certificates are trusted.
    cert : str
        The certificate to show.
    key : str
        Its private key.
    """

    ca: str
    cert: str
    key: str


def make_certificates() -> tuple[Certificates, Certificates]:
    """Return certificates for the server and the client, signed by an authority whose key is not kept."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _signed(authority_key, authority_key, None)
    return _side(authority, authority_key), _side(authority, authority_key)


def _side(authority: x509.Certificate, authority_key: EllipticCurvePrivateKey) -> Certificates:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _signed(key, authority_key, authority)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Certificates(_pem(authority), _pem(certificate), secret.decode())


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _signed(
    key: EllipticCurvePrivateKey, signer: EllipticCurvePrivateKey, authority: x509.Certificate | None
) -> x509.Certificate:
    """Sign a key; without an authority, it signs itself and becomes an authority."""
    is_authority = authority is None
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"napari-foundseg {'ca' if is_authority else 'one'}")])
    issued = datetime.now(UTC) - timedelta(days=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if authority is None else authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(issued)
        .not_valid_after(issued + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(_usage(is_authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    return builder.sign(signer, hashes.SHA256())


def _usage(is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
