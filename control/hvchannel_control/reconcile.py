# SPDX-License-Identifier: Apache-2.0
"""From what a vSwitch holds to what it should hold: the fewest writes, in an order that is safe at every
step.

A packet must never pass under a mixture of the old and the new state. Three layers see to it. `attachment`
lets a port's packets in; `source_guard`, `forward` and `arp` decide who may speak and where it goes; the rest
(`restore`, `member`, `tag`, `translate`) says how. What leaves goes first, from the outermost layer inwards;
what comes then follows from the innermost outwards. Every table's default action drops, so a step between the
two states passes less, never something else. An attachment that leads to another logical switch than before leaves and
comes, rather than change in its place: it would lead to the old one while that has its new guards already.
"""

import enum
from collections.abc import Iterable
from dataclasses import dataclass, replace

from hvchannel_control.entries import Entry, EntryKey


class Operation(enum.Enum):
    INSERT = "insert"
    MODIFY = "modify"
    DELETE = "delete"
    RESET_METER = "reset meter of"
    """Of an entry that is there and shall have none. To write the entry without one is not enough everywhere: bmv2
    keeps what it had, and gives a new entry the meter of one that was deleted."""


@dataclass(frozen=True, slots=True)
class Update:
    operation: Operation
    entry: Entry

    def __str__(self) -> str:
        return f"{self.operation.value} {self.entry}"


Batch = list[Update]
"""Updates that may be carried out in any order (P4Runtime 1.5, 12.2: a batch has none); batches are in order.
"""

_LAYERS = {"attachment": 2, "source_guard": 1, "forward": 1, "arp": 1}
_INNERMOST = 0
_OUTERMOST = 2


def plan(actual: Iterable[Entry], desired: Iterable[Entry]) -> list[Batch]:
    """The batches that take a switch from `actual` to `desired`: an update per thing that differs, two where an
    outermost entry leads elsewhere, none empty.

    Entries of const tables are the program's own and belong in neither. Raises ValueError when two desired
    entries have one key.
    """
    holds = {entry.key: entry for entry in actual}
    wants = _by_key(desired)
    removed = [
        Update(Operation.DELETE, entry) for entry in holds.values() if _leaves(entry, wants.get(entry.key))
    ]
    for update in removed:
        del holds[update.entry.key]
    written = [
        Update(operation, entry)
        for key, entry in wants.items()
        for operation in _operations(holds.get(key), entry)
    ]
    batches = [_of_layer(removed, layer) for layer in range(_OUTERMOST, _INNERMOST - 1, -1)]
    batches += [_of_layer(written, layer) for layer in range(_INNERMOST, _OUTERMOST + 1)]
    return [batch for batch in batches if batch]


def _leaves(holds: Entry, wants: Entry | None) -> bool:
    if wants is None:
        return True
    outermost = _LAYERS.get(holds.table) == _OUTERMOST
    return outermost and (holds.action, holds.args) != (wants.action, wants.args)


def _operations(holds: Entry | None, wants: Entry) -> list[Operation]:
    if holds is None:
        return [Operation.INSERT]
    loses_meter = holds.meter is not None and wants.meter is None
    kept = replace(holds, meter=None) if loses_meter else holds
    return [Operation.MODIFY] * (kept != wants) + [Operation.RESET_METER] * loses_meter


def _by_key(entries: Iterable[Entry]) -> dict[EntryKey, Entry]:
    by_key: dict[EntryKey, Entry] = {}
    for entry in entries:
        other = by_key.setdefault(entry.key, entry)
        if other != entry:
            raise ValueError(f"two entries have one key: {other} and {entry}")
    return by_key


def _of_layer(updates: Iterable[Update], layer: int) -> Batch:
    return [update for update in updates if _LAYERS.get(update.entry.table, _INNERMOST) == layer]
