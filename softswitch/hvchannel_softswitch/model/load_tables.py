# SPDX-License-Identifier: Apache-2.0
"""Pipelines: tables, conditionals, and the graph they form."""

from __future__ import annotations

from hvchannel_softswitch.engine import ActionCall
from hvchannel_softswitch.model import expressions as ex
from hvchannel_softswitch.model.graph import order_of
from hvchannel_softswitch.model.load_entries import load_entries
from hvchannel_softswitch.model.load_expressions import load_boolean, load_expression, width_of
from hvchannel_softswitch.model.program import (
    Action,
    ActionCallNode,
    Conditional,
    MatchKind,
    NextByAction,
    NextByHit,
    Node,
    Pipeline,
    Table,
    TableKey,
)
from hvchannel_softswitch.model.reader import Place, choices
from hvchannel_softswitch.model.scope import Scope, look_up
from hvchannel_softswitch.model.show import show

_NO_ACTION = Action("NoAction", -1, (), ())
_MATCH_KINDS = ", ".join(kind.value for kind in MatchKind)


def load_pipeline(root: Place, name: str, scope: Scope) -> Pipeline:
    """The pipeline of that name ("ingress", "egress")."""
    places = {place.at("name").string(): place for place in root.objects("pipelines", "pipeline")}
    if name not in places:
        root.malformed(f"no pipeline {name!r} (there are: {choices(places)}); is it a program for v1model?")
    place = places[name]
    nodes: dict[str, Node] = {}
    for item in place.objects("tables", "table"):
        nodes[item.at("name").string()] = _table(item, scope)
    for item in place.objects("conditionals", "conditional"):
        nodes[item.at("name").string()] = _conditional(item, scope)
    for item in place.objects("action_calls", "action call"):
        nodes[item.at("name").string()] = ActionCallNode(
            item.at("name").string(), _action(scope, item.at("action_id")), _next(item, "next_node")
        )
    first = _next(place, "init_table")
    for node_name, node in nodes.items():
        for following in successors(node):
            if following not in nodes:
                place.malformed(f"{node_name!r} goes to {following!r}, which does not exist")
    if first is not None and first not in nodes:
        place.malformed(f"init_table {first!r} does not exist (there are: {choices(nodes)})")
    order, loops = order_of(first, lambda node: successors(nodes[node]))
    if loops:
        place.malformed("its nodes form a loop")
    return Pipeline(name, first, nodes, order)


def successors(node: Node) -> list[str]:
    """The names of the nodes that may come next."""
    match node:
        case Table(next=NextByAction(nodes=nodes)):
            found = list(nodes.values())
        case Table(next=NextByHit(hit=hit, miss=miss)):
            found = [hit, miss]
        case Conditional(true_next=true_next, false_next=false_next):
            found = [true_next, false_next]
        case ActionCallNode(next=following):
            found = [following]
    return [name for name in found if name is not None]


def _next(place: Place, key: str) -> str | None:
    found = place.maybe(key)
    return found.string() if found else None


def _action(scope: Scope, place: Place) -> Action:
    ident = place.integer()
    if ident not in scope.actions:
        place.malformed(f"no action has the id {ident}")
    return scope.actions[ident]


def _conditional(place: Place, scope: Scope) -> Conditional:
    name = place.at("name").string()
    source = place.maybe("source_info")
    fragment = source.maybe("source_fragment") if source else None
    expression = load_boolean(place.at("expression"), scope)
    return Conditional(
        name,
        expression,
        _next(place, "true_next"),
        _next(place, "false_next"),
        fragment.string() if fragment else show(expression),
    )


def _table(place: Place, scope: Scope) -> Table:
    name = place.at("name").string()
    profile = _profile(place, scope)
    keys = tuple(_key(item, scope) for item in place.at("key").items("item"))
    if sum(key.kind is MatchKind.LPM for key in keys) > 1:
        place.malformed("more than one lpm key")
    actions = _actions(place, scope)
    default_place = place.maybe("default_entry")
    if default_place is not None:
        default = _action(scope, default_place.at("action_id"))
        args_place = default_place.maybe("action_data")
        args = tuple(item.hexadecimal() for item in args_place.items("item")) if args_place else ()
        if len(args) != len(default.params):
            default_place.malformed(
                f"action {default.name!r} has {len(default.params)} parameters, not {len(args)}"
            )
        const_place = default_place.maybe("action_const")
        default_const = const_place is not None and const_place.boolean()
    else:
        default = next((action for action in actions if not action.params and not action.body), _NO_ACTION)
        args, default_const = (), False
    if default not in actions:
        actions.append(default)
    entries = place.maybe("entries")
    initial = None if entries is None else load_entries(entries, keys, actions)
    if profile is not None and initial is not None:
        place.unsupported("entries in a table with an action profile", "entries of the control plane")
    counters = place.maybe("with_counters")
    meter = place.maybe("direct_meters")
    if meter is not None and meter.string() not in scope.meters:
        meter.malformed(f"no meter {meter.value!r} (there are: {choices(scope.meters)})")
    timeout = place.maybe("support_timeout")
    direct = next((c.name for c in scope.counters.values() if c.is_direct and c.binding == name), None)
    max_size = place.maybe("max_size")
    return Table(
        name=name,
        id=place.at("id").integer(),
        keys=keys,
        actions=tuple(actions),
        max_size=max_size.natural() if max_size else 1024,
        default_action=ActionCall(default.name, args),
        default_const=default_const,
        entries=initial or (),
        const_entries=initial,
        profile=profile,
        with_counters=counters is not None and counters.boolean(),
        direct_counter=direct,
        direct_meter=meter.string() if meter else None,
        support_timeout=timeout is not None and timeout.boolean(),
        next=_next_of_table(place, actions),
    )


def _profile(place: Place, scope: Scope) -> str | None:
    """The action profile of a table of type indirect or indirect_ws (with selector)."""
    kind_place = place.maybe("type")
    kind = kind_place.string() if kind_place else "simple"
    if kind not in ("simple", "indirect", "indirect_ws"):
        place.unsupported(f"table type {kind!r}", "simple, indirect, indirect_ws")
    if kind == "simple":
        return None
    profile = look_up(scope.profiles, place.at("action_profile"), "action profile")
    if profile.selector != (kind == "indirect_ws"):
        has = "a" if profile.selector else "no"
        place.malformed(f"its type is {kind!r}, but action profile {profile.name!r} has {has} selector")
    return profile.name


def _actions(place: Place, scope: Scope) -> list[Action]:
    ids = place.maybe("action_ids")
    if ids is not None:
        return [_action(scope, item) for item in ids.items("item")]
    by_name = {
        action.name: action for action in scope.actions.values()
    }  # before 2016 names alone identified them
    return [look_up(by_name, item, "action") for item in place.at("actions").items("item")]


def _next_of_table(place: Place, actions: list[Action]) -> NextByAction | NextByHit:
    base = _next(place, "base_default_next")
    nexts = place.at("next_tables")
    keys = nexts.value if isinstance(nexts.value, dict) else nexts.malformed("expected an object")
    if "__HIT__" in keys or "__MISS__" in keys:
        return NextByHit(
            _next(nexts, "__HIT__") if "__HIT__" in keys else base,
            _next(nexts, "__MISS__") if "__MISS__" in keys else base,
        )
    names = {action.name for action in actions}
    for key in keys:
        if key not in names:
            nexts.malformed(f"{key!r} is not an action of the table (they are: {choices(names)})")
    return NextByAction({a.id: _next(nexts, a.name) if a.name in keys else base for a in actions})


def _key(place: Place, scope: Scope) -> TableKey:
    kind, target = place.at("match_type").string(), place.at("target")
    source: ex.Expression
    if kind == "valid":
        source, match_kind = ex.ValidBit(scope.header(target).name), MatchKind.EXACT
    else:
        try:
            match_kind = MatchKind(kind)
        except ValueError:
            place.unsupported(f"match kind {kind!r}", _MATCH_KINDS)
        source = load_expression(Place({"type": "field", "value": target.value}, target.where), scope)
    width = width_of(source)
    assert width is not None
    mask = place.maybe("mask")
    if mask is not None and (bits := mask.hexadecimal() & ((1 << width) - 1)) != (1 << width) - 1:
        source = ex.Binary("&", source, ex.Const(bits))
    name = place.maybe("name")
    return TableKey(name.string() if name else ".".join(map(str, target.value)), width, match_kind, source)
