# SPDX-License-Identifier: Apache-2.0
"""The two programs' worlds with the fences that tell when a target has done all that it was asked to do."""

import struct

from ..traffic.frames import Choices, ip, ipv4, mac
from ..traffic.worlds import CIP, CPU_PORT, DEAD_ENDS, HYPERVISOR, VIFS, VLAN, VNI, entries_of
from .target import Fence, World


def plain_ip(source: tuple[str, str], destination: tuple[str, str], tag: bytes = b"") -> bytes:
    ends = mac(destination[0]) + mac(source[0]) + tag + b"\x08\0"
    return ends + ipv4(Choices(bytes([0, 3])), ip(source[1]), ip(destination[1]))


def digest_fence(port: int, source_mac: bytes) -> bytes:
    """A tag that no port has."""
    return mac(HYPERVISOR[0]) + source_mac + struct.pack(">HHH", 0x8100, 4093, 0x0800) + bytes(20)


def world(program: str) -> World:
    tag = struct.pack(">HH", 0x8100, VLAN)
    if program == "host_vswitch":
        lips = [(vif.mac, str(vif.lip)) for vif in VIFS]
        fences = [(vif.port, 1, plain_ip(HYPERVISOR, lip)) for vif, lip in zip(VIFS, lips, strict=True)]
        fences += [
            (1, 2, plain_ip((VIFS[0].mac, CIP), HYPERVISOR, tag)),
            (CPU_PORT, 1, plain_ip(HYPERVISOR, DEAD_ENDS["punt"])),
        ]
        ports, identifier = (1, 2, 3, 4, 5, 6), VNI
    else:
        guest = (VIFS[0].mac, CIP)
        fences = [
            (1, 2, plain_ip(HYPERVISOR, guest, tag)),
            (2, 1, plain_ip(guest, HYPERVISOR)),
            (CPU_PORT, 2, plain_ip(HYPERVISOR, DEAD_ENDS["punt"], tag)),
        ]
        ports, identifier = (1, 2, 3, 4), VLAN
    return World(
        program,
        ports,
        tuple(entries_of(program)),
        tuple(Fence(*fence) for fence in fences),
        digest_fence,
        identifier,
    )
