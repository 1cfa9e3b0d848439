# SPDX-License-Identifier: Apache-2.0
"""The profiles name what the compiled programs have: every key complete, every action with its parameters."""

from ipaddress import IPv4Address
from pathlib import Path

import finsy as fy
import pytest
from hvchannel_control.compiled import find_program
from hvchannel_control.config import ConfigError, GuestConfig, HostConfig
from hvchannel_control.entries import MeterConfig, entry
from hvchannel_control.p4entries import decode, encode, wildcards
from hvchannel_control.profiles.guest import GuestProfile
from hvchannel_control.profiles.host import HostProfile
from hvchannel_control.profiles.profile import Profile
from hvchannel_control.reconcile import Operation, Update
from hvchannel_control.vif import Vif

HOST = HostProfile(HostConfig.model_validate({}))
GUEST = GuestProfile(GuestConfig.model_validate({"vif": {"mac": "02:00:00:00:00:01"}}))
VIF = Vif("vm1", "02:00:00:00:00:01", 2, 4094, IPv4Address("169.254.1.10"), 5001)
TRUNKS = HostProfile(
    HostConfig.model_validate(
        {
            "pool": {"last": "169.254.1.99"},
            "logical_switch": [
                {"vni": 7, "hypervisor_port": 3, "pool": {"first": "169.254.2.1", "last": "169.254.2.9"}}
            ],
        }
    )
)
CONST_TABLES = {"connection_guard", "verdict", "egress_verdict"}


def schema(profile: Profile) -> fy.P4Schema:
    return fy.P4Schema(find_program(profile.program).p4info)


@pytest.mark.parametrize(
    ("profile", "vif"),
    [(HOST, VIF), (TRUNKS, VIF), (GUEST, GUEST.own_vif())],
    ids=["host", "trunks", "guest"],
)
def test_every_entry_fits_the_p4info_and_comes_back_as_it_was(profile: Profile, vif: Vif) -> None:
    p4 = schema(profile)
    for wanted in profile.fixed_entries() + profile.vif_entries(vif):
        table = p4.tables[wanted.table]
        assert {name for name, _ in wanted.match} == {field.alias for field in table.match_fields}
        assert {name for name, _ in wanted.args} == {p.name for p in table.actions[wanted.action].params}
        assert wanted.meter is None or table.direct_meter is not None
        update = encode(Update(Operation.INSERT, wanted)).encode_update(p4)
        assert decode(fy.P4TableEntry.decode(update.entity, p4)) == wanted


@pytest.mark.parametrize("profile", [HOST, GUEST], ids=["host", "guest"])
def test_what_is_asked_for_is_every_table_but_the_const_ones(profile: Profile) -> None:
    p4 = schema(profile)
    asked = {request.table_id: request for request in wildcards(p4)}
    assert asked.keys() == {table.alias for table in p4.tables} - CONST_TABLES
    assert asked["attachment"].meter_config is not None
    assert asked["forward"].meter_config is None
    used = {e.table for e in profile.fixed_entries() + profile.vif_entries(VIF)}
    assert used == asked.keys()


def test_an_update_says_what_its_operation_needs() -> None:
    p4 = schema(HOST)
    wanted = entry(
        "attachment",
        {"in_port": 2, "tagged": 1, "vlan_id": 4094},
        "attach_guest",
        {"vni": 5001},
        MeterConfig.policer(1000, 2000),
    )
    deletion, modification = (
        encode(Update(operation, wanted)).encode_update(p4)
        for operation in (Operation.DELETE, Operation.MODIFY)
    )
    assert not deletion.entity.table_entry.HasField("action")
    assert not deletion.entity.table_entry.HasField("meter_config")
    assert modification.entity.table_entry.meter_config.pir == 1000


def test_a_folder_without_the_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"there is no host_vswitch.json .* in {tmp_path}"):
        find_program("host_vswitch", tmp_path)
