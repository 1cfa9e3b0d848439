# SPDX-License-Identifier: Apache-2.0
"""Where a program's tables, counters, meters and registers are in its arena: one piece of memory, the value of a map
with one element, that the eBPF program addresses directly and that this process writes through mmap.

Numbers are little-endian, offsets and sizes in bytes. An offset depends on the program and the number of CPUs alone, so
that a process that finds an arena whose program still runs can read it.

At STARTED: u64, CLOCK_MONOTONIC nanoseconds when the program was loaded, from which its timestamps count.

**A table** with keys is a hash table with chains.

    header    u32 default   the entry that a miss runs; an entry like any other, in no chain
              u32 groups    mask groups in force: (count << 1) | which of the two lists
    buckets   u32[]         the first entry of each chain, by `hash_words(group, key words & the group's mask words) >>
                            bucket_shift`; 0: none. Range keys have mask 0, so that they do not pick the bucket
    entries   records of `stride`; entry 0 is none:
              +0  u32 next      in its chain; 0 ends it
              +4  u32 group     the mask group whose masked key `key` is; 0 in a table of exact keys only
              +8  u64 rank      priority << 32 | (2^32 - 1 - serial): the larger wins; of an lpm table's entries the
                                prefix length is the priority. A chain has its larger ranks first.
              +16 u16 action    its place in the table's list
              +18 u16 flags     LIVE, CONST
              +20 u32 meter     its record in the pool of the table's direct meter; 0: always green
              +24 u64 key[]     packed by `key`; of a range key the low end
                  u64 high[]    where the table has range keys: the same packing, their high ends (zero elsewhere)
                  u64 args[]    packed by `args` of the action
                  u64 hit       where the table has idle timeouts: CLOCK_MONOTONIC nanoseconds of the last packet
                  u64 timeout   behind it, the control plane's own: nanoseconds, 0 for never
                  u64 earlier   behind it, the control plane's own: the last packet in slots the entry has left
    lists     two lists of GROUPS records, best rank first (tables whose keys are not all exact):
              u64 mask[]  u64 top (no entry of the group has a larger rank)  u64 group

A table without keys has a header and entries only. The program's own default action is entry 1, its own entries are
2, 3, ... in their order.

**Whole or not at all.** A record is written before anything leads to it: an aligned u32 in a bucket, a `next`, the
header is what publishes it. A record that nothing leads to any more is kept as it is until no run of the program can
still be looking at it (`bpf.barrier.synchronize`).

**Counters** are per CPU, so that no packet waits for another: cell `i` of CPU `c` is at `cpus + c * cpu_stride +
offset + 16 * i`: u64 packets, u64 bytes. A direct counter's cells are numbered as its table's entries. One more block,
that of CPU `cpu_count`, is the control plane's: what it adds there (modulo 2^64) sets a counter without a write that
could undo a packet's, and is still there for a process that adopts the arena.

**A meter's** record: u32 lock, u32 -, u64 last, committed, peak, cir, pir, committed_burst, peak_burst, committed_fill,
peak_fill. Tokens and bursts are billionths of the unit, times nanoseconds; `fill`: how long the empty bucket takes to
fill, so that no product overflows. An indirect meter has u32 cells that name records.

**Headers** are kept in a CPU's block while a packet is treated, each at `headers[name]`: u8 valid, u16 at +2 its
offset in the frame + 1 (0: it was not extracted), its bytes at +8. `cells`: three u64 in which a program keeps what
the verifier is not to follow, and one that counts the records for which the ring buffer had no room.

**Replicas** of a program that multicasts: see `replication`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hvchannel_softswitch.model import MatchKind, Program, Table
from hvchannel_softswitch.model.headers import Header
from hvchannel_softswitch.xdp.packing import WORD, WORD_MASK, Packing, packing
from hvchannel_softswitch.xdp.replication import Replication, lay_out_replication

VERSION = 5
"""Of what is said above: a process takes an arena over only if its own layout has the same. Count it up with each
change."""

STARTED = 0

NEXT, GROUP, RANK, ACTION, FLAGS, METER, KEY = 0, 4, 8, 16, 18, 20, 24
"""Offsets in an entry."""

LIVE, CONST = 1, 2
"""Flags of an entry."""

OWN_ENTRIES = 2
"""The number of the first of the program's own entries."""

HEADER_DEFAULT, HEADER_GROUPS = 0, 4
"""Offsets in a table's header."""

GROUPS = 256
"""Mask groups that a table can have."""

MAX_CHAIN = 16
"""Entries in the longest chain of a table of exact keys."""

STEPS_OF_ALL, FEWEST_STEPS, MOST_STEPS = 1024, 128, 512
"""Groups, and entries in their longest chains, that look-ups in all other tables may visit together, and the least
and the most that one may: the kernel's verifier walks them all (see `TableLayout.max_steps`)."""

METER_LOCK, METER_LAST, METER_COMMITTED, METER_PEAK, METER_CIR, METER_PIR = 0, 8, 16, 24, 32, 40
METER_COMMITTED_BURST, METER_PEAK_BURST, METER_COMMITTED_FILL, METER_PEAK_FILL, METER_SIZE = (
    48,
    56,
    64,
    72,
    80,
)
"""Offsets in a meter's record, and its size."""

NEVER = (1 << 63) - 1
"""The fill time of a bucket that does not fill."""

HEADER_VALID, HEADER_PLACE, HEADER_BYTES = 0, 2, 8

LOST = 24
"""Offset in `cells` of the count of records that did not fit the ring buffer."""

"""Offsets in a header's room."""

CELL = 16
"""Size of a counter's cell."""

_MULTIPLIER = 0x9E3779B97F4A7C15
_LINE = 64


def hash_words(group: int, words: Sequence[int]) -> int:
    """The hash that picks a bucket; the compiled program computes the same. By its uppermost bits, the only ones that
    every bit of the last word counts for: by the lowest, all keys that differ above some bit would share a chain."""
    value = group
    for word in words:
        value = (value ^ word) * _MULTIPLIER & WORD_MASK
        value ^= value >> 32
    return value


HASH_MULTIPLIER, HASH_SHIFT = _MULTIPLIER, 32
"""What `hash_words` is made of, for the compiler."""


@dataclass(frozen=True, slots=True)
class TableLayout:
    """A table's place. `max_steps`: how many groups and entries one look-up may visit, of a table whose keys are not
    all exact. `slots` (entries; a power of two, as is `bucket_count`) exceeds the table's size: a replaced entry's
    slot is not free at once. `meter_pool` is the offset of its direct meter's records, of which there are as many as
    slots."""

    table: Table
    key: Packing
    args: tuple[Packing, ...]
    exact: bool
    ranged: bool
    slots: int
    stride: int
    high: int
    arguments: int
    hit: int
    header: int
    buckets: int
    entries: int
    lists: int
    group_stride: int
    counter: int
    meter_pool: int
    max_steps: int
    bucket_count: int

    @property
    def bucket_shift(self) -> int:
        """By so many bits a hash is shifted right to be the number of a bucket."""
        return WORD + 1 - self.bucket_count.bit_length()

    def entry(self, slot: int) -> int:
        """The offset of an entry's record."""
        return self.entries + slot * self.stride

    def group_list(self, which: int) -> int:
        """The offset of list 0 or 1."""
        return self.lists + which * GROUPS * self.group_stride


@dataclass(frozen=True, slots=True)
class CounterLayout:
    """An indirect counter: `offset` within a CPU's block."""

    size: int
    offset: int


@dataclass(frozen=True, slots=True)
class MeterLayout:
    """An indirect meter: u32 cells at `cells` that name one of `records` (a power of two) records at `pool`."""

    size: int
    cells: int
    pool: int
    records: int


@dataclass(frozen=True, slots=True)
class RegisterLayout:
    """A register: cells of `words` u64 each, the least significant first."""

    size: int
    width: int
    words: int
    offset: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The whole arena. `replication`: None of a program that does not multicast."""

    tables: dict[str, TableLayout]
    counters: dict[str, CounterLayout]
    meters: dict[str, MeterLayout]
    registers: dict[str, RegisterLayout]
    headers: dict[str, int]
    cells: int
    cpus: int
    cpu_count: int
    cpu_stride: int
    size: int
    replication: Replication | None


class _Space:
    """Hands out room, from offset 0 on."""

    def __init__(self, start: int = 0) -> None:
        self.end = start

    def take(self, size: int) -> int:
        """Room that begins on a cache line."""
        begin = self.end
        self.end = -(-(begin + size) // _LINE) * _LINE
        return begin


def lay_out(program: Program, possible_cpus: int) -> Layout:
    """The layout of a program's arena on a machine with so many possible CPUs. Raises UnsupportedProgram for one that
    multicasts otherwise than v1model does."""
    space, per_cpu = _Space(_LINE), _Space()
    masked = sum(not _is_exact(table) for table in program.tables.values())
    max_steps = min(max(STEPS_OF_ALL // max(masked, 1), FEWEST_STEPS), MOST_STEPS)
    tables = {name: _table(table, space, per_cpu, max_steps) for name, table in program.tables.items()}
    counters = {
        name: CounterLayout(counter.size, per_cpu.take(counter.size * CELL))
        for name, counter in program.counters.items()
        if not counter.is_direct
    }
    meters = {}
    for name, meter in program.meters.items():
        if not meter.is_direct:
            records = _slots(meter.size)
            meters[name] = MeterLayout(
                meter.size, space.take(meter.size * 4), space.take(records * METER_SIZE), records
            )
    registers = {}
    for name, register in program.registers.items():
        words = -(-register.width // 64)
        offset = space.take(register.size * words * 8)
        registers[name] = RegisterLayout(register.size, register.width, words, offset)
    headers = {
        header.name: per_cpu.take(header_room(header))
        for header in program.headers.values()
        if not header.metadata
    }
    cells = per_cpu.take(LOST + 8)
    replication = lay_out_replication(program, header_room, space.take, per_cpu.take)
    cpu_count = _power_of_two(possible_cpus)
    cpus = space.take(per_cpu.end * (cpu_count + 1))
    return Layout(
        tables,
        counters,
        meters,
        registers,
        headers,
        cells,
        cpus,
        cpu_count,
        per_cpu.end,
        space.end,
        replication,
    )


def header_room(header: Header) -> int:
    """Bytes of a header in a CPU's block, a multiple of 8."""
    return HEADER_BYTES + -(-header.type.max_width // 64) * 8


def _is_exact(table: Table) -> bool:
    return all(key.kind is MatchKind.EXACT for key in table.keys)


def _table(table: Table, space: _Space, per_cpu: _Space, max_steps: int) -> TableLayout:
    key = packing([key.width for key in table.keys])
    args = tuple(packing([param.width for param in action.params]) for action in table.actions)
    exact, ranged = _is_exact(table), any(key.kind is MatchKind.RANGE for key in table.keys)
    slots = _slots(table.max_size if table.keys else 1)
    high = KEY + 8 * key.words
    arguments = high + (8 * key.words if ranged else 0)
    hit = arguments + 8 * max((packed.words for packed in args), default=0)
    stride = hit + (24 if table.support_timeout else 0)
    group_stride = 8 * key.words + 16
    # A look-up through mask groups can meet the longest chain in each: buckets for chains of one or two.
    bucket_count = slots if exact else 4 * slots
    return TableLayout(
        table,
        key,
        args,
        exact,
        ranged,
        slots,
        stride,
        high,
        arguments,
        hit,
        header=space.take(8),
        buckets=space.take(4 * bucket_count) if table.keys else 0,
        bucket_count=bucket_count,
        entries=space.take(stride * slots),
        lists=space.take(2 * GROUPS * group_stride) if not exact else 0,
        group_stride=group_stride,
        counter=per_cpu.take(CELL * slots) if table.with_counters else 0,
        meter_pool=space.take(METER_SIZE * slots) if table.direct_meter is not None else 0,
        max_steps=max_steps,
    )


def _slots(size: int) -> int:
    """Room for `size`, for the none and the default, and for an eighth more that wait to be free."""
    return _power_of_two(size + size // 8 + 16)


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()
