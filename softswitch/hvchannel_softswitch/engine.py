# SPDX-License-Identifier: Apache-2.0
"""The seam between the P4Runtime server and whatever runs the program: an engine.

The server knows P4Info ids and bytestrings; an engine knows the names and widths of p4c's bmv2 JSON. They meet here,
in names and plain integers. The interpreter is one engine, `xdp` the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

# Matches, keys and calls are named tuples, which are made, compared and hashed without a Python function. So two
# matches of different kinds with the same numbers are equal: only those of one key, which are of one kind, may meet.


class Exact(NamedTuple):
    """All bits of the field equal `value`."""

    value: int


class Lpm(NamedTuple):
    """The first `prefix_len` bits equal those of `value`; the bits after the prefix are zero in `value`."""

    value: int
    prefix_len: int


class Ternary(NamedTuple):
    """The bits set in `mask` equal those of `value`; `value & ~mask == 0`. `mask == 0` is "don't care"."""

    value: int
    mask: int


class Range(NamedTuple):
    """`low <= field <= high`."""

    low: int
    high: int


class Optional(NamedTuple):
    """All bits equal `value`, or anything at all when `value` is None."""

    value: int | None


Match: TypeAlias = Exact | Lpm | Ternary | Range | Optional
"""One key of a table entry, by the match kind its table declares. Every key is present: "don't care" is spelled
`Lpm(0, 0)`, `Ternary(0, 0)`, `Range(0, 2**width - 1)`, `Optional(None)`."""


class ActionCall(NamedTuple):
    """An action by its name in the JSON, with its arguments in the order of its runtime data."""

    name: str
    args: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class MemberRef:
    """A member of the action profile that the table takes its actions from."""

    member: int


@dataclass(frozen=True, slots=True)
class GroupRef:
    """A group of the profile's members; its selector picks one per packet."""

    group: int


Action: TypeAlias = ActionCall | MemberRef | GroupRef
"""What an entry holds: a call in a direct table, a reference in one with an action profile (a group only where
the profile has a selector)."""


class EntryKey(NamedTuple):
    """What identifies an entry in its table: its matches in the order of the table's keys, and its priority
    (P4Runtime's sense: larger wins; 0 in tables without ternary, range or optional keys)."""

    matches: tuple[Match, ...]
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """A table entry as the control plane wrote it."""

    key: EntryKey
    action: Action
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


@dataclass(frozen=True, slots=True)
class Replica:
    """One copy of a packet: where it goes, and what egress sees as `egress_rid`."""

    port: int
    instance: int = 0


@dataclass(frozen=True, slots=True)
class CloneSession:
    """Where the clones of a session go. `packet_length` cuts them to so many bytes; 0 leaves them whole."""

    replicas: tuple[Replica, ...]
    packet_length: int = 0


class EngineError(Exception):
    """A write that the engine refuses; the message names the offender and what would be valid."""


class NoSuchEntry(EngineError):  # noqa: N818 (reads as the condition it names)
    """Modify, delete or a counter access of an entry that is not there."""


class EntryExists(EngineError):  # noqa: N818
    """Insert of an entry whose key is already there."""


class TableFull(EngineError):  # noqa: N818
    """Insert into a table that holds its declared size."""


class LookUpTooLong(EngineError):  # noqa: N818
    """Insert of an entry with which look-ups could take longer than the engine lets a packet take."""


DigestSink: TypeAlias = Callable[[str, tuple[int, ...]], None]
"""Called with the learn list's name and its values, once per digest the program generates."""

Insert: TypeAlias = Callable[[EntryKey, tuple[int, ...]], None]
"""Inserts an entry with these arguments of its action. Raises EntryExists, TableFull, LookUpTooLong."""

FrameSink: TypeAlias = Callable[[int, bytes], None]
"""Called with an egress port and a whole frame, once per frame the program sends (the CPU port included)."""


IdleSink: TypeAlias = Callable[[str, EntryKey], None]
"""Called with a table and the key of an entry that no packet has hit for its whole timeout; called again after
each further timeout without a hit."""


class Inserter(Protocol):
    """Inserts entries of one action into one table. What it is given is not checked again: it is what `Engine.insert`
    would let through."""

    def __call__(self, key: EntryKey, args: tuple[int, ...]) -> None:
        """Inserts an entry with these arguments of its action. Raises EntryExists, TableFull, LookUpTooLong."""

    def many(self, keys: Sequence[EntryKey], args: Sequence[tuple[int, ...]]) -> int:
        """Inserts entries in their order, each with its arguments, up to the first one that would be refused. How many
        that were."""


class Engine(Protocol):
    """One running P4 program with its tables. Names are those of the bmv2 JSON; unknown names are a KeyError,
    since the caller has validated them against the P4Info of the same program."""

    @property
    def kind(self) -> str:
        """What runs the program: "interpreter" or "xdp"."""

    def occupancy(self) -> dict[str, tuple[int, int]]:
        """By table: how many entries it has, const ones included, and how many it takes."""

    @property
    def lost_records(self) -> int:
        """How much of what the program tells (digests, frames for the CPU port, traces) has got lost on the way."""

    @property
    def atomic_batches(self) -> bool:
        """Whether no frame runs between two writes of one turn of the event loop, so that frames see a batch whole or
        not at all (DATAPLANE_ATOMIC). Each write alone is seen so in any engine."""

    def close(self) -> None:
        """Lets go of what it holds; it is of no use any more."""

    def flush(self) -> None:
        """To be called at the end of a batch of writes: what an engine does once for many of them, such as to sort a
        table's masks anew. Entries written since the last call may be visible to frames only from here on."""

    def process(self, port: int, frame: bytes) -> None:
        """Run one frame that arrived on `port` to its end; outputs go to the frame sink before this returns."""

    def insert(self, table: str, key: EntryKey, action: Action) -> None:
        """Raises EntryExists, TableFull, LookUpTooLong."""

    def inserter(self, table: str, action: str) -> Inserter:
        """For many insertions of one action into a table without an action profile. Raises EngineError for a table
        that cannot be written."""

    def modify(self, table: str, key: EntryKey, action: Action) -> None:
        """Replaces the action; counters and meter state stay. Raises NoSuchEntry."""

    def delete(self, table: str, key: EntryKey) -> None:
        """Raises NoSuchEntry."""

    def entry(self, table: str, key: EntryKey) -> Entry | None:
        """The entry with this key; None where there is none."""

    def entries(self, table: str) -> Iterator[Entry]:
        """All entries, const ones included, in insertion order."""

    def default_action(self, table: str) -> Action:
        """The action of a miss, as in force now."""

    def set_default_action(self, table: str, action: Action | None) -> None:
        """None resets it to the program's own."""

    def read_direct_counter(self, table: str, key: EntryKey) -> CounterData:
        """Raises NoSuchEntry."""

    def write_direct_counter(self, table: str, key: EntryKey, data: CounterData) -> None:
        """Raises NoSuchEntry."""

    def read_direct_meter(self, table: str, key: EntryKey) -> MeterConfig | None:
        """None where the entry's meter has its default, always green, configuration. Raises NoSuchEntry."""

    def write_direct_meter(self, table: str, key: EntryKey, config: MeterConfig | None) -> None:
        """None resets the meter to always green. Raises NoSuchEntry."""

    def check_meter(self, config: MeterConfig) -> None:
        """Raises EngineError for a configuration that no meter of this engine can have; see the two that write it."""

    def read_counter(self, counter: str, index: int) -> CounterData:
        """An indirect counter's cell. Raises IndexError."""

    def write_counter(self, counter: str, index: int, data: CounterData) -> None:
        """Raises IndexError."""

    def read_meter(self, meter: str, index: int) -> MeterConfig | None:
        """An indirect meter's cell. Raises IndexError."""

    def write_meter(self, meter: str, index: int, config: MeterConfig | None) -> None:
        """Raises IndexError."""

    def read_register(self, register: str, index: int) -> int:
        """A register's cell. Raises IndexError."""

    def write_register(self, register: str, index: int, value: int) -> None:
        """`value` fits the register's width. Raises IndexError."""

    def value_set(self, name: str) -> tuple[tuple[Match, ...], ...]:
        """The members of a parser value set, one match per key field in each."""

    def set_value_set(self, name: str, members: tuple[tuple[Match, ...], ...]) -> None:
        """Replaces all members. Raises TableFull over its size."""

    def multicast_groups(self) -> Mapping[int, tuple[Replica, ...]]:
        """The groups by number."""

    def set_multicast_group(self, group: int, replicas: tuple[Replica, ...] | None) -> None:
        """Makes or replaces a group; None deletes it, and nothing happens if it is not there."""

    def clone_sessions(self) -> Mapping[int, CloneSession]:
        """The clone (mirroring) sessions by number."""

    def set_clone_session(self, session: int, value: CloneSession | None) -> None:
        """Makes or replaces a session; None deletes it, and nothing happens if it is not there."""

    def profile_members(self, profile: str) -> Mapping[int, ActionCall]:
        """The members of an action profile."""

    def set_profile_member(self, profile: str, member: int, action: ActionCall | None) -> None:
        """Makes or replaces a member; None deletes it. Raises EngineError while an entry or a group refers to
        a member to delete, NoSuchEntry for one that is not there, TableFull."""

    def profile_groups(self, profile: str) -> Mapping[int, tuple[tuple[int, int], ...]]:
        """The groups of an action profile with a selector: (member, weight) pairs."""

    def set_profile_group(
        self, profile: str, group: int, members: tuple[tuple[int, int], ...] | None
    ) -> None:
        """Makes or replaces a group; a group without members misses. None deletes it. Raises EngineError
        while an entry refers to a group to delete or for unknown members, NoSuchEntry for a group that is not
        there."""

    def set_idle_timeout(self, table: str, key: EntryKey, timeout_ns: int) -> None:
        """Restarts the entry's idle time; 0: never times out. Raises NoSuchEntry."""

    def idle_timeout(self, table: str, key: EntryKey) -> int:
        """In nanoseconds; 0: never. Raises NoSuchEntry."""

    def time_since_last_hit(self, table: str, key: EntryKey) -> int:
        """In nanoseconds, since the entry's last packet or its insertion. Raises NoSuchEntry."""
