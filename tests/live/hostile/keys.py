"""The certificates of the hostile pages' servers: one that the tests' browser takes, and others."""

import base64
import datetime
import hashlib
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

#: Where a certificate says that its issuer, its status and its issuer's revocations are to be had.
ISSUER, STATUS, REVOKED = (
    "http://127.57.0.1:8080/issuer",
    "http://127.57.0.2:8080/",
    "http://127.57.0.3:8080/crl",
)


class Keys:
    """What each name's server shows."""

    def __init__(self, folder: Path) -> None:
        self.good, self.spki = _certificate(folder / "good.pem", ["example.com", "*.example.com"])
        self.bad, _ = _certificate(folder / "bad.pem", ["elsewhere.example"], days=-1)
        self.far, _ = _certificate(folder / "far.pem", ["issuer.example.com"], issuer="Far away")
        self.asking = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.asking.load_cert_chain(folder / "good.pem")
        self.asking.verify_mode = ssl.CERT_OPTIONAL
        self.asking.load_verify_locations(folder / "good.pem")
        self.good.sni_callback = self._choose

    def _choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        case = (name or "").partition(".")[0]
        if case in ("pag-121", "pag-122", "pag-123"):
            connection.context = self.bad
        elif case == "pag-120":
            connection.context = self.asking
        elif case == "issuer":
            connection.context = self.far


def _certificate(
    path: Path, names: list[str], days: int = 7, issuer: str | None = None
) -> tuple[ssl.SSLContext, str]:
    """Make a certificate, self-signed unless it has an issuer; give its context and the hash of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(names[0])
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(_name(issuer) if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - datetime.timedelta(days=30))
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName(list(map(x509.DNSName, names))), critical=False)
    )
    if issuer:
        builder = _with_places(builder)
    certificate = builder.sign(ec.generate_private_key(ec.SECP256R1()) if issuer else key, hashes.SHA256())
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    private = key.private_bytes(pem, form, serialization.NoEncryption())
    path.write_bytes(private + certificate.public_bytes(pem))
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context, base64.b64encode(hashlib.sha256(public).digest()).decode()


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _with_places(builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
    kinds = ((AuthorityInformationAccessOID.CA_ISSUERS, ISSUER), (AuthorityInformationAccessOID.OCSP, STATUS))
    access = [x509.AccessDescription(kind, x509.UniformResourceIdentifier(url)) for kind, url in kinds]
    revoked = x509.DistributionPoint([x509.UniformResourceIdentifier(REVOKED)], None, None, None)
    return builder.add_extension(x509.AuthorityInformationAccess(access), critical=False).add_extension(
        x509.CRLDistributionPoints([revoked]), critical=False
    )
