# SPDX-License-Identifier: Apache-2.0
"""What the kernel says of network interfaces, and when it says something new: plain rtnetlink.

By hand, since it takes four messages, blocks for nothing and shares no event loop with a library's.
Layouts: linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/net_namespace.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

IFF_UP = 1 << 0
_IFF_PROMISC = 1 << 8
_IFF_LOWER_UP = 1 << 16
_IFF_RUNNING = 1 << 6

_HEADER = struct.Struct("=IHHII")
_IFINFO = struct.Struct("=BxHiII")
_ATTRIBUTE = struct.Struct("=HH")
_NLMSG_ERROR = 2
_NLM_F_REQUEST, _NLM_F_ACK = 1, 4
_RTM_NEWLINK, _RTM_GETLINK, _RTM_GETNSID = 16, 18, 90
_GROUP_LINK = 1
_IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_LINKINFO, _IFLA_STATS64 = 3, 4, 5, 18, 23
_IFLA_LINK_NETNSID, _IFLA_XDP, _IFLA_TARGET_NETNSID = 37, 43, 46
_IFLA_INFO_KIND, _IFLA_XDP_ATTACHED = 1, 2
_NETNSA_NSID, _NETNSA_FD = 1, 3
_TYPE_MASK = 0x3FFF
_RECEIVE_BYTES = 1 << 16
_STATISTICS = struct.Struct("=8Q")


@dataclass(frozen=True, slots=True)
class Counters:
    """An interface's, since it was made (struct rtnl_link_stats64's first ones)."""

    rx_packets: int = 0
    tx_packets: int = 0
    rx_bytes: int = 0
    tx_bytes: int = 0
    rx_errors: int = 0
    tx_errors: int = 0
    rx_dropped: int = 0
    tx_dropped: int = 0


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface, as of when it was asked for. `kind` is the driver's rtnetlink name ("veth"; empty for hardware);
    `peer`: of a veth, the ifindex of its other end, in the namespace that this one knows by `peer_namespace` (None: in
    this one). `xdp_mode`: 0 none, 1 native, 2 generic."""

    index: int
    name: str
    flags: int
    mtu: int
    kind: str
    peer: int | None
    peer_namespace: int | None
    xdp_mode: int
    counters: Counters

    @property
    def is_up(self) -> bool:
        """Whether it was set up."""
        return bool(self.flags & IFF_UP)

    @property
    def is_promiscuous(self) -> bool:
        """Whether it was set so; what packet sockets ask for meanwhile does not count."""
        return bool(self.flags & _IFF_PROMISC)

    @property
    def state(self) -> tuple[int, int | None, int | None]:
        """What changes when it, or the other end, is set up, set down or exchanged."""
        return self.flags & (IFF_UP | _IFF_LOWER_UP | _IFF_RUNNING), self.peer, self.peer_namespace


class Interfaces:
    """The interfaces of the network namespace that the calling thread is in when this is made."""

    def __init__(self) -> None:
        """Raises OSError."""
        self._requests = _socket(groups=0)
        self._events = _socket(groups=_GROUP_LINK)
        self._events.setblocking(False)
        self._sequence = 0

    def find(self, name: str, *, namespace: int | None = None) -> Interface | None:
        """The interface of that name; None when there is none. Raises OSError."""
        return self._get(0, _attribute(_IFLA_IFNAME, name.encode() + b"\0"), namespace)

    def at(self, index: int, *, namespace: int | None = None) -> Interface | None:
        """The interface of that ifindex; None when there is none. `namespace`: an id as in `peer_namespace`, whose
        interfaces are looked at instead. Raises OSError."""
        return self._get(index, b"", namespace)

    def set_promiscuous(self, index: int, on: bool) -> None:
        """Of the interface of that ifindex: to take frames for any address, and with any VLAN tag, or no longer. It
        outlives this process. Raises OSError."""
        flags = _IFF_PROMISC if on else 0
        self._request(_RTM_NEWLINK, _IFINFO.pack(0, 0, index, flags, _IFF_PROMISC), acknowledge=True)

    def namespace_id(self, descriptor: int) -> int | None:
        """By which id this namespace knows that of a descriptor; None when by none. Raises OSError."""
        # struct rtgenmsg, padded.
        body = bytes(4) + _attribute(_NETNSA_FD, struct.pack("=I", descriptor))
        reply = self._request(_RTM_GETNSID, body)
        (number,) = struct.unpack_from("=i", dict(_attributes(reply, 4)).get(_NETNSA_NSID, b"\xff" * 4))
        return None if number < 0 else number

    def fileno(self) -> int:
        """Readable when some interface has changed, come or gone."""
        return self._events.fileno()

    def news(self) -> tuple[set[int], set[str]] | None:
        """Of the interfaces that have changed, come or gone since the last call: ifindexes, and names. None when some
        news were lost: any may have. Never raises."""
        indexes: set[int] = set()
        names: set[str] = set()
        lost = False
        while True:
            try:
                messages = self._events.recv(_RECEIVE_BYTES)
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    lost = True
                    continue
                return None if lost else (indexes, names)
            for body in _bodies(messages):
                indexes.add(_IFINFO.unpack_from(body)[2])
                names.add(dict(_attributes(body, _IFINFO.size)).get(_IFLA_IFNAME, b"").rstrip(b"\0").decode())

    def close(self) -> None:
        """Closes the sockets."""
        self._requests.close()
        self._events.close()

    def _get(self, index: int, attributes: bytes, namespace: int | None) -> Interface | None:
        if namespace is not None:
            attributes += _attribute(_IFLA_TARGET_NETNSID, struct.pack("=i", namespace))
        try:
            reply = self._request(_RTM_GETLINK, _IFINFO.pack(0, 0, index, 0, 0) + attributes)
        except OSError as error:
            if error.errno in (
                errno.ENODEV,
                errno.ERANGE,
                errno.EINVAL,
            ):  # no interface can have a name that long
                return None
            raise
        return _interface(reply)

    def _request(self, kind: int, body: bytes, *, acknowledge: bool = False) -> bytes:
        self._sequence += 1
        length = _HEADER.size + len(body)
        flags = _NLM_F_REQUEST | (_NLM_F_ACK if acknowledge else 0)
        self._requests.send(_HEADER.pack(length, kind, flags, self._sequence, 0) + body)
        while True:
            message = self._requests.recv(_RECEIVE_BYTES)
            length, answer, _, sequence, _ = _HEADER.unpack_from(message)
            if sequence != self._sequence:
                continue
            body = message[_HEADER.size : length]
            if answer == _NLMSG_ERROR:
                (code,) = struct.unpack_from("=i", body)
                if code == 0:
                    return b""
                raise OSError(-code, f"rtnetlink request {kind}: {os.strerror(-code)}")
            return body


def _socket(groups: int) -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    opened.bind((0, groups))
    return opened


def _bodies(messages: bytes) -> Iterator[bytes]:
    start = 0
    while start + _HEADER.size <= len(messages):
        length = _HEADER.unpack_from(messages, start)[0]
        yield messages[start + _HEADER.size : start + length]
        start += (length + 3) & ~3


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _attributes(data: bytes, start: int = 0) -> Iterator[tuple[int, bytes]]:
    while start + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        yield kind & _TYPE_MASK, data[start + _ATTRIBUTE.size : start + length]
        start += (length + 3) & ~3


def _interface(body: bytes) -> Interface:
    _, _, index, flags, _ = _IFINFO.unpack_from(body)
    found = dict(_attributes(body, _IFINFO.size))
    information = dict(_attributes(found.get(_IFLA_LINKINFO, b"")))
    kind = information.get(_IFLA_INFO_KIND, b"").rstrip(b"\0").decode()
    link, namespace = found.get(_IFLA_LINK), found.get(_IFLA_LINK_NETNSID)
    is_veth = kind == "veth" and link is not None
    return Interface(
        index=index,
        name=found[_IFLA_IFNAME].rstrip(b"\0").decode(),
        flags=flags,
        mtu=struct.unpack("=I", found[_IFLA_MTU])[0],
        kind=kind,
        peer=struct.unpack("=i", link)[0] if is_veth and link else None,
        peer_namespace=struct.unpack("=i", namespace)[0] if is_veth and namespace else None,
        xdp_mode=dict(_attributes(found.get(_IFLA_XDP, b""))).get(_IFLA_XDP_ATTACHED, b"\0")[0],
        counters=Counters(*_STATISTICS.unpack_from(found[_IFLA_STATS64])),
    )
