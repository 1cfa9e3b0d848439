# SPDX-License-Identifier: Apache-2.0
"""Hashes and checksums against published check values, and the Internet checksum against its definition."""

from __future__ import annotations

import pytest
from hvchannel_softswitch.interpreter.hashes import algorithm, csum16
from hvchannel_softswitch.model.load_calculations import ALGORITHMS
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("crc16", 0xBB3D),  # the check values of the CRC catalogue, over "123456789"
        ("crcCCITT", 0x29B1),
        ("crc32", 0xCBF43926),
        ("identity", 0x3132333435363738),
        ("xor16", 0x3132 ^ 0x3334 ^ 0x3536 ^ 0x3738 ^ 0x3900),
        ("xor32", 0x31323334 ^ 0x35363738 ^ 0x39000000),
        ("crc8_custom", 0xF4),
        ("crc16_custom", 0xBB3D),
        ("crc32_custom", 0xCBF43926),
        ("crc64_custom", 0x46A5A9388A5BEFFE),
        ("xxh64", 0x8CB841DB40E6AE83),
        ("toeplitz", 0),
    ],
)
def test_check_values(name: str, value: int) -> None:
    assert algorithm(name)(b"123456789") == value


def test_csum16_of_rfc_1071() -> None:
    assert csum16(bytes.fromhex("0001f203f4f5f6f7")) == 0xDDF2 ^ 0xFFFF


@given(st.binary(max_size=80))
def test_csum16_is_the_complement_of_the_folded_sum(data: bytes) -> None:
    padded = data + b"\0" * (len(data) % 2)
    total = sum(int.from_bytes(padded[i : i + 2]) for i in range(0, len(padded), 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    assert csum16(data) == total ^ 0xFFFF


def test_xxh64_of_a_long_and_an_empty_input() -> None:
    assert algorithm("xxh64")(b"") == 0xEF46DB3751D8E999
    assert algorithm("xxh64")(b"Nobody inspects the spammish repetition") == 0xFBCEA83C8A378BF1


def test_the_counting_algorithms_count_for_themselves() -> None:
    first, second = algorithm("round_robin"), algorithm("round_robin")
    assert [first(b"x"), first(b"x"), second(b"x"), first(b"y")] == [0, 1, 0, 2]
    consistent = algorithm("round_robin_consistent")
    assert [consistent(b"x"), consistent(b"y"), consistent(b"x")] == [0, 1, 0]


def test_what_loads_can_run() -> None:
    for name in ALGORITHMS:
        assert algorithm(name)(b"") >= 0
