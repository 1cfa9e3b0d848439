# SPDX-License-Identifier: Apache-2.0
"""The journey of one packet to a VM, element by element as in DESIGN section 1, and of the answer back.

A document is put for each VM, and answered by a local program there, while frames are captured at every hop.
Then each element is shown by what was found of that very packet: in the captures, in the vSwitches' tables, and
in their traces or, where a target writes none, their counters. An element for which nothing is found is an
error; no value is assumed.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from hvchannel_lab.accounts import account_of
from hvchannel_lab.evidence import Element, MissingError, Witness
from hvchannel_lab.handle import Handle
from hvchannel_lab.parts import Vm
from hvchannel_lab.tables import mac_text

DOCUMENT_KEY = "interfaces/web-0"
CONTENT_TYPE = "application/json"


_WITHIN = 30.0  # seconds for a document and its answer, by a namespace's measure


@dataclass(frozen=True)
class Sent:
    """A document that was put for a VM."""

    vm: Vm
    key: str
    revision: int
    content: bytes


@dataclass(frozen=True)
class Journey:
    """What was shown for one VM: the ten elements of the way there, and those of the way back. `machine`: what a VM
    that is one says of itself, by name; None of another kind."""

    vm: str
    there: tuple[Element, ...]
    back: tuple[Element, ...]
    machine: dict[str, str] | None = None


class JourneyError(RuntimeError):
    """An element could not be shown. `shown` are those of that VM that were."""

    def __init__(self, vm: str, missing: MissingError, shown: Sequence[Element]) -> None:
        super().__init__(f"{vm}: {missing}")
        self.shown = tuple(shown)


def sample_document(vm: Vm) -> bytes:
    """An interface's configuration as a network control plane would send it; no two are alike."""
    configuration = {
        "interface": "web-0",
        "app_id": secrets.token_hex(16),
        "mac": "02:50:56:" + secrets.token_bytes(3).hex(":"),
        "ip": "10.24.7.16/24",
        "gateway": "10.24.7.1",
        "vlan": 7,
        "parent_vif": vm.vif,
    }
    return json.dumps(configuration).encode()


def observe(handle: Handle, *names: str) -> list[Journey]:
    """Sends a document to each of these VMs, to all by default, awaits each answer, and shows both ways.

    Raises JourneyError, LabTimeoutError, FeedError, SwitchReadError, TopologyError, OSError.
    """
    vms = [handle.topology.vm(name) for name in names] or handle.vms
    hosts = {vm.name: handle.host_of(vm.name) for vm in vms}
    with handle.capture() as capture:
        account = account_of(handle, capture)
        sent = []
        for vm in vms:
            content = sample_document(vm)
            revision = handle.put(vm.vif, DOCUMENT_KEY, content, CONTENT_TYPE)
            sent.append(Sent(vm, DOCUMENT_KEY, revision, content))
        for document in sent:
            within = _WITHIN * handle.topology.vm_kind.patience
            handle.wait_acked(document.vm.vif, document.key, document.revision, within)
            handle.wait_report(document.vm.vif, document.key, document.revision, within)
        return [
            _journey(Witness(handle, capture, account, hosts[document.vm.name]), document)
            for document in sent
        ]


def _journey(witness: Witness, sent: Sent) -> Journey:
    try:
        _there(witness, sent)
        there = tuple(witness.elements)
        _back(witness, sent)
    except MissingError as missing:
        raise JourneyError(sent.vm.name, missing, witness.elements) from None
    back = tuple(witness.elements[len(there) :])
    return Journey(sent.vm.name, there, back, _machine(witness.handle, sent.vm))


def _machine(handle: Handle, vm: Vm) -> dict[str, str] | None:
    said = handle.machine(vm.name)
    if said is None:
        return None
    xdp, plain = said["xdp"], [name for name in said["interfaces"] if name not in said["xdp"]]
    return {
        "kernel": said["kernel"],
        "machine": said["machine"],
        "up for": f"{said['uptime']:.0f} s",
        "interfaces": f"{', '.join(xdp) or 'none'} with XDP; {', '.join(plain) or 'none'} without",
    }


def _there(w: Witness, sent: Sent) -> None:
    topology, vm = w.handle.topology, sent.vm
    hypervisor = topology.host(w.host)

    w.element("1")
    delivery = w.handle.delivery(vm.vif, sent.key)
    if delivery is None:
        raise MissingError("1", f"document {sent.key!r} of {vm.vif} in {topology.feed_at}")
    w.same("revision of the document", delivery.document.revision, sent.revision)
    w.saw("feed")
    w.shown(
        "the first daemon receives information for the second from the control plane",
        document=f"{sent.key} revision {sent.revision}",
        **{"for": vm.vif},
        bytes=delivery.document.size,
        sha256=delivery.document.sha256.hex()[:16],
    )

    w.element("2")
    generated, header = w.frame(
        f"{w.host}/{hypervisor.hostd_interface}",
        True,
        lambda frame: sent.content in frame.data,
        f"a frame with the document's {len(sent.content)} bytes",
    )
    vif = w.handle.vifs().get(vm.vif)
    if vif is None:
        raise MissingError("2", f"VIF {vm.vif} among the controller's attachments")
    w.saw("controller's attachment")
    w.same("first destination IP and the VIF's LIP", header.dst_ip, vif.lip)
    w.same("destination MAC and the VIF's", header.dst_mac, vif.mac)
    w.require(header.checksums_right, "right IPv4 and TCP checksums of the generated packet")
    w.shown(
        "it generates a packet with the information as payload",
        source_MAC=header.src_mac,
        source_IP=header.src_ip,
        destination_MAC=header.dst_mac,
        first_destination_IP=header.dst_ip,
        TCP=f"{header.src_port} > {header.dst_port}",
        payload=f"{len(header.payload)} bytes, the document's {len(sent.content)} among them",
    )

    w.element("3")
    host = w.record(w.host, generated.data)
    attachment = w.hit(w.host, host, "attachment", "attach_hypervisor")
    vni = attachment.args["vni"]
    forward = w.hit(w.host, host, "forward", "to_port")
    w.same("the first identifier, stored by `attachment` and read by `forward`", vni, forward.key["vni"])
    w.shown("a first identifier is stored in metadata of the packet", VNI=vni, set_by="attachment")

    w.element("4")
    w.frame(
        f"{w.host}/{hypervisor.hostd_switch_interface}",
        False,
        lambda frame: frame.data == generated.data,
        "the generated frame, unchanged",
    )
    host = w.record(w.host, generated.data)
    w.shown(
        "the first switch receives it at a first port, the first daemon's",
        first_port=host.port,
        interface=hypervisor.hostd_switch_interface,
    )

    w.element("5")
    forward = w.hit(w.host, host, "forward", "to_port")
    second_port = forward.args["port"]
    member = w.hit(w.host, host, "member", "member_guest")
    w.same("port and VNI of `member`", member.key, {"port": second_port, "vni": vni})
    w.same("destination MAC of key and frame", mac_text(forward.key["dst_mac"]), header.dst_mac)
    w.same("destination IP of key and frame", str(IPv4Address(forward.key["dst_ip"])), header.dst_ip)
    w.shown(
        "it decides for a second port, which is configured to pass the identifier",
        forward=f"VNI {vni}, {header.dst_mac}, {header.dst_ip} > port {second_port}",
        member=f"port {second_port}, VNI {vni}: {member.action}",
    )

    w.element("6")
    tag = w.hit(w.host, host, "tag", "push_vlan")
    w.same("port and VNI of `tag`", tag.key, {"port": second_port, "vni": vni})
    translate = w.hit(w.host, host, "translate", "to_cip")
    tagged = w.output(w.host, host, second_port)
    leaving, tagged_header = w.frame(
        f"{w.host}/{vm.vnic}",
        True,
        lambda frame: frame.data == tagged,
        "the frame that left the host vSwitch",
    )
    w.same("VLAN id of the entry and of the frame", tag.args["vlan_id"], tagged_header.vlan)
    w.same(
        "second destination IP of the entry and of the frame",
        str(IPv4Address(translate.args["cip"])),
        tagged_header.dst_ip,
    )
    w.require(tagged_header.checksums_right, "right checksums after the translation")
    w.shown(
        "it tags the packet with a second identifier by a mapping",
        tag=f"port {second_port}, VNI {vni} > VLAN {tagged_header.vlan}",
        first_destination_IP=header.dst_ip,
        second_destination_IP=tagged_header.dst_ip,
        checksums="right",
    )

    w.element("7")
    w.frame(f"{w.host}/{vm.vnic}", True, lambda frame: frame.data == tagged, "the tagged frame")
    w.shown(
        "out of the second port to the VM's VNIC",
        second_port=second_port,
        VNIC=vm.vnic,
        frame=f"{len(leaving.data)} bytes, {tagged_header}",
    )

    w.element("8")
    arriving, _ = w.frame(
        f"{vm.name}/{vm.eth}", False, lambda frame: frame.data == tagged, "the tagged frame, unchanged"
    )
    guest = w.record(vm.name, arriving.data)
    w.shown(
        "the VNIC passes it to the second switch",
        interface=f"{vm.eth} of {vm.name}",
        port=guest.port,
        after=f"{(arriving.time - leaving.time) / 1000:.0f} us"
        + (" from the first switch's taking it in" if leaving.traced else ""),
    )

    w.element("9")
    guest = w.record(vm.name, arriving.data)
    attachment = w.hit(vm.name, guest, "attachment", "attach_hypervisor")
    vlan = attachment.args["vlan"]
    w.same("VLAN id of the frame and of the guest vSwitch", vlan, tagged_header.vlan)
    forward = w.hit(vm.name, guest, "forward", "to_port")
    daemon_port = forward.args["port"]
    w.same("VLAN id of `forward` and of the frame", forward.key["vlan"], vlan)
    w.same("destination MAC of key and frame", mac_text(forward.key["dst_mac"]), tagged_header.dst_mac)
    w.same("destination IP of key and frame", str(IPv4Address(forward.key["dst_ip"])), tagged_header.dst_ip)
    member = w.hit(vm.name, guest, "member", "member_guest")
    w.same("port and VLAN id of `member`", member.key, {"port": daemon_port, "vlan": vlan})
    w.shown(
        "the second switch decides for a port by second identifier, MAC, second destination IP",
        forward=f"VLAN {vlan}, {tagged_header.dst_mac}, {tagged_header.dst_ip} > port {daemon_port}",
        member=f"port {daemon_port}, VLAN {vlan}: {member.action}",
    )

    w.element("10")
    delivered = w.output(vm.name, guest, daemon_port)
    last = w.arrival(f"{vm.name}/{vm.guestd_interface}", delivered)
    w.same("tag of the frame", last.vlan, None)
    w.require(sent.content in last.payload, "the document in the payload")
    held = w.handle.read_in_guest(vm.name, sent.key)
    w.same("the document in the feed and in the guest", held, sent.content)
    w.saw("guestd's local API")
    w.shown(
        "the second daemon receives it over that port",
        port=daemon_port,
        interface=vm.guestd_interface,
        frame=last,
        guestd_holds=f"{sent.key}, the same {len(held)} bytes",
    )


def _back(w: Witness, sent: Sent) -> None:
    topology, vm = w.handle.topology, sent.vm
    hypervisor = topology.host(w.host)
    stored = w.handle.wait_report(vm.vif, sent.key, sent.revision)

    w.element("R1")
    generated, header = w.frame(
        f"{vm.name}/{vm.guestd_interface}",
        True,
        lambda frame: stored.report.data in frame.data,
        f"a frame with the report's {len(stored.report.data)} bytes",
    )
    w.shown(
        "the second daemon answers",
        source_MAC=header.src_mac,
        source_IP=header.src_ip,
        destination_MAC=header.dst_mac,
        destination_IP=header.dst_ip,
        report=f"{stored.report.type}, {len(stored.report.data)} bytes",
    )

    w.element("R2")
    guest = w.record(vm.name, generated.data)
    vlan = w.hit(vm.name, guest, "attachment", "attach_guest").args["vlan"]
    w.hit(vm.name, guest, "source_guard", "permit_source")
    vnic_port = w.hit(vm.name, guest, "forward", "to_port").args["port"]
    w.hit(vm.name, guest, "member", "member_hypervisor")
    pushed = w.hit(vm.name, guest, "tag", "push_vlan").args["vlan_id"]
    w.same("second identifier of metadata and of the tag", vlan, pushed)
    w.shown("the second switch tags it", port=f"{guest.port} > {vnic_port}", VLAN=pushed)

    w.element("R3")
    tagged = w.output(vm.name, guest, vnic_port)
    w.frame(f"{vm.name}/{vm.eth}", True, lambda frame: frame.data == tagged, "the tagged answer")
    arriving, tagged_header = w.frame(
        f"{w.host}/{vm.vnic}", False, lambda frame: frame.data == tagged, "the tagged answer, unchanged"
    )
    w.same("VLAN id of the entry and of the frame", pushed, tagged_header.vlan)
    w.shown("the VNIC passes it to the first switch", VNIC=f"{vm.eth} > {vm.vnic}", frame=tagged_header)

    w.element("R4")
    host = w.record(w.host, arriving.data)
    attachment = w.hit(w.host, host, "attachment", "attach_guest")
    vni = attachment.args["vni"]
    w.same("VLAN id of the key and of the frame", attachment.key["vlan_id"], tagged_header.vlan)
    guard = w.hit(w.host, host, "source_guard", "permit_source")
    w.same("source MAC of key and frame", mac_text(guard.key["src_mac"]), tagged_header.src_mac)
    w.same("source IP of key and frame", str(IPv4Address(guard.key["src_ip"])), tagged_header.src_ip)
    w.shown(
        "the first switch maps (port, VLAN) to the first identifier and checks the source",
        attachment=f"port {host.port}, VLAN {tagged_header.vlan} > VNI {vni}",
        permitted=f"{tagged_header.src_mac}, {tagged_header.src_ip}",
    )

    w.element("R5")
    restore = w.hit(w.host, host, "restore", "to_lip")
    lip = str(IPv4Address(restore.args["lip"]))
    first_port = w.hit(w.host, host, "forward", "to_port").args["port"]
    w.hit(w.host, host, "member", "member_hypervisor")
    w.hit(w.host, host, "tag", "leave_untagged")
    w.shown(
        "CIP becomes LIP, and the answer goes to the first port, untagged",
        source_IP=f"{tagged_header.src_ip} > {lip}",
        port=f"{host.port} > {first_port}",
    )

    w.element("R6")
    delivered = w.output(w.host, host, first_port)
    last = w.arrival(f"{w.host}/{hypervisor.hostd_interface}", delivered)
    w.same("source IP of the entry and of the frame", lip, last.src_ip)
    w.same("tag of the frame", last.vlan, None)
    w.saw("feed")
    w.shown(
        "the first daemon receives it, and the control plane has the answer",
        frame=last,
        report=stored.report.data.decode(errors="replace"),
    )
