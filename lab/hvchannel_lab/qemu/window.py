# SPDX-License-Identifier: Apache-2.0
"""What the lab asks of a QEMU guest through its window (see `relay`), and its hops as capture sources. Calls block."""

from __future__ import annotations

import base64
import json
import socket
import struct
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hvchannel_lab.capture import Frame
from hvchannel_lab.guest.agent import FRAME
from hvchannel_lab.qemu.relay import ASK_SOCKET

_WITHIN = 60.0  # seconds
_ROUNDS = 4


class Window:
    """Into the guest of which `folder` is. Methods raise OSError, which names it, when the guest does not answer."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def look(self) -> dict[str, Any]:
        """The guest's kernel ("kernel"), "machine", "uptime" in seconds, "interfaces", and those of them with "xdp"."""
        said: dict[str, Any] = json.loads(self._all({"what": "look"}))
        return said

    def send(self, hop: str, frames: Sequence[bytes]) -> None:
        """Puts whole frames on the wire at a hop of the guest."""
        self._all({"what": "send", "hop": hop, "frames": [frame.hex() for frame in frames]})

    def run(
        self, argv: Sequence[str], stdin: bytes = b"", timeout: float = _WITHIN
    ) -> subprocess.CompletedProcess[bytes]:
        """Runs a program in the guest, as root, to its end."""
        asked = {"what": "run", "argv": list(argv), "stdin": base64.b64encode(stdin).decode()}
        said = json.loads(self._all(asked, timeout))
        out, err = (base64.b64decode(said[name]) for name in ("out", "err"))
        return subprocess.CompletedProcess(list(argv), said["status"], out, err)

    def offset(self) -> int:
        """What to add to the guest's CLOCK_MONOTONIC to have ours, ns; right to about half of a round trip."""
        rounds = []
        with self.open({"what": "clock"}) as stream:
            for _ in range(_ROUNDS):
                asked = time.monotonic_ns()
                stream.send(b"?")
                (there,) = struct.unpack("!Q", stream.recv(8))
                took = time.monotonic_ns() - asked
                rounds.append((took, asked + took // 2 - there))
        return int(min(rounds)[1])

    def wait_ready(self, timeout: float) -> None:
        """Returns once all the guest's programs are up; after a reset, those of its new life."""
        self._all({"what": "ready"}, timeout)

    def open(self, asked: dict[str, Any], timeout: float = _WITHIN) -> socket.socket:
        """A stream of what is asked for; to be closed by the caller."""
        stream = socket.socket(socket.AF_UNIX)
        try:
            stream.settimeout(timeout)
            stream.connect(str(self._folder / ASK_SOCKET))
            stream.sendall(json.dumps(asked).encode() + b"\n")
        except OSError as error:
            stream.close()
            raise OSError(error.errno, f"window into {self._folder.name}: {error.strerror}") from None
        return stream

    def _all(self, asked: dict[str, Any], timeout: float = _WITHIN) -> bytes:
        found = bytearray()
        with self.open(asked, timeout) as stream:
            while data := stream.recv(1 << 16):
                found += data
        if not found:
            raise ConnectionResetError(
                f"window into {self._folder.name}: the guest does not answer ({asked['what']})"
            )
        return bytes(found)


class GuestCapture:
    """A `capture.Source` of hops inside a guest: packet sockets there, whose frames come through the window."""

    def __init__(self, window: Window, hops: Sequence[str]) -> None:
        self._window = window
        self._hops = tuple(hops)
        self._stream: socket.socket | None = None
        self._rest = b""
        self._epoch = 0

    @property
    def hops(self) -> tuple[str, ...]:
        return self._hops

    def open(self) -> None:
        self._epoch = self._window.offset() + time.time_ns() - time.monotonic_ns()
        self._stream = self._window.open({"what": "capture", "hops": list(self._hops)})
        if self._stream.recv(1) != b"+":
            raise OSError(f"capture at {', '.join(self._hops)}: the guest does not answer")
        self._stream.setblocking(False)

    def fileno(self) -> int:
        assert self._stream is not None
        return self._stream.fileno()

    def read(self) -> list[Frame]:
        assert self._stream is not None
        try:
            while data := self._stream.recv(1 << 16):
                self._rest += data
        except BlockingIOError:
            pass
        frames = []
        while len(self._rest) >= FRAME.size:
            when, hop, outgoing, ready, size = FRAME.unpack_from(self._rest)
            if len(self._rest) < FRAME.size + size:
                break
            frame = self._rest[FRAME.size : FRAME.size + size]
            self._rest = self._rest[FRAME.size + size :]
            frames.append(Frame(self._hops[hop], when + self._epoch, bool(outgoing), frame, bool(ready)))
        return frames

    def dropped(self) -> int:
        """None are known."""
        return 0

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
