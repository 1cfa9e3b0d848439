# SPDX-License-Identifier: Apache-2.0
"""The Portable NIC Architecture, as p4c-bm2-pna writes it, in the terms of v1model: everything after the loader knows
one architecture.

PNA's one control is v1model's ingress, and nothing is its egress. `send_to_port` assigns the port it goes to and
`drop_packet` takes that back; a packet for which neither is called is dropped. Ports have PNA's 32 bits, and the CPU
port is PNA's, `PNA_PORT_CPU`: a switch that is to send and take PacketIn and PacketOut has that as its `--cpu-port`.

What the JSON does not say stands in the P4Info only: which tables have direct counters, and what the digests are
called (`Beside`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from hvchannel_softswitch.model.reader import Place

Json: TypeAlias = dict[str, Any]

PNA_PORT_CPU = 0xFFFFFFFD

_PARSER_INPUT, _INPUT, _DESTINATION = (
    "pna_main_parser_input_metadata",
    "pna_main_input_metadata",
    "pna_destination",
)
_PORT_BITS = 32
_UNLESS_SENT = "drop_unless_sent"
_COLORS = ("GREEN", "YELLOW", "RED")  # in the order of a meter's numbers


@dataclass(frozen=True, slots=True)
class Beside:
    """What P4Info says of a program beside its JSON: direct counters by their table, and digests in order."""

    direct_counters: Mapping[str, str] = field(default_factory=dict)
    digests: tuple[str, ...] = ()


def is_pna(program: Place) -> bool:
    """Whether p4c-bm2-pna made it."""
    return any(item.at("name").value == _INPUT for item in program.objects("headers", "header"))


def as_v1model(program: Place, beside: Beside) -> Place:
    """The same program in v1model's terms. Raises MalformedProgram, UnsupportedProgram."""
    try:
        return _as_v1model(program, beside)
    except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
        program.malformed(f"not as p4c-bm2-pna writes it ({type(error).__name__}: {error})")


def _as_v1model(program: Place, beside: Beside) -> Place:
    source: Json = program.value
    colors = _colors(program)
    numbers = (
        max((item["id"] for item in source.get(key, [])), default=-1) + 1
        for key in ("header_types", "headers")
    )
    type_id, header_id = numbers
    pipeline, action = _pipeline(
        program, max((item["id"] for item in source["actions"]), default=-1) + 1, beside
    )
    arrays, counters = list(source.get("meter_arrays", [])), list(source.get("counter_arrays", []))
    for item in program.objects("extern_instances", "extern instance"):
        kind = item.at("type").string()
        if kind != "Meter":
            item.unsupported(f"extern {kind!r}", "Meter, DirectCounter, Digest, Register")
        arrays.append(_meter_array(item))
    for table, counter in beside.direct_counters.items():
        counters.append({"name": counter, "id": len(counters), "is_direct": True, "binding": table})
    destination = {
        "name": _DESTINATION,
        "id": type_id,
        "fields": [["egress_spec", _PORT_BITS, False], ["egress_port", _PORT_BITS, False]],
    }
    made = {
        **source,
        "header_types": [*source["header_types"], destination],
        "headers": [
            *source["headers"],
            {"name": _DESTINATION, "id": header_id, "header_type": _DESTINATION, "metadata": True},
        ],
        "field_aliases": [
            ["standard_metadata.ingress_port", [_PARSER_INPUT, "input_port"]],
            ["standard_metadata.parser_error", [_INPUT, "parser_error"]],
            ["standard_metadata.ingress_global_timestamp", [_INPUT, "timestamp"]],
            ["standard_metadata.egress_spec", [_DESTINATION, "egress_spec"]],
            ["standard_metadata.egress_port", [_DESTINATION, "egress_port"]],
        ],
        "actions": [*(_action(item, colors) for item in source["actions"]), action],
        "pipelines": [
            pipeline,
            {"name": "egress", "id": 1, "init_table": None, "tables": [], "conditionals": []},
        ],
        "learn_lists": _learn_lists(program, beside),
        "counter_arrays": counters,
        "meter_arrays": arrays,
        "extern_instances": [],
    }
    return Place(_one_input_port(made), program.where)


def _one_input_port(node: Any) -> Any:
    """The main control's input port is the main parser's."""
    if node == [_INPUT, "input_port"]:
        return [_PARSER_INPUT, "input_port"]
    if isinstance(node, dict):
        return {key: _one_input_port(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_one_input_port(value) for value in node]
    return node


def _pipeline(program: Place, action: int, beside: Beside) -> tuple[Json, Json]:
    """The main control, which begins by an action that drops; and that action, whose id is to be `action`."""
    places = {item.at("name").string(): item for item in program.objects("pipelines", "pipeline")}
    if "main_control" not in places:
        program.malformed(f"no pipeline 'main_control' (there are: {', '.join(map(repr, places)) or 'none'})")
    main: Json = places["main_control"].value
    call = {"name": _UNLESS_SENT, "id": 0, "action_id": action, "next_node": main["init_table"]}
    pipeline = {
        **main,
        "name": "ingress",
        "init_table": _UNLESS_SENT,
        "tables": [
            {**table, "with_counters": table["name"] in beside.direct_counters} for table in main["tables"]
        ],
        "action_calls": [*main.get("action_calls", []), call],
    }
    return pipeline, {"name": _UNLESS_SENT, "id": action, "runtime_data": [], "primitives": [_DROP]}


_DROP: Json = {"op": "mark_to_drop", "parameters": [{"type": "header", "value": _DESTINATION}]}


def _action(source: Json, colors: Mapping[int, int]) -> Json:
    return {
        **source,
        "primitives": [made for item in source["primitives"] for made in _primitives(item, colors)],
    }


def _primitives(source: Json, colors: Mapping[int, int]) -> list[Json]:
    parameters = source["parameters"]
    match source["op"]:
        case "send_to_port":
            port = {"type": "field", "value": [_DESTINATION, "egress_spec"]}
            return [{**source, "op": "assign", "parameters": [port, *parameters]}]
        case "drop_packet":
            return [{**source, **_DROP}]
        case "generate_digest":
            return [{**source, "parameters": [{"type": "hexstr", "value": "0x0"}, *parameters]}]
        case "_Meter_execute":
            meter = _array("meter_array", parameters[0])
            return [
                {**source, "op": "execute_meter", "parameters": [meter, *parameters[1:]]},
                {**source, "op": "assign", "parameters": [parameters[2], _color(parameters[2], colors)]},
            ]
    return [source]


def _array(kind: str, extern: Json) -> Json:
    return {"type": kind, "value": extern["value"]}


def _colors(program: Place) -> dict[int, int]:
    """The program's numbers of the colours by a meter's."""
    for enum in program.objects("enums", "enum"):
        if enum.at("name").value == "PNA_MeterColor_t":
            numbers = {entry[0]: int(entry[1]) for entry in enum.at("entries").value}
            return {number: numbers[name] for number, name in enumerate(_COLORS)}
    return {}


def _color(measured: Json, colors: Mapping[int, int]) -> Json:
    """An expression for the program's number of the colour that a meter left in the field."""
    if len(colors) < len(_COLORS):
        return measured
    return _if_is(measured, 0, colors[0], _if_is(measured, 1, colors[1], _constant(colors[2])))


def _if_is(tested: Json, number: int, then: int, otherwise: Json) -> Json:
    condition = _expression({"op": "==", "left": tested, "right": _constant(number)})
    return _expression({"op": "?", "left": _constant(then), "right": otherwise, "cond": condition})


def _expression(value: Json) -> Json:
    return {"type": "expression", "value": value}


def _constant(number: int) -> Json:
    return {"type": "hexstr", "value": hex(number)}


def _meter_array(place: Place) -> Json:
    """An indexed meter as v1model has them."""
    values = {
        item.at("name").value: item.at("value") for item in place.at("attribute_values").items("attribute")
    }
    for name in ("n_meters", "type"):
        if name not in values:
            place.malformed(f"attribute {name!r} is missing")
    return {
        "name": place.at("name").string(),
        "id": place.at("id").integer(),
        "is_direct": False,
        "size": values["n_meters"].hexadecimal(),
        "rate_count": 2,
        "type": values["type"].string(),
    }


def _learn_lists(program: Place, beside: Beside) -> list[Json]:
    """p4c calls every digest of PNA `digest`: their order in the P4Info tells them apart."""
    lists: list[Json] = [item.value for item in program.objects("learn_lists", "learn list")]
    if len(lists) > max(len(beside.digests), 1):
        program.unsupported(
            f"{len(lists)} digests of {len(beside.digests)} names", "one call of pack() for each Digest"
        )
    return [{**item, "name": name} for item, name in zip(lists, beside.digests, strict=False)] or lists
