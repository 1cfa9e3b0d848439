# SPDX-License-Identifier: Apache-2.0
"""Multicast groups of a program in the kernel: the sets of replicas in its arena (see `replication`), and for each set
a devmap with the interfaces that it is copied to. An entry of a devmap names the program that runs there, too: the one
that makes a replica of the copy.

A group is changed by a new set, with a new devmap, to which the group leads from one store on.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple

import structlog

from hvchannel_softswitch.bpf import Map, MapKind, create_map
from hvchannel_softswitch.engine import EngineError, Replica
from hvchannel_softswitch.xdp.arena import Arena
from hvchannel_softswitch.xdp.grace import Grace, Slots
from hvchannel_softswitch.xdp.replication import (
    GROUP_BITS,
    INSTANCE_MASK,
    MEMBER,
    MOST_GROUPS,
    PLACE_SHIFT,
    SET_PORTS,
    SETS,
    Replication,
)

log = structlog.get_logger(__name__)

_U32 = struct.Struct("=I")
_ENTRY = struct.Struct("=II")


class Outlet(NamedTuple):
    """Where a replica goes: an interface's index, and the descriptor of the program that runs there."""

    ifindex: int
    program: int


def sets_map() -> Map:
    """From a set to its devmap; empty. Raises OSError."""
    with _devmap(1) as like:
        return create_map(MapKind.ARRAY_OF_MAPS, 4, 4, SETS, name="sets", inner=like)


def check_group(group: int, replicas: tuple[Replica, ...], groups: Mapping[int, object]) -> None:
    """Raises EngineError for a group that the kernel cannot make beside those that there are."""
    if not 0 < group < 1 << GROUP_BITS:
        raise EngineError(f"multicast group {group} is not valid (valid: 1 to {(1 << GROUP_BITS) - 1})")
    if group not in groups and len(groups) >= MOST_GROUPS:
        raise EngineError(
            f"multicast group {group}: there are {MOST_GROUPS} groups, the most there is room for"
        )
    instances: dict[int, int] = {}
    for replica in replicas:
        if not 0 <= replica.port < SET_PORTS:
            raise EngineError(
                f"multicast group {group}: port {replica.port} is not valid (valid: 0 to {SET_PORTS - 1})"
            )
        if not 0 <= replica.instance <= INSTANCE_MASK:
            raise EngineError(
                f"multicast group {group}: instance {replica.instance} is not valid (valid: 0 to {INSTANCE_MASK})"
            )
        if replica.port in instances:
            raise EngineError(
                f"multicast group {group} has port {replica.port} twice, with instances {instances[replica.port]} and "
                f"{replica.instance}, and the kernel copies a frame to a port once: give the port one instance, or run "
                "the switch with --engine interpreter"
            )
        instances[replica.port] = replica.instance


class LiveGroups:
    """The groups of one arena. What is set is seen by packets after `flush`."""

    def __init__(
        self,
        arena: Arena,
        place: Replication,
        sets: Map,
        synchronize: Callable[[], None],
        outlet: Callable[[int], Outlet | None],
    ) -> None:
        """`sets`: see `sets_map`. `synchronize`: see XdpEngine. `outlet`: of a port, or None while it has none."""
        self._arena = arena
        self._place = place
        self._sets = sets
        self._outlet = outlet
        self._slots = Slots(SETS, Grace(synchronize))
        self._changed: dict[int, tuple[Replica, ...] | None] = {}

    def set(self, group: int, replicas: tuple[Replica, ...] | None) -> None:
        """The group's replicas from the next flush on; None: there is no such group."""
        self._changed[group] = replicas

    def flush(self) -> None:
        """All that was set is in force when this returns. Raises OSError, and then each group is as it was or as it was
        set."""
        if not self._changed:
            return
        made = {g: (self._slots.take(), replicas) for g, replicas in self._changed.items() if replicas}
        devmaps: dict[bytes, Map] = {}
        try:
            for number, replicas in made.values():
                self._write(number, replicas)
                devmaps[_U32.pack(number)] = made_for = _devmap(len(replicas))
                self._fill(made_for, replicas)
            self._sets.update_many({key: _U32.pack(devmap.fd) for key, devmap in devmaps.items()})
        except OSError:
            for number, _ in made.values():
                self._slots.retire(number)
            raise
        finally:
            for devmap in devmaps.values():
                devmap.close()
        for group in self._changed:
            number = made[group][0] if group in made else 0
            before = self._number(group)
            self._arena.u16[self._place.groups // 2 + group] = number
            if before:
                self._slots.retire(before)
        self._changed.clear()

    def connect(self) -> None:
        """Outlets are others now: all groups in force get them. Raises OSError."""
        for number, replicas in self._in_force().values():
            with self._devmap_of(number) as devmap:
                self._fill(devmap, replicas)

    def adopt(self) -> dict[int, tuple[Replica, ...]]:
        """The groups that another process left in force, each in its order. Raises OSError."""
        found = self._in_force()
        self._slots.adopt({number for number, _ in found.values()})
        return {group: replicas for group, (_, replicas) in found.items()}

    def _in_force(self) -> dict[int, tuple[int, tuple[Replica, ...]]]:
        """Sets and their replicas by group."""
        first = self._place.groups // 2
        numbers = self._arena.u16[first : first + (1 << GROUP_BITS)].tolist()
        return {group: (number, self._read(number)) for group, number in enumerate(numbers) if number}

    def _number(self, group: int) -> int:
        return self._arena.u16[self._place.groups // 2 + group]

    def _write(self, number: int, replicas: tuple[Replica, ...]) -> None:
        cells = [0] * SET_PORTS
        for place, replica in enumerate(replicas):
            cells[replica.port] = place << PLACE_SHIFT | MEMBER | replica.instance
        start = self._place.sets + 4 * SET_PORTS * number
        struct.pack_into(f"={SET_PORTS}I", self._arena.buffer, start, *cells)

    def _read(self, number: int) -> tuple[Replica, ...]:
        start = self._place.sets // 4 + SET_PORTS * number
        cells = self._arena.u32[start : start + SET_PORTS].tolist()
        members = [
            (cell >> PLACE_SHIFT, port, cell & INSTANCE_MASK) for port, cell in enumerate(cells) if cell
        ]
        return tuple(Replica(port, instance) for _, port, instance in sorted(members))

    def _fill(self, devmap: Map, replicas: tuple[Replica, ...]) -> None:
        """Entries for the replicas whose ports have outlets, each at its place."""
        for place, replica in enumerate(replicas):
            outlet, key = self._outlet(replica.port), _U32.pack(place)
            if outlet is None:
                devmap.delete(key)
                continue
            try:
                devmap.update(key, _ENTRY.pack(*outlet))
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                # The interface went away just now, and its port will be heard of again.
                log.debug("no_outlet", port=replica.port, ifindex=outlet.ifindex)
                with suppress(OSError):
                    devmap.delete(key)

    def _devmap_of(self, number: int) -> Map:
        value = self._sets.lookup(_U32.pack(number))
        assert value is not None, "a set in force has a devmap"
        return Map.from_id(_U32.unpack(value)[0])


def _devmap(size: int) -> Map:
    return create_map(MapKind.DEVMAP, 4, _ENTRY.size, size, name="replicas")
