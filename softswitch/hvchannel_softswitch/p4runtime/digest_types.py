# SPDX-License-Identifier: Apache-2.0
"""The type of a digest's message, and its values as P4Data (sections "DigestEntry" and "P4Data in
p4runtime.proto")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from finsy.proto import p4d, p4i, p4t

from hvchannel_softswitch.p4runtime.errors import invalid
from hvchannel_softswitch.p4runtime.values import signed_to_bytes, to_bytes


class Shape(Enum):
    """What holds the members of a digest's message."""

    STRUCT = "struct"
    TUPLE = "tuple"
    BARE = "bare"


class FieldType(Enum):
    """What a member is; all of them are integers to the engine."""

    BIT = "bit"
    INT = "int"
    BOOL = "bool"
    ENUM = "serializable enum"


@dataclass(frozen=True, slots=True)
class DigestField:
    """One member; `width` in bits (1 for a bool)."""

    name: str
    width: int
    type: FieldType


@dataclass(frozen=True, slots=True)
class Digest:
    """A digest and its members in order; a BARE one has a single member, the message itself."""

    id: int
    name: str
    full_name: str
    fields: tuple[DigestField, ...]
    shape: Shape

    def message(self, values: Sequence[int]) -> p4d.P4Data:
        """The values, unsigned and in the order of the members, as one P4Data."""
        members = [_data(field, value) for field, value in zip(self.fields, values, strict=True)]
        if self.shape is Shape.STRUCT:
            return p4d.P4Data(struct=p4d.P4StructLike(members=members))
        if self.shape is Shape.TUPLE:
            return p4d.P4Data(tuple=p4d.P4StructLike(members=members))
        return members[0]


def _data(field: DigestField, value: int) -> p4d.P4Data:
    match field.type:
        case FieldType.BOOL:
            return p4d.P4Data(bool=bool(value))
        case FieldType.ENUM:
            return p4d.P4Data(enum_value=to_bytes(value))
        case FieldType.INT:
            sign = 1 << (field.width - 1)
            return p4d.P4Data(bitstring=signed_to_bytes((value ^ sign) - sign))
        case FieldType.BIT:
            return p4d.P4Data(bitstring=to_bytes(value))


def read_digest(digest: p4i.Digest, types: p4t.P4TypeInfo) -> Digest:
    """Raises INVALID_ARGUMENT for a message of a type that no digest can carry here."""
    name = digest.preamble.alias or digest.preamble.name
    spec = digest.type_spec
    if spec.HasField("struct"):
        shape = Shape.STRUCT
        members = [(m.name, m.type_spec) for m in types.structs[spec.struct.name].members]
    elif spec.HasField("tuple"):
        shape = Shape.TUPLE
        members = [(f"f{index}", member) for index, member in enumerate(spec.tuple.members)]
    else:
        shape = Shape.BARE
        members = [(name, spec)]
    fields = tuple(_field(name, member, kind, types) for member, kind in members)
    return Digest(digest.preamble.id, name, digest.preamble.name, fields, shape)


def _field(digest: str, name: str, spec: p4t.P4DataTypeSpec, types: p4t.P4TypeInfo) -> DigestField:
    if spec.HasField("bool"):
        return DigestField(name, 1, FieldType.BOOL)
    if spec.HasField("new_type"):
        return _field(digest, name, types.new_types[spec.new_type.name].original_type, types)
    if spec.HasField("serializable_enum"):
        width = types.serializable_enums[spec.serializable_enum.name].underlying_type.bitwidth
        return DigestField(name, width, FieldType.ENUM)
    if spec.bitstring.HasField("bit"):
        return DigestField(name, spec.bitstring.bit.bitwidth, FieldType.BIT)
    if spec.bitstring.HasField("int"):
        return DigestField(name, spec.bitstring.int.bitwidth, FieldType.INT)
    raise invalid(
        f"member {name!r} of digest {digest!r} has a type this switch cannot send "
        f"(valid: {', '.join(kind.value for kind in FieldType)})"
    )
