# SPDX-License-Identifier: Apache-2.0
"""Table entries as plain values: what the profiles want, and what a read back found."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from hvchannel_control.addresses import mac_to_int

Fields = tuple[tuple[str, int], ...]
"""Names and numbers, in the order of the names."""

EntryKey = tuple[str, Fields]
"""What tells an entry from the others of a switch: its table and its match key (every key is exact)."""


@dataclass(frozen=True, slots=True)
class MeterConfig:
    """Of a two-rate three-colour meter (RFC 2698): rates in bytes per second, bursts in bytes."""

    cir: int
    cburst: int
    pir: int
    pburst: int

    @classmethod
    def policer(cls, rate: int, burst: int) -> "MeterConfig":
        """One rate: what conforms is green, what exceeds it is red, nothing is yellow."""
        return cls(cir=rate, cburst=burst, pir=rate, pburst=burst)


@dataclass(frozen=True, slots=True)
class Count:
    """Of a direct counter."""

    packets: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of one table. `meter` None: the entry's direct meter, if it has one, is not configured.

    A cell of an indexed meter is an entry as well: without an action, its table the meter, its match the `index`.
    """

    table: str
    match: Fields
    action: str
    args: Fields = ()
    meter: MeterConfig | None = None

    @property
    def key(self) -> EntryKey:
        return self.table, self.match

    @property
    def match_text(self) -> str:
        return " ".join(f"{name}={value:#x}" for name, value in self.match)

    @property
    def action_text(self) -> str:
        return f"{self.action}({', '.join(f'{name}={value:#x}' for name, value in self.args)})"

    @property
    def is_cell(self) -> bool:
        """Whether it is a cell of an indexed meter."""
        return not self.action

    def __str__(self) -> str:
        return f"{self.table}[{self.match_text}] -> {self.action_text}"


Value = int | str | IPv4Address
"""A number, a MAC address as text, or an IPv4 address."""


def fields(values: Mapping[str, Value]) -> Fields:
    """Names and values in their one canonical form, in which entries compare equal when a switch holds them
    equal."""
    return tuple(sorted((name, _number(value)) for name, value in values.items()))


def entry(
    table: str,
    match: Mapping[str, Value],
    action: str,
    args: Mapping[str, Value] | None = None,
    meter: MeterConfig | None = None,
) -> Entry:
    return Entry(table, fields(match), action, fields(args or {}), meter)


def _number(value: Value) -> int:
    return mac_to_int(value) if isinstance(value, str) else int(value)
