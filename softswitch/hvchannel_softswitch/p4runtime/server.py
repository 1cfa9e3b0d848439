# SPDX-License-Identifier: Apache-2.0
"""The gRPC server around the service: where it listens."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Mapping
from pathlib import Path

from hvchannel_softswitch.p4runtime.device import Device
from hvchannel_softswitch.p4runtime.service import P4RuntimeService
from hvchannel_softswitch.p4runtime.tls import ServerTls
from hvchannel_softswitch.p4runtime.translations import Mappings
from hvchannel_softswitch.rpc import RpcServer, StreamingMethod, UnaryMethod

DEFAULT_ADDRESS = "127.0.0.1:9559"
"""P4Runtime's registered port, on the loopback only."""

_MAX_UNIX_PATH = 107
_UNIX_SCHEME = "unix:"


class AddressError(Exception):
    """The address cannot be listened on; the message says why."""


class P4RuntimeServer:
    """A P4Runtime server of one device, on the running loop.

    `address` is `host:port` (port 0 picks a free one) or `unix:/path`; the socket file gets `mode`, 0600 or 0660.
    `mappings`: of @p4runtime_translation (see `translations`). `tls`: on a TCP port.
    """

    def __init__(
        self,
        device_id: int,
        device: Device,
        address: str = DEFAULT_ADDRESS,
        mappings: Mappings | None = None,
        *,
        mode: int = 0o600,
        tls: ServerTls | None = None,
    ) -> None:
        self.address = address
        self._tls = tls
        self._mode = mode
        self.service = P4RuntimeService(device_id, device, mappings)
        self._socket: Path | None = None
        self._unary = dict(self.service.unary)
        self._streaming = dict(self.service.streaming)
        self._server: RpcServer | None = None

    def add(self, unary: Mapping[str, UnaryMethod], streaming: Mapping[str, StreamingMethod]) -> None:
        """Other services' methods, by path, before the start."""
        self._unary |= unary
        self._streaming |= streaming

    async def start(self) -> None:
        """Binds and serves; `address` then has the port in use. Raises AddressError, TlsError."""
        tls = None
        if self.address.startswith(_UNIX_SCHEME):
            listener = self._bind_unix(Path(self.address.removeprefix(_UNIX_SCHEME)))
        else:
            tls = self._tls.context() if self._tls is not None else None
            listener = self._bind_tcp()
        self._server = RpcServer(self._unary, self._streaming)
        await self._server.serve(listener, tls)

    async def stop(self) -> None:
        """Ends all streams and removes the socket file."""
        if self._server is not None:
            await self._server.stop()
        self.service.close()
        if self._socket is not None:
            self._socket.unlink(missing_ok=True)

    def _bind_tcp(self) -> socket.socket:
        host, colon, port = self.address.rpartition(":")
        if not (host and colon and port.isascii() and port.isdigit() and int(port) < 65536):
            raise AddressError(f"{self.address!r} is not an address (valid: HOST:PORT or unix:/path)")
        name = host.removeprefix("[").removesuffix("]")
        try:
            family, _, _, _, where = socket.getaddrinfo(
                name, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            # The wildcard of IPv6 is everybody's, as it is for other P4Runtime servers.
            is_dual = name == "::" and socket.has_dualstack_ipv6()
            listener = socket.create_server(where[:2], family=family, dualstack_ipv6=is_dual)
            # So that a controller whose machine has gone is not primary for ever.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        except OSError as error:
            raise AddressError(f"cannot listen on {self.address}: {error.strerror}") from error
        self.address = f"{host}:{listener.getsockname()[1]}"
        return listener

    def _bind_unix(self, path: Path) -> socket.socket:
        if not path.name or len(os.fsencode(path)) > _MAX_UNIX_PATH:
            raise AddressError(
                f"{self.address!r} is no path of 1 to {_MAX_UNIX_PATH} bytes for a unix socket"
            )
        if not path.parent.is_dir():
            raise AddressError(
                f"cannot listen on {self.address}: directory {str(path.parent)!r} does not exist"
            )
        _remove_stale(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # The mask, not a chmod afterwards: the socket must never be open to others, not even for a moment.
        mask = os.umask(0o777 & ~self._mode)
        try:
            listener.bind(os.fspath(path))
        except OSError as error:
            listener.close()
            raise AddressError(f"cannot listen on {self.address}: {error.strerror}") from error
        finally:
            os.umask(mask)
        self._socket = path
        return listener


def _remove_stale(path: Path) -> None:
    """Removes a socket that nobody listens on. Raises AddressError for a live one, or for anything but a
    socket."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise AddressError(f"cannot listen on unix:{path}: a file that is no socket is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        result = probe.connect_ex(str(path))
    if result == errno.ECONNREFUSED:
        path.unlink(missing_ok=True)
    else:
        raise AddressError(f"cannot listen on unix:{path}: another process listens there")
