# SPDX-License-Identifier: Apache-2.0
"""What engines refuse, in one wording: errors that name the offender and what would be right."""

from __future__ import annotations

from hvchannel_softswitch.engine import EngineError, EntryExists, EntryKey, NoSuchEntry, TableFull
from hvchannel_softswitch.model import Program, Table


def entry_exists(table: str, key: EntryKey) -> EntryExists:
    """For an insertion."""
    return EntryExists(f"table {table!r} already has an entry with this key: {key.matches}")


def table_full(table: Table) -> TableFull:
    """For an insertion."""
    return TableFull(f"table {table.name!r} is full: it holds {table.max_size} entries")


def no_such_entry(table: str, key: EntryKey) -> NoSuchEntry:
    """For whatever needs the entry."""
    return NoSuchEntry(f"table {table!r} has no entry with this key: {key.matches}, priority {key.priority}")


def check_writable(table: Table) -> None:
    """Raises EngineError for a table with const entries."""
    if table.const_entries is not None:
        raise EngineError(f"table {table.name!r} has const entries; it cannot be written to")


def check_default_writable(table: Table) -> None:
    """Raises EngineError for a const default action."""
    if table.default_const:
        raise EngineError(
            f"the default action of table {table.name!r} is const: {table.default_action.name!r}"
        )


def check_timed(program: Program, table: Table) -> None:
    """Raises EngineError for a table without idle timeouts."""
    if not table.support_timeout:
        with_timeout = [t.name for t in program.tables.values() if t.support_timeout]
        valid = ", ".join(map(repr, with_timeout)) or "none"
        raise EngineError(f"table {table.name!r} has no idle timeouts (tables with them: {valid})")


def check_index(size: int, index: int, what: str) -> None:
    """Raises IndexError for a cell that `what` (a counter, a meter, a register, with its name) does not have."""
    if not 0 <= index < size:
        raise IndexError(f"{what} has {size} cells, no index {index}")
