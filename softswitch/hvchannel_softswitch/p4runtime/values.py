# SPDX-License-Identifier: Apache-2.0
"""P4Runtime bytestrings (section "Bytestrings"): big-endian, read with any leading zeros, written
shortest."""

from __future__ import annotations

from hvchannel_softswitch.p4runtime.errors import Code, P4RuntimeError


def to_int(data: bytes, width: int, what: str) -> int:
    """The unsigned value of `data`, which must fit `width` bits.

    `what` names the value in the error. Raises OUT_OF_RANGE when `data` is empty or too wide.
    """
    if not data:
        raise P4RuntimeError(
            Code.OUT_OF_RANGE, f"{what} is an empty bytestring; zero is written as one zero byte"
        )
    value = int.from_bytes(data, "big")
    if value.bit_length() > width:
        raise P4RuntimeError(
            Code.OUT_OF_RANGE, f"{what} value 0x{data.lstrip(bytes(1)).hex()} does not fit in {width} bits"
        )
    return value


def to_bytes(value: int) -> bytes:
    """The canonical, shortest bytestring of an unsigned value; zero is one byte."""
    return value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big")


def signed_to_bytes(value: int) -> bytes:
    """The canonical two's complement bytestring of a signed value (`int<W>`, only inside P4Data)."""
    bits = (value if value >= 0 else ~value).bit_length() + 1
    return value.to_bytes((bits + 7) // 8, "big", signed=True)
