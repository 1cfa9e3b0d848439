# SPDX-License-Identifier: Apache-2.0
"""The benchmark's tables are as full as it says, and nobody is policed in them."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import finsy as fy
import pytest
from hvchannel_control.compiled import find_program
from hvchannel_control.entries import Entry
from hvchannel_control.reconcile import plan as plan_writes
from hvchannel_lab.topology import Topology, plan

from bench.routes.attachments import ENTRIES, guest_entries, host_entries

HYPERVISORS_OWN = 2  # at most, per table


@pytest.mark.parametrize(
    ("program", "entries_of"), [("host_vswitch", host_entries), ("guest_vswitch", guest_entries)]
)
def test_each_writable_table_is_filled_and_none_has_two_entries_of_one_key(
    program: str, entries_of: Callable[[Topology], list[Entry]], tmp_path: Path
) -> None:
    entries = entries_of(plan("bench-test", tmp_path, 1))
    held = Counter(entry.table for entry in entries)
    tables = {table.alias: table for table in fy.P4Schema(find_program(program).p4info).tables}
    assert set(held) == {name for name, table in tables.items() if not table.is_const}
    for name, count in held.items():
        assert ENTRIES <= count <= ENTRIES + HYPERVISORS_OWN, name
        assert count <= tables[name].size, name
    assert all(entry.meter is None for entry in entries)
    written = [update for batch in plan_writes([], entries) for update in batch]
    assert len(written) == len(entries)
