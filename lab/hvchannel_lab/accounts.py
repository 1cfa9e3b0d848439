# SPDX-License-Identifier: Apache-2.0
"""What a vSwitch did with one frame, by whichever evidence its target leaves: the trace that it writes, else
its tables' counters with the frames captured around it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from hvchannel_lab.capture import Capture, Frame
from hvchannel_lab.frames import Decoded, decode
from hvchannel_lab.handle import Handle
from hvchannel_lab.tables import Entry
from hvchannel_lab.traces import Lookup, Record

Counts = dict[tuple[str, str, tuple[tuple[str, object], ...]], tuple[int, int]]
"""Packets and bytes by vSwitch, table and key."""


class Account(Protocol):
    """Evidence of what vSwitches do, from its making on."""

    def find(self, who: str, frame: bytes) -> tuple[Record, str] | None:
        """What became of the frame that came in as these bytes, and where that is written; None: not yet.

        Raises SwitchReadError, OSError.
        """

    def missing(self, who: str) -> str:
        """Where `find` looked, for people."""

    def hit_shown_by(self, who: str, lookup: Lookup) -> str:
        """Where it is written that the table was hit, for people."""


def account_of(handle: Handle, capture: Capture) -> Account:
    """The best evidence that the lab's target leaves. To be made before the frames are sent."""
    return TraceAccount(handle) if handle.topology.target.traces else CounterAccount(handle, capture)


class TraceAccount:
    """By the traces that the vSwitches write: every step of every packet."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def find(self, who: str, frame: bytes) -> tuple[Record, str] | None:
        for record in self._handle.trace(who, frame):
            if not record.dropped:
                return record, f"trace of {who}, packet {record.number}"
        return None

    def missing(self, who: str) -> str:
        topology = self._handle.topology
        return (
            f"its trace {topology.trace_file(who)} (which ends after {topology.trace_limit} packets; "
            f"`hvchannel restart {who}/{topology.target}` begins a new one)"
        )

    def hit_shown_by(self, who: str, lookup: Lookup) -> str:
        return f"P4Runtime read of {who}: {lookup.table}"


class CounterAccount:
    """By the vSwitches' direct counters, and the frames captured at their ports.

    An entry has been hit when all of its key is what the frame says, or what entries hit before say (an
    identifier, a port), and when its counter has risen since the account was opened. Such entries tell the
    way of the frame but not of it alone: other frames of the connection take the same way.
    """

    def __init__(self, handle: Handle, capture: Capture) -> None:
        self._handle = handle
        self._capture = capture
        self._before: Counts = {}
        for who in handle.topology.whos:
            self._before |= {_place(who, entry): _count(entry) for entry in self._entries(who)}

    def find(self, who: str, frame: bytes) -> tuple[Record, str] | None:
        source = f"captures at {who}'s ports, direct counters of {who}"
        for port, hop in self._handle.topology.port_hops(who).items():
            for number, arrived in enumerate(self._capture.frames(hop.name, outgoing=False), 1):
                if arrived.data == frame:
                    return self._record(who, port, arrived, number), source
        return None

    def missing(self, who: str) -> str:
        hops = (hop.name for hop in self._handle.topology.port_hops(who).values())
        return f"the captures at its ports ({', '.join(hops)})"

    def hit_shown_by(self, who: str, lookup: Lookup) -> str:
        for entry in self._entries(who):
            if entry.table == lookup.table and entry.match == lookup.key:
                packets, size = self._risen(who, entry)
                return f"P4Runtime read of {who}: {lookup.table}, counter +{packets} packets, +{size} bytes"
        return f"P4Runtime read of {who}: {lookup.table}"

    def _record(self, who: str, port: int, arrived: Frame, number: int) -> Record:
        header = decode(arrived.data)
        lookups = tuple(self._lookups(who, port, arrived, header))
        outputs = [
            (lookup.args["port"], left.data)
            for lookup in lookups
            if lookup.action == "to_port"
            for left in self._left(who, lookup.args["port"], arrived, header)
        ]
        return Record(
            number=number,
            time_ns=arrived.time,
            port=port,
            frame=arrived.data,
            lookups=lookups,
            outputs=tuple(outputs),
            steps=(),
        )

    def _lookups(self, who: str, port: int, arrived: Frame, header: Decoded) -> Iterator[Lookup]:
        """In the order of the P4Info, repeated until an entry's parameters lead to no further entry."""
        known: dict[str, int] = {
            "in_port": port,
            "tagged": int(header.vlan is not None),
            "vlan_id": header.vlan or 0,
            "src_mac": _mac(header.src_mac),
            "dst_mac": _mac(header.dst_mac),
            "src_ip": _ip(header.src_ip),
            "dst_ip": _ip(header.dst_ip),
        }
        entries = self._entries(who)
        found: set[str] = set()
        leads = True
        while leads:
            leads = False
            for entry in entries:
                packets, size = self._risen(who, entry)
                if entry.table in found or not entry.match or packets < 1 or size < len(arrived.data):
                    continue
                key = {name: value for name, value in entry.match.items() if isinstance(value, int)}
                if len(key) == len(entry.match) and all(known.get(name) == key[name] for name in key):
                    found.add(entry.table)
                    known = entry.args | known  # what the frame says is not changed by what a table says
                    leads = True
                    yield Lookup(entry.table, key, True, entry.action, entry.args)

    def _left(self, who: str, port: int, arrived: Frame, header: Decoded) -> Iterator[Frame]:
        """Frames that left by the port after it arrived, with its ends, ports and payload."""
        hop = self._handle.topology.port_hops(who).get(port)
        for left in self._capture.frames(hop.name, outgoing=True) if hop else ():
            other = decode(left.data)
            if left.time >= arrived.time and _constant(other) == _constant(header):
                yield left

    def _entries(self, who: str) -> list[Entry]:
        return [entry for table in self._handle.switch_tables(who).values() for entry in table]

    def _risen(self, who: str, entry: Entry) -> tuple[int, int]:
        packets, size = _count(entry)
        packets_before, size_before = self._before.get(_place(who, entry), (0, 0))
        return packets - packets_before, size - size_before


def _constant(header: Decoded) -> tuple[object, ...]:
    """What no vSwitch changes on the way."""
    return header.src_mac, header.dst_mac, header.src_port, header.dst_port, header.payload


def _place(who: str, entry: Entry) -> tuple[str, str, tuple[tuple[str, object], ...]]:
    return who, entry.table, tuple(sorted(entry.match.items()))


def _count(entry: Entry) -> tuple[int, int]:
    return entry.packets or 0, entry.bytes or 0


def _mac(text: str) -> int:
    return int(text.replace(":", ""), 16)


def _ip(text: str | None) -> int:
    return int.from_bytes(bytes(map(int, text.split("."))), "big") if text else 0
