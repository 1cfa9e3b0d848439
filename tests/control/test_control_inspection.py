# SPDX-License-Identifier: Apache-2.0
"""Inspect and Probe against a real target: what it holds for a VIF, and how far frames to it get."""

import asyncio
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hvchannel_control import probe
from hvchannel_control.api import control_pb2
from hvchannel_control.attachments import FixedAttachment, RefusedError
from hvchannel_control.compiled import CompiledProgram
from hvchannel_control.config import GuestConfig, HostConfig
from hvchannel_control.controller import Controller
from hvchannel_control.entries import fields
from hvchannel_control.link import LinkState, link_state
from hvchannel_control.probe_frames import RST_AT_MOST, Ends, echo_request, syn
from hvchannel_control.profiles.guest import GuestProfile
from hvchannel_control.reconcile import Operation, Update
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.l2 import Ether

from tests.control.test_control_vswitch import (
    MAC1,
    SLOW_AUDIT,
    OtherHand,
    Switch,
    host_config,
    host_controller,
    until,
    until_realised,
    until_synced,
    wanted,
)

STATE = control_pb2.EntryState


def told(inspection: control_pb2.Inspection, state: STATE.State.ValueType) -> list[str]:
    return [entry.table for entry in inspection.entries if entry.state == state]


async def test_inspection_names_what_is_missing_and_what_is_different(tmp_path: Path, target: Switch) -> None:
    config = host_config(target, **SLOW_AUDIT, interfaces={"2": "lo", "3": "absent0"})
    other = OtherHand(target.address)
    async with host_controller(tmp_path, config) as controller:
        controller.attach("vm1", MAC1, 2, 0)
        await until_realised(controller, "vm1")
        inspection = await controller.inspect("vm1")
        assert (inspection.error, inspection.vif.vif_id) == ("", "vm1")
        assert len(told(inspection, STATE.PRESENT)) == len(inspection.entries) == 15
        assert (inspection.vif.link.state, inspection.vif.link.interface) == (control_pb2.Link.UP, "lo")

        gone = next(entry for entry in wanted(config, controller) if entry.table == "translate")
        changed = next(
            entry
            for entry in wanted(config, controller)
            if (entry.table, entry.action) == ("tag", "push_vlan")
        )
        await other.write(
            Update(Operation.DELETE, gone),
            Update(Operation.MODIFY, replace(changed, args=fields({"vlan_id": 7}))),
        )
        inspection = await controller.inspect("vm1")
        assert told(inspection, STATE.MISSING) == ["translate"]
        (different,) = (entry for entry in inspection.entries if entry.state == STATE.DIFFERENT)
        assert (different.table, different.action, different.found) == (
            "tag",
            "push_vlan(vlan_id=0xffe)",
            "push_vlan(vlan_id=0x7)",
        )
        assert different.match == "port=0x2 vni=0x1389"
    await other.close()


async def test_a_probe_tells_how_far_it_got(
    tmp_path: Path, target: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The target has no ports: what leaves it is answered by nobody."""
    monkeypatch.setattr(probe, "_ANSWER_WITHIN_S", 0.1)
    config = host_config(target, **SLOW_AUDIT)
    other = OtherHand(target.address)
    async with host_controller(tmp_path, config) as controller:
        controller.attach("vm1", MAC1, 2, 0)
        await until_realised(controller, "vm1")
        result = await controller.probe("vm1", 0)
        assert (result.error, result.echo, result.tcp) == ("", result.NONE, result.NONE)
        assert [step.table for step in result.to] == ["attachment", "forward", "member", "tag", "translate"]
        assert [step.count.packets for step in result.to] == [result.sent] * 5
        assert [step.count.packets for step in result.back] == [0] * 3

        gone = next(
            entry
            for entry in wanted(config, controller)
            if (entry.table, entry.action) == ("member", "member_guest")
        )
        await other.write(Update(Operation.DELETE, gone))
        result = await controller.probe("vm1", 0)
        assert [step.count.packets for step in result.to] == [result.sent, result.sent, 0, 0, 0]
    await other.close()


async def test_frames_and_acknowledged_digests_share_the_stream(tmp_path: Path, target: Switch) -> None:
    """gRPC takes one write at a time: two at once would end the connection."""
    config = host_config(target, **SLOW_AUDIT)
    spoofed = bytes(Ether(src=MAC1, dst=MAC1) / IP(src="169.254.1.1", dst="169.254.1.10") / TCP())
    async with host_controller(tmp_path, config) as controller:
        await until_synced(controller)
        reconciliations = controller.vswitch.state.reconciliations
        await asyncio.gather(*(controller.vswitch.send([spoofed] * 3, vni=5001) for _ in range(40)))
        await until(lambda: controller.digests["spoof_digest"] > 0)
        assert controller.vswitch.state.connected
        assert controller.vswitch.state.reconciliations == reconciliations, "it is still the first connection"


async def test_without_its_switch_both_say_so(tmp_path: Path, target: Switch) -> None:
    async with host_controller(tmp_path, host_config(target, **SLOW_AUDIT)) as controller:
        controller.attach("vm1", MAC1, 2, 0)
        await until_realised(controller, "vm1")
        target.kill()
        await until(lambda: not controller.vswitch.state.connected)
        inspection, result = await controller.inspect("vm1"), await controller.probe("vm1", 0)
        for error in (inspection.error, result.error):
            assert error.startswith(f"the vSwitch at {target.address} is not connected: ")
        assert not inspection.entries
        with pytest.raises(RefusedError, match="VIF 'vm2' is not attached"):
            await controller.inspect("vm2")


async def test_a_guest_is_not_probed_from_itself() -> None:
    config = GuestConfig.model_validate({"vif": {"mac": MAC1}})
    profile = GuestProfile(config)
    none = CompiledProgram(Path("none.p4info.txtpb"), Path("none.json"))
    controller = Controller(
        profile, FixedAttachment(profile.own_vif()), config.switch, none, cip=config.channel.cip
    )
    with pytest.raises(RefusedError, match="a guest is probed from its hypervisor"):
        await controller.probe("vif", 0)
    inspection = await asyncio.wait_for(controller.inspect("vif"), 5)
    assert "is not connected" in inspection.error
    assert inspection.vif.link.state == control_pb2.Link.STATE_UNSPECIFIED


def test_a_link_is_there_or_not() -> None:
    assert link_state("absent0") is LinkState.ABSENT


def test_ports_without_an_interface_are_told_from_ports_of_which_nothing_is_known() -> None:
    named = HostConfig.model_validate({"switch": {"interfaces": {"2": "lo"}}})
    assert named.switch.interfaces == {2: "lo"}


def test_an_answer_is_known_by_its_size() -> None:
    """With the tag that it has at the host vSwitch."""
    offer = TCP(dport=1, sport=1, flags="SA", options=[("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 1))])
    tagged = 4
    assert (
        len(Ether() / IP() / offer) + tagged > RST_AT_MOST >= len(Ether() / IP() / TCP(flags="RA")) + tagged
    )


@given(st.integers(0, 0xFFFF), st.integers(1, 0xFFFF), st.integers(0, 0xFFFFFFFF))
def test_probe_frames_are_what_a_kernel_takes(identifier: int, port: int, sequence: int) -> None:
    ends = Ends("02:68:76:00:00:01", MAC1, IPv4Address("169.254.1.1"), IPv4Address("169.254.1.10"))
    for frame in (echo_request(ends, identifier, 1), syn(ends, port, 2345, sequence)):
        parsed = Ether(frame)
        assert (parsed.src, parsed.dst) == (ends.src_mac, ends.dst_mac)
        assert (parsed[IP].src, parsed[IP].dst) == (str(ends.src_ip), str(ends.dst_ip))
        right = parsed.copy()
        for layer, name in ((IP, "chksum"), (IP, "len"), (ICMP, "chksum"), (TCP, "chksum"), (TCP, "dataofs")):
            if layer in right:
                delattr(right[layer], name)
        assert bytes(right) == frame, "lengths and checksums are right"
    tcp = Ether(syn(ends, port, 2345, sequence))[TCP]
    assert (tcp.sport, tcp.dport, tcp.seq, tcp.flags) == (port, 2345, sequence, "S")
    assert [name for name, _ in tcp.options] == ["MSS", "SAckOK", "Timestamp", "NOP", "WScale"]
