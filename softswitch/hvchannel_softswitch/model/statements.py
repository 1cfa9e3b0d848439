# SPDX-License-Identifier: Apache-2.0
"""What actions and parser states do. P4_14's primitives are spelled as assignments by the time they are
here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from hvchannel_softswitch.model.expressions import (
    ElementField,
    Expression,
    FieldRef,
    HeaderRef,
    StackElement,
)

LValue: TypeAlias = FieldRef | ElementField


@dataclass(frozen=True, slots=True)
class Assign:
    """Store a number, truncated to the target's width."""

    target: LValue
    value: Expression


@dataclass(frozen=True, slots=True)
class AssignVarbit:
    """Copy a varbit field, its length too."""

    target: FieldRef
    value: FieldRef


@dataclass(frozen=True, slots=True)
class AssignHeader:
    """Copy validity and, if valid, all fields."""

    target: HeaderRef | StackElement
    value: HeaderRef | StackElement


@dataclass(frozen=True, slots=True)
class AssignStack:
    """Copy every header and the position of the last one."""

    target: str
    value: str


@dataclass(frozen=True, slots=True)
class SetValid:
    """Make a header valid, its fields zero if it was not."""

    header: HeaderRef | StackElement


@dataclass(frozen=True, slots=True)
class SetInvalid:
    """Make a header invalid."""

    header: HeaderRef | StackElement


@dataclass(frozen=True, slots=True)
class PushFront:
    """Shift a stack by `count` towards its end; the first `count` headers become invalid."""

    stack: str
    count: int


@dataclass(frozen=True, slots=True)
class PopFront:
    """Shift a stack by `count` towards its front; the last `count` headers become invalid."""

    stack: str
    count: int


@dataclass(frozen=True, slots=True)
class Jump:
    """Go on at statement `target` of the action, if `condition`, a number, is 0 or None."""

    target: int
    condition: Expression | None


@dataclass(frozen=True, slots=True)
class Exit:
    """End the pipeline after this action."""


@dataclass(frozen=True, slots=True)
class MarkToDrop:
    """Drop at the end of this pipeline, unless egress_spec is assigned afterwards."""


@dataclass(frozen=True, slots=True)
class GenerateDigest:
    """Send a learn list at the end of ingress, with the values its fields have then."""

    learn_list: str


@dataclass(frozen=True, slots=True)
class Count:
    """Count this packet in a cell of an indirect counter; nothing happens out of its bounds."""

    counter: str
    index: Expression


@dataclass(frozen=True, slots=True)
class ExecuteMeter:
    """Run a cell of an indirect meter and store the colour; nothing happens out of its bounds."""

    meter: str
    index: Expression
    target: LValue


@dataclass(frozen=True, slots=True)
class RegisterRead:
    """Store a register's cell; out of its bounds the target keeps its value."""

    register: str
    index: Expression
    target: LValue


@dataclass(frozen=True, slots=True)
class RegisterWrite:
    """Write a register's cell; nothing happens out of its bounds."""

    register: str
    index: Expression
    value: Expression


@dataclass(frozen=True, slots=True)
class CalculationPart:
    """A field (or constant) of `width` bits in a calculation's input, left out while `header` is invalid. A
    `varbit` field counts with the bits it has."""

    value: Expression
    width: int
    header: str | None
    varbit: bool = False


@dataclass(frozen=True, slots=True)
class Calculation:
    """A hash over its parts, laid end to end and padded with zeros to whole bytes, then the unparsed rest of
    the packet if `payload`."""

    name: str
    algorithm: str
    parts: tuple[CalculationPart, ...]
    payload: bool


@dataclass(frozen=True, slots=True)
class Hash:
    """Store `base + hash % size`, or `base` when size is 0."""

    target: LValue
    base: Expression
    calculation: Calculation
    size: Expression


@dataclass(frozen=True, slots=True)
class Random:
    """Store a uniform number from `low` to `high`; nothing happens if low > high."""

    target: LValue
    low: Expression
    high: Expression


@dataclass(frozen=True, slots=True)
class LogMessage:
    """Log at info level; each `{}` of `format` takes the next value."""

    format: str
    values: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """`assert` or `assume`: logged when `condition`, a boolean, does not hold; the packet goes on."""

    kind: str
    condition: Expression


@dataclass(frozen=True, slots=True)
class Truncate:
    """Cut the frame to `length` bytes as it leaves."""

    length: Expression


@dataclass(frozen=True, slots=True)
class Clone:
    """Clone the packet at the end of this pipeline to a session, keeping the fields of a field list (0:
    none)."""

    session: Expression
    field_list: int


@dataclass(frozen=True, slots=True)
class Resubmit:
    """Run ingress again at its end, on the packet as it came in, keeping the fields of a field list."""

    field_list: int


@dataclass(frozen=True, slots=True)
class Recirculate:
    """Run the packet again at the end of egress, as it would be sent, keeping the fields of a field list."""

    field_list: int


Statement: TypeAlias = (
    Assign
    | AssignVarbit
    | AssignHeader
    | AssignStack
    | SetValid
    | SetInvalid
    | PushFront
    | PopFront
    | Jump
    | Exit
    | MarkToDrop
    | GenerateDigest
    | Count
    | ExecuteMeter
    | RegisterRead
    | RegisterWrite
    | Hash
    | Random
    | LogMessage
    | Check
    | Truncate
    | Clone
    | Resubmit
    | Recirculate
)


@dataclass(frozen=True, slots=True)
class Extract:
    """Extract a header at the parser's position; error.PacketTooShort if it does not fit. `varbit`: the bits
    of its varbit field, a multiple of 8 (else error.ParserInvalidArgument) and no more than it can have (else
    error.HeaderTooShort)."""

    header: str
    varbit: Expression | None = None


@dataclass(frozen=True, slots=True)
class ExtractNext:
    """Extract to the next header of a stack; error.StackOutOfBounds if it is full. `varbit`: as in Extract."""

    stack: str
    varbit: Expression | None = None


@dataclass(frozen=True, slots=True)
class Verify:
    """Stop parsing with the error number `error` unless `condition`, a boolean, holds."""

    condition: Expression
    error: Expression


@dataclass(frozen=True, slots=True)
class Advance:
    """Skip bits, a multiple of 8; error.PacketTooShort or error.ParserInvalidArgument otherwise."""

    bits: Expression


ParserOp: TypeAlias = Extract | ExtractNext | Verify | Advance | Statement
