# SPDX-License-Identifier: Apache-2.0
"""A pipeline: one block per node of its graph."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from hvchannel_softswitch.engine import ActionCall, Entry, Lpm
from hvchannel_softswitch.model import Pipeline as PipelineModel
from hvchannel_softswitch.model import Table, UnsupportedProgram
from hvchannel_softswitch.model import statements as st
from hvchannel_softswitch.model.program import (
    Action,
    ActionCallNode,
    Conditional,
    NextByAction,
    NextByHit,
)
from hvchannel_softswitch.xdp import layout
from hvchannel_softswitch.xdp.layout import TableLayout
from hvchannel_softswitch.xdp.lower.events import Trace
from hvchannel_softswitch.xdp.lower.frame import Frame, resized
from hvchannel_softswitch.xdp.lower.kernel import I1, I16, I32, i64
from hvchannel_softswitch.xdp.lower.lookup import Found, Lookup
from hvchannel_softswitch.xdp.lower.meters import Meters, meter_reference
from hvchannel_softswitch.xdp.lower.numbers import Numbers
from hvchannel_softswitch.xdp.lower.statements import Statements

_INLINE_ENTRIES = 64
"""A table with more const entries is looked up in memory, like any other."""


def is_one_action(table: Table) -> bool:
    """Whether there is nothing to look up, nor for a controller to change: p4c makes such tables of statements."""
    return not table.keys and table.default_const


def is_inline(table: Table) -> bool:
    """Whether the table becomes comparisons in the code, instead of a look-up in memory."""
    return table.const_entries is not None and table.default_const and len(table.entries) <= _INLINE_ENTRIES


class Pipeline:
    """Writes pipelines. `note` is told what is being written, for whoever reads the result."""

    def __init__(
        self,
        frame: Frame,
        numbers: Numbers,
        statements: Statements,
        lookup: Lookup,
        meters: Meters,
        trace: Trace | None,
        now: ir.Value,
        note: Callable[[str], None],
    ) -> None:
        self._f = frame
        self._b = frame.b
        self._n = numbers
        self._statements = statements
        self._lookup = lookup
        self._meters = meters
        self._trace = trace
        self._now = now
        self._note = note

    def write(self, pipeline: PipelineModel) -> None:
        """The whole pipeline; writing goes on after it. Raises UnsupportedProgram."""
        end = self._f.block(f"{pipeline.name}.end")
        blocks = {name: self._f.block(f"{pipeline.name}.{name}") for name in pipeline.order}

        def target(name: str | None) -> ir.Block:
            return end if name is None else blocks[name]

        self._b.branch(target(pipeline.first))
        for name in pipeline.order:
            self._b.position_at_end(blocks[name])
            match pipeline.nodes[name]:
                case Conditional() as node:
                    self._note(f"{pipeline.name}: if ({node.text})")
                    condition = self._n.truth(node.expression)
                    if self._trace is not None:
                        self._trace.condition(node, condition)
                    self._b.cbranch(condition, target(node.true_next), target(node.false_next))
                case ActionCallNode(action=action, next=following):
                    self._note(f"{pipeline.name}: {action.name}()")
                    self._run(action, (), end, target(following))
                case Table() as table:
                    self._table(table, end, target)
        self._b.position_at_end(end)

    def _table(self, table: Table, end: ir.Block, target: Callable[[str | None], ir.Block]) -> None:
        if table.profile is not None:
            raise UnsupportedProgram(f"table {table.name!r} has action profile {table.profile!r}")
        if is_one_action(table):
            if self._trace is not None:
                self._trace.statements(table)
            self._call(table, table.default_action, ir.Constant(I1, 0), end, target)
            return
        if is_inline(table):
            self._inline(table, end, target)
            return
        self._note(f"table {table.name}: look-up")
        f, b, place = self._f, self._b, self._f.layout.tables[table.name]
        found = self._lookup.find(place)
        entry = self._lookup.entry(place, found.slot)
        if table.keys:
            self._note(f"table {table.name}: hit")
            with f.when(found.hit):
                self._hit(table, place, entry, found)
        if self._trace is not None:
            self._trace.table(place, found, entry)
        self._note(f"table {table.name}: action")
        number = f.load(entry, layout.ACTION, I16)
        blocks = [f.block(action.name) for action in table.actions]
        choice = b.switch(number, f.drop)
        for i, block in enumerate(blocks):
            choice.add_case(ir.Constant(I16, i), block)
        for i, (action, block) in enumerate(zip(table.actions, blocks, strict=True)):
            b.position_at_end(block)
            self._note(f"table {table.name}: {action.name}()")
            arguments = tuple(
                f.unpacked(entry, place.arguments, place.args[i], number)
                for number in range(len(action.params))
            )
            self._run(action, arguments, end, *self._after(table, action, found.hit, target))

    def _inline(self, table: Table, end: ir.Block, target: Callable[[str | None], ir.Block]) -> None:
        """A small table that nobody can change: a chain of comparisons, each with its action behind it."""
        f, b, place = self._f, self._b, self._f.layout.tables[table.name]
        self._note(f"table {table.name}: const entries")
        keys = self._lookup.keys(table)
        order = sorted(range(len(table.entries)), key=lambda i: (-_priority(table.entries[i]), i))
        for i in order:
            entry = table.entries[i]
            assert isinstance(entry.action, ActionCall)
            hit, other = f.block(f"entry.{i}"), f.block("other")
            b.cbranch(self._lookup.matches(table, keys, entry.key.matches), hit, other)
            b.position_at_end(hit)
            found = Found(ir.Constant(I1, 1), i64(i + layout.OWN_ENTRIES), keys)
            address = self._lookup.entry(place, found.slot)
            self._hit(table, place, address, found)
            if self._trace is not None:
                self._trace.table(place, found, address)
            self._call(table, entry.action, found.hit, end, target)
            b.position_at_end(other)
        missed = ir.Constant(I1, 0)
        if self._trace is not None:
            default = f.widen(f.load(f.arena(place.header), layout.HEADER_DEFAULT, I32))
            self._trace.table(place, Found(missed, default, keys), self._lookup.entry(place, default))
        self._call(table, table.default_action, missed, end, target)

    def _call(
        self,
        table: Table,
        call: ActionCall,
        hit: ir.Value,
        end: ir.Block,
        target: Callable[[str | None], ir.Block],
    ) -> None:
        """An action whose arguments are known."""
        action = table.action(call.name)
        self._note(f"table {table.name}: {action.name}()")
        arguments = tuple(
            ir.Constant(ir.IntType(param.width), value)
            for param, value in zip(action.params, call.args, strict=True)
        )
        self._run(action, arguments, end, *self._after(table, action, hit, target))

    @staticmethod
    def _after(
        table: Table, action: Action, hit: ir.Value, target: Callable[[str | None], ir.Block]
    ) -> tuple[ir.Block, ...] | tuple[ir.Block, ir.Block, ir.Value]:
        match table.next:
            case NextByAction(nodes=nodes):
                return (target(nodes[action.id]),)
            case NextByHit(hit=on_hit, miss=on_miss):
                return target(on_miss), target(on_hit), hit

    def _run(
        self,
        action: Action,
        arguments: tuple[ir.Value, ...],
        end: ir.Block,
        following: ir.Block,
        on_hit: ir.Block | None = None,
        hit: ir.Value | None = None,
    ) -> None:
        """An action, and on to the next node; an action that exits ends the pipeline."""
        f, b = self._f, self._b
        self._n.arguments = arguments
        exits = any(isinstance(statement, st.Exit) for statement in action.body)
        if exits:
            b.store(ir.Constant(I1, 0), self._statements.exited)
        self._statements.body(action.body)
        self._n.arguments = ()
        if exits:
            going_on = f.block("going.on")
            b.cbranch(f.get(self._statements.exited, I1), end, going_on)
            b.position_at_end(going_on)
        if on_hit is not None and hit is not None:
            b.cbranch(hit, on_hit, following)
        else:
            b.branch(following)

    def _hit(self, table: Table, place: TableLayout, entry: ir.Value, found: Found) -> None:
        f, b = self._f, self._b
        slot = b.and_(found.slot, i64(place.slots - 1))
        if table.support_timeout:
            f.store(f.get(self._now), entry, place.hit)
        if table.with_counters:
            self._statements.count(place.counter, slot)
        if table.direct_meter is not None:
            meter = f.program.meters[table.direct_meter]
            assert meter.target is not None
            colour = self._meters.colour(place.meter_pool, place.slots, meter_reference(f, entry), meter.unit)
            self._statements.store(meter.target, resized(b, colour, meter.target.width))


def _priority(entry: Entry) -> int:
    """What entries are ordered by: of an lpm key, the prefix's length."""
    lengths = [match.prefix_len for match in entry.key.matches if isinstance(match, Lpm)]
    return entry.key.priority or sum(lengths)
