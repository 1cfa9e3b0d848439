# SPDX-License-Identifier: Apache-2.0
"""Claim 1 of US10454824B2, one test per element, on one document's journey to vm1 and on the answer's way back.

Every value compared was captured at a hop, traced by a vSwitch or read from it by P4Runtime; the host controller's API
says what the VIF was attached as.
"""

import secrets
from dataclasses import dataclass

import pytest
from hvchannel_lab.capture import Frame
from hvchannel_lab.frames import Decoded, decode
from hvchannel_lab.tables import mac_text
from hvchannel_lab.targets import Engine

pytestmark = [pytest.mark.root, pytest.mark.e2e]
ENGINES = (Engine.AUTO, Engine.INTERPRETER)

KEY = "claim/document"


def number(address: str) -> int:
    return int.from_bytes(bytes(int(part) for part in address.split(".")), "big")


def mac_number(mac: str) -> int:
    return int(mac.replace(":", ""), 16)


@dataclass
class Leg:
    """One direction: the frame that carried the content, at each hop, and what either vSwitch wrote of it."""

    frames: dict[str, Frame]
    records: dict[str, object]

    def at(self, hop: str) -> Decoded:
        return decode(self.frames[hop].data)

    def checksums_right_at(self, hop: str) -> bool:
        """A kernel that merged the frame with its neighbours has verified them, and left nothing to look at."""
        return self.at(hop).checksums_right or not self.frames[hop].checksum_ready


@dataclass
class Journey:
    vm: object
    vif: object
    topology: object
    information: bytes
    revision: int
    there: Leg
    back: Leg


def leg(lab, capture, content: bytes, hops: list[tuple[str, bool]], switches: dict[str, str]) -> Leg:
    """Follows the frame that holds `content`; `switches` maps each vSwitch to the hop where it takes the frame in."""
    frames = {}
    for hop, outgoing in hops:
        frames[hop] = capture.wait(
            lambda frame, hop=hop, outgoing=outgoing: (
                frame.hop == hop and frame.outgoing is outgoing and content in frame.data
            ),
            what=f"the content at {hop}",
        )
    records = {}
    for who, hop in switches.items():
        taken_in = frames[hop].data
        records[who] = next(
            record for record in lab.trace(who) if record.frame == taken_in and record.outputs
        )
    return Leg(frames, records)


@pytest.fixture(scope="module")
def journey(lab) -> Journey:
    vm = lab.topology.vm("vm1")
    information = b"information-" + secrets.token_hex(16).encode()
    answer = b"answer-" + secrets.token_hex(16).encode()
    with lab.capture() as capture:
        revision = lab.put(vm.vif, KEY, information, "text/plain")
        lab.wait_acked(vm.vif, KEY, revision)
        lab.run_in(
            vm.name,
            [
                lab.guestd,
                "report",
                "--socket",
                lab.topology.guestd_socket(vm.name),
                "--type",
                "text/plain",
                "-",
            ],
            stdin=answer,
            check=True,
        )
        there = leg(
            lab,
            capture,
            information,
            [
                ("host/hostd0", True),
                ("host/hostd0s", False),
                (f"host/{vm.vnic}", True),
                ("vm1/eth0", False),
                ("vm1/guestd0s", True),
                ("vm1/guestd0", False),
            ],
            {"host": "host/hostd0s", "vm1": "vm1/eth0"},
        )
        back = leg(
            lab,
            capture,
            answer,
            [
                ("vm1/guestd0", True),
                ("vm1/guestd0s", False),
                ("vm1/eth0", True),
                (f"host/{vm.vnic}", False),
                ("host/hostd0s", True),
                ("host/hostd0", False),
            ],
            {"vm1": "vm1/guestd0s", "host": f"host/{vm.vnic}"},
        )
    return Journey(vm, lab.vifs()[vm.vif], lab.topology, information, revision, there, back)


def entry(lab, who: str, table: str, lookup):
    """The entry that the packet hit, as P4Runtime reads it from the running vSwitch."""
    found = [entry for entry in lab.switch_tables(who, table)[table] if entry.matches(**lookup.key)]
    assert len(found) == 1
    assert (found[0].action, found[0].args) == (lookup.action, lookup.args)
    assert found[0].packets > 0
    return found[0]


def hit(lab, leg: Leg, who: str, table: str):
    """The packet's look-up in a table, which must have hit, and the entry behind it."""
    lookup = leg.records[who].lookup(table)
    assert lookup is not None and lookup.hit
    return lookup, entry(lab, who, table, lookup)


def test_element_1_the_first_daemon_has_information_for_the_second(lab, journey):
    delivery = lab.delivery(journey.vm.vif, KEY)
    assert delivery.document.revision == delivery.acknowledged == journey.revision
    assert journey.information in journey.there.frames["host/hostd0"].data


def test_element_2_the_packet_bears_the_daemons_addresses_and_the_first_destination_ip(journey):
    sent = journey.there.at("host/hostd0")
    assert sent.src_ip == str(journey.topology.hypervisor.address.ip)
    assert sent.src_mac == journey.topology.hypervisor.mac
    assert sent.dst_ip == journey.vif.lip
    assert sent.dst_mac == journey.vif.mac == journey.vm.mac
    assert journey.information in sent.payload


def test_element_3_the_first_identifier_is_in_metadata_and_not_on_the_wire(lab, journey):
    lookup, _ = hit(lab, journey.there, "host", "attachment")
    assert lookup.action == "attach_hypervisor"
    assert lookup.args == {"vni": journey.vif.vni}
    assert lookup.key["tagged"] == 0
    assert journey.there.at("host/hostd0s").vlan is None


def test_element_4_the_first_switch_receives_it_at_the_first_daemons_port(journey):
    assert journey.there.records["host"].port == journey.topology.hypervisor.hostd_port
    assert journey.there.records["host"].frame == journey.there.frames["host/hostd0"].data


def test_element_5_it_decides_by_identifier_mac_and_ip_for_a_port_that_passes_the_identifier(lab, journey):
    forward, _ = hit(lab, journey.there, "host", "forward")
    assert forward.key == {
        "vni": journey.vif.vni,
        "dst_mac": mac_number(journey.vif.mac),
        "dst_ip": number(journey.vif.lip),
    }
    assert forward.args == {"port": journey.vif.port}
    member, _ = hit(lab, journey.there, "host", "member")
    assert member.key == {"port": journey.vif.port, "vni": journey.vif.vni}


def test_element_6_it_tags_with_the_second_identifier_by_a_mapping_from_the_first(lab, journey):
    tag, _ = hit(lab, journey.there, "host", "tag")
    assert tag.key == {"port": journey.vif.port, "vni": journey.vif.vni}
    assert tag.args == {"vlan_id": journey.vif.vlan}
    translate, _ = hit(lab, journey.there, "host", "translate")
    assert translate.args == {"cip": number(journey.vif.cip)}
    on_vnic = journey.there.at(f"host/{journey.vm.vnic}")
    assert on_vnic.vlan == journey.vif.vlan
    assert on_vnic.dst_ip == journey.vif.cip
    assert on_vnic.checksums_right


def test_element_7_it_leaves_by_the_second_port_to_the_vnic(journey):
    vnic = f"host/{journey.vm.vnic}"
    assert journey.there.records["host"].outputs == ((journey.vif.port, journey.there.frames[vnic].data),)


def test_element_8_the_vnic_passes_it_to_the_second_switch(journey):
    arrived = journey.there.frames["vm1/eth0"].data
    assert arrived == journey.there.frames[f"host/{journey.vm.vnic}"].data
    assert journey.there.records["vm1"].frame == arrived
    assert journey.there.records["vm1"].port == journey.vm.eth_port


def test_element_9_the_second_switch_decides_by_second_identifier_mac_and_second_ip(lab, journey):
    attachment, _ = hit(lab, journey.there, "vm1", "attachment")
    assert attachment.args == {"vlan": journey.vif.vlan}
    forward, _ = hit(lab, journey.there, "vm1", "forward")
    assert forward.key == {
        "vlan": journey.vif.vlan,
        "dst_mac": mac_number(journey.vif.mac),
        "dst_ip": number(journey.vif.cip),
    }
    assert forward.args == {"port": journey.vm.guestd_port}
    member, _ = hit(lab, journey.there, "vm1", "member")
    assert member.key == {"port": journey.vm.guestd_port, "vlan": journey.vif.vlan}


def test_element_10_the_second_daemon_receives_it(lab, journey):
    received = journey.there.at("vm1/guestd0")
    assert received.vlan is None
    assert (received.dst_mac, received.dst_ip) == (journey.vif.mac, journey.vif.cip)
    assert journey.there.checksums_right_at("vm1/guestd0")
    assert lab.read_in_guest("vm1", KEY) == journey.information


def test_reply_is_tagged_by_the_guest_switch(lab, journey):
    sent = journey.back.at("vm1/guestd0")
    assert (sent.src_ip, sent.src_mac, sent.vlan) == (journey.vif.cip, journey.vif.mac, None)
    assert sent.dst_ip == str(journey.topology.hypervisor.address.ip)
    assert journey.back.records["vm1"].port == journey.vm.guestd_port
    tag, _ = hit(lab, journey.back, "vm1", "tag")
    assert tag.args == {"vlan_id": journey.vif.vlan}
    assert journey.back.at("vm1/eth0").vlan == journey.vif.vlan


def test_reply_is_mapped_to_the_first_identifier_and_its_source_checked(lab, journey):
    attachment, _ = hit(lab, journey.back, "host", "attachment")
    assert attachment.key == {"in_port": journey.vif.port, "tagged": 1, "vlan_id": journey.vif.vlan}
    assert (attachment.action, attachment.args) == ("attach_guest", {"vni": journey.vif.vni})
    guard, _ = hit(lab, journey.back, "host", "source_guard")
    assert mac_text(guard.key["src_mac"]) == journey.vif.mac
    assert guard.key["src_ip"] == number(journey.vif.cip)


def test_reply_reaches_the_first_daemon_untagged_and_from_the_lip(lab, journey):
    restore, _ = hit(lab, journey.back, "host", "restore")
    assert restore.args == {"lip": number(journey.vif.lip)}
    assert journey.back.records["host"].outputs == (
        (journey.topology.hypervisor.hostd_port, journey.back.frames["host/hostd0s"].data),
    )
    received = journey.back.at("host/hostd0")
    assert received.vlan is None
    assert (received.src_ip, received.src_mac) == (journey.vif.lip, journey.vif.mac)
    assert received.dst_ip == str(journey.topology.hypervisor.address.ip)
    assert journey.back.checksums_right_at("host/hostd0")
