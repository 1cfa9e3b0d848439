# SPDX-License-Identifier: Apache-2.0
"""The gRPC server around the service: where it listens, and its limits."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

import grpc.aio
from finsy.proto import p4r_grpc

from hvchannel_softswitch.p4runtime.device import Device
from hvchannel_softswitch.p4runtime.service import P4RuntimeService
from hvchannel_softswitch.p4runtime.translations import Mappings

DEFAULT_ADDRESS = "127.0.0.1:9559"
"""P4Runtime's registered port, on the loopback only."""

MAX_RECEIVE = 64 << 20
"""Bytes of the largest request: gRPC's 4 MB would refuse big pipelines and big batches."""

_MAX_UNIX_PATH = 107
_UNIX_SCHEME = "unix:"


class AddressError(Exception):
    """The address cannot be listened on; the message says why."""


class P4RuntimeServer:
    """A P4Runtime server of one device.

    `address` is `host:port` (port 0 picks a free one) or `unix:/path`; the socket file gets mode 0600.
    `mappings`: of @p4runtime_translation (see `translations`).
    """

    def __init__(
        self,
        device_id: int,
        device: Device,
        address: str = DEFAULT_ADDRESS,
        mappings: Mappings | None = None,
    ) -> None:
        self.address = address
        self.service = P4RuntimeService(device_id, device, mappings)
        self._socket: Path | None = None
        self._server = grpc.aio.server(
            options=(
                ("grpc.max_receive_message_length", MAX_RECEIVE),
                # Two servers on one port would share its connections at random; the second must fail instead.
                ("grpc.so_reuseport", 0),
            )
        )

    async def start(self) -> None:
        """Binds and serves; `address` then has the port in use. Raises AddressError."""
        p4r_grpc.add_P4RuntimeServicer_to_server(self.service, self._server)
        if self.address.startswith(_UNIX_SCHEME):
            self._bind_unix(Path(self.address.removeprefix(_UNIX_SCHEME)))
        else:
            self._bind_tcp()
        await self._server.start()

    async def stop(self) -> None:
        """Ends all streams and removes the socket file."""
        await self._server.stop(grace=None)
        self.service.close()
        if self._socket is not None:
            self._socket.unlink(missing_ok=True)

    def _bind_tcp(self) -> None:
        host, colon, port = self.address.rpartition(":")
        if not (host and colon and port.isdigit() and int(port) < 65536):
            raise AddressError(f"{self.address!r} is not an address (valid: HOST:PORT or unix:/path)")
        try:
            bound = self._server.add_insecure_port(self.address)
        except RuntimeError as error:
            raise AddressError(
                f"cannot listen on {self.address}: the port is in use or not ours to take"
            ) from error
        self.address = f"{host}:{bound}"

    def _bind_unix(self, path: Path) -> None:
        if not path.name or len(os.fsencode(path)) > _MAX_UNIX_PATH:
            raise AddressError(
                f"{self.address!r} is no path of 1 to {_MAX_UNIX_PATH} bytes for a unix socket"
            )
        if not path.parent.is_dir():
            raise AddressError(
                f"cannot listen on {self.address}: directory {str(path.parent)!r} does not exist"
            )
        _remove_stale(path)
        # The mask, not a chmod afterwards: the socket must never be open to others, not even for a moment.
        mask = os.umask(0o177)
        try:
            self._server.add_insecure_port(self.address)
        except RuntimeError as error:
            raise AddressError(
                f"cannot listen on {self.address}: is {str(path.parent)!r} writable?"
            ) from error
        finally:
            os.umask(mask)
        self._socket = path


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
