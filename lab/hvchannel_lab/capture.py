# SPDX-License-Identifier: Apache-2.0
"""Captures frames at the channel's interfaces as they are on the wire, tag included.

A packet socket per hop, opened inside the hop's namespace. The kernel takes an 802.1Q tag out of a received
frame and passes it beside it (packet(7), PACKET_AUXDATA): it is put back where it was. What a program in the
kernel redirects without the stack (XDP) no packet socket sees.
"""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType

from hvchannel_lab.namespaces import inside
from hvchannel_lab.topology import Hop

_ETH_P_ALL = 0x0003
_SOL_PACKET = 263
_PACKET_AUXDATA = 8
_PACKET_STATISTICS = 6
_PACKET_OUTGOING = 4
_SO_TIMESTAMPNS = 35
_SO_RCVBUFFORCE = 33
_STATUS_CHECKSUM_NOT_READY = 1 << 3
_STATUS_VLAN_VALID = 1 << 4
_STATUS_VLAN_TPID_VALID = 1 << 6
_TPID_8021Q = 0x8100
_AUXDATA = struct.Struct(
    "=IIIHHHH"
)  # status, len, snaplen, mac, net, vlan_tci, vlan_tpid (linux/if_packet.h)
_TIMESPEC = struct.Struct("=qq")
_BUFFER = 8 << 20  # bytes per socket
_LARGEST = 1 << 16  # bytes per frame
_BOTH_ADDRESSES = 12  # bytes before the tag


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame at one hop. `time`: the kernel's, ns since the epoch; `outgoing`: leaving by that hop."""

    hop: str
    time: int
    outgoing: bool
    data: bytes
    checksum_ready: bool = True  # False: left to hardware that does not exist (offload is on somewhere)


class CaptureTimeoutError(TimeoutError):
    """No frame matched in time; the message says how many were seen where."""


def with_tag(data: bytes, tci: int, tpid: int = _TPID_8021Q) -> bytes:
    """The frame with an 802.1Q tag (IEEE 802.1Q, 9.3) between its addresses and its type."""
    return data[:_BOTH_ADDRESSES] + struct.pack("!HH", tpid, tci) + data[_BOTH_ADDRESSES:]


class Capture:
    """A context manager that captures at some hops, into a ring that holds the newest `limit` frames.

    A thread reads; `frames` and `wait` may be used from any other, and after the end of the block.
    """

    def __init__(self, hops: Iterable[Hop], limit: int = 20_000) -> None:
        self._hops = tuple(hops)
        self._ring: deque[Frame] = deque(maxlen=limit)
        self._arrived = threading.Condition()
        self._sockets: list[socket.socket] = []
        self._thread = threading.Thread(target=self._read, name="capture", daemon=True)
        self._wake, self._woken = socket.socketpair()
        self.seen = 0  # frames captured, those included that the ring dropped

    def __enter__(self) -> Capture:
        try:
            for hop in self._hops:
                self._sockets.append(_open(hop))
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
            held = list(self._ring)
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
        """Frames the kernel dropped for want of buffer since the last call; 0 in a capture to be trusted."""
        return sum(
            struct.unpack("=II", sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))[1]
            for sock in self._sockets
        )

    def _summary(self) -> str:
        counts = {hop.name: 0 for hop in self._hops}
        for frame in self._ring:
            counts[frame.hop] += 1
        return "frames seen: " + ", ".join(f"{hop} {count}" for hop, count in counts.items())

    def _read(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ, None)
            for hop, sock in zip(self._hops, self._sockets, strict=True):
                selector.register(sock, selectors.EVENT_READ, hop.name)
            last_round = False
            while True:
                events = selector.select(0 if last_round else None)
                frames = [
                    frame
                    for key, _ in events
                    if key.data is not None and isinstance(key.fileobj, socket.socket)
                    for frame in _drain(key.fileobj, key.data)
                ]
                if frames:
                    # Sockets are read one after the other: the kernel's times put the hops in order.
                    frames.sort(key=lambda frame: frame.time)
                    with self._arrived:
                        self._ring.extend(frames)
                        self.seen += len(frames)
                        self._arrived.notify_all()
                elif last_round:
                    return
                last_round = last_round or any(key.data is None for key, _ in events)

    def _close(self) -> None:
        for sock in (*self._sockets, self._wake, self._woken):
            sock.close()


def _open(hop: Hop) -> socket.socket:
    with inside(hop.namespace):
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    try:
        sock.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        sock.bind((hop.interface, _ETH_P_ALL))
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"capture at {hop.name}: {error.strerror}") from None
    return sock


def _drain(sock: socket.socket, hop: str) -> list[Frame]:
    frames: list[Frame] = []
    while True:
        try:
            data, ancillary, _, address = sock.recvmsg(_LARGEST, 256)
        except (BlockingIOError, OSError):  # empty, or the interface went away
            return frames
        frames.append(_frame(hop, data, ancillary, address[2] == _PACKET_OUTGOING))


def _frame(hop: str, data: bytes, ancillary: list[tuple[int, int, bytes]], outgoing: bool) -> Frame:
    when, ready = time.time_ns(), True
    for level, kind, content in ancillary:
        if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA):
            status, _, _, _, _, tci, tpid = _AUXDATA.unpack_from(content)
            ready = not status & _STATUS_CHECKSUM_NOT_READY
            if status & _STATUS_VLAN_VALID:
                data = with_tag(data, tci, tpid if status & _STATUS_VLAN_TPID_VALID else _TPID_8021Q)
        elif (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            seconds, nanoseconds = _TIMESPEC.unpack_from(content)
            when = seconds * 1_000_000_000 + nanoseconds
    return Frame(hop, when, outgoing, data, ready)
