# SPDX-License-Identifier: Apache-2.0
"""Where guestd listens: on addresses of the channel only, and on a private unix socket."""

import asyncio
import errno
import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
import structlog
from hvchannel_telemetry import private_socket

from hvchannel_daemons.channel.tls import Tls

log = structlog.get_logger()

_PATIENCE_SECONDS: Final = 0.2


class ListenError(Exception):
    """One line on why guestd cannot listen there."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


def endpoint(text: str, *, allow_any_address: bool) -> Endpoint:
    """Parses "169.254.1.2:2345" or "[fe80::1]:2345".

    Raises ValueError for an address outside 169.254.0.0/16, fe80::/10 and loopback, unless
    `allow_any_address`: the channel has no authentication of its own, the vSwitch is what keeps others out.
    """
    host, separator, port_text = text.rpartition(":")
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
        port = int(port_text)
    except ValueError as error:
        raise ValueError(f"listen address {text!r} is not valid (valid: such as 169.254.1.2:2345)") from error
    if not separator or not 0 <= port <= 65535:
        raise ValueError(f"listen address {text!r} is not valid (valid: such as 169.254.1.2:2345)")
    if not (address.is_link_local or address.is_loopback or allow_any_address):
        raise ValueError(
            f"listen address {address} is not link-local or loopback: others could reach it "
            "(valid: such as 169.254.1.2; --allow-any-address overrides)"
        )
    return Endpoint(address, port)


async def wait_for_address(where: Endpoint) -> None:
    """Returns once this machine holds the address. Raises ListenError when the port is taken."""
    told = False
    while True:
        try:
            _try_bind(where)
            return
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise ListenError(f"cannot listen on {where}: {error.strerror}") from error
        if not told:
            log.info("waiting_for_address", address=str(where.address))
            told = True
        await asyncio.sleep(_PATIENCE_SECONDS)  # netlink would tell sooner, and bring a socket for one moment


def _try_bind(where: Endpoint) -> None:
    family = socket.AF_INET6 if where.address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((str(where.address), where.port))


async def add_channel_port(server: grpc.aio.Server, where: Endpoint, tls: Tls | None = None) -> int:
    """Waits for the address, then listens; returns the port. Raises ListenError."""
    await wait_for_address(where)
    try:
        if tls is not None:
            return server.add_secure_port(str(where), tls.serving())
        return server.add_insecure_port(str(where))
    except RuntimeError as error:
        raise ListenError(f"cannot listen on {where}: {error}") from error


def add_local_socket(server: grpc.aio.Server, path: Path) -> None:
    """Listens on a unix socket of mode 0600. Raises ListenError, also when somebody serves the socket already."""
    try:
        private_socket.add_to(server, path)
    except private_socket.SocketError as error:
        raise ListenError(str(error)) from error
