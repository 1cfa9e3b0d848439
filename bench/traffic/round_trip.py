# SPDX-License-Identifier: Apache-2.0
"""How long a request and its answer take: one UDP datagram of 64 bytes at a time, from H to V and back.

Both ends wait in blocking calls, as programs do. The clock runs from before the send to after the receive.
"""

from __future__ import annotations

import gc
import json
import socket
import statistics
import struct
import sys
import time
from dataclasses import dataclass

from bench.routes.route import Route
from bench.traffic import programs

COUNT = 3000
PAYLOAD = 64
_PORT = 7
_WARM_UP = 200  # round trips that do not count: ARP, caches, the peers' flow tables
_PATIENCE_S = 1  # for one answer
_MAX_LOST = 10
_WITHIN = 60.0


@dataclass(frozen=True, slots=True)
class RoundTrips:
    """Of one turn, in microseconds."""

    p50: float
    p99: float


def measure(route: Route) -> RoundTrips:
    """One turn. Raises TrafficError."""
    module = __spec__.name
    with programs.running(route.guest, module, "answer", route.answers_at) as answering:
        programs.wait_until_ready(answering)
        with programs.running(route.hypervisor, module, "ask", route.dialled) as asking:
            measured = programs.result(asking, _WITHIN)
    return RoundTrips(p50=measured["p50"], p99=measured["p99"])


def _answer(address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind((address, _PORT))
        programs.say_ready()
        buffer = bytearray(PAYLOAD)
        receive, send = own.recvfrom_into, own.sendto
        while True:
            _, sender = receive(buffer)
            send(buffer, sender)


def _ask(address: str) -> dict[str, float]:
    gc.disable()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        # settimeout() would add a poll() to every receive.
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", _PATIENCE_S, 0))
        own.connect((address, _PORT))
        times: list[int] = []
        lost = 0
        buffer = bytearray(PAYLOAD)
        send, receive, clock = own.send, own.recv_into, time.perf_counter_ns
        while len(times) < _WARM_UP + COUNT:
            request = (len(times) + lost).to_bytes(8, "big") + bytes(PAYLOAD - 8)
            began = clock()
            send(request)
            try:
                receive(buffer)
                while buffer != request:  # the late answer to one that was given up
                    receive(buffer)
            except BlockingIOError:
                lost += 1
                if lost > _MAX_LOST:
                    raise SystemExit(f"{lost} requests to {address} have had no answer") from None
                continue
            times.append(clock() - began)
    counted = times[_WARM_UP:]
    return {"p50": statistics.median(counted) / 1000, "p99": statistics.quantiles(counted, n=100)[98] / 1000}


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["answer", address]:
            _answer(address)
        case ["ask", address]:
            print(json.dumps(_ask(address)))
