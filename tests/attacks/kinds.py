# SPDX-License-Identifier: Apache-2.0
"""The only kinds of frames that the host vSwitch may deliver, read off their bytes by a reader of their own: to the
hypervisor's stack from a guest, and to a guest's VNIC."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Ends:
    """The addresses that exist. `guests`: each VIF's LIP by its MAC."""

    hypervisor: tuple[str, str]
    cip: str
    vlan: int
    guests: Mapping[str, str]


def wrong_to_hypervisor(frame: bytes, ends: Ends) -> str | None:
    """What is wrong with a frame that came to the hypervisor's stack; None where it is of a kind that may."""
    destination, source, kind = _mac(frame[:6]), _mac(frame[6:12]), _number(frame[12:14])
    lip = ends.guests.get(source)
    if lip is None:
        return f"from {source}, no guest's MAC"
    if destination != ends.hypervisor[0]:
        return f"to {destination}"
    if kind == 0x0806:
        return _wrong_arp_answer(frame[14:], (source, lip), ends.hypervisor)
    if kind != 0x0800:
        return f"EtherType {kind:#06x}"
    return _wrong_datagram(frame[14:], lip, ends.hypervisor[1])


def wrong_to_guest(frame: bytes, mac: str, ends: Ends) -> str | None:
    """The same for a frame that came over the VNIC to the guest with this MAC."""
    if len(frame) < 18 or _number(frame[12:14]) != 0x8100 or _number(frame[14:16]) != ends.vlan:
        return f"tag {frame[12:16].hex()}"
    if _mac(frame[6:12]) != ends.hypervisor[0] or _mac(frame[:6]) != mac:
        return f"from {_mac(frame[6:12])} to {_mac(frame[:6])}"
    kind = _number(frame[16:18])
    if kind == 0x0806:
        return _wrong_arp_answer(frame[18:], ends.hypervisor, (mac, ends.cip))
    if kind != 0x0800:
        return f"EtherType {kind:#06x}"
    source, destination = _ip(frame[30:34]), _ip(frame[34:38])
    if (source, destination) != (ends.hypervisor[1], ends.cip):
        return f"from {source} to {destination}"
    return None


def _wrong_datagram(ip: bytes, source: str, destination: str) -> str | None:
    if ip[0] != 0x45:
        return f"version and header length {ip[0]:#04x}"
    if _number(ip[6:8]) & 0x3FFF:
        return "a fragment"
    if (_ip(ip[12:16]), _ip(ip[16:20])) != (source, destination):
        return f"from {_ip(ip[12:16])} to {_ip(ip[16:20])}"
    port = _number(ip[22:24])
    match ip[9]:
        case 1 if ip[20] in (0, 8):
            return None
        case 6 if ip[33] & 0x14 and not (ip[33] & 0x02 and not ip[33] & 0x10) and port >= 1024:
            return None
        case 17 if port >= 32768:
            return None
    return f"protocol {ip[9]}, beginning {ip[20:34].hex()}"


def _wrong_arp_answer(arp: bytes, of: tuple[str, str], to: tuple[str, str]) -> str | None:
    head = struct.unpack(">HHBBH", arp[:8])
    said = (_mac(arp[8:14]), _ip(arp[14:18])), (_mac(arp[18:24]), _ip(arp[24:28]))
    return None if (head, said) == ((1, 0x0800, 6, 4, 2), (of, to)) else f"ARP {arp[:28].hex()}"


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _mac(data: bytes) -> str:
    return data.hex(":")


def _ip(data: bytes) -> str:
    return ".".join(map(str, data))
