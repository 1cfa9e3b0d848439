# SPDX-License-Identifier: Apache-2.0
"""How many packets pass in a second: UDP of 64 bytes, one way from H to V, as fast as one process can send."""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
import time
from dataclasses import dataclass

from bench.routes.route import Route
from bench.traffic import programs
from bench.traffic.many_datagrams import Datagrams

SECONDS = 1.0
PAYLOAD = 64
_PORT = 9
_QUIET_US = 300_000  # without a packet: what was in the path has come out
_BUFFER = (
    64 << 20
)  # bytes: a receiver that has to wait for a core must not pass for a path that loses packets
_SO_RCVBUFFORCE = 33  # <asm-generic/socket.h>, which Python does not name
_SO_MEMINFO, _MEMINFO_FIELDS, _DROPS = 55, 9, 8  # and <linux/sock_diag.h>
_WITHIN = 60.0


@dataclass(frozen=True, slots=True)
class PacketRate:
    """Of one turn. `overflowed`: those of the lost that the receiver's own socket had no room for."""

    per_second: float
    sent: int
    lost: int
    overflowed: int


def measure(route: Route) -> PacketRate:
    """One turn. Raises TrafficError."""
    module = __spec__.name
    with programs.running(route.guest, module, "receive", route.answers_at) as receiving:
        programs.wait_until_ready(receiving)
        with programs.running(route.hypervisor, module, "send", route.dialled) as sending:
            sent = programs.result(sending, _WITHIN)["sent"]
        received = programs.result(receiving, _WITHIN)
    return PacketRate(
        per_second=received["received"] / received["seconds"] if received["seconds"] else 0.0,
        sent=sent,
        lost=sent - received["received"],
        overflowed=received["overflowed"],
    )


def _send(address: str) -> dict[str, int]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.connect((address, _PORT))
        datagrams = Datagrams(own, PAYLOAD)
        sent, until = 0, time.monotonic() + SECONDS
        while time.monotonic() < until:
            sent += datagrams.send()
    return {"sent": sent}


def _receive(address: str) -> dict[str, float]:
    """Counts until the sender has ended and nothing comes any more. The rate is over the time from the first packet
    to the last: what the sender takes to start is not the path's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, _QUIET_US))
        own.bind((address, _PORT))
        datagrams = Datagrams(own, PAYLOAD)
        programs.say_ready()
        received, began, ended = 0, 0.0, 0.0
        while True:
            try:
                received += datagrams.receive()
            except BlockingIOError:
                if select.select([sys.stdin], [], [], 0)[0]:
                    break
                continue
            ended = time.monotonic()
            began = began or ended
        information = own.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * _MEMINFO_FIELDS)
    overflowed = struct.unpack(f"{_MEMINFO_FIELDS}I", information)[_DROPS]
    return {"received": received, "seconds": ended - began, "overflowed": overflowed}


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["send", address]:
            print(json.dumps(_send(address)))
        case ["receive", address]:
            print(json.dumps(_receive(address)))
