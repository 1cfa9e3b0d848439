# SPDX-License-Identifier: Apache-2.0
"""What generated code calls where plain operators would not do: an index out of bounds, a division by
zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

_LONGEST = 1 << 13
"""Bits no P4 value exceeds; a longer shift leaves nothing that a store would keep, and must not fill
memory."""


def shift_left(value: int, count: int) -> int:
    """`value << count` for any count; bmv2 shifts by nothing when the count is negative, and so does this."""
    return value << min(max(count, 0), _LONGEST)


def shift_right(value: int, count: int) -> int:
    """`value >> count` for any count."""
    return value >> max(count, 0)


def quotient(dividend: int, divisor: int) -> int:
    """Division towards zero; by zero it yields 0."""
    if divisor == 0:
        return 0
    magnitude = abs(dividend) // abs(divisor)
    return magnitude if (dividend < 0) == (divisor < 0) else -magnitude


def remainder(dividend: int, divisor: int) -> int:
    """What `quotient` leaves; of a division by zero, 0."""
    return 0 if divisor == 0 else dividend - divisor * quotient(dividend, divisor)


def two_comp_mod(value: int, width: int) -> int:
    """The signed number that the low `width` bits spell."""
    sign = 1 << (width - 1)
    return ((value & ((1 << width) - 1)) ^ sign) - sign


def sat_cast(value: int, width: int) -> int:
    """The nearest signed number of `width` bits."""
    sign = 1 << (width - 1)
    return max(-sign, min(value, sign - 1))


def usat_cast(value: int, width: int) -> int:
    """The nearest unsigned number of `width` bits."""
    return max(0, min(value, (1 << width) - 1))


def pick(index: int, values: Sequence[T], otherwise: T | int = 0) -> T | int:
    """An item, or something else out of bounds."""
    return values[index] if 0 <= index < len(values) else otherwise


def shorter(cut: int | None, length: int) -> int:
    """Of several truncations the shortest holds."""
    return length if cut is None or length < cut else cut


def register_cell(cells: list[int], index: int) -> int:
    """A register's cell; 0 out of bounds."""
    return cells[index] if 0 <= index < len(cells) else 0


RUNTIME = {
    function.__name__: function
    for function in (
        shift_left,
        shift_right,
        quotient,
        remainder,
        two_comp_mod,
        sat_cast,
        usat_cast,
        pick,
        shorter,
        register_cell,
    )
}
"""By the names that generated code uses."""
