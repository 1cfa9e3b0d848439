# SPDX-License-Identifier: Apache-2.0
"""A guest that sends tiny frames on its VNIC as fast as one process can, until it is told to stop."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.traffic import programs
from bench.traffic.many_datagrams import Datagrams

_WITHIN = 60.0
_SOURCE = slice(8, 12)  # the end of the source MAC


@contextmanager
def running(
    namespace: str, interface: str, frame: bytes, *, spoofing: bool
) -> Iterator[subprocess.Popen[str]]:
    """It floods when the block begins. `spoofing`: with ever other source MACs. Raises TrafficError."""
    words = "flood", interface, frame.hex(), "spoofing" if spoofing else "itself"
    with programs.running(namespace, __spec__.name, *words) as process:
        programs.wait_until_ready(process)
        yield process


def rate(process: subprocess.Popen[str]) -> float:
    """Frames per second that it has sent; ends it. Raises TrafficError."""
    measured = programs.result(process, _WITHIN)
    return float(measured["sent"] / measured["seconds"])


def _flood(interface: str, frame: bytes, spoofing: bool) -> dict[str, float]:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as own:
        own.bind((interface, 0))
        datagrams = Datagrams(own, len(frame))
        datagrams.hold(frame)
        sent, began, said = 0, time.monotonic(), False
        while not select.select([sys.stdin], [], [], 0)[0]:
            if spoofing:
                datagrams.hold(frame[: _SOURCE.start] + os.urandom(4) + frame[_SOURCE.stop :])
            sent += datagrams.send()
            if not said:
                programs.say_ready()
                said = True
        return {"sent": sent, "seconds": time.monotonic() - began}


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["flood", name, content, "spoofing" | "itself" as how]:
            print(json.dumps(_flood(name, bytes.fromhex(content), how == "spoofing")))
