# SPDX-License-Identifier: Apache-2.0
"""Frames of the channel as they were at its hops, gathered from whatever shows them there: see `Source`."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import attrgetter
from types import TracebackType
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame at one hop, as it is on the wire, tag included. `time`: the kernel's, ns since the epoch; `outgoing`:
    leaving by that hop.

    `checksum_ready` False: the transport's is not in the frame. The kernel leaves it to hardware that does not exist
    (offload is on somewhere), or has checked it and merged the frame with its neighbours (GRO).

    `traced`: it is in the trace of the vSwitch whose port the hop is, where a packet socket would not have seen it. The
    time of one that left is then when the vSwitch took in what it came of.
    """

    hop: str
    time: int
    outgoing: bool
    data: bytes
    checksum_ready: bool = True
    traced: bool = False


class CaptureTimeoutError(TimeoutError):
    """No frame matched in time; the message says how many were seen where."""


class Source(Protocol):
    """Shows the frames of some hops, from `open` to `close`."""

    @property
    def hops(self) -> tuple[str, ...]:
        """Their names."""

    def open(self) -> None:
        """Begins. Raises OSError that names the hop."""

    def fileno(self) -> int:
        """Readable when `read` may have something."""

    def read(self) -> list[Frame]:
        """What is new. Never blocks."""

    def dropped(self) -> int:
        """Frames that were lost for want of room since the last call, as far as it knows."""

    def close(self) -> None:
        """Ends; one that is not open is no error."""


class Capture:
    """A context manager that captures from some sources, into a ring that holds the newest `limit` frames.

    A thread reads; `frames` and `wait` may be used from any other, and after the end of the block. A source may lag
    behind the frames (a trace does): that one was *not* there is known when a later one of the same hop is.
    """

    def __init__(self, sources: Iterable[Source], limit: int = 20_000) -> None:
        self._sources = tuple(sources)
        self._ring: deque[Frame] = deque(maxlen=limit)
        self._arrived = threading.Condition()
        self._thread = threading.Thread(target=self._read, name="capture", daemon=True)
        self._wake, self._woken = socket.socketpair()
        self.seen = 0  # frames captured, those included that the ring dropped

    def __enter__(self) -> Capture:
        try:
            for source in self._sources:
                source.open()
        except BaseException:
            self._close()
            raise
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wake.send(b"x")
        self._thread.join()
        self._close()

    def frames(self, hop: str | None = None, outgoing: bool | None = None) -> list[Frame]:
        """What the ring holds, oldest first; of one hop or direction if asked."""
        with self._arrived:
            held = sorted(self._ring, key=attrgetter("time"))
        return [
            frame
            for frame in held
            if (hop is None or frame.hop == hop) and (outgoing is None or frame.outgoing == outgoing)
        ]

    def wait(self, matches: Callable[[Frame], bool], timeout: float = 10.0, what: str = "a frame") -> Frame:
        """The first frame that matches, those already captured included. `timeout` in seconds.

        Raises CaptureTimeoutError.
        """
        deadline = time.monotonic() + timeout
        looked_at = 0
        with self._arrived:
            while True:
                fresh = self.seen - looked_at
                for frame in list(self._ring)[-fresh:] if fresh else ():
                    if matches(frame):
                        return frame
                looked_at = self.seen
                if not self._arrived.wait(max(0.0, deadline - time.monotonic())):
                    raise CaptureTimeoutError(f"{what}: not seen within {timeout:g} s ({self._summary()})")

    def dropped(self) -> int:
        """Frames that are known to be lost since the last call; 0 in a capture to be trusted."""
        return sum(source.dropped() for source in self._sources)

    def _summary(self) -> str:
        counts = {hop: 0 for source in self._sources for hop in source.hops}
        for frame in self._ring:
            counts[frame.hop] += 1
        return "frames seen: " + ", ".join(f"{hop} {count}" for hop, count in counts.items())

    def _read(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ, None)
            for source in self._sources:
                selector.register(source, selectors.EVENT_READ, source)
            last_round = False
            while True:
                events = selector.select(0 if last_round else None)
                frames = [frame for key, _ in events if key.data is not None for frame in key.data.read()]
                if frames:
                    # Sources are read one after the other: the kernel's times put the hops in order.
                    frames.sort(key=attrgetter("time"))
                    with self._arrived:
                        self._ring.extend(frames)
                        self.seen += len(frames)
                        self._arrived.notify_all()
                elif last_round:
                    return
                last_round = last_round or any(key.data is None for key, _ in events)

    def _close(self) -> None:
        for source in self._sources:
            source.close()
        self._wake.close()
        self._woken.close()
