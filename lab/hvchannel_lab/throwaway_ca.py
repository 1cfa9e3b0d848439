# SPDX-License-Identifier: Apache-2.0
"""A certificate authority for as long as a lab is up: its key is nowhere but in memory."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_SLACK = timedelta(minutes=5)  # between two machines' clocks
DAYS = 30


class Authority:
    """Issues certificates of the channel."""

    def __init__(self, name: str = "hvchannel lab") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        self._certificate = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=DAYS))
            .not_valid_after(now + timedelta(days=10 * DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def pem(self) -> bytes:
        """Its own certificate."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self, directory: Path, name: str, *, until: datetime | None = None, ca: bytes | None = None
    ) -> None:
        """Writes key.pem, cert.pem and ca.pem into the directory, for who has this DNS name (see the channel's
        `identity`). `until`: when it expires, `DAYS` from now by default. `ca`: another ca.pem. Each file is replaced
        in one step."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        until = until or now + timedelta(days=DAYS)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(min(now - _SLACK, until - _SLACK))
            .not_valid_after(until)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _replace(directory / "key.pem", private)
        _replace(directory / "cert.pem", certificate.public_bytes(serialization.Encoding.PEM))
        _replace(directory / "ca.pem", ca if ca is not None else self.pem)


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    partial.replace(path)
