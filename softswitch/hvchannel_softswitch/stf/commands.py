# SPDX-License-Identifier: Apache-2.0
"""The commands that a test takes over from simple_switch_CLI. Nodes of multicast groups, and members and groups of
action profiles, are numbered from 0 as they are created."""

from __future__ import annotations

from collections.abc import Callable

from hvchannel_softswitch.engine import CloneSession, CounterData, Exact, MeterConfig, Replica
from hvchannel_softswitch.stf.engines import AnyEngine
from hvchannel_softswitch.stf.language import Command, number_of
from hvchannel_softswitch.stf.resolve import Unresolved, call_of, pick

_MICROSECONDS = 1_000_000


class Commands:
    """Runs commands on an engine."""

    def __init__(self, engine: AnyEngine) -> None:
        self._engine = engine
        self._program = engine.program
        self._nodes: list[tuple[Replica, ...]] = []
        self._groups: dict[int, list[int]] = {}
        self._sessions: dict[int, tuple[str, int]] = {}
        self._handlers: dict[str, Callable[[Command], None]] = {
            "mirroring_add": lambda c: self._mirror(c, "port"),
            "mirroring_add_mc": lambda c: self._mirror(c, "group"),
            "mirroring_delete": self._mirroring_delete,
            "mirroring_get": self._mirroring_get,
            "mc_mgrp_create": self._group_create,
            "mc_node_create": self._node_create,
            "mc_node_update": self._node_update,
            "mc_node_associate": self._node_associate,
            "counter_read": lambda c: self._counter(c, None),
            "counter_write": lambda c: self._counter(c, CounterData(*map(number_of, c.words[2:]))),
            "register_read": self._register_read,
            "register_write": self._register_write,
            "register_reset": self._register_reset,
            "meter_get_rates": self._meter_get,
            "meter_set_rates": self._meter_set,
            "meter_array_set_rates": self._meter_set_all,
            "act_prof_create_member": self._member_create,
            "act_prof_create_group": self._profile_group_create,
            "act_prof_add_member_to_group": self._profile_group_add,
            "pvs_add": self._value_set_add,
        }

    def run(self, command: Command) -> None:
        """Raises Unresolved, EngineError, IndexError, ValueError: what is said does not fit the program."""
        self._handlers[command.name](command)

    def _mirror(self, command: Command, kind: str) -> None:
        session, target = map(number_of, command.words)
        self._sessions[session] = (kind, target)
        self._settle()

    def _mirroring_delete(self, command: Command) -> None:
        self._sessions.pop(number_of(command.words[0]), None)
        self._settle()

    def _mirroring_get(self, command: Command) -> None:
        if number_of(command.words[0]) not in self._sessions:
            raise Unresolved(f"there is no mirroring session {command.words[0]}")

    def _group_create(self, command: Command) -> None:
        self._groups[number_of(command.words[0])] = []
        self._settle()

    def _node_create(self, command: Command) -> None:
        self._nodes.append(_replicas(*map(number_of, command.words)))

    def _node_update(self, command: Command) -> None:
        handle, *ports = map(number_of, command.words)
        self._check(handle, self._nodes, "multicast node")
        rid = self._nodes[handle][0].instance if self._nodes[handle] else 0
        self._nodes[handle] = _replicas(rid, *ports)
        self._settle()

    def _node_associate(self, command: Command) -> None:
        group, handle = map(number_of, command.words)
        self._check(handle, self._nodes, "multicast node")
        if group not in self._groups:
            raise Unresolved(f"there is no multicast group {group}")
        self._groups[group].append(handle)
        self._settle()

    @staticmethod
    def _check(handle: int, made: list[tuple[Replica, ...]], what: str) -> None:
        if handle >= len(made):
            raise Unresolved(f"there is no {what} {handle} (so far {len(made)} were created)")

    def _settle(self) -> None:
        """Groups and sessions as they are now, to the engine: a session may name a group that comes later."""
        replicas = {
            group: tuple(replica for handle in handles for replica in self._nodes[handle])
            for group, handles in self._groups.items()
        }
        for group, members in replicas.items():
            self._engine.set_multicast_group(group, members)
        for session in set(self._engine.clone_sessions()) | set(self._sessions):
            kind, target = self._sessions.get(session, ("", 0))
            if not kind:
                self._engine.set_clone_session(session, None)
                continue
            to = (Replica(target),) if kind == "port" else replicas.get(target, ())
            self._engine.set_clone_session(session, CloneSession(to))

    def _counter(self, command: Command, data: CounterData | None) -> None:
        counters = (c.name for c in self._program.counters.values() if not c.is_direct)
        name, index = pick(command.words[0], counters, "counter"), number_of(command.words[1])
        if data is None:
            self._engine.read_counter(name, index)
        else:
            self._engine.write_counter(name, index, data)

    def _register(self, command: Command) -> str:
        return pick(command.words[0], self._program.registers, "register")

    def _register_read(self, command: Command) -> None:
        self._engine.read_register(self._register(command), number_of(command.words[1]))

    def _register_write(self, command: Command) -> None:
        index, value = map(number_of, command.words[1:])
        self._engine.write_register(self._register(command), index, value)

    def _register_reset(self, command: Command) -> None:
        name = self._register(command)
        for index in range(self._program.registers[name].size):
            self._engine.write_register(name, index, 0)

    def _meter(self, command: Command) -> str:
        meters = (m.name for m in self._program.meters.values() if not m.is_direct)
        return pick(command.words[0], meters, "meter")

    def _meter_get(self, command: Command) -> None:
        self._engine.read_meter(self._meter(command), number_of(command.words[1]))

    def _meter_set(self, command: Command) -> None:
        config = _rates(command.words[2:])
        self._engine.write_meter(self._meter(command), number_of(command.words[1]), config)

    def _meter_set_all(self, command: Command) -> None:
        name, config = self._meter(command), _rates(command.words[1:])
        for index in range(self._program.meters[name].size):
            self._engine.write_meter(name, index, config)

    def _profile(self, command: Command) -> str:
        return pick(command.words[0], self._program.profiles, "action profile")

    def _member_create(self, command: Command) -> None:
        profile = self._profile(command)
        assert command.call is not None
        tables = [table for table in self._program.tables.values() if table.profile == profile]
        actions = [action for table in tables for action in table.actions]
        call = call_of(actions, command.call, f"action of action profile {profile!r}")
        self._engine.set_profile_member(profile, len(self._engine.profile_members(profile)), call)

    def _profile_group_create(self, command: Command) -> None:
        profile = self._profile(command)
        self._engine.set_profile_group(profile, len(self._engine.profile_groups(profile)), ())

    def _profile_group_add(self, command: Command) -> None:
        profile, (member, group) = self._profile(command), map(number_of, command.words[1:])
        groups = self._engine.profile_groups(profile)
        if group not in groups:
            raise Unresolved(f"action profile {profile!r} has no group {group}")
        self._engine.set_profile_group(profile, group, (*groups[group], (member, 1)))

    def _value_set_add(self, command: Command) -> None:
        name = pick(command.words[0], self._program.value_sets, "parser value set")
        member = tuple(Exact(number_of(word)) for word in command.words[1:])
        self._engine.set_value_set(name, (*self._engine.value_set(name), member))


def _replicas(rid: int, *ports: int) -> tuple[Replica, ...]:
    return tuple(Replica(port, rid) for port in sorted(ports))


def _rates(words: tuple[str, ...]) -> MeterConfig:
    """Two pairs RATE:BURST, rates per microsecond; the committed one first."""
    pairs = [word.split(":") for word in words]
    if len(pairs) != 2 or any(len(pair) != 2 for pair in pairs):
        raise Unresolved(f"expected two rates like 0.01:100, found {' '.join(words)!r}")
    (cir, cburst), (pir, pburst) = ((round(float(r) * _MICROSECONDS), int(b)) for r, b in pairs)
    return MeterConfig(cir=cir, cburst=cburst, pir=pir, pburst=pburst)
