# SPDX-License-Identifier: Apache-2.0
"""Entries, frames and a controller's deeds for any program, made from random bytes. All numbers come from a small pool,
so that frames find entries; frames follow the program's parser, so that they get through it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from hvchannel_softswitch.engine import (
    ActionCall,
    CounterData,
    EntryKey,
    Exact,
    Lpm,
    Match,
    MeterConfig,
    Optional,
    Range,
    Replica,
    Ternary,
)
from hvchannel_softswitch.entry_checks import prefix_mask
from hvchannel_softswitch.model import MatchKind, Program, Table, TableKey
from hvchannel_softswitch.model import expressions as ex
from hvchannel_softswitch.model import statements as st
from hvchannel_softswitch.model.program import Case, ParseState

from ..traffic.frames import Choices
from .engine_pair import Pair

MOST_STATES = 30
PORTS = (0, 1, 2, 3, 255, 510)
GROUPS = (1, 2, 3, 0x7FFF, 0xFFFF)


def number(choose: Choices, width: int) -> int:
    """Of so many bits, mostly one of a few."""
    full = (1 << width) - 1
    few = [1, 0, 2, 3, full, full - 1, 1 << (width - 1), full >> 1, 7, 8]
    place = choose.byte() % (len(few) + 3)
    if place < len(few):
        return few[place] & full
    return choose.number((width + 7) // 8) & full


def match_of(choose: Choices, key: TableKey) -> Match:
    """A match of the key's kind."""
    full = (1 << key.width) - 1
    match key.kind:
        case MatchKind.EXACT:
            return Exact(number(choose, key.width))
        case MatchKind.LPM:
            length = choose.one(
                [key.width, 0, 1, key.width // 2, key.width - 1, choose.byte() % (key.width + 1)]
            )
            return Lpm(number(choose, key.width) & prefix_mask(length, key.width), length)
        case MatchKind.RANGE:
            low, high = sorted((number(choose, key.width), number(choose, key.width)))
            return Range(low, high) if choose.byte() % 4 else Range(0, full)
        case MatchKind.OPTIONAL:
            return Optional(None if choose.byte() % 3 == 0 else number(choose, key.width))
        case MatchKind.TERNARY:
            mask = choose.one([full, 0, 1, full ^ 1, full >> 1, number(choose, key.width)])
            return Ternary(number(choose, key.width) & mask, mask)


def entry_of(choose: Choices, table: Table) -> tuple[EntryKey, ActionCall]:
    """An entry; priorities are few, so that there are ties."""
    matches = tuple(match_of(choose, key) for key in table.keys)
    return EntryKey(matches, 1 + choose.byte() % 3 if table.has_priority else 0), call_of(choose, table)


def call_of(choose: Choices, table: Table) -> ActionCall:
    """An action of the table with arguments."""
    action = choose.one(table.actions)
    # PNA's ports have 32 bits, a switch's interfaces 9: of the others there is nothing to compare
    widths = [min(param.width, 9) if param.name == "port" else param.width for param in action.params]
    return ActionCall(action.name, tuple(number(choose, width) for width in widths))


@dataclass
class World:
    """A program, and what of it a controller can change."""

    program: Program
    writable: list[Table] = field(init=False)
    defaults: list[Table] = field(init=False)

    def __post_init__(self) -> None:
        tables = self.program.tables.values()
        self.writable = [table for table in tables if table.keys and table.const_entries is None]
        self.defaults = [table for table in tables if not table.default_const]

    def lay(self, choose: Choices, both: Pair) -> None:
        """Entries into every table, and one table's default action."""
        for table in self.writable:
            for _ in range(min(choose.byte() % 12, table.max_size)):
                both.insert(table.name, *entry_of(choose, table), meter=self._meter(choose, table))
        if self.defaults and choose.byte() % 2:
            table = choose.one(self.defaults)
            both.both("set_default_action", table.name, call_of(choose, table))
        for group in GROUPS:
            self._group(group, choose, both)
        both.flush()

    def _group(self, group: int, choose: Choices, both: Pair) -> None:
        if "mcast_grp" in both.program.standard:
            ports = [port for port in PORTS if choose.byte() % 2]
            replicas = tuple(Replica(port, number(choose, 12)) for port in ports)
            both.both("set_multicast_group", group, replicas if choose.byte() % 8 else None)

    @staticmethod
    def _meter(choose: Choices, table: Table) -> MeterConfig | None:
        return config(choose) if table.direct_meter is not None and choose.byte() % 2 else None

    def change(self, choose: Choices, both: Pair) -> None:
        """Something that a controller does between frames."""
        deeds = [self._clock, self._cells, self._default, self._entry, self._entry, self._resources]
        choose.one(deeds)(choose, both)
        both.flush()

    def _clock(self, choose: Choices, both: Pair) -> None:
        both.now += choose.one([1, 1000, 10**6, 10**9, choose.number(5)])
        both.sweep()

    def _cells(self, choose: Choices, both: Pair) -> None:
        program = both.program
        for register in program.registers.values():
            cell = choose.byte() % register.size
            both.both("write_register", register.name, cell, number(choose, register.width))
        for counter in program.counters.values():
            if not counter.is_direct:
                data = _count(choose)
                both.both("write_counter", counter.name, choose.byte() % counter.size, data)
        for meter in program.meters.values():
            if not meter.is_direct:
                what = None if choose.byte() % 4 == 0 else config(choose)
                both.both("write_meter", meter.name, choose.byte() % meter.size, what)

    def _default(self, choose: Choices, both: Pair) -> None:
        self._group(choose.one(GROUPS), choose, both)
        if self.defaults:
            table = choose.one(self.defaults)
            call = None if choose.byte() % 3 == 0 else call_of(choose, table)
            both.both("set_default_action", table.name, call)

    def _entry(self, choose: Choices, both: Pair) -> None:
        if not self.writable:
            return
        table = choose.one(self.writable)
        there = [entry.key for entry in both.reference.entries(table.name)]
        if not there or choose.byte() % 3 == 0:
            both.insert(table.name, *entry_of(choose, table), meter=self._meter(choose, table))
            return
        key = choose.one(there)
        if choose.byte() % 2:
            both.both("delete", table.name, key)
        else:
            both.both("modify", table.name, key, call_of(choose, table))

    def _resources(self, choose: Choices, both: Pair) -> None:
        if not self.writable:
            return
        table = choose.one(self.writable)
        for entry in list(both.reference.entries(table.name))[:3]:
            at = table.name, entry.key
            if table.with_counters:
                both.both("write_direct_counter", *at, _count(choose))
            if table.direct_meter is not None:
                both.both("write_direct_meter", *at, self._meter(choose, table))
            if table.support_timeout:
                both.both("set_idle_timeout", *at, choose.one([0, 1, 1000, 10**9]))

    def frame(self, choose: Choices) -> tuple[int, bytes]:
        """A frame that the parser follows for a while, and the port that it arrives on."""
        made = _Following(self.program, choose).frame()
        kind = choose.byte() % 16
        if kind == 0:
            made = made[: choose.number(2) % (len(made) + 1)]
        elif kind == 1:
            made = bytes(choose.byte() for _ in range(choose.byte() % 64))
        elif kind == 2:
            made += bytes(choose.number(2) % (9000 - len(made)))
        return choose.one(PORTS), made


def _count(choose: Choices) -> CounterData:
    # P4Runtime's counters are int64, and nobody counts to their end: the kernel's wrap round at 2^64.
    return CounterData(number(choose, 63), number(choose, 63))


def config(choose: Choices) -> MeterConfig:
    """A meter's rates and bursts, about those of the test's frames and of its clock."""
    rates = (choose.one([0, 1, 1000, 10**9, choose.number(4)]) for _ in range(2))
    bursts = (choose.one([0, 1, 3, 100, 1000]) for _ in range(2))
    return MeterConfig(*(value for pair in zip(rates, bursts, strict=True) for value in pair))


class _Following:
    """A walk through the parser that leaves a frame behind."""

    def __init__(self, program: Program, choose: Choices) -> None:
        self._program, self._choose = program, choose
        self._bits, self._width = 0, 0
        self._places: dict[tuple[str, str], tuple[int, int]] = {}
        self._last: dict[str, int] = {}
        self._wanted: list[tuple[int, int, int]] = []

    def frame(self) -> bytes:
        name, states = self._program.parser.first, self._program.parser.states
        for _ in range(MOST_STATES):
            if name not in states:
                break
            name = self._state(states[name])
        payload = self._choose.byte() % 48
        self._append(
            self._choose.number(1) if payload % 2 else number(self._choose, 8 * payload or 8), 8 * payload
        )
        for place, width, value in self._wanted:
            shift = self._width - place - width
            if shift >= 0:
                self._bits = self._bits & ~(((1 << width) - 1) << shift) | value << shift
        return self._bits.to_bytes((self._width + 7) // 8)

    def _append(self, value: int, width: int) -> None:
        self._bits = self._bits << width | value & ((1 << width) - 1)
        self._width += width

    def _state(self, state: ParseState) -> str | None:
        for op in state.ops:
            match op:
                case st.Extract(header=header):
                    self._extract(header)
                case st.ExtractNext(stack=stack):
                    headers, place = self._program.stacks[stack].headers, self._last.get(stack, -1) + 1
                    self._extract(headers[min(place, len(headers) - 1)])
                    self._last[stack] = place
                case st.Advance(bits=ex.Const(value=bits)):
                    self._append(number(self._choose, bits or 1), bits)
        if not state.cases or self._choose.byte() % 8 == 0:
            return state.default
        case = self._choose.one(state.cases)
        if isinstance(case, Case):
            self._steer(state, case)
        following: str | None = case.next
        return following

    def _extract(self, header: str) -> None:
        for one in self._program.headers[header].type.fields:
            self._places[header, one.name] = self._width, one.width
            self._append(number(self._choose, one.width), one.width)

    def _steer(self, state: ParseState, case: Case) -> None:
        """Bits that lead to the case, where they are a field's or lie ahead."""
        shift = sum(part.bits for part in state.key)
        for part in state.key:
            shift -= part.bits
            wanted, mask = case.value >> shift, (case.mask >> shift) & ((1 << part.width) - 1)
            for place, width in self._bits_of(part.source):
                value = wanted & mask | number(self._choose, width) & ~mask
                self._wanted.append((place, width, value & ((1 << width) - 1)))

    def _bits_of(self, source: ex.Expression) -> Iterator[tuple[int, int]]:
        match source:
            case ex.FieldRef(header=header, field=name) if (header, name) in self._places:
                yield self._places[header, name]
            case ex.LastField(stack=stack, field=name) if stack in self._last:
                headers = self._program.stacks[stack].headers
                header = headers[min(self._last[stack], len(headers) - 1)]
                yield self._places[header, name]
            case ex.Lookahead(offset=offset, width=width):
                yield self._width + offset, width
            case ex.Binary(left=left):
                yield from self._bits_of(left)
