# SPDX-License-Identifier: Apache-2.0
"""From the text of a bmv2 JSON program to a `Program`.

The format: behavioral-model's docs/JSON_format.md, versions 2.x; the target: simple_switch (v1model).
"""

from __future__ import annotations

import json

from hvchannel_softswitch.model import expressions as ex
from hvchannel_softswitch.model.errors import MalformedProgram
from hvchannel_softswitch.model.load_expressions import load_boolean, load_expression, width_of
from hvchannel_softswitch.model.load_headers import load_headers
from hvchannel_softswitch.model.load_parser import load_parser
from hvchannel_softswitch.model.load_statements import load_actions
from hvchannel_softswitch.model.load_tables import load_pipeline
from hvchannel_softswitch.model.program import (
    Checksum,
    Counter,
    LearnList,
    Meter,
    MeterUnit,
    Program,
    Register,
    Table,
)
from hvchannel_softswitch.model.reader import Place
from hvchannel_softswitch.model.scope import Scope, look_up
from hvchannel_softswitch.model.statements import Calculation, CalculationPart

ALGORITHMS = (
    "csum16",
    "cksum16",
    "crc16",
    "crc32",
    "crcCCITT",
    "xor16",
    "xor32",
    "identity",
)
"""The hash and checksum algorithms that calculations may name."""


def load(source: bytes | str | dict[str, object]) -> Program:
    """The program, checked throughout. Raises MalformedProgram or UnsupportedProgram, never anything else."""
    if isinstance(source, dict):
        root = Place(source, "program")
    else:
        try:
            root = Place(json.loads(source), "program")
        except (ValueError, RecursionError) as error:
            raise MalformedProgram(f"program: not JSON: {error}") from error
    try:
        return _load(root)
    except RecursionError as error:
        raise MalformedProgram("program: nested too deeply") from error


def _load(root: Place) -> Program:
    _check_version(root)
    scope = Scope()
    load_headers(root, scope)
    _load_arrays(root, scope)
    _load_calculations(root, scope)
    _load_learn_lists(root, scope)
    load_actions(root, scope)
    parser = load_parser(root, scope)
    ingress = load_pipeline(root, "ingress", scope)
    egress = load_pipeline(root, "egress", scope)
    checksums = [_checksum(place, scope) for place in root.objects("checksums", "checksum")]
    name = root.maybe("program")
    tables = {t.name: t for p in (ingress, egress) for t in p.nodes.values() if isinstance(t, Table)}
    return Program(
        name=name.string() if name else "",
        headers=scope.headers,
        stacks=scope.stacks,
        errors=scope.errors,
        standard=scope.standard,
        parser=parser,
        verify=tuple(checksum for checksum, verify, _ in checksums if verify),
        ingress=ingress,
        egress=egress,
        update=tuple(checksum for checksum, _, update in checksums if update),
        deparse=_deparser(root, scope),
        tables=tables,
        actions=tuple(scope.actions.values()),
        counters=scope.counters,
        meters=scope.meters,
        registers=scope.registers,
        learn_lists={learn_list.name: learn_list for learn_list in scope.learn_lists.values()},
    )


def _check_version(root: Place) -> None:
    meta = root.maybe("__meta__")
    if meta is None:
        root.malformed(
            "attribute '__meta__' with the format's version is missing; is it p4c's output for bmv2?"
        )
    major, minor = (part.integer() for part in meta.at("version").tuple_of(2))
    if major != 2:
        meta.unsupported(f"format version {major}.{minor}", "2.x")


def _load_arrays(root: Place, scope: Scope) -> None:
    for place in root.objects("counter_arrays", "counter"):
        name, direct = place.at("name").string(), place.at("is_direct").boolean()
        binding = place.maybe("binding")
        scope.counters[name] = Counter(
            name, 0 if direct else place.at("size").natural(), direct, binding.string() if binding else None
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
            0 if direct else place.at("size").natural(),
            MeterUnit(unit),
            direct,
            binding.string() if binding else None,
            scope.field(target) if direct and target else None,
        )
    for place in root.objects("register_arrays", "register"):
        name = place.at("name").string()
        scope.registers[name] = Register(name, place.at("size").natural(), place.at("bitwidth").natural())
    for place in root.objects("extern_instances", "extern instance"):
        place.unsupported("extern instances", "v1model's own externs")


def _load_calculations(root: Place, scope: Scope) -> None:
    for place in root.objects("calculations", "calculation"):
        name, algorithm = place.at("name").string(), place.at("algo").string()
        if algorithm not in ALGORITHMS:
            place.unsupported(f"algorithm {algorithm!r}", ", ".join(ALGORITHMS))
        parts: list[CalculationPart] = []
        payload = False
        for item in place.at("input").items("item"):
            if item.at("type").string() == "payload":
                payload = True
            else:
                parts += _calculation_parts(item, scope)
        scope.calculations[name] = Calculation(name, algorithm, tuple(parts), payload)


def _calculation_parts(place: Place, scope: Scope) -> list[CalculationPart]:
    expression = load_expression(place, scope)
    if isinstance(expression, ex.HeaderRef):
        header = scope.headers[expression.name]
        return [
            CalculationPart(scope.field_of(header, Place(field.name, place.where)), field.width, header.name)
            for field in header.type.fields
        ]
    if isinstance(expression, ex.Const):
        return [CalculationPart(expression, place.at("bitwidth").natural(), None)]
    width = width_of(expression)
    if width is None:
        place.unsupported("a computed value in a calculation", "field, hexstr, header, payload")
    enclosing = None
    if isinstance(expression, ex.FieldRef) and not scope.headers[expression.header].metadata:
        enclosing = expression.header
    return [CalculationPart(expression, width, enclosing)]


def _load_learn_lists(root: Place, scope: Scope) -> None:
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


def _checksum(place: Place, scope: Scope) -> tuple[Checksum, bool, bool]:
    kind = place.maybe("type")
    if kind is not None and kind.string() != "generic":
        place.unsupported(f"checksum type {kind.value!r}", "generic")
    condition = place.maybe("if_cond")
    verify, update = place.maybe("verify"), place.maybe("update")
    checksum = Checksum(
        place.at("name").string(),
        scope.field(place.at("target")),
        look_up(scope.calculations, place.at("calculation"), "calculation"),
        load_boolean(condition, scope) if condition else None,
    )
    return checksum, verify is None or verify.boolean(), update is None or update.boolean()


def _deparser(root: Place, scope: Scope) -> tuple[str, ...]:
    deparsers = root.objects("deparsers", "deparser")
    if len(deparsers) != 1:
        root.unsupported(f"{len(deparsers)} deparsers", "one deparser")
    place = deparsers[0]
    extra = place.maybe("primitives")
    if extra is not None and extra.items():
        place.unsupported("primitives in the deparser", "headers in order")
    order = []
    for item in place.at("order").items("header"):
        header = look_up(scope.headers, item, "header")
        if header.type.width % 8:
            item.malformed(
                f"header {header.name!r} has {header.type.width} bits, not a whole number of bytes"
            )
        order.append(header.name)
    return tuple(order)
