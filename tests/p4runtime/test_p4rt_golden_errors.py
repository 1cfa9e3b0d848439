# SPDX-License-Identifier: Apache-2.0
"""The texts of errors: each names the offender and what would be valid. Change one here, knowingly, or not at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from finsy.proto import p4r

_BASE = "exact_table"


def _changed(entry: p4r.TableEntry, change: Callable[[p4r.TableEntry], object]) -> p4r.TableEntry:
    change(entry)
    return entry


def _set(name: str, value: object) -> Callable[[p4r.TableEntry], None]:
    return lambda entry: setattr(entry, name, value)


def _default(kinds, table: str, action: str | None = None) -> p4r.TableEntry:
    entry = p4r.TableEntry(table_id=kinds.table_id(table), is_default_action=True)
    if action is not None:
        entry.action.CopyFrom(kinds.action(action))
    return entry


_ENTRIES: dict[str, tuple[str, Callable[..., p4r.TableEntry], str, str]] = {
    "unknown table": (
        "INSERT",
        lambda k, e: p4r.TableEntry(table_id=7),
        "INVALID_ARGUMENT",
        "table ID 7 is not in the P4Info (valid: 'exact_table' (ID 40226198), 'lpm_table' (ID 33938762), "
        "'ternary_table' (ID 48823397), 'const_table' (ID 46182247), 'keyless_table' (ID 39759572))",
    ),
    "unknown action": (
        "INSERT",
        lambda k, e: _changed(e, lambda e: setattr(e.action.action, "action_id", 9)),
        "INVALID_ARGUMENT",
        "action ID 9 is not valid for table 'exact_table' (valid: 'to_port' (ID 20010929), "
        "'to_controller' (ID 25759257), 'rewrite' (ID 31070514), 'drop' (ID 33281717), 'NoAction' (ID 21257015))",
    ),
    "action of another table": (
        "INSERT",
        lambda k, e: k.entry("lpm_table", k.action("rewrite", dst=1, port=1), src=(0, 1)),
        "INVALID_ARGUMENT",
        "action 'rewrite' (ID 31070514) is not valid for table 'lpm_table' (valid: 'to_port' (ID 20010929), "
        "'drop' (ID 33281717), 'NoAction' (ID 21257015))",
    ),
    "default-only action in an entry": (
        "INSERT",
        lambda k, e: k.entry("exact_table", k.action("NoAction"), dst=1, port=1),
        "PERMISSION_DENIED",
        "action 'NoAction' (ID 21257015) of table 'exact_table' is for the default action only, not entries",
    ),
    "table-only action as default": (
        "MODIFY",
        lambda k, e: _default(k, "exact_table", "drop"),
        "PERMISSION_DENIED",
        "action 'drop' (ID 33281717) of table 'exact_table' is for entries only, not the default action",
    ),
    "no action": (
        "INSERT",
        lambda k, e: _changed(e, lambda e: e.ClearField("action")),
        "INVALID_ARGUMENT",
        "table 'exact_table': an INSERT needs an action",
    ),
    "member of an action profile": (
        "INSERT",
        lambda k, e: _changed(e, lambda e: setattr(e.action, "action_profile_member_id", 1)),
        "INVALID_ARGUMENT",
        "table 'exact_table' is direct: its entries take an 'action', not an 'action_profile_member_id'",
    ),
    "unknown parameter": (
        "INSERT",
        lambda k, e: _changed(e, lambda e: setattr(e.action.action.params[0], "param_id", 5)),
        "INVALID_ARGUMENT",
        "parameter ID 5 is not valid for action 'to_port' (valid: 'port' (ID 1))",
    ),
    "missing parameter": (
        "INSERT",
        lambda k, e: k.entry("exact_table", k.action("rewrite", dst=1), dst=1, port=1),
        "INVALID_ARGUMENT",
        "action 'rewrite' needs a value for every parameter (missing: 'port' (ID 2))",
    ),
    "parameter twice": (
        "INSERT",
        lambda k, e: _changed(e, lambda e: e.action.action.params.add(param_id=1, value=b"\1")),
        "INVALID_ARGUMENT",
        "parameter 'port' of action 'to_port' is given twice",
    ),
    "parameter too wide": (
        "INSERT",
        lambda k, e: k.entry("exact_table", k.action("to_port", port=512), dst=1, port=1),
        "OUT_OF_RANGE",
        "parameter 'port' of action 'to_port' value 0x0200 does not fit in 9 bits",
    ),
    "unknown match field": (
        "INSERT",
        lambda k, e: _changed(e, lambda e: setattr(e.match[0], "field_id", 8)),
        "INVALID_ARGUMENT",
        "match field ID 8 is not a key of table 'exact_table' (valid: 'dst' (ID 1), 'port' (ID 2))",
    ),
    "match field twice": (
        "INSERT",
        lambda k, e: _changed(e, lambda e: setattr(e.match[0], "field_id", 2)),
        "INVALID_ARGUMENT",
        "match field ID 2 of table 'exact_table' is given twice",
    ),
    "missing exact field": (
        "INSERT",
        lambda k, e: k.entry("exact_table", e.action, dst=1),
        "INVALID_ARGUMENT",
        "table 'exact_table' needs a value for every exact key, missing: 'port' (ID 2)",
    ),
    "wrong match kind": (
        "INSERT",
        lambda k, e: _changed(e, lambda e: setattr(e.match[0].lpm, "prefix_len", 8)),
        "INVALID_ARGUMENT",
        "match field 'dst' of table 'exact_table' is exact, not lpm",
    ),
    "empty bytestring": (
        "INSERT",
        lambda k, e: _changed(e, lambda e: setattr(e.match[0].exact, "value", b"")),
        "OUT_OF_RANGE",
        "match field 'dst' of table 'exact_table' is an empty bytestring; zero is written as one zero byte",
    ),
    "prefix length 0": (
        "INSERT",
        lambda k, e: k.entry("lpm_table", e.action, src=(0, 0)),
        "INVALID_ARGUMENT",
        "match field 'src' of table 'lpm_table' has prefix length 0, which matches anything: "
        "leave the field out instead",
    ),
    "prefix too long": (
        "INSERT",
        lambda k, e: k.entry("lpm_table", e.action, src=(0, 49)),
        "INVALID_ARGUMENT",
        "match field 'src' of table 'lpm_table' has prefix length 49 (valid: 1 to 48)",
    ),
    "bits after the prefix": (
        "INSERT",
        lambda k, e: k.entry("lpm_table", e.action, src=(1, 47)),
        "INVALID_ARGUMENT",
        "match field 'src' of table 'lpm_table' value 0x1 has bits set after its prefix of 47 bits: they must be 0",
    ),
    "mask 0": (
        "INSERT",
        lambda k, e: k.entry("ternary_table", e.action, priority=1, dst=(0, 0)),
        "INVALID_ARGUMENT",
        "match field 'dst' of table 'ternary_table' has mask 0, which matches anything: leave the field out instead",
    ),
    "bits outside the mask": (
        "INSERT",
        lambda k, e: k.entry("ternary_table", e.action, priority=1, dst=(3, 1)),
        "INVALID_ARGUMENT",
        "match field 'dst' of table 'ternary_table' value 0x3 has bits set outside its mask 0x1: they must be 0",
    ),
    "range of everything": (
        "INSERT",
        lambda k, e: k.entry("ternary_table", e.action, priority=1, ether_type=(0, 65535)),
        "INVALID_ARGUMENT",
        "match field 'ether_type' of table 'ternary_table' has a range of all values, which matches anything: "
        "leave the field out instead",
    ),
    "range upside down": (
        "INSERT",
        lambda k, e: k.entry("ternary_table", e.action, priority=1, ether_type=(5, 4)),
        "INVALID_ARGUMENT",
        "match field 'ether_type' of table 'ternary_table' has low bound 0x5 above its high bound 0x4",
    ),
    "priority missing": (
        "INSERT",
        lambda k, e: k.entry("ternary_table", e.action, dst=(1, 1)),
        "INVALID_ARGUMENT",
        "priority 0 is not valid for table 'ternary_table': it has ternary, range or optional keys, so each entry "
        "needs a priority of 1 or more",
    ),
    "priority unwanted": (
        "INSERT",
        lambda k, e: _changed(e, _set("priority", 3)),
        "INVALID_ARGUMENT",
        "priority 3 is not valid for table 'exact_table': it has only exact and lpm keys, so the priority must be 0",
    ),
    "const table": (
        "INSERT",
        lambda k, e: k.entry("const_table", k.action("to_port", port=1), ether_type=1),
        "PERMISSION_DENIED",
        "table 'const_table' is const: its entries can be neither inserted nor deleted",
    ),
    "const entry's action": (
        "MODIFY",
        lambda k, e: k.entry("const_table", k.action("to_port", port=1), ether_type=0x800),
        "PERMISSION_DENIED",
        "entry ether_type=0x800 of table 'const_table' is const: MODIFY may set its direct counter and meter, "
        "with the action unset",
    ),
    "is_const in a write": (
        "INSERT",
        lambda k, e: _changed(e, _set("is_const", True)),
        "INVALID_ARGUMENT",
        "table 'exact_table': is_const must be false in a write, const entries are the program's",
    ),
    "keyless table": (
        "INSERT",
        lambda k, e: k.entry("keyless_table", e.action),
        "INVALID_ARGUMENT",
        "table 'keyless_table' has no keys, so it has only a default entry (valid: MODIFY of that)",
    ),
    "insert of a default entry": (
        "INSERT",
        lambda k, e: _default(k, "lpm_table", "drop"),
        "INVALID_ARGUMENT",
        "the default entry of table 'lpm_table' is always there (valid: MODIFY)",
    ),
    "default entry with a match": (
        "MODIFY",
        lambda k, e: _changed(e, _set("is_default_action", True)),
        "INVALID_ARGUMENT",
        "the default entry of table 'exact_table' takes neither match nor priority",
    ),
    "const default action": (
        "MODIFY",
        lambda k, e: _default(k, "ternary_table", "drop"),
        "PERMISSION_DENIED",
        "the default action of table 'ternary_table' is const",
    ),
    "idle timeout": (
        "INSERT",
        lambda k, e: _changed(e, _set("idle_timeout_ns", 1)),
        "INVALID_ARGUMENT",
        "table 'exact_table' does not support idle timeout",
    ),
    "counter of a table without": (
        "INSERT",
        lambda k, e: p4r.TableEntry(table_id=k.table_id("lpm_table"), counter_data=p4r.CounterData()),
        "INVALID_ARGUMENT",
        "table 'lpm_table' has no direct counter, so counter_data must be unset",
    ),
    "meter of a table without": (
        "INSERT",
        lambda k, e: p4r.TableEntry(table_id=k.table_id("lpm_table"), meter_config=p4r.MeterConfig()),
        "INVALID_ARGUMENT",
        "table 'lpm_table' has no direct meter, so meter_config must be unset",
    ),
    "cir above pir": (
        "INSERT",
        lambda k, e: _changed(e, lambda e: e.meter_config.CopyFrom(p4r.MeterConfig(cir=2, pir=1))),
        "INVALID_ARGUMENT",
        "meter 'exact_meter': cir 2 is above pir 1",
    ),
    "no update type": (
        "UNSPECIFIED",
        lambda k, e: e,
        "INVALID_ARGUMENT",
        "update type 0 is not valid (valid: INSERT, MODIFY, DELETE)",
    ),
}


@pytest.mark.parametrize("case", _ENTRIES)
async def test_table_entry(primary, kinds, case):
    update, make, code, message = _ENTRIES[case]
    base = kinds.entry(_BASE, kinds.action("to_port", port=1), dst=1, port=1)
    entity = p4r.Entity(table_entry=make(kinds, base))
    assert await primary.refused(update, entity) == (code, message)


_HANDLED = (
    "table_entry, counter_entry, direct_counter_entry, meter_entry, direct_meter_entry, digest_entry, "
    "action_profile_member, action_profile_group, packet_replication_engine_entry, value_set_entry, register_entry"
)
_OTHERS: dict[str, tuple[str, p4r.Entity, str, str]] = {
    "empty": ("INSERT", p4r.Entity(), "INVALID_ARGUMENT", f"the entity is empty (valid: {_HANDLED})"),
    "extern": (
        "MODIFY",
        p4r.Entity(extern_entry=p4r.ExternEntry(extern_type_id=1)),
        "UNIMPLEMENTED",
        f"extern_entry is not supported by this switch (valid: {_HANDLED})",
    ),
    "register": (
        "MODIFY",
        p4r.Entity(register_entry=p4r.RegisterEntry(register_id=1)),
        "INVALID_ARGUMENT",
        "register ID 1 is not in the P4Info (valid: none)",
    ),
    "unknown counter": (
        "MODIFY",
        p4r.Entity(counter_entry=p4r.CounterEntry(counter_id=3)),
        "INVALID_ARGUMENT",
        "indirect counter ID 3 is not in the P4Info (valid: 'port_counter' (ID 311073007))",
    ),
    "insert of a counter": (
        "INSERT",
        p4r.Entity(counter_entry=p4r.CounterEntry(counter_id=311073007)),
        "INVALID_ARGUMENT",
        "counter 'port_counter' is always there (valid: MODIFY)",
    ),
    "negative index": (
        "MODIFY",
        p4r.Entity(counter_entry=p4r.CounterEntry(counter_id=311073007, index=p4r.Index(index=-1))),
        "INVALID_ARGUMENT",
        "index -1 of counter 'port_counter' is negative (valid: 0 to 7)",
    ),
    "index too large": (
        "MODIFY",
        p4r.Entity(meter_entry=p4r.MeterEntry(meter_id=345615062, index=p4r.Index(index=4))),
        "OUT_OF_RANGE",
        "index 4 is beyond meter 'port_meter' (valid: 0 to 3)",
    ),
    "direct counter of a table without": (
        "MODIFY",
        p4r.Entity(
            direct_counter_entry=p4r.DirectCounterEntry(table_entry=p4r.TableEntry(table_id=33938762))
        ),
        "INVALID_ARGUMENT",
        "table 'lpm_table' has no direct counter (tables that have one: 'exact_table')",
    ),
    "colour counters": (
        "MODIFY",
        p4r.Entity(meter_entry=p4r.MeterEntry(meter_id=345615062, counter_data=p4r.MeterCounterData())),
        "UNIMPLEMENTED",
        "this switch keeps no counters per meter colour (counter_data)",
    ),
    "unknown digest": (
        "INSERT",
        p4r.Entity(digest_entry=p4r.DigestEntry(digest_id=1)),
        "INVALID_ARGUMENT",
        "digest ID 1 is not in the P4Info (valid: 'seen_t' (ID 400386219))",
    ),
    "digest that is off": (
        "MODIFY",
        p4r.Entity(digest_entry=p4r.DigestEntry(digest_id=400386219)),
        "NOT_FOUND",
        "digest 'seen_t' is off (valid: INSERT)",
    ),
}


@pytest.mark.parametrize("case", _OTHERS)
async def test_other_entity(primary, case):
    update, entity, code, message = _OTHERS[case]
    assert await primary.refused(update, entity) == (code, message)
