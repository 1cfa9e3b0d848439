# SPDX-License-Identifier: Apache-2.0
"""Mutual TLS inside the channel: the files, read anew when they change, and gRPC's credentials of them.

A new handshake takes the files as they are then; sessions that are up go on, whatever becomes of the files, an expiry
included. The CA file may hold several certificates, for the time in which one follows another.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from hvchannel_daemons.channel import identity

_DAY: Final = 24 * 3600.0
_LOOK_SECONDS: Final = 60.0
WARN_SECONDS: Final = 7 * _DAY
"""So long before it expires a certificate is warned of."""

log = structlog.get_logger()


class TlsError(Exception):
    """The files are no key, certificate and CA that go together; one line that names the offender."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM. `ca`: who is trusted, one or several; `cert`: this end's, with those between it and the CA; `key`: its
    private key, which others must not be able to read."""

    ca: Path
    cert: Path
    key: Path


def files(directory: Path | None, ca: Path | None, cert: Path | None, key: Path | None) -> TlsFiles | None:
    """What the options say: DIR has ca.pem, cert.pem and key.pem, and each may be elsewhere; None: no TLS. Raises
    TlsError."""
    given = {"ca": ca, "cert": cert, "key": key}
    if directory is not None:
        found = {name: path or directory / f"{name}.pem" for name, path in given.items()}
    else:
        found = {name: path for name, path in given.items() if path is not None}
    if not found:
        return None
    missing = [f"--channel-{name}" for name in given if name not in found]
    if missing:
        raise TlsError(f"TLS on the channel needs {', '.join(missing)} too (or --channel-tls DIR)")
    return TlsFiles(**found)


@dataclass(frozen=True, slots=True)
class Material:
    """The files' contents, checked."""

    ca: bytes
    cert: bytes
    key: bytes = field(repr=False)
    expires: float  # Unix time
    names: frozenset[str]  # of the certificate


class Tls:
    """One end's files. Make it with `open`."""

    def __init__(self, where: TlsFiles, material: Material) -> None:
        self._files = where
        self._material = material
        self._stamps = _stamps(where)
        self._trouble = ""
        self._warned: float | None = None  # Unix time

    @classmethod
    def open(cls, where: TlsFiles, *, needs: str | None = None) -> "Tls":
        """`needs`: a name that the certificate must be for. Raises TlsError."""
        material = _read(where)
        if needs is not None and needs not in material.names:
            names = ", ".join(sorted(material.names)) or "no name"
            raise TlsError(f"{where.cert}: the certificate is for {names}, not for {needs}")
        tls = cls(where, material)
        tls.warn()
        return tls

    def current(self) -> Material:
        """The files as they are, or as they were when they were last good: one that is being replaced is no error."""
        stamps = _stamps(self._files)
        if stamps != self._stamps:
            try:
                self._material = _read(self._files)
            except TlsError as error:
                if str(error) != self._trouble:
                    self._trouble = str(error)
                    log.warning("certificate_not_read", reason=self._trouble)
            else:
                # of before the reading: what changes meanwhile is read the next time
                self._stamps, self._trouble, self._warned = stamps, "", None
                log.info("certificate_read", cert=str(self._files.cert), days_left=self.days_left)
                self.warn()
        return self._material

    @property
    def seconds_left(self) -> float:
        """Until the certificate expires; negative afterwards."""
        return self._material.expires - time.time()

    @property
    def days_left(self) -> float:
        return round(self.seconds_left / _DAY, 1)

    def warn(self) -> None:
        """Once a day in the last week, and after it."""
        now = time.time()
        if self.seconds_left < WARN_SECONDS and (self._warned is None or now - self._warned > _DAY):
            self._warned = now
            log.warning("certificate_expires", cert=str(self._files.cert), days_left=self.days_left)

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """While the context lasts the files are looked at now and then, whether anybody shakes hands or not."""

        async def look() -> None:
            while True:
                await asyncio.sleep(_LOOK_SECONDS)
                await asyncio.to_thread(self.current)
                self.warn()

        looking = asyncio.create_task(look())
        try:
            yield
        finally:
            looking.cancel()

    def dialling(self) -> grpc.ChannelCredentials:
        """For one connection of the hypervisor's. That the guest is the VIF's, TLS itself checks: see
        `client_options`."""
        now = self.current()
        return grpc.ssl_channel_credentials(now.ca, now.key, now.cert)

    def serving(self) -> grpc.ServerCredentials:
        """For the guest's server: only who has a certificate of the CA gets through, and each handshake has the files
        of then. That it is a hypervisor's is for `is_hypervisor`."""
        told = self._material

        def fetch() -> Any:  # None: as before; the stubs do not know that
            nonlocal told
            with contextlib.suppress(Exception):  # of whatever kind: gRPC would end the process
                now = self.current()
                if now is not told:
                    told = now
                    return _configuration(now)
            return None

        return grpc.dynamic_ssl_server_credentials(
            _configuration(told), fetch, require_client_authentication=True
        )


def dial(target: str, vif: str, options: list[tuple[str, int]], tls: Tls | None) -> grpc.aio.Channel:
    """A channel to the VIF's guest; with TLS, to nobody else."""
    if tls is None:
        return grpc.aio.insecure_channel(target, options=options)
    return grpc.aio.secure_channel(target, tls.dialling(), options=[*options, *client_options(vif)])


def client_options(vif: str) -> list[tuple[str, str]]:
    """The TLS library compares the certificate with this name, not with the LIP."""
    return [("grpc.ssl_target_name_override", identity.guest_name(vif))]


def is_hypervisor(names: object) -> bool:
    """Whether these names, of a peer's certificate as gRPC's auth_context has them, are a hypervisor's."""
    return isinstance(names, list | tuple) and identity.HYPERVISOR.encode() in names


def trouble(text: str, address: str) -> str | None:
    """In words, what of gRPC's text is TLS's; None when nothing is."""
    if "Hostname Verification" in text or "is not in peer certificate" in text:
        return f"{address}: the guest's certificate is for another VIF"
    if "WRONG_VERSION_NUMBER" in text:
        return f"{address}: the guest does not speak TLS"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        why = text.partition("CERTIFICATE_VERIFY_FAILED: ")[2].partition("\n")[0][:100].removesuffix(": OK")
        return f"{address}: the guest's certificate is not trusted ({why})"
    if "SSL_ERROR" in text or "handshake" in text.lower():
        return f"{address}: no TLS session with the guest (does it trust this hypervisor's certificate?)"
    return None


def _configuration(material: Material) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(material.key, material.cert)], material.ca)


_Stamps = tuple[tuple[int, int, int], ...]


def _stamps(where: TlsFiles) -> _Stamps:
    """What tells that a file is another one."""
    found = []
    for path in (where.ca, where.cert, where.key):
        try:
            status = path.stat()
            found.append((status.st_mtime_ns, status.st_ino, status.st_size))
        except OSError:
            found.append((0, 0, 0))
    return tuple(found)


def _read(where: TlsFiles) -> Material:
    ca, cert, key = _bytes(where.ca), _bytes(where.cert), _bytes(where.key)
    if where.key.stat().st_mode & 0o077:
        raise TlsError(f"{where.key}: others may read this private key (valid: mode 0600 or 0400)")
    for path, data in ((where.ca, ca), (where.cert, cert)):
        if not _certificates(path, data):
            raise TlsError(f"{path}: holds no certificate (valid: PEM)")
    own = _certificates(where.cert, cert)[0]
    try:
        private = serialization.load_pem_private_key(key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise TlsError(f"{where.key}: is no private key without a password (valid: PEM)") from None
    if private.public_key() != own.public_key():
        raise TlsError(f"{where.key}: is not the key of {where.cert}")
    try:
        names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        dns = frozenset(names.get_values_for_type(x509.DNSName))
    except x509.ExtensionNotFound:
        dns = frozenset()
    return Material(ca, cert, key, own.not_valid_after_utc.timestamp(), dns)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsError(f"{path}: {error.strerror}") from error


def _certificates(path: Path, data: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError:
        raise TlsError(f"{path}: holds no certificate (valid: PEM)") from None
