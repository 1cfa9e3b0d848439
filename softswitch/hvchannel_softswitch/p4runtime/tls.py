# SPDX-License-Identifier: Apache-2.0
"""TLS on the server's TCP port, as simple_switch_grpc's options ask for it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path


class TlsError(Exception):
    """The files cannot be used; one line that names them."""


@dataclass(frozen=True, slots=True)
class ServerTls:
    """PEM files: the server's certificate and key; `ca`: of the clients', who then must have one."""

    certificate: Path
    key: Path
    ca: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Raises TlsError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["h2"])
        try:
            context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            raise TlsError(f"certificate {self.certificate}, key {self.key}: {_cause(error)}") from error
        if self.ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            try:
                context.load_verify_locations(self.ca)
            except (OSError, ssl.SSLError) as error:
                raise TlsError(f"certificates {self.ca}: {_cause(error)}") from error
        return context


def _cause(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"no PEM that OpenSSL takes ({error.reason or 'unreadable'})"
    return error.strerror or str(error)
