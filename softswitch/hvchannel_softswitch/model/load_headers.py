# SPDX-License-Identifier: Apache-2.0
"""header_types, headers, header_stacks, header_unions, errors, field_aliases."""

from __future__ import annotations

from hvchannel_softswitch.model.headers import MAX_BITS, FieldType, Header, HeaderStack, HeaderType
from hvchannel_softswitch.model.reader import Place, choices
from hvchannel_softswitch.model.scope import Scope, look_up

STANDARD_METADATA = "standard_metadata"

CORE_ERRORS = (
    "NoError",
    "PacketTooShort",
    "NoMatch",
    "StackOutOfBounds",
    "HeaderTooShort",
    "ParserTimeout",
    "ParserInvalidArgument",
)
"""core.p4's errors; a program that declares none of its own may leave the list out."""

STANDARD_FIELDS = (
    "ingress_port",
    "egress_spec",
    "egress_port",
    "instance_type",
    "packet_length",
    "enq_timestamp",
    "enq_qdepth",
    "deq_timedelta",
    "deq_qdepth",
    "ingress_global_timestamp",
    "egress_global_timestamp",
    "mcast_grp",
    "egress_rid",
    "checksum_error",
    "parser_error",
)
"""The metadata that simple_switch sets or heeds (docs/simple_switch.md of behavioral-model)."""


def load_headers(root: Place, scope: Scope) -> None:
    """Fills the scope's headers, stacks, unions, errors and standard metadata."""
    types = {
        place.at("name").string(): _header_type(place)
        for place in root.objects("header_types", "header type")
    }
    by_id: dict[int, str] = {}
    for place in root.objects("headers", "header"):
        name = place.at("name").string()
        metadata = place.maybe("metadata")
        header_type = look_up(types, place.at("header_type"), "header type")
        scope.headers[name] = Header(name, header_type, metadata is not None and metadata.boolean())
        by_id[place.at("id").integer()] = name
    for place in root.objects("header_stacks", "header stack"):
        name = place.at("name").string()
        members = tuple(_member(scope, by_id, item) for item in place.at("header_ids").items())
        if not members:
            place.malformed("a stack needs at least one header")
        if len({scope.headers[member].type.name for member in members}) > 1:
            place.malformed("its headers are of several types")
        scope.stacks[name] = HeaderStack(name, scope.headers[members[0]].type, members, position=name)
    unions: dict[int, str] = {}
    for place in root.objects("header_unions", "header union"):
        if (ident := place.maybe("id")) is not None:
            unions[ident.integer()] = place.at("name").string()
        members = tuple(_member(scope, by_id, item) for item in place.at("header_ids").items())
        scope.unions[place.at("name").string()] = members
        for member in members:
            old = scope.headers[member]
            peers = tuple(other for other in members if other != member)
            scope.headers[member] = Header(old.name, old.type, old.metadata, peers)
    for place in root.objects("header_union_stacks", "header union stack"):
        _union_stack(place, unions, scope)
    _load_errors(root, scope)
    _load_standard(root, scope)


def _union_stack(place: Place, unions: dict[int, str], scope: Scope) -> None:
    """A stack of unions is a stack of headers for each member of the union."""
    name, elements = place.at("name").string(), []
    for item in place.at("header_union_ids").items():
        if item.integer() not in unions:
            item.malformed(f"no header union has the id {item.value}")
        elements.append(scope.unions[unions[item.integer()]])
    if not elements or len({len(element) for element in elements}) != 1 or not elements[0]:
        place.malformed("a stack needs at least one header union, all of one type")
    stacks = []
    for number, headers in enumerate(zip(*elements, strict=True)):
        types = {scope.headers[header].type.name for header in headers}
        if len(types) != 1:
            place.malformed(f"member {number} of its unions is of several types: {choices(types)}")
        stack = f"{name}[*].{headers[0].rpartition('.')[2]}"
        scope.stacks[stack] = HeaderStack(
            stack, scope.headers[headers[0]].type, headers, position=name, leads=number == 0
        )
        stacks.append(stack)
    scope.union_stacks[name] = tuple(stacks)


def _header_type(place: Place) -> HeaderType:
    name = place.at("name").string()
    fields: list[tuple[str, int | None, bool]] = []
    for item in place.at("fields").items("item"):
        parts = item.items()
        if len(parts) not in (2, 3):
            item.malformed("expected [name, width] or [name, width, signed]")
        signed = len(parts) == 3 and bool(parts[2].value)  # p4c writes false, true, and 0 for a P4 bool
        fields.append(
            (parts[0].string(), None if parts[1].value == "*" else parts[1].up_to(MAX_BITS, "bits"), signed)
        )
    width = sum(field[1] or 0 for field in fields)
    if width > MAX_BITS:
        place.unsupported(f"{width} bits", f"up to {MAX_BITS}")
    shift = width
    laid_out: list[FieldType] = []
    for field_name, field_width, signed in fields:
        if field_width is None:
            laid_out.append(FieldType(field_name, _varbit_width(place, laid_out, width), False, shift, True))
            continue
        shift -= field_width
        laid_out.append(FieldType(field_name, field_width, signed, shift))
    return HeaderType(name, width, tuple(laid_out))


def _varbit_width(place: Place, before: list[FieldType], fixed: int) -> int:
    """The most bits that a header type's varbit field can have."""
    if any(field.varbit for field in before):
        place.malformed("two fields of variable length (varbit); a header can have one")
    most = 8 * place.at("max_length").natural() - fixed
    if most <= 0 or most > MAX_BITS:
        place.malformed(f"max_length leaves {most} bits for its varbit field (valid: 1 to {MAX_BITS})")
    return most


def _member(scope: Scope, by_id: dict[int, str], place: Place) -> str:
    """The header of a stack or a union that has this id."""
    name = by_id.get(place.integer())
    if name is None:
        place.malformed(f"no header has the id {place.value}")
    if scope.headers[name].metadata:
        place.malformed(f"{name!r} is metadata; the members of a stack or a union are headers")
    return name


def _load_errors(root: Place, scope: Scope) -> None:
    listed = root.maybe("errors")
    for item in listed.items() if listed else []:
        name, number = item.tuple_of(2)
        scope.errors[name.string()] = number.natural()
    unused = max(scope.errors.values(), default=-1) + 1
    for core in CORE_ERRORS:
        if core not in scope.errors:
            scope.errors[core] = unused
            unused += 1


def _load_standard(root: Place, scope: Scope) -> None:
    if (header := scope.headers.get(STANDARD_METADATA)) is not None:
        for field in header.type.fields:
            if field.name in STANDARD_FIELDS:
                scope.standard[field.name] = scope.field_of(header, Place(field.name, root.where))
    aliases = root.maybe("field_aliases")
    for item in aliases.items() if aliases else []:
        alias, target = item.tuple_of(2)
        name = alias.string().rpartition(".")[2]
        if name in STANDARD_FIELDS:
            scope.standard[name] = scope.field(target)
    for name in ("ingress_port", "egress_spec", "egress_port"):
        if name not in scope.standard:
            root.malformed(
                f"the metadata field {STANDARD_METADATA + '.' + name!r} of simple_switch is missing "
                f"(headers: {choices(scope.headers)}); is it a program for v1model?"
            )
