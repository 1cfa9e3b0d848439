# SPDX-License-Identifier: Apache-2.0
"""What a running program keeps between packets."""

from __future__ import annotations

from collections.abc import Callable

from hvchannel_softswitch.interpreter.meters import TwoRateMeter
from hvchannel_softswitch.interpreter.profiles import LiveProfile, ProfileTable
from hvchannel_softswitch.interpreter.tables import LiveTable
from hvchannel_softswitch.interpreter.traffic import Traffic
from hvchannel_softswitch.interpreter.value_sets import LiveValueSet
from hvchannel_softswitch.model import Program, Table


class State:
    """All of it, by the names of the program's objects."""

    def __init__(self, program: Program, clock: Callable[[], int]) -> None:
        self.profiles = {
            name: LiveProfile(profile, tuple(t for t in program.tables.values() if t.profile == name))
            for name, profile in program.profiles.items()
        }
        self.tables = {name: self._table(table) for name, table in program.tables.items()}
        self.counters = {
            c.name: [[0, 0] for _ in range(c.size)] for c in program.counters.values() if not c.is_direct
        }
        self.meters: dict[str, list[TwoRateMeter | None]] = {
            m.name: [None] * m.size for m in program.meters.values() if not m.is_direct
        }
        self.registers = {r.name: [0] * r.size for r in program.registers.values()}
        self.value_sets = {name: LiveValueSet(value_set) for name, value_set in program.value_sets.items()}
        self.traffic = Traffic()
        self.started = clock()

    def _table(self, table: Table) -> LiveTable:
        if table.profile is None:
            return LiveTable(table)
        return ProfileTable(table, self.profiles[table.profile])
