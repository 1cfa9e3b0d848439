# SPDX-License-Identifier: Apache-2.0
"""Calculations (hashes and checksums), and action profiles, whose selectors are hashes."""

from __future__ import annotations

from hvchannel_softswitch.model import expressions as ex
from hvchannel_softswitch.model.headers import MAX_BITS
from hvchannel_softswitch.model.load_expressions import load_expression, width_of
from hvchannel_softswitch.model.program import ActionProfile
from hvchannel_softswitch.model.reader import Place
from hvchannel_softswitch.model.scope import Scope
from hvchannel_softswitch.model.statements import Calculation, CalculationPart

ALGORITHMS = (
    "csum16",
    "cksum16",
    "crc16",
    "crc32",
    "crcCCITT",
    "crc8_custom",
    "crc16_custom",
    "crc32_custom",
    "crc64_custom",
    "xor16",
    "xor32",
    "identity",
    "xxh64",
    "toeplitz",
    "round_robin",
    "round_robin_consistent",
)
"""The hash and checksum algorithms that calculations may name: all of simple_switch."""

UNSIZED = 1024
"""The size of an action profile whose program does not say."""


def load_calculations(root: Place, scope: Scope) -> None:
    """Fills the scope's calculations."""
    for place in root.objects("calculations", "calculation"):
        name = place.at("name").string()
        scope.calculations[name] = _calculation(name, place, scope)


def load_profiles(root: Place, scope: Scope) -> None:
    """Fills the scope's action profiles, and its calculations with those of their selectors."""
    for pipeline in root.objects("pipelines", "pipeline"):
        for place in pipeline.objects("action_profiles", "action profile"):
            name, selector = place.at("name").string(), place.maybe("selector")
            calculation = None
            if selector is not None:
                calculation = _calculation(f"selector of {name}", selector, scope)
                scope.calculations[calculation.name] = calculation
            size = place.maybe("max_size")
            scope.profiles[name] = ActionProfile(name, size.natural() if size else UNSIZED, calculation)


def _calculation(name: str, place: Place, scope: Scope) -> Calculation:
    algorithm = place.at("algo").string()
    if algorithm not in ALGORITHMS:
        place.unsupported(f"algorithm {algorithm!r}", ", ".join(ALGORITHMS))
    parts: list[CalculationPart] = []
    payload = False
    for item in place.at("input").items("item"):
        if item.at("type").string() == "payload":
            payload = True
        else:
            parts += _calculation_parts(item, scope)
    return Calculation(name, algorithm, tuple(parts), payload)


def _calculation_parts(place: Place, scope: Scope) -> list[CalculationPart]:
    if (varbit := _varbit_part(place, scope)) is not None:
        return [varbit]
    expression = load_expression(place, scope)
    if isinstance(expression, ex.HeaderRef):
        header = scope.headers[expression.name]
        return [
            CalculationPart(
                ex.FieldRef(header.name, f.name, f.width, f.signed), f.width, header.name, f.varbit
            )
            for f in header.type.fields
        ]
    if isinstance(expression, ex.Const):
        return [CalculationPart(expression, place.at("bitwidth").up_to(MAX_BITS, "bits"), None)]
    width = width_of(expression)
    if width is None:
        place.unsupported("a computed value in a calculation", "field, hexstr, header, payload")
    enclosing = None
    if isinstance(expression, ex.FieldRef) and not scope.headers[expression.header].metadata:
        enclosing = expression.header
    return [CalculationPart(expression, width, enclosing)]


def _varbit_part(place: Place, scope: Scope) -> CalculationPart | None:
    """A varbit field, the one kind of input that is no expression."""
    if place.at("type").value != "field":
        return None
    name, field = (part.value for part in place.at("value").tuple_of(2))
    header = scope.headers.get(name) if isinstance(name, str) else None
    if header is None or header.type.varbit is None or header.type.varbit.name != field:
        return None
    varbit = header.type.varbit
    enclosing = None if header.metadata else header.name
    return CalculationPart(ex.FieldRef(header.name, varbit.name, varbit.width), varbit.width, enclosing, True)
