# SPDX-License-Identifier: Apache-2.0
"""The control plane's half of the XDP engine: what `engine.Engine` has for tables, counters, meters and registers,
done in the arena that the compiled program looks at. Frames are the other half's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar

from hvchannel_softswitch.engine import (
    Action,
    ActionCall,
    CloneSession,
    CounterData,
    EngineError,
    Entry,
    EntryKey,
    IdleSink,
    Inserter,
    Match,
    MeterConfig,
    Replica,
)
from hvchannel_softswitch.entry_checks import check_direct_action, check_key, check_members
from hvchannel_softswitch.model import Program
from hvchannel_softswitch.refusals import check_default_writable, check_index, check_timed, check_writable
from hvchannel_softswitch.xdp.adoption import adopt_tables
from hvchannel_softswitch.xdp.arena import Arena
from hvchannel_softswitch.xdp.counters import Cells
from hvchannel_softswitch.xdp.exact_table import ExactTable
from hvchannel_softswitch.xdp.grace import Grace
from hvchannel_softswitch.xdp.idle import IdleTimes
from hvchannel_softswitch.xdp.layout import LOST, Layout
from hvchannel_softswitch.xdp.masked_table import MaskedTable
from hvchannel_softswitch.xdp.meters import IndirectMeter, check_config
from hvchannel_softswitch.xdp.records import MAX_PRIORITY
from hvchannel_softswitch.xdp.registers import LiveRegister
from hvchannel_softswitch.xdp.tables import LiveTable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

T = TypeVar("T")


class XdpEngine:
    """See `engine.Engine`; `process` is missing. Frames run while it is written to: they see each entry whole or not at
    all, new ones at the latest after `flush`."""

    kind = "xdp"
    atomic_batches = False

    def __init__(
        self,
        program: Program,
        layout: Layout,
        memory: WriteableBuffer | Arena,
        *,
        clock: Callable[[], int],
        synchronize: Callable[[], None],
        idle: IdleSink | None = None,
        adopted: bool = False,
    ) -> None:
        """`memory` is all zero; the program's entries and default actions are there at once. `clock` is the one the
        compiled program goes by (CLOCK_MONOTONIC, nanoseconds). `synchronize` returns once every run of the program
        that began before it has ended. `adopted`: see `adopt`. Raises ArenaError for memory that is too small."""
        self.program = program
        self.on_change: Callable[[], None] | None = None
        """Called after each change of multicast groups, clone sessions and value sets."""
        self._idle = idle
        self._clock = clock
        arena = memory if isinstance(memory, Arena) else Arena(memory, layout.size)
        self._arena = arena
        grace = Grace(synchronize)
        self._tables: dict[str, LiveTable] = {}
        for name, here in layout.tables.items():
            kind = ExactTable if here.exact else MaskedTable
            self._tables[name] = kind(arena, layout, name, grace, clock)
        self._counters = {name: Cells(arena, layout, c.offset) for name, c in layout.counters.items()}
        self._meters = {
            name: IndirectMeter(arena, meter, grace, clock) for name, meter in layout.meters.items()
        }
        self._registers = {name: LiveRegister(arena, r) for name, r in layout.registers.items()}
        self._value_sets: dict[str, tuple[tuple[Match, ...], ...]] = dict.fromkeys(program.value_sets, ())
        self._lost = Cells(arena, layout, layout.cells + LOST)
        self._groups: dict[int, tuple[Replica, ...]] = {}
        self._sessions: dict[int, CloneSession] = {}
        if adopted:
            adopt_tables(arena, self._tables.values(), grace)
            for indirect in self._meters.values():
                indirect.adopt()
        else:
            for table in self._tables.values():
                table.fill()

    @classmethod
    def adopt(
        cls,
        program: Program,
        layout: Layout,
        memory: WriteableBuffer | Arena,
        *,
        clock: Callable[[], int],
        synchronize: Callable[[], None],
        idle: IdleSink | None = None,
    ) -> XdpEngine:
        """An engine for an arena that another process left, whose program runs on: with its entries, default actions,
        counters, meters, registers and idle timeouts. Multicast groups, clone sessions and value sets are not there
        and start empty. Raises ArenaError for memory that is not the arena of this program."""
        return cls(program, layout, memory, clock=clock, synchronize=synchronize, idle=idle, adopted=True)

    def key_at(self, table: str, slot: int) -> EntryKey:
        """The key of the entry with this number, or of the one that was there last."""
        live = self._tables[table]
        return live.key_of(live.records.read(slot))

    def release(self) -> None:
        """Lets go of the arena's memory; the engine is of no use any more."""
        self._arena.release()

    def flush(self) -> None:
        """See Engine."""
        for table in self._tables.values():
            table.flush()

    def insert(self, table: str, key: EntryKey, action: Action) -> None:
        """See Engine. Raises EngineError too for a match or an argument that the table cannot take."""
        live = self._writable(table)
        check_key(live.table, key)
        if not 0 <= key.priority <= MAX_PRIORITY:
            raise EngineError(f"priority {key.priority} is not valid (valid: 0 to {MAX_PRIORITY})")
        call = _checked(live, action)
        live.inserter(call.name)(key, call.args)

    def inserter(self, table: str, action: str) -> Inserter:
        """See Engine."""
        return self._writable(table).inserter(action)

    def modify(self, table: str, key: EntryKey, action: Action) -> None:
        """See Engine."""
        live = self._writable(table)
        live.modify(key, _checked(live, action))

    def delete(self, table: str, key: EntryKey) -> None:
        """See Engine."""
        self._writable(table).delete(key)

    def entry(self, table: str, key: EntryKey) -> Entry | None:
        """See Engine."""
        live = self._tables[table]
        _, slot = live.find(key)
        return live.entry_of(slot) if slot else None

    @property
    def lost_records(self) -> int:
        """Digests, frames for the CPU port and parts of traces that found no room in the ring buffer."""
        return self._lost.read(0).packets

    def occupancy(self) -> dict[str, tuple[int, int]]:
        """See Engine."""
        return {name: (live.count, live.table.max_size) for name, live in self._tables.items()}

    def entries(self, table: str) -> Iterator[Entry]:
        """See Engine."""
        return iter(self._tables[table].entries())

    def default_action(self, table: str) -> Action:
        """See Engine."""
        live = self._tables[table]
        return live.records.call(live.records.read(live.default))

    def set_default_action(self, table: str, action: Action | None) -> None:
        """See Engine. Raises EngineError for a const default action."""
        live = self._tables[table]
        check_default_writable(live.table)
        live.set_default(live.table.default_action if action is None else _checked(live, action))

    def read_direct_counter(self, table: str, key: EntryKey) -> CounterData:
        """See Engine."""
        live = self._tables[table]
        return live.read_counter(live.slot_of(key))

    def write_direct_counter(self, table: str, key: EntryKey, data: CounterData) -> None:
        """See Engine."""
        live = self._tables[table]
        live.write_counter(live.slot_of(key), data)

    def read_direct_meter(self, table: str, key: EntryKey) -> MeterConfig | None:
        """See Engine."""
        live = self._tables[table]
        return live.read_meter(live.slot_of(key))

    def write_direct_meter(self, table: str, key: EntryKey, config: MeterConfig | None) -> None:
        """See Engine. The buckets start full."""
        live = self._tables[table]
        live.write_meter(live.slot_of(key), config)

    def check_meter(self, config: MeterConfig) -> None:
        """See Engine. Bursts have to fit a meter's record, in billionths."""
        check_config(config)

    def read_counter(self, counter: str, index: int) -> CounterData:
        """See Engine."""
        return self._counter(counter, index).read(index)

    def write_counter(self, counter: str, index: int, data: CounterData) -> None:
        """See Engine."""
        self._counter(counter, index).write(index, data)

    def _counter(self, counter: str, index: int) -> Cells:
        cells = self._counters[counter]
        check_index(self.program.counters[counter].size, index, f"counter {counter!r}")
        return cells

    def read_meter(self, meter: str, index: int) -> MeterConfig | None:
        """See Engine."""
        return self._meter(meter, index).read(index)

    def write_meter(self, meter: str, index: int, config: MeterConfig | None) -> None:
        """See Engine. The buckets start full."""
        self._meter(meter, index).write(index, config)

    def _meter(self, meter: str, index: int) -> IndirectMeter:
        cells = self._meters[meter]
        check_index(cells.size, index, f"meter {meter!r}")
        return cells

    def read_register(self, register: str, index: int) -> int:
        """See Engine."""
        return self._register(register, index).read(index)

    def write_register(self, register: str, index: int, value: int) -> None:
        """See Engine. Bits beyond the register's width are cut off."""
        self._register(register, index).write(index, value)

    def _register(self, register: str, index: int) -> LiveRegister:
        cells = self._registers[register]
        check_index(cells.size, index, f"register {register!r}")
        return cells

    def value_set(self, name: str) -> tuple[tuple[Match, ...], ...]:
        """See Engine."""
        return self._value_sets[name]

    def set_value_set(self, name: str, members: tuple[tuple[Match, ...], ...]) -> None:
        """See Engine."""
        check_members(self.program.value_sets[name], members)
        self._value_sets[name] = members
        self._changed()

    def multicast_groups(self) -> Mapping[int, tuple[Replica, ...]]:
        """See Engine."""
        return self._groups

    def set_multicast_group(self, group: int, replicas: tuple[Replica, ...] | None) -> None:
        """See Engine."""
        _put(self._groups, group, replicas)
        self._changed()

    def clone_sessions(self) -> Mapping[int, CloneSession]:
        """See Engine."""
        return self._sessions

    def set_clone_session(self, session: int, value: CloneSession | None) -> None:
        """See Engine."""
        _put(self._sessions, session, value)
        self._changed()

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change()

    def profile_members(self, profile: str) -> Mapping[int, ActionCall]:
        """Raises KeyError: programs with action profiles are not compiled."""
        raise KeyError(profile)

    def set_profile_member(self, profile: str, member: int, action: ActionCall | None) -> None:
        """As profile_members."""
        raise KeyError(profile)

    def profile_groups(self, profile: str) -> Mapping[int, tuple[tuple[int, int], ...]]:
        """As profile_members."""
        raise KeyError(profile)

    def set_profile_group(
        self, profile: str, group: int, members: tuple[tuple[int, int], ...] | None
    ) -> None:
        """As profile_members."""
        raise KeyError(profile)

    def set_idle_timeout(self, table: str, key: EntryKey, timeout_ns: int) -> None:
        """See Engine. Raises EngineError for a table without idle timeouts."""
        times, slot = self._timed(table, key)
        times.set_timeout(slot, timeout_ns)

    def idle_timeout(self, table: str, key: EntryKey) -> int:
        """See Engine. Raises EngineError for a table without idle timeouts."""
        times, slot = self._timed(table, key)
        return times.timeout(slot)

    def time_since_last_hit(self, table: str, key: EntryKey) -> int:
        """See Engine. Raises EngineError for a table without idle timeouts."""
        times, slot = self._timed(table, key)
        hit = times.last_hit(slot)  # before the clock: packets come meanwhile
        return self._clock() - hit

    @property
    def has_timeouts(self) -> bool:
        """Whether some table supports idle timeouts, so that `sweep_idle` has work."""
        return any(live.idle is not None for live in self._tables.values())

    def sweep_idle(self) -> None:
        """Tells the idle sink of every entry that has been idle for its whole timeout, since its last packet or
        since it was last told of. To be called now and then; what is late is told late."""
        for name, live in self._tables.items():
            if live.idle is None:
                continue
            for slot in live.idle.expired():
                if self._idle is not None:
                    self._idle(name, live.key_of(live.records.read(slot)))

    def _timed(self, table: str, key: EntryKey) -> tuple[IdleTimes, int]:
        live = self._tables[table]
        check_timed(self.program, live.table)
        assert live.idle is not None, "the table has timeouts"
        return live.idle, live.slot_of(key)

    def _writable(self, table: str) -> LiveTable:
        live = self._tables[table]
        check_writable(live.table)
        if not live.table.keys:
            raise EngineError(f"table {table!r} has no keys, so it has only a default action")
        return live


def _checked(live: LiveTable, action: Action) -> ActionCall:
    check_direct_action(live.table, action)
    assert isinstance(action, ActionCall), "a table without an action profile takes nothing else"
    return action


def _put(numbered: dict[int, T], number: int, value: T | None) -> None:
    if value is not None:
        numbered[number] = value
    else:
        numbered.pop(number, None)
