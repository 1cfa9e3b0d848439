# SPDX-License-Identifier: Apache-2.0
"""The algorithms of calculations: from bytes to a number, as simple_switch computes them."""

from __future__ import annotations

import zlib
from collections.abc import Callable


def csum16(data: bytes) -> int:
    """The Internet checksum (RFC 1071): the complement of the ones' complement sum of 16-bit words."""
    number = int.from_bytes(data if len(data) % 2 == 0 else data + b"\0")
    # 2^16 is 1 modulo 65535, so the remainder is the folded sum, with 0 standing for 0xffff unless all words
    # are 0.
    total = number % 0xFFFF
    if total == 0 and number:
        total = 0xFFFF
    return total ^ 0xFFFF


def crc32(data: bytes) -> int:
    """CRC-32 of IEEE 802.3."""
    return zlib.crc32(data)


def _reflected_table(polynomial: int) -> tuple[int, ...]:
    table = []
    for byte in range(256):
        remainder = byte
        for _ in range(8):
            remainder = (remainder >> 1) ^ (polynomial if remainder & 1 else 0)
        table.append(remainder)
    return tuple(table)


def _forward_table(polynomial: int) -> tuple[int, ...]:
    table = []
    for byte in range(256):
        remainder = byte << 8
        for _ in range(8):
            remainder = ((remainder << 1) ^ (polynomial if remainder & 0x8000 else 0)) & 0xFFFF
        table.append(remainder)
    return tuple(table)


_CRC16 = _reflected_table(0xA001)  # 0x8005 with its bits reversed
_CCITT = _forward_table(0x1021)


def crc16(data: bytes) -> int:
    """CRC-16/ARC: polynomial 0x8005, reflected, starting from 0."""
    remainder = 0
    for byte in data:
        remainder = (remainder >> 8) ^ _CRC16[(remainder ^ byte) & 0xFF]
    return remainder


def crc_ccitt(data: bytes) -> int:
    """CRC-16/CCITT-FALSE: polynomial 0x1021, starting from 0xffff."""
    remainder = 0xFFFF
    for byte in data:
        remainder = ((remainder << 8) & 0xFFFF) ^ _CCITT[(remainder >> 8) ^ byte]
    return remainder


def _xor_words(data: bytes, size: int) -> int:
    result = 0
    for start in range(0, len(data), size):
        result ^= int.from_bytes(data[start : start + size].ljust(size, b"\0"))
    return result


def xor16(data: bytes) -> int:
    """The exclusive or of all 16-bit words."""
    return _xor_words(data, 2)


def xor32(data: bytes) -> int:
    """The exclusive or of all 32-bit words."""
    return _xor_words(data, 4)


def identity(data: bytes) -> int:
    """The first eight bytes as a number."""
    return int.from_bytes(data[:8])


ALGORITHMS: dict[str, Callable[[bytes], int]] = {
    "csum16": csum16,
    "cksum16": csum16,
    "crc16": crc16,
    "crc32": crc32,
    "crcCCITT": crc_ccitt,
    "xor16": xor16,
    "xor32": xor32,
    "identity": identity,
}
