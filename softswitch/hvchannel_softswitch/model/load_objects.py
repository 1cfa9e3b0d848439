# SPDX-License-Identifier: Apache-2.0
"""Counters, meters, registers; learn lists and field lists."""

from __future__ import annotations

from hvchannel_softswitch.model import expressions as ex
from hvchannel_softswitch.model.headers import MAX_BITS
from hvchannel_softswitch.model.load_expressions import load_expression, width_of
from hvchannel_softswitch.model.program import Counter, FieldList, LearnList, Meter, MeterUnit, Register
from hvchannel_softswitch.model.reader import Place
from hvchannel_softswitch.model.scope import Scope

MAX_CELLS = 1 << 24
"""The largest counter, meter or register array; they are made at once."""


def load_arrays(root: Place, scope: Scope) -> None:
    """Fills the scope's counters, meters and registers."""
    for place in root.objects("counter_arrays", "counter"):
        name, direct = place.at("name").string(), place.at("is_direct").boolean()
        binding = place.maybe("binding")
        scope.counters[name] = Counter(
            name,
            0 if direct else place.at("size").up_to(MAX_CELLS, "cells"),
            direct,
            binding.string() if binding else None,
        )
    for place in root.objects("meter_arrays", "meter"):
        name, direct = place.at("name").string(), place.at("is_direct").boolean()
        rates = place.maybe("rate_count")
        if rates is not None and rates.integer() != 2:
            place.unsupported(f"{rates.integer()} rates", "2 (two-rate three-colour, RFC 2698)")
        unit = place.at("type").string()
        if unit not in ("bytes", "packets"):
            place.malformed(f"type {unit!r} (valid: 'bytes', 'packets')")
        binding, target = place.maybe("binding"), place.maybe("result_target")
        if direct and target is None:
            place.malformed("attribute 'result_target' is missing")
        scope.meters[name] = Meter(
            name,
            0 if direct else place.at("size").up_to(MAX_CELLS, "cells"),
            MeterUnit(unit),
            direct,
            binding.string() if binding else None,
            scope.field(target) if direct and target else None,
        )
    for place in root.objects("register_arrays", "register"):
        name = place.at("name").string()
        scope.registers[name] = Register(
            name, place.at("size").up_to(MAX_CELLS, "cells"), place.at("bitwidth").up_to(MAX_BITS, "bits")
        )
    for place in root.objects("extern_instances", "extern instance"):
        place.unsupported("extern instances", "v1model's own externs")


def load_field_lists(root: Place, scope: Scope) -> None:
    """Fills the scope's learn lists (of digests) and field lists (of clones and the like)."""
    for place in root.objects("learn_lists", "learn list"):
        elements, widths = [], []
        for item in place.at("elements").items("element"):
            element = load_expression(item, scope)
            width = width_of(element)
            if width is None:
                item.unsupported("a computed value in a digest", "field")
            elements.append(element)
            widths.append(width)
        ident = place.at("id").integer()
        scope.learn_lists[ident] = LearnList(place.at("name").string(), ident, tuple(elements), tuple(widths))
    for place in root.objects("field_lists", "field list"):
        ident = place.at("id").natural()
        found = [load_expression(item, scope) for item in place.at("elements").items("element")]
        # P4_14 could list constants; there is nothing in them to keep.
        scope.field_lists[ident] = FieldList(ident, tuple(f for f in found if isinstance(f, ex.FieldRef)))
