# SPDX-License-Identifier: Apache-2.0
"""A port on a Linux interface, by a packet socket.

The interface's peers must compute their own checksums (`ethtool -K <if> tx off` on the far end of a veth): a
packet socket sees frames before checksum offload would have filled them in. It also sees segmentation
offload's frames, longer than any MTU; `tx off` ends those too.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from pathlib import Path

import structlog

from hvchannel_softswitch.ports.pcap import PcapWriter
from hvchannel_softswitch.ports.port import PortDown, PortStatistics

# linux/if_packet.h, linux/if_ether.h, linux/sockios.h: names that Python's socket module does not have.
_SOL_PACKET = 263
_PACKET_ADD_MEMBERSHIP = 1
_PACKET_STATISTICS = 6
_PACKET_AUXDATA = 8
_PACKET_IGNORE_OUTGOING = 23
_PACKET_MR_PROMISC = 1
_ETH_P_ALL = 3
_TP_STATUS_CSUMNOTREADY = 1 << 3
_TP_STATUS_VLAN_VALID = 1 << 4
_TP_STATUS_VLAN_TPID_VALID = 1 << 6
_SIOCGIFFLAGS = 0x8913
_IFF_UP = 1
_SO_RCVBUFFORCE = 33
_SO_SNDBUFFORCE = 32

_AUXDATA = struct.Struct(
    "=IIIHHHH"
)  # struct tpacket_auxdata: status, len, snaplen, mac, net, vlan_tci, vlan_tpid
_ANCILLARY_SPACE = socket.CMSG_SPACE(_AUXDATA.size)
_MAX_FRAME = 65536
_BUFFER_BYTES = 8 << 20
log = structlog.get_logger(__name__)

_GONE = {errno.ENETDOWN, errno.ENXIO, errno.ENODEV}


class AfPacketPort:
    """Port `number` of the switch on interface `ifname`; with `pcap` set, every frame also goes to
    `<pcap>/<ifname>_in.pcap` or `_out.pcap`, as bmv2 names them."""

    def __init__(self, number: int, ifname: str, *, pcap: Path | None = None) -> None:
        self.number = number
        self.name = ifname
        self._statistics = PortStatistics()
        self._socket: socket.socket | None = None
        self._warned = False
        self._pcap_in = PcapWriter(pcap / f"{ifname}_in.pcap") if pcap else None
        self._pcap_out = PcapWriter(pcap / f"{ifname}_out.pcap") if pcap else None

    @property
    def statistics(self) -> PortStatistics:
        """See Port; what the kernel dropped because the receive buffer was full is counted in when asked."""
        if self._socket is not None:
            _, dropped = struct.unpack("II", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
            self._statistics.rx_dropped += dropped
        return self._statistics

    @property
    def is_open(self) -> bool:
        """Whether the socket is open; the interface may have gone since."""
        return self._socket is not None

    def is_there(self) -> bool:
        """Whether the interface exists and is up."""
        request = struct.pack("16sh14x", self.name.encode()[:15], 0)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                (flags,) = struct.unpack_from("16xH", fcntl.ioctl(probe, _SIOCGIFFLAGS, request))
            except OSError:
                return False
        return bool(flags & _IFF_UP)

    def open(self) -> None:
        """Raises PortDown if the interface is missing or down, PermissionError without CAP_NET_RAW."""
        if not self.is_there():
            raise PortDown(f"interface {self.name!r} does not exist or is down")
        # Bound with protocol 0 first: no frame of another interface slips in before `bind` names ours.
        packet_socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        try:
            _configure(packet_socket, socket.if_nametoindex(self.name))
            packet_socket.bind((self.name, _ETH_P_ALL))
        except OSError as error:
            packet_socket.close()
            raise PortDown(f"interface {self.name!r}: {error.strerror}") from error
        self._socket = packet_socket

    def close(self) -> None:
        """Closes the socket; the pcap files stay open for the next `open`."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def fileno(self) -> int:
        """The socket's descriptor; -1 when closed."""
        return -1 if self._socket is None else self._socket.fileno()

    def receive(self, limit: int) -> list[bytes]:
        """See Port. A VLAN tag that the kernel took out of the frame is put back."""
        if self._socket is None:
            raise PortDown(f"interface {self.name!r} is not open")
        frames: list[bytes] = []
        recvmsg = self._socket.recvmsg
        try:
            for _ in range(limit):
                frame, ancillary, _, _ = recvmsg(_MAX_FRAME, _ANCILLARY_SPACE)
                for _, _, data in ancillary:
                    status, _, _, _, _, tci, tpid = _AUXDATA.unpack_from(data)
                    if status & _TP_STATUS_CSUMNOTREADY and not self._warned:
                        self._warn_of_offload()
                    if status & _TP_STATUS_VLAN_VALID:
                        frame = insert_vlan_tag(
                            frame, tci, tpid if status & _TP_STATUS_VLAN_TPID_VALID else 0x8100
                        )
                frames.append(frame)
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno in _GONE:
                raise PortDown(f"interface {self.name!r}: {error.strerror}") from error
            self._statistics.rx_dropped += 1
        self._statistics.rx_frames += len(frames)
        self._statistics.rx_bytes += sum(map(len, frames))
        if self._pcap_in is not None:
            for frame in frames:
                self._pcap_in.write(frame)
        return frames

    def _warn_of_offload(self) -> None:
        self._warned = True
        log.warning(
            "checksum_missing",
            note="the sender leaves it to hardware that is not there",
            port=self.number,
            interface=self.name,
            remedy="ethtool -K <the interface that sends here> tx off",
        )

    def send(self, frame: bytes) -> None:
        """See Port. A frame longer than the MTU, shorter than an Ethernet header, or for an interface that
        has gone counts as dropped."""
        try:
            assert self._socket is not None
            self._socket.send(frame)
        except (OSError, AssertionError):
            self._statistics.tx_dropped += 1
            return
        self._statistics.tx_frames += 1
        self._statistics.tx_bytes += len(frame)
        if self._pcap_out is not None:
            self._pcap_out.write(frame)


def insert_vlan_tag(frame: bytes, tci: int, tpid: int) -> bytes:
    """The frame with an 802.1Q (or 802.1ad) tag between its addresses and its EtherType."""
    return b"%b%b%b" % (frame[:12], struct.pack(">HH", tpid, tci), frame[12:])


def _configure(packet_socket: socket.socket, ifindex: int) -> None:
    packet_socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
    packet_socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    membership = struct.pack("iHH8x", ifindex, _PACKET_MR_PROMISC, 0)
    packet_socket.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, membership)
    # A burst of TCP must fit while one batch is processed; the FORCE options pass the sysctl's limit (we are
    # root).
    packet_socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
    packet_socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _BUFFER_BYTES)
