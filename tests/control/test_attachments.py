# SPDX-License-Identifier: Apache-2.0
"""Attachments: what may stand beside what, and that each refusal names both."""

from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hvchannel_control.attachments import FixedAttachment, HostAttachments, Reason, RefusedError
from hvchannel_control.config import HostConfig
from hvchannel_control.store import Store
from hvchannel_control.vif import Vif

MAC1, MAC2, MAC3 = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"


def config(**channel: object) -> HostConfig:
    return HostConfig.model_validate({"channel": {"reserved_vlans": [100, 200], **channel}})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "control.db")
    yield store
    store.close()


@pytest.fixture
def attachments(store: Store) -> HostAttachments:
    attachments = HostAttachments(config(), store)
    attachments.attach("vm1", MAC1, 2, 0)
    return attachments


def test_an_attachment_gets_a_lip_and_the_default_vlan(attachments: HostAttachments) -> None:
    assert attachments.all() == [Vif("vm1", MAC1, 2, 4094, IPv4Address("169.254.1.10"), 5001)]


def test_an_identical_repeat_changes_nothing(attachments: HostAttachments) -> None:
    before = attachments.all()
    assert attachments.attach("vm1", MAC1.upper(), 2, 4094) == before[0]
    assert attachments.all() == before
    assert attachments.leases_used == 1


@pytest.mark.parametrize(
    ("vif_id", "mac", "port", "vlan", "reason", "text"),
    [
        ("vm1", MAC2, 2, 0, Reason.CLASH, f"is already attached, with MAC {MAC1} on port 2 and VLAN 4094"),
        ("vm1", MAC1, 3, 0, Reason.CLASH, "VIF 'vm1' is already attached"),
        ("vm1", MAC1, 2, 7, Reason.CLASH, "VIF 'vm1' is already attached"),
        ("vm2", MAC1, 3, 0, Reason.CLASH, f"MAC {MAC1} is already attached as VIF 'vm1' on port 2"),
        ("vm2", MAC2, 2, 0, Reason.CLASH, f"port 2 is taken by VIF 'vm1', with MAC {MAC1}"),
        ("vm2", MAC2, 3, 100, Reason.CLASH, "VLAN 100 of VIF 'vm2' is used by tenants (channel.reserved"),
        ("vm2", MAC2, 1, 0, Reason.CLASH, "port 1 of VIF 'vm2' is the hypervisor's (channel"),
        ("vm2", MAC2, 510, 0, Reason.CLASH, "port 510 of VIF 'vm2' is the controller's (switch.cpu_port)"),
        ("vm2", "02:68:76:00:00:01", 3, 0, Reason.CLASH, "MAC 02:68:76:00:00:01 of VIF 'vm2' is the hyp"),
        ("vm2", MAC2, 0, 0, Reason.INVALID, "port: 0 is not one of 1 to 510"),
        ("vm2", MAC2, 511, 0, Reason.INVALID, "port: 511 is not one of 1 to 510"),
        ("vm2", MAC2, 3, 4095, Reason.INVALID, "vlan: 4095 is not one of 1 to 4094"),
        ("vm2", "01:00:5e:00:00:01", 3, 0, Reason.INVALID, "mac: 01:00:5e:00:00:01 is a multicast MAC"),
        ("vm2", "nonsense", 3, 0, Reason.INVALID, "mac: 'nonsense' is not a MAC address"),
        ("", MAC2, 3, 0, Reason.INVALID, "vif_id: '' is not 1 to 63 of"),
        ("-vm", MAC2, 3, 0, Reason.INVALID, "vif_id: '-vm' is not"),
        ("v" * 64, MAC2, 3, 0, Reason.INVALID, "is not 1 to 63 of"),
        ("vm\n2", MAC2, 3, 0, Reason.INVALID, "is not 1 to 63 of"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_clashes_with_what(
    attachments: HostAttachments, vif_id: str, mac: str, port: int, vlan: int, reason: Reason, text: str
) -> None:
    before = attachments.all()
    with pytest.raises(RefusedError) as refusal:
        attachments.attach(vif_id, mac, port, vlan)
    assert text in str(refusal.value)
    assert refusal.value.reason is reason
    assert "\n" not in str(refusal.value)
    assert attachments.all() == before
    assert attachments.leases_used == 1


def test_detach_frees_all_it_had(attachments: HostAttachments) -> None:
    attachments.detach("vm1")
    assert attachments.attach("vm2", MAC1, 2, 0).lip == IPv4Address("169.254.1.10")
    with pytest.raises(RefusedError, match="VIF 'vm1' is not attached") as refusal:
        attachments.detach("vm1")
    assert refusal.value.reason is Reason.ABSENT


def test_an_exhausted_pool_is_named(store: Store) -> None:
    pool = {"first": "169.254.1.10", "last": "169.254.1.10"}
    attachments = HostAttachments(HostConfig.model_validate({"pool": pool}), store)
    attachments.attach("vm1", MAC1, 2, 0)
    with pytest.raises(RefusedError, match="1 of 1 leased") as refusal:
        attachments.attach("vm2", MAC2, 3, 0)
    assert refusal.value.reason is Reason.EXHAUSTED
    assert [vif.vif_id for vif in store.vifs()] == ["vm1"]


def test_a_restart_keeps_attachments_and_leases(attachments: HostAttachments, store: Store) -> None:
    attachments.attach("vm2", MAC2, 3, 0)
    attachments.detach("vm1")
    again = HostAttachments(config(), store)
    assert again.all() == attachments.all() == [Vif("vm2", MAC2, 3, 4094, IPv4Address("169.254.1.11"), 5001)]


def test_a_lease_outside_a_changed_pool_moves_into_it(attachments: HostAttachments, store: Store) -> None:
    attachments.attach("vm2", MAC2, 3, 0)
    changed = HostConfig.model_validate({"pool": {"first": "169.254.1.11", "last": "169.254.1.20"}})
    moved = []
    again = HostAttachments(changed, store, moved=lambda old, new: moved.append((str(old.lip), str(new.lip))))
    assert moved == [("169.254.1.10", "169.254.1.12")]
    assert [str(vif.lip) for vif in again.all()] == ["169.254.1.12", "169.254.1.11"]
    assert [vif.lip for vif in store.vifs()] == [vif.lip for vif in again.all()]


def test_a_kept_attachment_that_clashes_with_a_changed_configuration_is_refused(
    attachments: HostAttachments, store: Store
) -> None:
    with pytest.raises(RefusedError, match="port 2 of VIF 'vm1' is the hypervisor's"):
        HostAttachments(config(hypervisor_port=2), store)


@pytest.fixture
def trunks(store: Store) -> HostAttachments:
    """Three logical switches; port 2 carries a VIF of the default one."""
    attachments = HostAttachments(trunk_config(), store)
    attachments.attach("vm1", MAC1, 2, 0)
    return attachments


def trunk_config(vni: int = 5001) -> HostConfig:
    further = [
        {
            "vni": 5002,
            "hypervisor_port": 100,
            "pool": {"first": "169.254.128.1", "last": "169.254.128.2"},
            "vlan": 4093,
        },
        {
            "vni": 5003,
            "hypervisor_port": 101,
            "pool": {"first": "169.254.129.1", "last": "169.254.129.1"},
        },
    ]
    pool = {"first": "169.254.1.10", "last": "169.254.1.20"}
    return HostConfig.model_validate({"channel": {"vni": vni}, "pool": pool, "logical_switch": further})


def test_a_port_carries_one_vif_per_logical_switch(trunks: HostAttachments) -> None:
    second = trunks.attach("vm2", MAC2, 2, 0, 5002)
    third = trunks.attach("vm3", MAC3, 2, 7, 5003)
    assert [(vif.vni, vif.vlan, str(vif.lip)) for vif in trunks.all()] == [
        (5001, 4094, "169.254.1.10"),
        (5002, 4093, "169.254.128.1"),
        (5003, 7, "169.254.129.1"),
    ]
    assert (trunks.at(2, 5002), trunks.at(2, 5003), trunks.at(3, 5001)) == (second, third, None)
    assert (trunks.leases_used, trunks.leases_total) == (3, 11 + 2 + 1)
    assert trunks.attach("vm2", MAC2, 2, 4093, 5002) == second
    trunks.detach("vm2")
    assert trunks.attach("vm4", MAC2, 2, 4093, 5002).lip == second.lip


@pytest.mark.parametrize(
    ("vif_id", "mac", "port", "vlan", "vni", "reason", "text"),
    [
        ("vm2", MAC2, 3, 0, 7, Reason.INVALID, "vni: 7 is no logical switch of this host (valid: 5001, 5002, 5003)"),
        ("vm2", MAC2, 2, 7, 0, Reason.CLASH,
         f"port 2 is taken by VIF 'vm1', with MAC {MAC1} on VNI 5001; free there: VNI 5002, 5003"),
        ("vm2", MAC2, 2, 0, 5003, Reason.CLASH,
         f"VLAN 4094 on port 2 is taken by VIF 'vm1', with MAC {MAC1} on VNI 5001"),
        ("vm2", MAC1, 2, 0, 5002, Reason.CLASH, f"MAC {MAC1} is already attached as VIF 'vm1' on port 2"),
        ("vm2", MAC2, 101, 0, 5002, Reason.CLASH, "port 101 of VIF 'vm2' is the hypervisor's (logical_switch 5003.hyp"),
        ("vm1", MAC1, 2, 4094, 5002, Reason.CLASH, "with MAC 02:00:00:00:00:01 on port 2 and VLAN 4094 on VNI 5001"),
    ],
)  # fmt: skip
def test_a_refusal_on_a_trunk_says_what_is_free(
    trunks: HostAttachments,
    vif_id: str,
    mac: str,
    port: int,
    vlan: int,
    vni: int,
    reason: Reason,
    text: str,
) -> None:
    with pytest.raises(RefusedError) as refusal:
        trunks.attach(vif_id, mac, port, vlan, vni)
    assert text in str(refusal.value)
    assert refusal.value.reason is reason
    assert [vif.vif_id for vif in trunks.all()] == ["vm1"]
    assert trunks.leases_used == 1


def test_each_logical_switch_has_its_own_pool(trunks: HostAttachments) -> None:
    trunks.attach("vm2", MAC2, 2, 7, 5003)
    with pytest.raises(RefusedError, match=r"no LIP is left in pool 169.254.129.1-169.254.129.1: 1 of 1"):
        trunks.attach("vm3", MAC3, 3, 7, 5003)
    assert str(trunks.attach("vm3", MAC3, 3, 7).lip) == "169.254.1.11"


def test_a_restart_keeps_who_is_on_which_logical_switch(trunks: HostAttachments, store: Store) -> None:
    trunks.attach("vm2", MAC2, 2, 0, 5002)
    assert HostAttachments(trunk_config(), store).all() == trunks.all()
    renumbered = HostAttachments(trunk_config(vni=6001), store)
    assert [vif.vni for vif in renumbered.all()] == [6001, 5002]  # the default switch's VIFs stay on it
    with pytest.raises(RefusedError, match=r"vni: 5002 is no logical switch of this host \(valid: 5001\)"):
        HostAttachments(config(), store)


def test_a_guests_own_vif_is_fixed() -> None:
    vif = Vif("vif", MAC1, 1, 4094)
    fixed = FixedAttachment(vif)
    assert fixed.all() == [vif]
    for refused in (lambda: fixed.attach("vm1", MAC1, 2, 0), lambda: fixed.detach("vif")):
        with pytest.raises(RefusedError, match="the guest's own VIF 'vif' is fixed") as refusal:
            refused()
        assert refusal.value.reason is Reason.FIXED
