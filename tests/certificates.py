"""Certificates for tests, made on the spot: an authority, and what it signs. Valid for a day, for 127.0.0.1."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)
HOME = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])


class Authority:
    """Signs certificates; its own is `NAME.pem` in the folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        may_sign = x509.BasicConstraints(ca=True, path_length=0)
        certificate = self._signed(self._name, self._key.public_key(), may_sign)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(certificate)

    def sign(self, name: str, *, password: str | None = None) -> Path:
        """A key and a certificate for it, in `NAME.pem`; with a password the key is apart, in `NAME.key`."""
        key = ec.generate_private_key(ec.SECP256R1())
        lock = serialization.BestAvailableEncryption(password.encode()) if password else None
        secret = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            lock or serialization.NoEncryption(),
        )
        certificate = self._signed(_named(name), key.public_key(), HOME)
        path = self._folder / f"{name}.pem"
        path.write_bytes(certificate if lock else secret + certificate)
        if lock:
            path.with_suffix(".key").write_bytes(secret)
        return path

    def _signed(self, name: x509.Name, key: ec.EllipticCurvePublicKey, what: x509.ExtensionType) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder(self._name, name, key, x509.random_serial_number(), now - DAY, now + DAY)
            .add_extension(what, critical=isinstance(what, x509.BasicConstraints))
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
