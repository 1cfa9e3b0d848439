# SPDX-License-Identifier: Apache-2.0
"""Parser value sets at run time."""

from __future__ import annotations

from hvchannel_softswitch.engine import Match
from hvchannel_softswitch.entry_checks import check_members
from hvchannel_softswitch.interpreter.tables import Values, bounds
from hvchannel_softswitch.model import ValueSet


class LiveValueSet:
    """A value set with its members. They are few, so a select scans them."""

    def __init__(self, value_set: ValueSet) -> None:
        self.value_set = value_set
        self.members: tuple[tuple[Match, ...], ...] = ()
        self._rows: tuple[tuple[tuple[int, int, int], ...], ...] = ()

    def set(self, members: tuple[tuple[Match, ...], ...]) -> None:
        """Replaces the members. Raises EngineError for one that is not of the set's keys, TableFull."""
        check_members(self.value_set, members)
        widths = self.value_set.widths
        self.members = members
        self._rows = tuple(
            tuple(bounds(match, width) for match, width in zip(member, widths, strict=True))
            for member in members
        )

    def holds(self, values: Values) -> bool:
        """Whether some member matches."""
        for row in self._rows:
            for value, (mask, low, high) in zip(values, row, strict=True):
                if not low <= value & mask <= high:
                    break
            else:
                return True
        return False
