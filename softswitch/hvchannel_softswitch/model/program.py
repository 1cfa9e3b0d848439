# SPDX-License-Identifier: Apache-2.0
"""The parts of a loaded program. Widths are in bits, names are those of the JSON (p4c's, fully qualified)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import TypeAlias

from hvchannel_softswitch.engine import ActionCall, Entry
from hvchannel_softswitch.model.expressions import Expression, FieldRef
from hvchannel_softswitch.model.headers import Header, HeaderStack
from hvchannel_softswitch.model.statements import Calculation, ParserOp, Statement


class MatchKind(Enum):
    """How a key of a table matches; each has its class in `engine` (Exact, Lpm, ...)."""

    EXACT = "exact"
    LPM = "lpm"
    TERNARY = "ternary"
    RANGE = "range"
    OPTIONAL = "optional"


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of an action, filled by the table entry."""

    name: str
    width: int


@dataclass(frozen=True, slots=True)
class Action:
    """An action; `id` tells apart the copies of one name (p4c repeats `NoAction`)."""

    name: str
    id: int
    params: tuple[Param, ...]
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class TableKey:
    """One key of a table. `name` is the `@name` or the P4 expression; `source` what is looked up."""

    name: str
    width: int
    kind: MatchKind
    source: Expression


@dataclass(frozen=True, slots=True)
class NextByAction:
    """The node after a table, by the action that ran (its id); None ends the pipeline."""

    nodes: Mapping[int, str | None]


@dataclass(frozen=True, slots=True)
class NextByHit:
    """The node after a table, by hit or miss; None ends the pipeline."""

    hit: str | None
    miss: str | None


@dataclass(frozen=True, slots=True)
class Table:
    """A match-action table.

    `default_action` is the program's own; `default_const` says that the control plane may not change it.
    `entries` are there from the start. `const_entries` are the same where they make the table immutable, else
    None: the control plane fills the table (see `with_mutable_entries`). `profile` names the action profile
    that the entries' members and groups are in; None where entries hold actions.
    `direct_meter` names a meter, `direct_counter` a counter, that has one cell per entry.
    """

    name: str
    id: int
    keys: tuple[TableKey, ...]
    actions: tuple[Action, ...]
    max_size: int
    default_action: ActionCall
    default_const: bool
    entries: tuple[Entry, ...]
    const_entries: tuple[Entry, ...] | None
    profile: str | None
    with_counters: bool
    direct_counter: str | None
    direct_meter: str | None
    support_timeout: bool
    next: NextByAction | NextByHit

    @property
    def has_priority(self) -> bool:
        """Whether entries carry a priority: some key is ternary, range or optional (P4Runtime 9.1.1)."""
        return any(k.kind in (MatchKind.TERNARY, MatchKind.RANGE, MatchKind.OPTIONAL) for k in self.keys)

    def action(self, name: str) -> Action:
        """The table's action of that name. Raises KeyError."""
        for action in self.actions:
            if action.name == name:
                return action
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class Conditional:
    """A branch of a pipeline; a next of None ends the pipeline. `text` is the P4 source, for traces."""

    name: str
    expression: Expression
    true_next: str | None
    false_next: str | None
    text: str


@dataclass(frozen=True, slots=True)
class ActionCallNode:
    """A direct call of an action without parameters."""

    name: str
    action: Action
    next: str | None


Node: TypeAlias = Table | Conditional | ActionCallNode


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A control as a graph of nodes without cycles; `order` lists every reachable node before its
    successors."""

    name: str
    first: str | None
    nodes: Mapping[str, Node]
    order: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """A `select` case: matches when `key & mask == value`. The key is its fields, each padded to whole
    bytes."""

    value: int
    mask: int
    next: str | None


@dataclass(frozen=True, slots=True)
class ValueSetCase:
    """A `select` case: matches when the key, its fields without padding, is a member of the value set."""

    value_set: str
    next: str | None


@dataclass(frozen=True, slots=True)
class KeyPart:
    """One field of a select key, its width, and the bits (whole bytes) it takes there."""

    source: Expression
    width: int
    bits: int


@dataclass(frozen=True, slots=True)
class ParseState:
    """A state of the parser. `key` and `cases` are empty for a plain transition; `default` is the next state
    then, or when no case matches: a name, None for accept, and `NO_MATCH` if the program gives no default."""

    name: str
    ops: tuple[ParserOp, ...]
    key: tuple[KeyPart, ...]
    cases: tuple[Case | ValueSetCase, ...]
    default: str | None


NO_MATCH = "\0no match"
"""The default of a state without one: the packet goes on with error.NoMatch."""


@dataclass(frozen=True, slots=True)
class Parser:
    """A parser; `order` lists every reachable state, before its successors wherever there is no loop."""

    name: str
    first: str | None
    states: Mapping[str, ParseState]
    order: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Checksum:
    """A checksum to verify after the parser, or to update before the deparser, when `condition` holds."""

    name: str
    target: FieldRef
    calculation: Calculation
    condition: Expression | None


@dataclass(frozen=True, slots=True)
class Counter:
    """Packets and bytes, `size` cells; a direct counter has one per entry of the table `binding`."""

    name: str
    size: int
    is_direct: bool
    binding: str | None


class MeterUnit(Enum):
    """What a meter's rates and bursts count."""

    BYTES = "bytes"
    PACKETS = "packets"


@dataclass(frozen=True, slots=True)
class Meter:
    """Two-rate three-colour meters (RFC 2698), `size` cells; a direct meter has one per entry of the table
    `binding`, and its colour (0 green, 1 yellow, 2 red) goes to `target` before the entry's action runs."""

    name: str
    size: int
    unit: MeterUnit
    is_direct: bool
    binding: str | None
    target: FieldRef | None


@dataclass(frozen=True, slots=True)
class Register:
    """`size` cells of `width` bits."""

    name: str
    size: int
    width: int


@dataclass(frozen=True, slots=True)
class LearnList:
    """The fields of a digest, in order. `widths` are their widths."""

    name: str
    id: int
    elements: tuple[Expression, ...]
    widths: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FieldList:
    """The fields that a clone, a resubmitted or a recirculated packet keeps."""

    id: int
    fields: tuple[FieldRef, ...]


@dataclass(frozen=True, slots=True)
class ValueSet:
    """A parser value set of at most `size` members; `widths` are those of the select keys it is compared
    with."""

    name: str
    widths: tuple[int, ...]
    size: int


@dataclass(frozen=True, slots=True)
class ActionProfile:
    """Up to `size` members that the entries of tables refer to; with a `calculation`, groups of them too: its
    result selects the member."""

    name: str
    size: int
    calculation: Calculation | None

    @property
    def selector(self) -> bool:
        """Whether there are groups."""
        return self.calculation is not None


@dataclass(frozen=True, slots=True)
class Program:
    """A whole program, checked. `standard` maps simple_switch's names of its metadata fields ("egress_spec",
    ...) to the program's fields; a name that the program does not have is absent."""

    name: str
    headers: Mapping[str, Header]
    stacks: Mapping[str, HeaderStack]
    errors: Mapping[str, int]
    standard: Mapping[str, FieldRef]
    parser: Parser
    verify: tuple[Checksum, ...]
    ingress: Pipeline
    egress: Pipeline
    update: tuple[Checksum, ...]
    deparse: tuple[str, ...]
    tables: Mapping[str, Table]
    actions: tuple[Action, ...]
    counters: Mapping[str, Counter]
    meters: Mapping[str, Meter]
    registers: Mapping[str, Register]
    learn_lists: Mapping[str, LearnList]
    calculations: Mapping[str, Calculation]
    field_lists: Mapping[int, FieldList]
    value_sets: Mapping[str, ValueSet]
    profiles: Mapping[str, ActionProfile]

    def with_mutable_entries(self, tables: Collection[str]) -> Program:
        """The program with the entries of these tables as mere first content, which the control plane may change.

        p4c writes `entries` and `const entries` alike, and so both are const here, as in simple_switch; only
        P4Info tells them apart (`has_initial_entries` without `is_const_table`).
        """

        def released(table: Table) -> Table:
            if table.name not in tables or table.const_entries is None:
                return table
            entries = tuple(replace(entry, is_const=False) for entry in table.entries)
            return replace(table, entries=entries, const_entries=None)

        def pipeline(old: Pipeline) -> Pipeline:
            nodes = {n: released(node) if isinstance(node, Table) else node for n, node in old.nodes.items()}
            return replace(old, nodes=nodes)

        return replace(
            self,
            tables={name: released(table) for name, table in self.tables.items()},
            ingress=pipeline(self.ingress),
            egress=pipeline(self.egress),
        )
