# SPDX-License-Identifier: Apache-2.0
"""Frames as a packet socket at the hop sees them.

The kernel takes an 802.1Q tag out of a received frame and passes it beside it (packet(7), PACKET_AUXDATA): it is put
back where it was. What XDP redirects no packet socket sees, neither where it arrives nor where it leaves.
"""

from __future__ import annotations

import socket
import struct
import time

from hvchannel_lab.capture import Frame
from hvchannel_lab.namespaces import inside
from hvchannel_lab.parts import Hop

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
_LARGEST = 1 << 17  # bytes per frame: the kernel may have merged several of a connection into one
_BOTH_ADDRESSES = 12  # bytes before the tag


def with_tag(data: bytes, tci: int, tpid: int = _TPID_8021Q) -> bytes:
    """The frame with an 802.1Q tag (IEEE 802.1Q, 9.3) between its addresses and its type."""
    return data[:_BOTH_ADDRESSES] + struct.pack("!HH", tpid, tci) + data[_BOTH_ADDRESSES:]


class PacketSocket:
    """A `capture.Source` of one hop."""

    def __init__(self, hop: Hop) -> None:
        self._hop = hop
        self._socket: socket.socket | None = None

    @property
    def hops(self) -> tuple[str, ...]:
        return (self._hop.name,)

    def open(self) -> None:
        with inside(self._hop.namespace):
            opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        self._socket = opened
        try:
            opened.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
            opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
            opened.bind((self._hop.interface, _ETH_P_ALL))
        except OSError as error:
            raise OSError(error.errno, f"capture at {self._hop.name}: {error.strerror}") from None

    def fileno(self) -> int:
        return self._opened().fileno()

    def read(self) -> list[Frame]:
        frames: list[Frame] = []
        while True:
            try:
                data, ancillary, _, address = self._opened().recvmsg(_LARGEST, 256)
            except OSError:  # nothing more, or the interface went away
                return frames
            frames.append(_frame(self._hop.name, data, ancillary, address[2] == _PACKET_OUTGOING))

    def dropped(self) -> int:
        statistics = self._opened().getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        return int(struct.unpack("=II", statistics)[1])

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def _opened(self) -> socket.socket:
        assert self._socket is not None
        return self._socket


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
