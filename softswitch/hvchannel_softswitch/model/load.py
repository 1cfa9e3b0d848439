# SPDX-License-Identifier: Apache-2.0
"""From the text of a bmv2 JSON program to a `Program`.

The format: behavioral-model's docs/JSON_format.md, versions 2.x; the target: simple_switch (v1model). A program for
PNA is put in v1model's terms first (`pna`).
"""

from __future__ import annotations

import json

from hvchannel_softswitch.model.errors import MalformedProgram
from hvchannel_softswitch.model.load_calculations import load_calculations, load_profiles
from hvchannel_softswitch.model.load_expressions import load_boolean
from hvchannel_softswitch.model.load_headers import load_headers
from hvchannel_softswitch.model.load_objects import load_arrays, load_field_lists
from hvchannel_softswitch.model.load_parser import load_parser
from hvchannel_softswitch.model.load_statements import load_actions
from hvchannel_softswitch.model.load_tables import load_pipeline
from hvchannel_softswitch.model.pna import Beside, as_v1model, is_pna
from hvchannel_softswitch.model.program import Checksum, Program, Table
from hvchannel_softswitch.model.reader import Place
from hvchannel_softswitch.model.scope import Scope, look_up


def load(source: bytes | str | dict[str, object], beside: Beside | None = None) -> Program:
    """The program, checked throughout. `beside` is what its P4Info says of it, which a program for PNA needs.

    Raises MalformedProgram or UnsupportedProgram, never anything else.
    """
    if isinstance(source, dict):
        root = Place(source, "program")
    else:
        try:
            root = Place(json.loads(source), "program")
        except (ValueError, RecursionError) as error:
            raise MalformedProgram(f"program: not JSON: {error}") from error
    try:
        _check_version(root)
        return _load(as_v1model(root, beside or Beside()) if is_pna(root) else root)
    except RecursionError as error:
        raise MalformedProgram("program: nested too deeply") from error


def _load(root: Place) -> Program:
    scope = Scope()
    load_headers(root, scope)
    load_arrays(root, scope)
    load_calculations(root, scope)
    load_field_lists(root, scope)
    load_profiles(root, scope)
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
        calculations=scope.calculations,
        field_lists=scope.field_lists,
        value_sets=scope.value_sets,
        profiles=scope.profiles,
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
