"""The seam between the P4Runtime server and whatever runs the program: an engine.

The server knows P4Info ids and bytestrings; an engine knows the names and widths of p4c's bmv2 JSON. They meet here,
in names and plain integers. The interpreter is one engine; a compiled one can stand beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias


@dataclass(frozen=True, slots=True)
class Exact:
    """All bits of the field equal `value`."""

    value: int


@dataclass(frozen=True, slots=True)
class Lpm:
    """The first `prefix_len` bits equal those of `value`; the bits after the prefix are zero in `value`."""

    value: int
    prefix_len: int


@dataclass(frozen=True, slots=True)
class Ternary:
    """The bits set in `mask` equal those of `value`; `value & ~mask == 0`. `mask == 0` is "don't care"."""

    value: int
    mask: int


@dataclass(frozen=True, slots=True)
class Range:
    """`low <= field <= high`."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Optional:
    """All bits equal `value`, or anything at all when `value` is None."""

    value: int | None


Match: TypeAlias = Exact | Lpm | Ternary | Range | Optional
"""One key of a table entry, by the match kind its table declares. Every key is present: "don't care" is spelled
`Lpm(0, 0)`, `Ternary(0, 0)`, `Range(0, 2**width - 1)`, `Optional(None)`."""


@dataclass(frozen=True, slots=True)
class ActionCall:
    """An action by its name in the JSON, with its arguments in the order of its runtime data."""

    name: str
    args: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class EntryKey:
    """What identifies an entry in its table: its matches in the order of the table's keys, and its priority
    (P4Runtime's sense: larger wins; 0 in tables without ternary, range or optional keys)."""

    matches: tuple[Match, ...]
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """A table entry as the control plane wrote it."""

    key: EntryKey
    action: ActionCall
    is_const: bool = False


@dataclass(frozen=True, slots=True)
class CounterData:
    """Packets and bytes counted since the entry was written (or the counter was last set)."""

    packets: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class MeterConfig:
    """A two-rate three-colour marker (RFC 2698). Rates per second and bursts, in its unit: bytes or packets."""

    cir: int
    cburst: int
    pir: int
    pburst: int


class EngineError(Exception):
    """A write that the engine refuses; the message names the offender and what would be valid."""


class NoSuchEntry(EngineError):  # noqa: N818 (reads as the condition it names)
    """Modify, delete or a counter access of an entry that is not there."""


class EntryExists(EngineError):  # noqa: N818
    """Insert of an entry whose key is already there."""


class TableFull(EngineError):  # noqa: N818
    """Insert into a table that holds its declared size."""


DigestSink: TypeAlias = Callable[[str, tuple[int, ...]], None]
"""Called with the learn list's name and its values, once per digest the program generates."""

FrameSink: TypeAlias = Callable[[int, bytes], None]
"""Called with an egress port and a whole frame, once per frame the program sends (the CPU port included)."""


class Engine(Protocol):
    """One running P4 program with its tables. Names are those of the bmv2 JSON; unknown names are a KeyError,
    since the caller has validated them against the P4Info of the same program."""

    def process(self, port: int, frame: bytes) -> None:
        """Run one frame that arrived on `port` to its end; outputs go to the frame sink before this returns."""

    def insert(self, table: str, key: EntryKey, action: ActionCall) -> None:
        """Raises EntryExists, TableFull."""

    def modify(self, table: str, key: EntryKey, action: ActionCall) -> None:
        """Replaces the action; counters and meter state stay. Raises NoSuchEntry."""

    def delete(self, table: str, key: EntryKey) -> None:
        """Raises NoSuchEntry."""

    def entry(self, table: str, key: EntryKey) -> Entry | None:
        """The entry with this key; None where there is none."""

    def entries(self, table: str) -> Iterator[Entry]:
        """All entries, const ones included, in insertion order."""

    def default_action(self, table: str) -> ActionCall:
        """The action of a miss, as in force now."""

    def set_default_action(self, table: str, action: ActionCall | None) -> None:
        """None resets it to the program's own."""

    def read_direct_counter(self, table: str, key: EntryKey) -> CounterData:
        """Raises NoSuchEntry."""

    def write_direct_counter(self, table: str, key: EntryKey, data: CounterData) -> None:
        """Raises NoSuchEntry."""

    def read_direct_meter(self, table: str, key: EntryKey) -> MeterConfig | None:
        """None where the entry's meter has its default, always green, configuration. Raises NoSuchEntry."""

    def write_direct_meter(self, table: str, key: EntryKey, config: MeterConfig | None) -> None:
        """None resets the meter to always green. Raises NoSuchEntry."""

    def read_counter(self, counter: str, index: int) -> CounterData:
        """An indirect counter's cell. Raises IndexError."""

    def write_counter(self, counter: str, index: int, data: CounterData) -> None:
        """Raises IndexError."""

    def read_meter(self, meter: str, index: int) -> MeterConfig | None:
        """An indirect meter's cell. Raises IndexError."""

    def write_meter(self, meter: str, index: int, config: MeterConfig | None) -> None:
        """Raises IndexError."""
