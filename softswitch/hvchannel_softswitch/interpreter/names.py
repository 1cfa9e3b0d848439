# SPDX-License-Identifier: Apache-2.0
"""The local variables that hold a packet's headers while the generated function runs.

For a header `h`: `v_h` is its validity (0 or 1), `r_h` its bits as a number as they were extracted, and
`f_h__x` its field x. Only fields that the program looks at have a variable of their own; the others live in
`r_h` and go out as they came in. Which those are is known only once all code has been written, so it is
written twice (see `generate`). For a stack `s`: `n_s` is the index of its next header. A header with
a varbit field has `l_h`, the bits of that field; all its fields have variables, unless it goes out as it came
in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TypeAlias

from hvchannel_softswitch.interpreter.source import Source
from hvchannel_softswitch.model import Program
from hvchannel_softswitch.model.headers import FieldType, Header, HeaderType

FieldId: TypeAlias = tuple[str, str]
"""A field by its header type and name: what holds for one instance holds for all, since they can be
copied."""


@dataclass(slots=True)
class Usage:
    """What the code does to fields and header types (by name), as far as it has been written."""

    used: set[FieldId] = field(default_factory=set)
    written: set[FieldId] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)
    """Types with an instance that is copied or made valid: their bits do not always come from the packet."""
    compared: set[str] = field(default_factory=set)
    """Types with an instance that is compared as a whole."""
    truncates: bool = False
    """Whether some action truncates the packet."""


class Names:
    """Names of variables, and code that treats headers as a whole. `known` is the usage found by an earlier
    pass."""

    def __init__(self, program: Program, known: Usage) -> None:
        self.program = program
        self.known = known
        self.found = Usage()
        self._identifiers = identifiers(program)

    def identifier(self, name: str) -> str:
        """A Python identifier for a P4 name, one and the same each time."""
        return self._identifiers[name]

    def field(self, header: str, name: str) -> str:
        """The variable of a field, for reading."""
        self.found.used.add((self.program.headers[header].type.name, name))
        return self._field(header, name)

    def target(self, header: str, name: str) -> str:
        """The variable of a field, for writing."""
        self.found.written.add((self.program.headers[header].type.name, name))
        return self.field(header, name)

    def standard(self, name: str) -> str | None:
        """The variable of a standard metadata field for the architecture to fill; None if the program has no
        use for it."""
        ref = self.program.standard.get(name)
        if ref is None or (self.program.headers[ref.header].type.name, ref.field) not in self.known.used:
            return None
        return self._field(ref.header, ref.field)

    def valid(self, header: str) -> str:
        """The validity of a header, 0 or 1."""
        if self.program.headers[header].metadata:
            return "1"
        return f"v_{self.identifier(header)}"

    def raw(self, header: str) -> str:
        """The bits of a header as extracted."""
        return f"r_{self.identifier(header)}"

    def wire(self, header: str) -> str:
        """The bytes of a header as extracted, for a type that goes out as it came in."""
        return f"b_{self.identifier(header)}"

    def verbatim(self, header_type: HeaderType) -> bool:
        """Whether headers of that type, if valid, go out as they came in: nothing in the program changes
        their bits."""
        written = any(type_name == header_type.name for type_name, _ in self.known.written)
        return not written and header_type.name not in self.known.changed

    def needs_raw(self, header: Header) -> bool:
        """Whether the raw bits are looked at other than just after extraction."""
        return not self.verbatim(header.type) or header.type.name in self.known.compared

    def next_of(self, stack: str) -> str:
        """The index of a stack's next header."""
        return f"n_{self.identifier(self.program.stacks[stack].position)}"

    def positions(self) -> list[str]:
        """The indices of all stacks."""
        return sorted({self.next_of(stack) for stack in self.program.stacks})

    def varbit_length(self, header: str) -> str:
        """The bits that a header's varbit field has."""
        return f"l_{self.identifier(header)}"

    def octets(self, header: Header) -> str:
        """The bytes that a header takes on the wire."""
        fixed = str(header.type.width // 8)
        return (
            fixed if header.type.varbit is None else f"({fixed} + ({self.varbit_length(header.name)} >> 3))"
        )

    def live(self, header_type: HeaderType) -> list[FieldType]:
        """The fields of a type that have variables."""
        if header_type.varbit is not None and not self.verbatim(header_type):
            return list(header_type.fields)
        return [f for f in header_type.fields if (header_type.name, f.name) in self.known.used]

    def _field(self, header: str, name: str) -> str:
        return f"f_{self.identifier(header)}__{self.identifier(name)}"

    @property
    def truncates(self) -> bool:
        """Whether the packet may be truncated."""
        return self.known.truncates

    def variables(self, header: Header) -> list[str]:
        """All variables of a header but its validity."""
        fields = [self._field(header.name, f.name) for f in self.live(header.type)]
        if header.type.varbit is not None:
            fields.insert(0, self.varbit_length(header.name))
        return fields if header.metadata else [self.raw(header.name), *fields]

    def state(self) -> list[str]:
        """All variables of all headers and stacks."""
        found = []
        for header in self.program.headers.values():
            if not header.metadata:
                found.append(self.valid(header.name))
            if not header.metadata and self.verbatim(header.type):
                found.append(self.wire(header.name))
            raw = None if self.needs_raw(header) else self.raw(header.name)
            found += [variable for variable in self.variables(header) if variable != raw]
        return found + self.positions()

    def unpack(self, out: Source, header: Header) -> None:
        """Fills the fields' variables from the raw bits."""
        raw, varbit = self.raw(header.name), header.type.varbit
        for f in self.live(header.type):
            shift = self._shift(header, f)
            bits = f"{raw} >> {shift}" if shift else raw
            if f.varbit:
                bits = f"{bits} & (1 << {self.varbit_length(header.name)}) - 1"
            elif varbit is not None or f.shift + f.width < header.type.width:
                bits = f"{bits} & {(1 << f.width) - 1:#x}"
            if f.signed:
                sign = 1 << (f.width - 1)
                bits = f"(({bits}) ^ {sign:#x}) - {sign:#x}"
            out.line(f"{self._field(header.name, f.name)} = {bits}")

    def _shift(self, header: Header, f: FieldType) -> str:
        """A field's distance from its header's end; those before a varbit field are the further away for
        it."""
        varbit, fixed = header.type.varbit, str(f.shift) if f.shift else ""
        place = header.type.fields.index
        if varbit is None or place(f) >= place(varbit):
            return fixed
        return f"({fixed or 0} + {self.varbit_length(header.name)})"

    def packed(self, header: Header) -> str:
        """An expression for the header's bits with all that was written to its fields."""
        kept = (1 << header.type.width) - 1
        parts = []
        for f in self.live(header.type):
            if (header.type.name, f.name) not in self.known.written and header.type.varbit is None:
                continue
            full = (1 << f.width) - 1
            kept &= ~(full << f.shift)
            value = self._field(header.name, f.name)
            if f.signed:
                value = f"({value} & {full:#x})"
            shift = self._shift(header, f)
            parts.append(f"{value} << {shift}" if shift else value)
        if not parts:
            return self.raw(header.name)
        if kept and header.type.varbit is None:
            parts.insert(0, f"{self.raw(header.name)} & {kept:#x}")
        return " | ".join(parts)

    def clear(self, out: Source, header: Header) -> None:
        """All bits of a header to zero."""
        out.line(" = ".join([*self.variables(header), "0"]))

    def copy(self, out: Source, target: Header, value: Header) -> None:
        """All bits of a header from another of the same type."""
        self.found.changed.add(target.type.name)
        for to, origin in zip(self.variables(target), self.variables(value), strict=True):
            out.line(f"{to} = {origin}")


def identifiers(program: Program) -> dict[str, str]:
    """A Python identifier for every name in the program, different ones for different names."""
    fields = (f.name for header in program.headers.values() for f in header.type.fields)
    chosen: dict[str, str] = {}
    taken: set[str] = set()
    for name in (
        *program.headers,
        *program.stacks,
        *program.tables,
        *program.counters,
        *program.meters,
        *program.registers,
        *program.calculations,
        *program.value_sets,
        *(stack.position for stack in program.stacks.values()),
        *fields,
    ):
        if name in chosen:
            continue
        identifier = re.sub(r"\W", "_", name)
        while identifier in taken:
            identifier += "_"
        taken.add(identifier)
        chosen[name] = identifier
    return chosen
