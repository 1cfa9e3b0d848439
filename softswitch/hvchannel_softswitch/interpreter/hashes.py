# SPDX-License-Identifier: Apache-2.0
"""The algorithms of calculations: from bytes to a number, as simple_switch computes them."""

from __future__ import annotations

import itertools
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


def crc_custom(
    width: int, polynomial: int, start: int = 0, final: int = 0, *, reflected: bool = False
) -> Callable[[bytes], int]:
    """A CRC of `width` bits (8 or more); `reflected` mirrors its input bytes and its result."""
    top, full = 1 << (width - 1), (1 << width) - 1
    table = []
    for byte in range(256):
        remainder = byte << (width - 8)
        for _ in range(8):
            remainder = ((remainder << 1) ^ (polynomial if remainder & top else 0)) & full
        table.append(remainder)

    def crc(data: bytes) -> int:
        remainder = start
        for byte in data.translate(_MIRRORED) if reflected else data:
            remainder = table[byte ^ remainder >> (width - 8)] ^ (remainder << 8 & full)
        return (int(f"{remainder:0{width}b}"[::-1], 2) if reflected else remainder) ^ final

    return crc


_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))

_PRIME_1, _PRIME_2, _PRIME_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
_PRIME_4, _PRIME_5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
_FULL = (1 << 64) - 1


def _rotated(value: int, count: int) -> int:
    value &= _FULL
    return (value << count | value >> (64 - count)) & _FULL


def _round(lane: int, word: int) -> int:
    return _rotated(lane + word * _PRIME_2, 31) * _PRIME_1 & _FULL


def xxh64(data: bytes) -> int:
    """XXH64 with seed 0 (the xxHash specification)."""
    place = 0
    if len(data) >= 32:
        lanes = [(_PRIME_1 + _PRIME_2) & _FULL, _PRIME_2, 0, -_PRIME_1 & _FULL]
        while place + 32 <= len(data):
            for i in range(4):
                start = place + 8 * i
                lanes[i] = _round(lanes[i], int.from_bytes(data[start : start + 8], "little"))
            place += 32
        turns = (1, 7, 12, 18)
        result = sum(_rotated(lane, turn) for lane, turn in zip(lanes, turns, strict=True)) & _FULL
        for lane in lanes:
            result = ((result ^ _round(0, lane)) * _PRIME_1 + _PRIME_4) & _FULL
    else:
        result = _PRIME_5
    result = (result + len(data)) & _FULL
    while place + 8 <= len(data):
        result ^= _round(0, int.from_bytes(data[place : place + 8], "little"))
        result = (_rotated(result, 27) * _PRIME_1 + _PRIME_4) & _FULL
        place += 8
    if place + 4 <= len(data):
        result ^= int.from_bytes(data[place : place + 4], "little") * _PRIME_1 & _FULL
        result = (_rotated(result, 23) * _PRIME_2 + _PRIME_3) & _FULL
        place += 4
    for byte in data[place:]:
        result = _rotated(result ^ (byte * _PRIME_5 & _FULL), 11) * _PRIME_1 & _FULL
    result = (result ^ result >> 33) * _PRIME_2 & _FULL
    result = (result ^ result >> 29) * _PRIME_3 & _FULL
    return result ^ result >> 32


def toeplitz(_data: bytes) -> int:
    """Toeplitz with the key that simple_switch starts with, all zeros: always 0."""
    return 0


def round_robin() -> Callable[[bytes], int]:
    """A new counter: 0, 1, 2, ... whatever the input."""
    numbers = itertools.count()
    return lambda _data: next(numbers)


def round_robin_consistent() -> Callable[[bytes], int]:
    """A new counter that gives the same input the same number again."""
    known: dict[bytes, int] = {}

    def number(data: bytes) -> int:
        if data not in known and len(known) >= MOST_REMEMBERED:
            known.clear()
        return known.setdefault(data, len(known))

    return number


MOST_REMEMBERED = 1 << 20
"""Inputs that `round_robin_consistent` remembers, before it begins anew."""

_STATELESS: dict[str, Callable[[bytes], int]] = {
    "csum16": csum16,
    "cksum16": csum16,
    "crc16": crc16,
    "crc32": crc32,
    "crcCCITT": crc_ccitt,
    "crc8_custom": crc_custom(8, 0x07),
    "crc16_custom": crc16,
    "crc32_custom": crc32,
    "crc64_custom": crc_custom(64, 0x1B, reflected=True),
    "xor16": xor16,
    "xor32": xor32,
    "identity": identity,
    "xxh64": xxh64,
    "toeplitz": toeplitz,
}
"""The custom CRCs have the parameters that simple_switch starts with."""

_COUNTERS = {"round_robin": round_robin, "round_robin_consistent": round_robin_consistent}


def algorithm(name: str) -> Callable[[bytes], int]:
    """The function of one calculation; those that count start from 0 in each."""
    return _COUNTERS[name]() if name in _COUNTERS else _STATELESS[name]
