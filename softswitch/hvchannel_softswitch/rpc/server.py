# SPDX-License-Identifier: Apache-2.0
"""A server: its methods, and the sockets on which it takes connections."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Mapping

from hvchannel_softswitch.rpc.connection import Connection, Service
from hvchannel_softswitch.rpc.streaming import StreamingMethod
from hvchannel_softswitch.rpc.turns import Turns
from hvchannel_softswitch.rpc.unary import UnaryMethod

STOP_SECONDS = 1.0
"""How long clients have, when the server stops, to read what they have been sent."""


class RpcServer:
    """Methods by their path: `/package.Service/Method`."""

    def __init__(
        self,
        unary: Mapping[str, UnaryMethod],
        streaming: Mapping[str, StreamingMethod],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`clock` gives seconds, by which turns are measured."""
        self._unary = dict(unary)
        self._streaming = dict(streaming)
        self._clock = clock
        self._service: Service | None = None
        self._listeners: list[asyncio.Server] = []

    async def serve(self, listener: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Takes connections from a bound socket, which the server owns from now on."""
        loop = asyncio.get_running_loop()
        if self._service is None:
            self._service = Service(self._unary, self._streaming, Turns(loop, self._clock))
        service = self._service
        make = loop.create_unix_server if listener.family == socket.AF_UNIX else loop.create_server
        self._listeners.append(await make(lambda: Connection(service), sock=listener, ssl=tls))

    async def stop(self) -> None:
        """Ends all calls and connections."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        if self._service is None:
            return
        connections = list(self._service.connections)
        for connection in connections:
            connection.shut_down()
        await asyncio.gather(*self._service.tasks, return_exceptions=True)
        if connections:
            _, open_ones = await asyncio.wait([c.lost for c in connections], timeout=STOP_SECONDS)
            for connection in connections:
                if connection.lost in open_ones:
                    connection.abort()
