# SPDX-License-Identifier: Apache-2.0
"""The type of a digest's message, and its values as P4Data (section "DigestEntry")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from finsy.proto import p4d, p4i, p4t

from hvchannel_softswitch.p4runtime.data_types import DataField, read_field


class Shape(Enum):
    """What holds the members of a digest's message."""

    STRUCT = "struct"
    TUPLE = "tuple"
    BARE = "bare"


@dataclass(frozen=True, slots=True)
class Digest:
    """A digest and its members in order; a BARE one has a single member, the message itself."""

    id: int
    name: str
    full_name: str
    fields: tuple[DataField, ...]
    shape: Shape

    def message(self, values: Sequence[int]) -> p4d.P4Data:
        """The values, unsigned and in the order of the members, as one P4Data."""
        members = [field.encode(value) for field, value in zip(self.fields, values, strict=True)]
        if self.shape is Shape.STRUCT:
            return p4d.P4Data(struct=p4d.P4StructLike(members=members))
        if self.shape is Shape.TUPLE:
            return p4d.P4Data(tuple=p4d.P4StructLike(members=members))
        return members[0]


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
    fields = tuple(read_field(f"digest {name!r}", member, kind, types) for member, kind in members)
    return Digest(digest.preamble.id, name, digest.preamble.name, fields, shape)
