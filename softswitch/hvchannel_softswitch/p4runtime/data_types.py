# SPDX-License-Identifier: Apache-2.0
"""Values of a P4 type as P4Data and back (section "P4Data in p4runtime.proto"); integers to the engine, always."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from finsy.proto import p4d, p4t

from hvchannel_softswitch.p4runtime.errors import Code, P4RuntimeError, invalid
from hvchannel_softswitch.p4runtime.values import signed_to_bytes, to_bytes, to_int


class FieldType(Enum):
    """What a value is; all of them are integers to the engine."""

    BIT = "bit"
    INT = "int"
    BOOL = "bool"
    ENUM = "serializable enum"


_WIRE_FIELDS = {
    FieldType.BIT: "bitstring",
    FieldType.INT: "bitstring",
    FieldType.BOOL: "bool",
    FieldType.ENUM: "enum_value",
}


@dataclass(frozen=True, slots=True)
class DataField:
    """One value; `width` in bits (1 for a bool)."""

    name: str
    width: int
    type: FieldType

    def encode(self, value: int) -> p4d.P4Data:
        """From the engine's unsigned integer."""
        match self.type:
            case FieldType.BOOL:
                return p4d.P4Data(bool=bool(value))
            case FieldType.ENUM:
                return p4d.P4Data(enum_value=to_bytes(value))
            case FieldType.INT:
                sign = 1 << (self.width - 1)
                return p4d.P4Data(bitstring=signed_to_bytes((value ^ sign) - sign))
            case FieldType.BIT:
                return p4d.P4Data(bitstring=to_bytes(value))

    def decode(self, data: p4d.P4Data, what: str) -> int:
        """To the engine's unsigned integer. Raises INVALID_ARGUMENT for data of another type, OUT_OF_RANGE for
        a value too wide."""
        given, wanted = data.WhichOneof("data"), _WIRE_FIELDS[self.type]
        if given != wanted:
            raise invalid(
                f"{what} is a {self.type.value}<{self.width}>: it takes {wanted!r}, not {given or 'unset'!r}"
            )
        match self.type:
            case FieldType.BOOL:
                return int(data.bool)
            case FieldType.ENUM:
                return to_int(data.enum_value, self.width, what)
            case FieldType.INT:
                return self._signed(data.bitstring, what)
            case FieldType.BIT:
                return to_int(data.bitstring, self.width, what)

    def _signed(self, data: bytes, what: str) -> int:
        value = int.from_bytes(data, "big", signed=True)
        if not data or not -(1 << self.width) <= 2 * value < 1 << self.width:
            raise P4RuntimeError(
                Code.OUT_OF_RANGE, f"{what} value 0x{data.hex()} does not fit in {self.width} bits, signed"
            )
        return value & ((1 << self.width) - 1)


def read_field(owner: str, name: str, spec: p4t.P4DataTypeSpec, types: p4t.P4TypeInfo) -> DataField:
    """The field of a type spec; `owner` ("digest 'x'") is for the error.

    Raises INVALID_ARGUMENT for a type that is not one integer.
    """
    if spec.HasField("bool"):
        return DataField(name, 1, FieldType.BOOL)
    if spec.HasField("new_type"):
        return read_field(owner, name, types.new_types[spec.new_type.name].original_type, types)
    if spec.HasField("serializable_enum"):
        width = types.serializable_enums[spec.serializable_enum.name].underlying_type.bitwidth
        return DataField(name, width, FieldType.ENUM)
    if spec.bitstring.HasField("bit"):
        return DataField(name, spec.bitstring.bit.bitwidth, FieldType.BIT)
    if spec.bitstring.HasField("int"):
        return DataField(name, spec.bitstring.int.bitwidth, FieldType.INT)
    raise invalid(
        f"member {name!r} of {owner} has a type this switch cannot send (valid: {_listed(FieldType)})"
    )


def _listed(kinds: Iterable[FieldType]) -> str:
    return ", ".join(kind.value for kind in kinds)
