# SPDX-License-Identifier: Apache-2.0
"""A pipeline as Python source: its nodes in an order in which control only falls downwards.

    if node == 3:                             # forward
        entry = find_3((f_..., f_...))
        ...
        node = 4

`node` is the number of the node to run next, -1 after the last. A node that all paths reach is not guarded.
"""

from __future__ import annotations

from hvchannel_softswitch.interpreter.compile_expressions import boolean, number
from hvchannel_softswitch.interpreter.compile_statements import StatementCompiler
from hvchannel_softswitch.interpreter.names import Names
from hvchannel_softswitch.interpreter.source import Source, masked
from hvchannel_softswitch.model import expressions as ex
from hvchannel_softswitch.model import statements as st
from hvchannel_softswitch.model.program import (
    Action,
    ActionCallNode,
    Conditional,
    NextByAction,
    NextByHit,
    Pipeline,
    Table,
    TableKey,
)

_END = -1


class PipelineCompiler:
    """Writes pipelines. `trace`: with calls of the tracer."""

    def __init__(self, out: Source, names: Names, statements: StatementCompiler, *, trace: bool) -> None:
        self._out = out
        self._names = names
        self._statements = statements
        self._trace = trace

    def pipeline(self, pipeline: Pipeline) -> None:
        """The whole pipeline. Afterwards nothing is known of `node`."""
        if pipeline.first is None:
            return
        numbers = {name: i for i, name in enumerate(pipeline.order)}
        pending = {numbers[pipeline.first]}  # where control may be headed, given what is written so far
        for name in pipeline.order:
            here, node = numbers[name], pipeline.nodes[name]
            if pending == {here}:
                self._out.line(f"# {name}")
                targets = self._node(node, numbers)
            else:
                with self._out.block(f"if node == {here}:  # {name}"):
                    targets = self._node(node, numbers)
                    if len(targets) == 1:
                        self._out.line(f"node = {min(targets)}")
            pending = (pending - {here}) | targets

    def _node(self, node: Table | Conditional | ActionCallNode, numbers: dict[str, int]) -> set[int]:
        """Writes a node; if it has several successors, `node` is set. Returns the successors."""
        match node:
            case Conditional():
                return self._conditional(node, numbers)
            case ActionCallNode(action=action, next=following):
                self._begin_exit(action)
                self._statements.body(action.body)
                targets = {_number(following, numbers)}
                return self._branch(
                    action, _number(following, numbers), targets | ({_END} if _exits(action) else set())
                )
            case Table():
                return self._table(node, numbers)

    def _conditional(self, node: Conditional, numbers: dict[str, int]) -> set[int]:
        yes, no = _number(node.true_next, numbers), _number(node.false_next, numbers)
        condition = boolean(node.expression, self._names)
        if self._trace:
            self._out.line(f"condition = bool({condition})")
            self._out.line(f"trace.condition({node.text!r}, condition)")
            condition = "condition"
        if yes != no:
            self._out.line(f"node = {yes} if {condition} else {no}")
        return {yes, no}

    def _table(self, table: Table, numbers: dict[str, int]) -> set[int]:
        out = self._out
        ident = self._names.identifier(table.name)
        actions = _possible(table)
        if table.keys:
            values = [self._key(key) for key in table.keys]
            keys = f"({', '.join(values)},)"
            if self._trace:
                out.line(f"keys = {keys}")
                keys = "keys"
            out.line(f"entry = find_{ident}({keys})")
            self._hit(table, ident)
        elif self._trace or table.profile or len(actions) > 1 or any(map(_takes_params, actions)):
            out.line(f"run = table_{ident}.default")
        if table.profile is not None:
            self._resolve(table.profile)
        if self._trace:
            names = tuple(key.name for key in table.keys)
            found = "keys, entry and entry.key" if table.keys else "(), None"
            call = "run.call, run.id, group" if table.profile else f"table_{ident}.action_of(run)"
            out.line(f"trace.table({table.name!r}, {names!r}, {found}, {call})")
        targets = self._targets(table, numbers)
        if isinstance(table.next, NextByHit) and len(targets) > 1:
            self._actions(table, None, targets, numbers)
            hit, miss = _number(table.next.hit, numbers), _number(table.next.miss, numbers)
            test = "entry is None" if table.keys else "True"
            out.line(f"node = {miss} if {test} else {hit}")
            if any(_exits(action) for action in actions):
                with out.block("if exited:"):
                    out.line(f"node = {_END}")
            return targets
        self._actions(table, table.next if isinstance(table.next, NextByAction) else None, targets, numbers)
        return targets

    def _resolve(self, profile: str) -> None:
        """From the entry in `run` to the member whose action runs."""
        out, calculation = self._out, self._names.program.profiles[profile].calculation
        out.line("run = run.target")
        if self._trace:
            out.line("group = None")
        if calculation is None:
            return
        with out.block("if run.buckets is not None:"):
            if self._trace:
                out.line("group = run.id")
            with out.block("if run.buckets:"):
                self._statements.calculate(calculation)
                out.line("run = run.buckets[result % len(run.buckets)]")
            with out.block("else:"):
                out.line("run = nothing")

    def _hit(self, table: Table, ident: str) -> None:
        out = self._out
        with out.block("if entry is None:"):
            out.line(f"run = table_{ident}.default")
        with out.block("else:"):
            out.line("run = entry")
            if table.support_timeout:
                out.line("entry.hit = now()")
            if table.with_counters:
                out.line("entry.packets += 1")
                out.line("entry.bytes += size")
            if table.direct_meter is not None:
                meter = self._names.program.meters[table.direct_meter]
                assert meter.target is not None
                out.line("meter = entry.meter")
                self._statements.store(meter.target, self._statements.meter_colour("meter", meter.unit))

    def _actions(
        self, table: Table, following: NextByAction | None, targets: set[int], numbers: dict[str, int]
    ) -> None:
        """Runs the action of `run`; sets `node` too if `following` is given and there are several targets."""
        out = self._out
        actions = _possible(table)
        if any(_exits(action) for action in actions):
            out.line("exited = False")
        several = len(actions) > 1
        if table.profile is not None:
            # Tables that share a profile may list its actions in different orders, so their names tell.
            out.line("action = run.name")
        elif several:
            out.line("action = run.action")
        for i, action in enumerate(actions):
            start = "el" if i else ""
            if table.profile is not None:
                header = f"{start}if action == {action.name!r}:"
            elif several:
                header = f"{start}if action == {i}:  # {action.name}"
            else:
                header = f"if True:  # {action.name}"
            with out.block(header):
                if _takes_params(action):
                    out.line(f"{''.join(f'p{n}, ' for n in range(len(action.params)))}= run.args")
                self._statements.body(action.body)
                if following is not None and len(targets) > 1:
                    self._branch(action, _number(following.nodes[action.id], numbers), targets)
        if table.profile is not None and following is not None and len(targets) > 1:
            default = table.action(table.default_action.name)
            with out.block("else:"):  # an empty group does nothing, like a miss (P4Runtime 9.2.3)
                out.line(f"node = {_number(following.nodes[default.id], numbers)}")

    def _branch(self, action: Action, target: int, targets: set[int]) -> set[int]:
        if len(targets) > 1:
            self._out.line(f"node = {_END} if exited else {target}" if _exits(action) else f"node = {target}")
        return targets

    def _begin_exit(self, action: Action) -> None:
        if _exits(action):
            self._out.line("exited = False")

    @staticmethod
    def _targets(table: Table, numbers: dict[str, int]) -> set[int]:
        if isinstance(table.next, NextByAction):
            targets = {_number(table.next.nodes[action.id], numbers) for action in table.actions}
        else:
            targets = {_number(table.next.hit, numbers), _number(table.next.miss, numbers)}
        return targets | {_END} if any(_exits(action) for action in _possible(table)) else targets

    def _key(self, key: TableKey) -> str:
        code = number(key.source, self._names)
        inner = key.source.left if isinstance(key.source, ex.Binary) else key.source
        text = masked(code, key.width)
        # A field of an invalid header matches as 0 (as in simple_switch), whatever was written to it.
        if isinstance(inner, ex.FieldRef):
            header = self._names.program.headers[inner.header]
            if not header.metadata:
                return f"({text} if {self._names.valid(header.name)} else 0)"
        return text


def _number(name: str | None, numbers: dict[str, int]) -> int:
    return _END if name is None else numbers[name]


def _possible(table: Table) -> tuple[Action, ...]:
    """The actions that can run; p4c wraps statements of a control in tables that have but one."""
    if not table.keys and table.default_const:
        return (table.action(table.default_action.name),)
    return table.actions


def _takes_params(action: Action) -> bool:
    return any(_uses_params(statement) for statement in action.body)


def _exits(action: Action) -> bool:
    return any(isinstance(statement, st.Exit) for statement in action.body)


def _uses_params(part: object) -> bool:
    if isinstance(part, ex.ParamRef):
        return True
    if isinstance(part, tuple):
        return any(_uses_params(item) for item in part)
    if hasattr(part, "__dataclass_fields__"):
        return any(_uses_params(getattr(part, name)) for name in part.__dataclass_fields__)
    return False
