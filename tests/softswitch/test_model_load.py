# SPDX-License-Identifier: Apache-2.0
"""Loading: what the model says of a program, and how a program that cannot run is refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hvchannel_softswitch.engine import ActionCall, CloneSession, EntryKey, Replica, Ternary
from hvchannel_softswitch.interpreter import Interpreter
from hvchannel_softswitch.model import MalformedProgram, MatchKind, ProgramError, UnsupportedProgram, load
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

Json = dict[str, Any]
JsonOf = Callable[[str], Json]


def test_tables_say_their_keys_and_actions(program_json: JsonOf) -> None:
    program = load(json.dumps(program_json("lookup")))
    table = program.tables["LookupIngress.exact_t"]
    assert [(key.name, key.width, key.kind) for key in table.keys] == [
        ("first", 32, MatchKind.EXACT),
        ("second", 16, MatchKind.EXACT),
    ]
    assert [param.width for param in table.action("LookupIngress.metered").params] == [16]
    assert (table.max_size, table.with_counters, table.default_const) == (4, True, True)
    assert table.direct_meter == "LookupIngress.exact_meter"
    assert not table.has_priority
    assert program.tables["LookupIngress.range_t"].has_priority


def test_const_entries_have_priorities_from_the_first_down(program_json: JsonOf) -> None:
    entries = load(program_json("lookup")).tables["LookupIngress.const_t"].const_entries
    assert entries is not None
    assert [entry.key.priority for entry in entries] == [5, 4, 3, 2, 1]
    assert entries[3].key == EntryKey((Ternary(0x01000000, 0xFF000000),), 2)
    assert entries[3].action == ActionCall("LookupIngress.answer", (0xC0,))
    assert all(entry.is_const for entry in entries)


def test_digests_counters_meters_registers(program_json: JsonOf) -> None:
    program = load(program_json("lookup"))
    assert program.learn_lists["found_t"].widths == (32, 9)
    assert program.counters["LookupIngress.per_slot"].size == 4
    assert program.meters["LookupIngress.slot_meter"].size == 4
    assert program.registers["LookupIngress.visits"].width == 16


def action(program: Json, name: str) -> Json:
    found: Json = next(item for item in program["actions"] if item["name"].endswith(name))
    return found


def unknown_primitive(program: Json) -> None:
    action(program, "remember")["primitives"][1]["op"] = "teleport"


def missing_field(program: Json) -> None:
    action(program, ".answer")["primitives"][0]["parameters"][0]["value"] = ["request", "colour"]


def unknown_operator(program: Json) -> None:
    action(program, ".answer")["primitives"][0]["parameters"][1] = {
        "type": "expression",
        "value": {
            "op": "**",
            "left": {"type": "hexstr", "value": "0x1"},
            "right": {"type": "hexstr", "value": "0x2"},
        },
    }


def boolean_for_number(program: Json) -> None:
    action(program, ".answer")["primitives"][0]["parameters"][1] = {"type": "bool", "value": True}


def wild_jump(program: Json) -> None:
    action(program, ".answer")["primitives"].append(
        {"op": "_jump", "parameters": [{"type": "hexstr", "value": "0x63"}]}
    )


def lost_table(program: Json) -> None:
    program["pipelines"][0]["init_table"] = "nowhere"


def profile_missing(program: Json) -> None:
    program["pipelines"][0]["tables"][0] |= {"type": "indirect", "action_profile": "elsewhere"}


def unheard_of_table(program: Json) -> None:
    program["pipelines"][0]["tables"][0]["type"] = "cuckoo"


def varbit_without_length(program: Json) -> None:
    next(t for t in program["header_types"] if t["name"] == "request_t")["fields"][3][1] = "*"


def metadata_from_the_frame(program: Json) -> None:
    next(header for header in program["headers"] if header["name"] == "request")["metadata"] = True


def new_version(program: Json) -> None:
    program["__meta__"]["version"] = [3, 0]


def unknown_field_list(program: Json) -> None:
    action(program, ".answer")["primitives"].append(
        {"op": "resubmit", "parameters": [{"type": "hexstr", "value": "0x7"}]}
    )


def foreign_hash(program: Json) -> None:
    program["calculations"][0]["algo"] = "md5"


@pytest.mark.parametrize(
    ("change", "kind", "parts"),
    [
        (
            unknown_primitive,
            UnsupportedProgram,
            ["action 'LookupIngress.remember' (id ", "primitive 1: 'teleport'", "supported: "],
        ),
        (missing_field, MalformedProgram, ["no field 'colour'", "'third'", "primitive 0: 'assign', parameter 0"]),
        (unknown_operator, UnsupportedProgram, ["'**'", "supported: +"]),
        (boolean_for_number, MalformedProgram, ["expected a number, found a boolean"]),
        (wild_jump, MalformedProgram, ["jump to primitive 99 of 2"]),
        (lost_table, MalformedProgram, ["pipeline 'ingress'", "'nowhere'", "exact_t"]),
        (profile_missing, MalformedProgram, ["no action profile 'elsewhere'", "none are defined"]),
        (unheard_of_table, UnsupportedProgram, ["table type 'cuckoo'", "simple, indirect, indirect_ws"]),
        (varbit_without_length, MalformedProgram, ["header type 'request_t'", "'max_length' is missing"]),
        (metadata_from_the_frame, MalformedProgram, ["'extract'", "'request' is metadata"]),
        (new_version, UnsupportedProgram, ["3.0", "2.x"]),
        (unknown_field_list, MalformedProgram, ["'resubmit'", "no field list has the id 7", "none"]),
        (foreign_hash, UnsupportedProgram, ["'md5'", "crc16"]),
    ],
)  # fmt: skip
def test_refusals_name_place_offender_and_what_is_supported(
    program_json: JsonOf, change: Callable[[Json], None], kind: type[ProgramError], parts: list[str]
) -> None:
    program = program_json("lookup")
    change(program)
    with pytest.raises(kind) as refusal:
        load(program)
    for part in parts:
        assert part in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "text", [b"", b"\xff\xfe", b"[]", b"3", b"{}", b"[" * 100_000, b'{"__meta__": {"version": 2}}']
)
def test_what_is_no_program_is_malformed(text: bytes) -> None:
    with pytest.raises(MalformedProgram):
        load(text)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """All paths into a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [
        path,
        *(deep for key, item in inner if key != "source_info" for deep in places(item, (*path, key))),
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
@given(data=st.data())
def test_a_damaged_program_is_refused_or_runs(program_json: JsonOf, data: st.DataObject) -> None:
    program = copy.deepcopy(
        program_json(data.draw(st.sampled_from(["lookup", "shapes", "copies", "choice"])))
    )
    path = data.draw(st.sampled_from(places(program)[1:]))
    holder: Any = program
    for key in path[:-1]:
        holder = holder[key]
    damage = data.draw(
        st.sampled_from(["remove", None, True, -1, 7, "", "nonsense", [], {}, [[]], {"op": "+"}])
    )
    if damage == "remove":
        del holder[path[-1]]
    else:
        holder[path[-1]] = damage
    try:
        model = load(program)
    except ProgramError as refusal:
        assert "\n" not in str(refusal)
        return
    engine = Interpreter(model, frames=ignore, digests=ignore, drop_port=511, clock=lambda: 0)
    engine.set_clone_session(5, CloneSession((Replica(1), Replica(2, 1)), 4))
    engine.set_multicast_group(7, (Replica(1), Replica(2, 1)))
    for frame in (b"", bytes(60), bytes.fromhex("0501234567000102000044") + bytes(40), *FRAMES):
        engine.process(1, frame)
    assert engine.faults == 0


FRAMES = [
    bytes.fromhex(frame) + bytes(20) for frame in ("0100", "0205", "0305", "0405", "0507", "4105aa", "1105")
]
"""What makes `copies` and `choice` clone, resubmit, recirculate, replicate, extract a varbit and loop."""


def ignore(*_: object) -> None:
    """Nobody looks at the output."""


def test_an_expression_too_deep_for_python_is_refused(program_json: JsonOf) -> None:
    program = program_json("lookup")
    deep: Json = {"type": "field", "value": ["request", "first"]}
    for _ in range(300):
        deep = {"type": "expression", "value": {"op": "~", "left": None, "right": deep}}
    action(program, ".answer")["primitives"][0]["parameters"][1] = deep
    with pytest.raises(ProgramError, match="nested too deeply"):
        Interpreter(load(program), frames=ignore, digests=ignore, drop_port=511, clock=lambda: 0)


@pytest.mark.parametrize("index", [6, 7, 8])
def test_metadata_in_a_header_stack_is_refused(program_json: JsonOf, index: int) -> None:
    program = program_json("shapes")
    program["headers"][index]["metadata"] = True
    with pytest.raises(ProgramError, match="is metadata; the members of a stack or a union are headers"):
        load(program)


def of_choice(program: Json, name: str) -> Json:
    found: Json = next(t for t in program["pipelines"][0]["tables"] if t["name"].endswith(name))
    return found


def selector_lost(program: Json) -> None:
    of_choice(program, "spreading")["type"] = "indirect"


def entries_in_a_profile_table(program: Json) -> None:
    of_choice(program, "fixing")["entries"] = []


def unknown_value_set(program: Json) -> None:
    program["parsers"][0]["parse_states"][0]["transitions"][0]["value"] = "elsewhere"


def masked_value_set(program: Json) -> None:
    program["parsers"][0]["parse_states"][0]["transitions"][0]["mask"] = "0x0f"


def narrow_value_set(program: Json) -> None:
    program["parse_vsets"][0]["compressed_bitwidth"] = 9


def two_varbits(program: Json) -> None:
    next(t for t in program["header_types"] if t["name"] == "options_t")["fields"][1][1] = "*"


def no_room_for_the_varbit(program: Json) -> None:
    next(t for t in program["header_types"] if t["name"] == "options_t")["max_length"] = 2


def varbit_without_its_length(program: Json) -> None:
    op = next(
        op
        for s in program["parsers"][0]["parse_states"]
        for op in s["parser_ops"]
        if op["op"] == "extract_VL"
    )
    op |= {"op": "extract", "parameters": op["parameters"][:1]}


def length_without_a_varbit(program: Json) -> None:
    op = next(
        op
        for s in program["parsers"][0]["parse_states"]
        for op in s["parser_ops"]
        if op["op"] == "extract_VL"
    )
    op["parameters"][0]["value"] = "start"


def number_to_a_varbit(program: Json) -> None:
    action(program, ".say")["primitives"][0]["parameters"][0]["value"] = ["options", "data"]


def varbit_of_a_number(program: Json) -> None:
    action(program, ".say")["primitives"][0] |= {
        "op": "assign_VL",
        "parameters": [
            {"type": "field", "value": ["options", "data"]},
            {"type": "field", "value": ["start", "kind"]},
        ],
    }


def unknown_selector_hash(program: Json) -> None:
    program["pipelines"][0]["action_profiles"][0]["selector"]["algo"] = "md5"


def stack_of_no_union(program: Json) -> None:
    program["header_union_stacks"] = [{"name": "u", "id": 0, "union_type": "U", "header_union_ids": [4]}]


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (selector_lost, ["'Choice.spreading'", "type is 'indirect'", "'Choice.spread' has a selector"]),
        (entries_in_a_profile_table, ["'Choice.fixing'", "entries in a table with an action profile"]),
        (unknown_value_set, ["no parser value set 'elsewhere'", "'Parse.with_options'"]),
        (masked_value_set, ["a mask on a parser value set"]),
        (narrow_value_set, ["value set 'Parse.with_options'", "(9,) bits", "(8,)"]),
        (two_varbits, ["'options_t'", "two fields of variable length"]),
        (no_room_for_the_varbit, ["'options_t'", "leaves 0 bits"]),
        (varbit_without_its_length, ["'options'", "no length for it", "extract_VL"]),
        (length_without_a_varbit, ["'start'", "no varbit field"]),
        (number_to_a_varbit, ["'Choice.say'", "'data', a varbit", "assign_VL"]),
        (varbit_of_a_number, ["'kind'", "fixed width; expected a varbit"]),
        (unknown_selector_hash, ["algorithm 'md5'", "crc16"]),
        (stack_of_no_union, ["header union stack 'u'", "no header union has the id 4"]),
    ],
)  # fmt: skip
def test_refusals_of_what_few_programs_have(
    program_json: JsonOf, change: Callable[[Json], None], parts: list[str]
) -> None:
    program = program_json("choice")
    change(program)
    with pytest.raises(ProgramError) as refusal:
        load(program)
    for part in parts:
        assert part in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_entries_are_const_unless_said_otherwise(program_json: JsonOf) -> None:
    program = load(program_json("choice"))
    name = "Choice.saying"
    assert program.tables[name].const_entries == program.tables[name].entries
    assert program.with_mutable_entries([]).tables == program.tables
    released = program.with_mutable_entries([name])
    assert released.tables[name].const_entries is None
    assert len(released.tables[name].entries) == 7
    assert not any(entry.is_const for entry in released.tables[name].entries)
    engine = Interpreter(released, frames=ignore, digests=ignore, drop_port=511, clock=lambda: 0)
    entries = list(engine.entries(name))
    engine.delete(name, entries[0].key)
    engine.insert(name, entries[0].key, ActionCall("NoAction"))
    assert engine.entry(name, entries[0].key) is not None
