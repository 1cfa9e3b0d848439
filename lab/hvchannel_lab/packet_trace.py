# SPDX-License-Identifier: Apache-2.0
"""One packet of a VIF's channel, hop by hop, there and back: ports, identifiers, the tables it hit, its headers before
and after. It is one that the channel sends anyway (a document, a heartbeat): nothing is put or disturbed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from hvchannel_lab import traces
from hvchannel_lab.accounts import account_of
from hvchannel_lab.capture import CaptureTimeoutError, Frame
from hvchannel_lab.evidence import MissingError, Witness
from hvchannel_lab.frames import decode
from hvchannel_lab.handle import Handle
from hvchannel_lab.parts import Vm
from hvchannel_lab.tables import mac_text

_WITHIN = 15.0  # seconds; a heartbeat is due more often where there are up to a hundred VIFs
_IDENTIFIERS = {"vni": "VNI", "vlan": "VLAN"}


class NoPacketError(RuntimeError):
    """No packet could be followed; the message is one line."""


@dataclass(frozen=True)
class Passage:
    """One packet's way through one vSwitch."""

    switch: str
    port_in: str
    port_out: str
    identifier: str  # "VNI 5001": what `attachment` gave it
    before: str
    after: str
    tables: tuple[str, ...]  # in order: "forward [...] hit: to_port(port=2)"
    source: str  # where this was found


@dataclass(frozen=True)
class PacketTrace:
    """A packet to the VM and one from it. `missing`: what could not be seen from here."""

    vif: str
    there: tuple[Passage, ...]
    back: tuple[Passage, ...]
    missing: tuple[str, ...] = ()


def follow(handle: Handle, vif: str) -> PacketTrace:
    """The next packet with a payload in a running lab, and the next one back.

    Raises NoPacketError, TopologyError, SwitchReadError, OSError.
    """
    topology, vm = handle.topology, handle.topology.vm(vif)
    host = handle.host_of(vm.name)
    hostd = f"{host}/{topology.host(host).hostd_interface}"
    guestd = f"{vm.name}/{vm.guestd_interface}"
    attached = handle.vifs().get(vm.vif)
    if attached is None:
        raise NoPacketError(f"VIF {vm.vif} is not attached: hvchannel diagnose {vm.vif}")
    hops = [f"{host}/{name}" for name in (topology.host(host).hostd_switch_interface, vm.vnic)]
    hops += [f"{vm.name}/{name}" for name in (vm.eth, vm.guestd_switch_interface)]
    with handle.capture(hostd, *hops, guestd) as capture:
        witness = Witness(handle, capture, account_of(handle, capture), host)

        def sent(hop: str, frame: Frame) -> bool:
            if frame.hop != hop or not frame.outgoing:
                return False
            header = decode(frame.data)
            return bool(header.payload) and (hop == guestd or header.dst_ip == attached.lip)

        try:
            first = capture.wait(lambda frame: sent(hostd, frame), _WITHIN, f"a packet for {vm.vif}")
            there = _passages(witness, vm, first.data, (host, vm.name))
            answer = capture.wait(
                lambda frame: sent(guestd, frame) and frame.time > first.time,
                _WITHIN,
                f"a packet of {vm.vif}",
            )
            back = _passages(witness, vm, answer.data, (vm.name, host))
        except CaptureTimeoutError as error:
            raise NoPacketError(f"{error}; is there a session? hvchannel diagnose {vm.vif}") from None
        except MissingError as error:
            raise NoPacketError(error.looked_for) from None
    return PacketTrace(vm.vif, there, back)


def _passages(witness: Witness, vm: Vm, frame: bytes, switches: Iterable[str]) -> tuple[Passage, ...]:
    """Through one vSwitch after the other: what leaves one arrives at the next."""
    topology, found = witness.handle.topology, []
    for who in switches:
        witness.element(who)
        record = witness.record(who, frame)
        ports = {port: hop.interface for port, hop in topology.port_hops(who).items()}
        name = f"guest vSwitch of {vm.name}" if who == vm.name else "host vSwitch"
        source = (
            f"packet {record.number} of {who}'s trace" if topology.target.traces else f"counters of {who}"
        )
        found.append(passage(name, record, ports, source))
        frame = record.outputs[0][1]
    return tuple(found)


def from_host(vif: str, port: int, file: Path) -> PacketTrace:
    """From the host vSwitch's trace alone, where there is no lab: the last packet that left by the VIF's port, and the
    last that came in by it. Raises NoPacketError, OSError."""
    there = back = None
    for record in traces.read(file):
        if any(out == port for out, _ in record.outputs):
            there = record
        elif record.port == port and not record.dropped:
            back = record
    if there is None and back is None:
        raise NoPacketError(f"{file}: no packet left or entered by port {port}, that of VIF {vif}")
    source = f"trace {file}"
    return PacketTrace(
        vif,
        (passage("host vSwitch", there, {}, source),) if there else (),
        (passage("host vSwitch", back, {}, source),) if back else (),
        missing=(
            "the guest vSwitch: its trace is in the VM (softswitch --trace-file there)",
            "whether these two packets belong together",
        ),
    )


def passage(switch: str, record: traces.Record, ports: Mapping[int, str], source: str) -> Passage:
    """Raises NoPacketError for a packet that was dropped."""
    if not record.outputs:
        last = record.lookups[-1].action if record.lookups else "nothing"
        raise NoPacketError(f"{switch} dropped packet {record.number}: the last table said {last}")
    port_out, after = record.outputs[0]
    attachment = record.lookup("attachment")
    given = attachment.args if attachment is not None else {}
    names = [f"{_IDENTIFIERS[name]} {value}" for name, value in given.items() if name in _IDENTIFIERS]
    return Passage(
        switch=switch,
        port_in=_port(record.port, ports),
        port_out=_port(port_out, ports),
        identifier=names[0] if names else "",
        before=str(decode(record.frame)),
        after=str(decode(after)),
        tables=tuple(_lookup(lookup) for lookup in record.lookups if lookup.key),
        source=source,
    )


def _port(number: int, ports: Mapping[int, str]) -> str:
    return f"{number} ({ports[number]})" if number in ports else str(number)


def _lookup(lookup: traces.Lookup) -> str:
    found = "hit" if lookup.hit else "miss"
    return f"{lookup.table} [{_pairs(lookup.key, ' ')}] {found}: {lookup.action}({_pairs(lookup.args, ', ')})"


def _pairs(values: Mapping[str, int], between: str) -> str:
    return between.join(f"{name}={_value(name, value)}" for name, value in values.items())


def _value(name: str, value: int) -> str:
    if name.endswith("mac"):
        return mac_text(value)
    return str(IPv4Address(value)) if name.endswith("ip") else str(value)


def lines(trace: PacketTrace) -> list[str]:
    """For people."""
    told = []
    for title, way in ((f"to {trace.vif}", trace.there), (f"from {trace.vif}", trace.back)):
        told.append(f"a packet {title}")
        for hop in way:
            told.append(f"  {hop.switch}: port {hop.port_in} -> port {hop.port_out}, {hop.identifier}")
            told.append(f"    before  {hop.before}")
            told += [f"    table   {table}" for table in hop.tables]
            told.append(f"    after   {hop.after}")
            told.append(f"    seen in {hop.source}")
    return told + [f"not seen from here: {what}" for what in trace.missing]
