# SPDX-License-Identifier: Apache-2.0
"""TCP goodput: H dials V, as the channel's rules want it, and sends for a bounded time.

By iperf3 where it is on PATH, else by a plain socket stream of our own with large sends.
"""

from __future__ import annotations

import json
import shutil
import socket
import struct
import subprocess
import sys
import time

from hvchannel_lab.namespaces import command_in

from bench.routes.route import Route
from bench.traffic import programs

SECONDS = 2
_PORT = 2345
_CHUNK = 256 << 10
_QUIET_S = 3.0  # without a byte: the sender has ended, and word of it was lost
_WITHIN = 60.0

IPERF3 = shutil.which("iperf3")
TOOL = "iperf3" if IPERF3 else "a Python socket"


def measure(route: Route) -> float:
    """One turn, in Mbit/s at the receiver. Raises TrafficError."""
    return _by_iperf3(route, IPERF3) if IPERF3 else _by_socket(route)


def _by_socket(route: Route) -> float:
    module = __spec__.name
    with programs.running(route.guest, module, "receive", route.answers_at) as receiving:
        programs.wait_until_ready(receiving)
        with programs.running(route.hypervisor, module, "send", route.dialled) as sending:
            programs.result(sending, _WITHIN)
        received = programs.result(receiving, _WITHIN)
    return 8 * float(received["bytes"]) / float(received["seconds"]) / 1e6


def _send(address: str) -> dict[str, int]:
    with socket.create_connection((address, _PORT), timeout=_WITHIN) as own:
        chunk = bytes(_CHUNK)
        until = time.monotonic() + SECONDS
        own.settimeout(SECONDS)
        sent = 0
        try:
            while time.monotonic() < until:
                sent += own.send(chunk)
        except TimeoutError:
            pass  # a path so slow that not even one more chunk fits is measured all the same
        # A reset instead of waiting until a slow path has taken all that is still buffered.
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return {"sent": sent}


def _receive(address: str) -> dict[str, float]:
    with socket.create_server((address, _PORT)) as listener:
        listener.settimeout(_WITHIN)
        programs.say_ready()
        connection, _ = listener.accept()
    with connection:
        connection.settimeout(_QUIET_S)
        buffer = bytearray(_CHUNK)
        began = ended = time.monotonic()
        received = 0
        try:
            while (count := connection.recv_into(buffer)) > 0:
                received += count
                ended = time.monotonic()
        except (ConnectionResetError, TimeoutError):
            pass
    return {"bytes": received, "seconds": max(ended - began, 1e-6)}


def _by_iperf3(route: Route, iperf3: str) -> float:
    serve = [
        iperf3,
        "--server",
        "--one-off",
        "--bind",
        route.answers_at,
        "--port",
        str(_PORT),
        "--forceflush",
    ]
    dial = [iperf3, "--client", route.dialled, "--port", str(_PORT), "--time", str(SECONDS), "--json"]
    with subprocess.Popen(
        command_in(route.guest, serve), stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as server:
        try:
            assert server.stdout is not None
            while "listening" not in (line := server.stdout.readline()):
                if not line:
                    raise programs.TrafficError(f"iperf3 does not serve {route.answers_at} ({route.name})")
            report = _report_of(command_in(route.hypervisor, dial), route)
        finally:
            server.kill()
    return float(report) / 1e6


def _report_of(command: list[str], route: Route) -> float:
    """Bits per second, as the receiver has counted them."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_WITHIN, check=False, start_new_session=True
        )
    except subprocess.TimeoutExpired:
        raise programs.TrafficError(f"iperf3 has no result after {_WITHIN:g} s ({route.name})") from None
    report = json.loads(done.stdout or "{}")
    if done.returncode != 0 or "error" in report:
        raise programs.TrafficError(f"iperf3: {report.get('error', done.stderr.strip())} ({route.name})")
    return float(report["end"]["sum_received"]["bits_per_second"])


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["send", address]:
            print(json.dumps(_send(address)))
        case ["receive", address]:
            print(json.dumps(_receive(address)))
