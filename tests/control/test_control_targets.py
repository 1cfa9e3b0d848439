# SPDX-License-Identifier: Apache-2.0
"""The targets: what an architecture wants beside what a profile wants, and a controller that keeps it so on a switch
that runs the architecture's program."""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import finsy as fy
import pytest
from finsy.p4entity import decode_entity
from hvchannel_control.attachments import HostAttachments
from hvchannel_control.compiled import find_program
from hvchannel_control.config import ConfigError, GuestConfig, HostConfig, load_host
from hvchannel_control.controller import Controller
from hvchannel_control.entries import Entry, MeterConfig, entry
from hvchannel_control.p4entries import decode, encode, wildcards
from hvchannel_control.profiles.guest import GuestProfile
from hvchannel_control.profiles.host import HostProfile
from hvchannel_control.reconcile import Operation, Update
from hvchannel_control.store import Store
from hvchannel_control.targets import TARGETS, TargetedProfile
from hvchannel_control.vif import Vif

from .test_control_vswitch import MAC1, MAC2, OtherHand, Switch, running, until, until_realised

HOST = HostProfile(HostConfig.model_validate({}))
GUEST = GuestProfile(GuestConfig.model_validate({"vif": {"mac": MAC1}}))
VIF = Vif("vm1", MAC1, 2, 4094, IPv4Address("169.254.1.10"), 5001)
PNA = TARGETS["pna"]


def on_pna(wanted: Entry) -> list[Entry]:
    return list(PNA.entries([wanted]))


def test_v1model_wants_what_the_profile_wants() -> None:
    profile = TargetedProfile(HOST, TARGETS["v1model"])
    assert profile.fixed_entries() == HOST.fixed_entries()
    assert profile.vif_entries(VIF) == HOST.vif_entries(VIF)
    assert (profile.name, profile.program) == (HOST.name, HOST.program)


def test_pna_sends_by_the_port_of_every_member() -> None:
    member = entry("member", {"port": 7, "vni": 5001}, "member_guest")
    assert on_pna(member) == [entry("transmit", {"port": 7}, "send", {"port": 7}), member]


def test_pna_polices_by_port() -> None:
    meter = MeterConfig.policer(1000, 2000)
    attached = entry(
        "attachment", {"in_port": 7, "tagged": 1, "vlan_id": 9}, "attach_guest", {"vni": 5001}, meter
    )
    cell = entry("policer", {"index": 7}, "", meter=meter)
    assert cell.is_cell
    assert on_pna(attached) == [cell, replace(attached, meter=None)]


def test_pna_has_a_cpu_port_of_its_own() -> None:
    controller = entry(
        "attachment", {"in_port": 510, "tagged": 0, "vlan_id": 0}, "attach_controller", {"in_port": 1}
    )
    (found,) = on_pna(controller)
    assert dict(found.match) == {"in_port": 0xFFFFFFFD, "tagged": 0, "vlan_id": 0}
    assert (found.action, found.args) == (controller.action, controller.args)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize(("profile", "vif"), [(HOST, VIF), (GUEST, GUEST.own_vif())], ids=["host", "guest"])
def test_every_entry_fits_the_p4info_and_comes_back_as_it_was(
    name: str, profile: HostProfile | GuestProfile, vif: Vif
) -> None:
    target = TARGETS[name]
    targeted = TargetedProfile(profile, target)
    p4 = fy.P4Schema(find_program(targeted.program, below=target.folder).p4info)
    for wanted in targeted.fixed_entries() + targeted.vif_entries(vif):
        update = encode(Update(Operation.INSERT, wanted)).encode_update(p4)
        assert decode(decode_entity(update.entity, p4)) == wanted
    asked = {request.table_id for request in wildcards(p4) if isinstance(request, fy.P4TableEntry)}
    used = {each.table for each in targeted.fixed_entries() + targeted.vif_entries(VIF) if not each.is_cell}
    assert used == asked


def test_an_unknown_architecture_is_answered_with_what_there_is(tmp_path: Path) -> None:
    config = tmp_path / "control.toml"
    config.write_text('[switch]\narchitecture = "tna"\n')
    with pytest.raises(ConfigError, match=r"switch.architecture: .*'v1model' or 'pna'"):
        load_host(config)


@pytest.mark.parametrize("new_switch", ["softswitch"], indirect=True)
async def test_the_host_profile_is_kept_on_pna(tmp_path: Path, new_switch: Callable[[], Switch]) -> None:
    target = new_switch()
    target.start()
    config = HostConfig.model_validate(
        {"switch": {"address": target.address, "architecture": "pna", "audit_interval_s": 0.1}}
    )
    profile, store = TargetedProfile(HostProfile(config), PNA), Store(tmp_path / "control.db")
    attachments = HostAttachments(config, store)
    program = find_program(profile.program, below=PNA.folder)
    controller = Controller(profile, attachments, config.switch, program, cip=config.channel.cip)
    async with running(controller):
        controller.attach("vm1", MAC1, 2, 0)
        controller.attach("vm2", MAC2, 3, 0)
        await until_realised(controller, "vm1", "vm2")
        spy = OtherHand(target.address, program)
        wanted = {each for vif in attachments.all() for each in profile.vif_entries(vif)}
        wanted |= set(profile.fixed_entries())
        assert await spy.read() == wanted

        slow = MeterConfig.policer(1, 1)
        state = controller.vswitch.state
        written = state.writes
        await spy.write(
            Update(Operation.DELETE, entry("transmit", {"port": 2}, "send", {"port": 2})),
            Update(Operation.MODIFY, entry("policer", {"index": 2}, "", meter=slow)),
            Update(Operation.MODIFY, entry("policer", {"index": 9}, "", meter=slow)),
        )
        await until(lambda: state.writes >= written + 3 and state.in_sync)
        assert await spy.read() == wanted

        written = state.writes
        controller.detach("vm2")
        await until(lambda: state.writes > written and state.in_sync)
        left = {each.match for each in await spy.read() if each.table in ("transmit", "policer")}
        assert left == {(("port", 1),), (("port", 2),), (("index", 2),)}
        await spy.close()
    store.close()
