# SPDX-License-Identifier: Apache-2.0
"""Links: a program's attachment to an interface, as an object that can be replaced, pinned and let go."""

from __future__ import annotations

import errno
import struct
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple, Self

from hvchannel_softswitch.bpf import pins
from hvchannel_softswitch.bpf.programs import AttachType, Program
from hvchannel_softswitch.bpf.syscall import Command, Descriptor, attributes, bpf, object_info

_CREATE = struct.Struct("=IIII")
_UPDATE = struct.Struct("=IIII")
_DETACH = struct.Struct("=I")
_LINK_TYPE_XDP = 6
_IFINDEX_OFFSET = 16


class XdpMode(IntEnum):
    """XDP_FLAGS_*: run by the driver, before there is an skb; or by the kernel for any driver, on the skb."""

    GENERIC = 1 << 1
    NATIVE = 1 << 2


class LinkInfo(NamedTuple):
    """What the kernel says of a link. `ifindex` is 0 once the interface is gone: the link is dead for good."""

    id: int
    program_id: int
    ifindex: int


class Link(Descriptor):
    """An XDP program on an interface. The attachment lasts as long as the link: until `detach`, or until its last
    holder (this descriptor, a pin) is gone."""

    @classmethod
    def create_xdp(cls, program: Program, ifindex: int, mode: XdpMode) -> Self:
        """Attaches. Raises OSError: EBUSY when the interface has a program already, EOPNOTSUPP when its driver has no
        native XDP, ERANGE or EINVAL when its MTU is too long for this program, ENODEV."""
        packed = _CREATE.pack(program.fd, ifindex, AttachType.XDP, mode)
        return cls(bpf(Command.LINK_CREATE, attributes(packed)))

    @classmethod
    def from_pin(cls, path: Path) -> Self:
        """The link pinned at `path`. Raises OSError (FileNotFoundError when nothing is; EINVAL for a pin of something
        else)."""
        return cls(pins.get(path, pins.PinKind.LINK))

    def update(self, program: Program) -> None:
        """Puts another program in this one's place; each frame meets the one or the other. Raises OSError: ENOLINK when
        the interface is gone, EINVAL when the program cannot stand in for the one before."""
        bpf(Command.LINK_UPDATE, attributes(_UPDATE.pack(self.fd, program.fd, 0, 0)))

    def detach(self) -> None:
        """Ends the attachment, whoever else holds the link. One whose interface is gone is no error. Raises OSError."""
        bpf(Command.LINK_DETACH, attributes(_DETACH.pack(self.fd)))

    @property
    def info(self) -> LinkInfo:
        """Asked anew each time. Raises OSError."""
        raw = object_info(self.fd)
        kind, number, program_id = struct.unpack_from("=III", raw)
        if kind != _LINK_TYPE_XDP:
            raise OSError(errno.EINVAL, f"link {number} is of type {kind}, not an XDP link")
        (ifindex,) = struct.unpack_from("=I", raw, _IFINDEX_OFFSET)
        return LinkInfo(number, program_id, ifindex)
