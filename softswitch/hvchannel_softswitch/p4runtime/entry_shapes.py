# SPDX-License-Identifier: Apache-2.0
"""Insertions that look like one before them.

A controller fills a table with entries that differ in their values alone, while most of the time an INSERT takes goes
into reading a dozen small messages. So an insertion that went well is learned from: its bytes, cut into those that
make up its shape (tags, lengths, ids) and those of its values. An update with the same shape bytes in the same places
is the same message but for its values, by the rules of protobuf's encoding; only they are read and checked then.

Anything else, and anything that will be refused, is left to `table_entries`, which has the words for it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import cycle, pairwise, repeat

from finsy.proto import p4r

from hvchannel_softswitch.engine import (
    Engine,
    EngineError,
    EntryKey,
    Exact,
    Inserter,
    Lpm,
    Match,
)
from hvchannel_softswitch.model import MatchKind
from hvchannel_softswitch.p4runtime.batches import Run
from hvchannel_softswitch.p4runtime.p4info import Action, Program, Table
from hvchannel_softswitch.p4runtime.wire import find

SHAPES_PER_LENGTH = 8
"""Kept for updates of so many bytes; the one longest unused makes way for a new one."""

FEW = 4
"""Updates that take longer at once than one by one."""

_ENTRY = (p4r.Update.ENTITY_FIELD_NUMBER, p4r.Entity.TABLE_ENTRY_FIELD_NUMBER)
_MATCH = (*_ENTRY, p4r.TableEntry.MATCH_FIELD_NUMBER)
_EXACT = (*_MATCH, p4r.FieldMatch.EXACT_FIELD_NUMBER, p4r.FieldMatch.Exact.VALUE_FIELD_NUMBER)
_LPM = (*_MATCH, p4r.FieldMatch.LPM_FIELD_NUMBER)
_LPM_VALUE = (*_LPM, p4r.FieldMatch.LPM.VALUE_FIELD_NUMBER)
_LPM_LENGTH = (*_LPM, p4r.FieldMatch.LPM.PREFIX_LEN_FIELD_NUMBER)
_ACTION = (*_ENTRY, p4r.TableEntry.ACTION_FIELD_NUMBER, p4r.TableAction.ACTION_FIELD_NUMBER)
_ARGUMENT = (*_ACTION, p4r.Action.PARAMS_FIELD_NUMBER, p4r.Action.Param.VALUE_FIELD_NUMBER)

_MAX_FORMATS = 256
_MAX_NUMBERS = 32
_PLAIN_FIELDS = {"table_id", "match", "action"}
_PLAIN_KINDS = (MatchKind.EXACT, MatchKind.LPM)
_MAX_VARINT_BYTE = 0x7F
_BITS_PER_BYTE = 8


@dataclass(frozen=True, slots=True)
class _LpmPlaces:
    """Of a table's lpm key: its place among the keys, and those of its two numbers among the values. `longest` is the
    longest prefix whose length is one byte: the first byte of a longer number would say so with its top bit."""

    key: int
    value: int
    length: int
    width: int
    longest: int

    def accept(self, value: int, length: int) -> bool:
        """Whether these are a prefix and its length, with nothing after the prefix."""
        return 0 < length <= self.longest and not value & ((1 << (self.width - length)) - 1)


@dataclass(frozen=True, slots=True)
class Shape:
    """`keys` and `arguments` are places among the values, in the order of the engine's; `narrow` are the places and
    widths of values whose bytes have room for more bits than they may have. `fixed` are the bytes between the values;
    `masked` is an update with nothing but them, under `mask`. `rows` unpack the values
    of updates that have so many bytes before them."""

    split: Callable[[bytes], tuple[bytes, ...]]
    fixed: tuple[bytes, ...]
    mask: bytes
    masked: bytes
    rows: Callable[[int], struct.Struct]
    keys: tuple[int, ...]
    lpm: _LpmPlaces | None
    arguments: tuple[int, ...]
    narrow: tuple[tuple[int, int], ...]
    put: Inserter

    def insert(self, data: bytes) -> bool:
        """As EntryShapes.insert."""
        parts = self.split(data)
        if parts[::2] != self.fixed:
            return False
        values = [*map(_number, parts[1::2])]
        for place, width in self.narrow:
            if values[place] >> width:
                return False
        matches: list[Match] = [_new(Exact, (values[place],)) for place in self.keys]
        if (lpm := self.lpm) is not None:
            if not lpm.accept(values[lpm.value], values[lpm.length]):
                return False
            matches[lpm.key] = Lpm(values[lpm.value], values[lpm.length])
        try:
            self.put(_new(EntryKey, (tuple(matches), 0)), tuple([values[place] for place in self.arguments]))
        except EngineError:
            return False
        return True

    def alike(self, run: Run) -> int:
        """How many of the run, from its first one on, have this shape."""
        lead = bytes(run.lead)
        mask, fixed = _repeated(lead + self.mask, run.size), _repeated(lead + self.masked, run.size)
        masked = _number(memoryview(run.data)[run.start : run.stop]) & mask
        if masked == fixed:
            return run.size
        same_bits = run.size * run.stride * _BITS_PER_BYTE - (masked ^ fixed).bit_length()
        return same_bits // _BITS_PER_BYTE // run.stride

    def insert_run(self, run: Run) -> int:
        """Inserts the run's first updates, as many as are not refused; how many that were. All of them have this shape.
        What `insert` does for one is done here column by column."""
        rows = self.rows(run.lead).iter_unpack(memoryview(run.data)[run.start : run.stop])
        columns = [[*map(_number, column)] for column in zip(*rows, strict=True)]
        count = self._acceptable(columns)
        if not count or not self.keys:
            return 0
        if count < run.size:
            columns = [column[:count] for column in columns]
        matches: list[Iterable[Match]] = [
            map(_new, repeat(Exact), zip(columns[place])) for place in self.keys
        ]
        if (lpm := self.lpm) is not None:
            matches[lpm.key] = map(
                _new, repeat(Lpm), zip(columns[lpm.value], columns[lpm.length], strict=True)
            )
        keys = [*map(_new, repeat(EntryKey), zip(zip(*matches, strict=True), repeat(0)))]
        arguments = [*zip(*[columns[place] for place in self.arguments], strict=True)]
        return self.put.many(keys, arguments or [()] * count)

    def _acceptable(self, columns: Sequence[Sequence[int]]) -> int:
        """How many rows, from the first one on, have values that their fields can take."""
        count = len(columns[0])
        for place, width in self.narrow:
            if max(columns[place]) >> width:
                count = min(count, next(row for row, value in enumerate(columns[place]) if value >> width))
        if (lpm := self.lpm) is not None:
            accepted = map(lpm.accept, columns[lpm.value], columns[lpm.length])
            count = min(
                count, next((row for row, is_accepted in enumerate(accepted) if not is_accepted), count)
            )
        return count


_number = int.from_bytes
# The constructors of named tuples without the Python function in between.
_new = tuple.__new__


class EntryShapes:
    """The shapes that the clients of one pipeline have used."""

    def __init__(self, program: Program, engine: Engine) -> None:
        self._program = program
        self._engine = engine
        self._by_length: dict[int, list[Shape]] = {}

    def insert(self, data: bytes) -> bool:
        """Whether this was an Update of a known shape, and the insertion is done. If not, nothing has changed."""
        shapes = self._by_length.get(len(data))
        if shapes is None:
            return False
        for place, shape in enumerate(shapes):
            if shape.insert(data):
                if place:
                    shapes.insert(0, shapes.pop(place))
                return True
        return False

    def of(self, run: Run) -> Shape | None:
        """The shape of all of the run, if it is known."""
        shapes = self._by_length.get(run.length, ())
        return next((shape for shape in shapes if shape.alike(run) == run.size), None)

    def insert_run(self, run: Run) -> int:
        """Inserts the run's first updates, as many as have one known shape and are not refused; how many that were."""
        for shape in self._by_length.get(run.length, ()):
            if count := shape.alike(run):
                return shape.insert_run(run.first(count))
        return 0

    def learn(self, update: p4r.Update, data: bytes) -> None:
        """From an update that has been applied. Remembers nothing of one that is not a plain insertion: exact and lpm
        keys, all given, and an action, with no values translated and no fields that this version of P4Runtime lacks."""
        message = update.entity.table_entry
        if (
            update.type != p4r.Update.INSERT
            or {field.name for field, _ in message.ListFields()} != _PLAIN_FIELDS
        ):
            return
        table = self._program.tables[message.table_id]
        if table.profile is not None or len(message.match) != len(table.keys):
            return
        action, _ = table.actions[message.action.action.action_id]
        kinds = [key.kind for key in table.keys]
        if (
            any(field.translation is not None for field in (*table.keys, *action.params))
            or any(kind not in _PLAIN_KINDS for kind in kinds)
            or kinds.count(MatchKind.LPM) > 1
            or any(match.lpm.prefix_len > _MAX_VARINT_BYTE for match in message.match)
        ):
            return
        if _known_alone(update) != data:
            return
        shapes = self._by_length.setdefault(len(data), [])
        shapes.insert(0, _shape(self._engine, table, action, message, data))
        del shapes[SHAPES_PER_LENGTH:]


def _known_alone(update: p4r.Update) -> bytes:
    known = p4r.Update()
    known.CopyFrom(update)
    known.DiscardUnknownFields()  # type: ignore[attr-defined]
    return known.SerializeToString()


def _shape(engine: Engine, table: Table, action: Action, message: p4r.TableEntry, data: bytes) -> Shape:
    found = list(find(data, (_EXACT, _LPM_VALUE, _LPM_LENGTH, _ARGUMENT)))
    matches = [place for place, (path, _) in enumerate(found) if path in (_EXACT, _LPM_VALUE)]
    arguments = [place for place, (path, _) in enumerate(found) if path == _ARGUMENT]
    by_key = dict(zip((match.field_id for match in message.match), matches, strict=True))
    by_param = dict(zip((param.param_id for param in message.action.action.params), arguments, strict=True))
    widths = {by_key[key.id]: key.width for key in table.keys}
    widths |= {by_param[param.id]: param.width for param in action.params}
    spans = [span for _, span in found]
    edges = [0, *(edge for span in spans for edge in span), len(data)]
    lengths = [after - before for before, after in pairwise(edges)]
    split = struct.Struct("".join(f"{length}s" for length in lengths)).unpack
    parts = split(data)
    return Shape(
        split=split,
        fixed=parts[::2],
        mask=b"".join(bytes((byte,)) * length for length, byte in zip(lengths, cycle((0xFF, 0)))),
        masked=b"".join(part if place % 2 == 0 else bytes(len(part)) for place, part in enumerate(parts)),
        rows=partial(_rows, "".join(f"{length}{code}" for length, code in zip(lengths, cycle("xs")))),
        keys=tuple(by_key[key.id] for key in table.keys),
        lpm=_lpm_places(table, by_key),
        arguments=tuple(by_param[param.id] for param in action.params),
        narrow=tuple(
            (place, width)
            for place, width in widths.items()
            if width < (spans[place][1] - spans[place][0]) * _BITS_PER_BYTE
        ),
        put=engine.inserter(table.full_name, action.full_name),
    )


@lru_cache(_MAX_NUMBERS)
def _repeated(data: bytes, count: int) -> int:
    """The bytes, so many times, as one number."""
    return _number(data * count)


@lru_cache(_MAX_FORMATS)
def _rows(values: str, lead: int) -> struct.Struct:
    return struct.Struct(f"{lead}x{values}")


def _lpm_places(table: Table, by_key: Mapping[int, int]) -> _LpmPlaces | None:
    for place, key in enumerate(table.keys):
        if key.kind is MatchKind.LPM:
            # A serialiser writes a message's fields in the order of their numbers: first the value, then the length.
            return _LpmPlaces(
                place, by_key[key.id], by_key[key.id] + 1, key.width, min(key.width, _MAX_VARINT_BYTE)
            )
    return None
