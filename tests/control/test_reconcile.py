# SPDX-License-Identifier: Apache-2.0
"""Reconciliation: any actual state becomes the desired one by the fewest writes, and no packet is misled on
the way."""

import random
from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hvchannel_control.config import GuestConfig, HostConfig
from hvchannel_control.entries import Entry, EntryKey, MeterConfig, entry
from hvchannel_control.profiles.guest import GuestProfile
from hvchannel_control.profiles.host import HostProfile
from hvchannel_control.reconcile import Batch, Operation, Update, plan
from hvchannel_control.vif import Vif
from hypothesis import given
from hypothesis import strategies as st

Tables = dict[EntryKey, Entry]

TABLES = ["attachment", "source_guard", "arp", "forward", "restore", "member", "tag", "translate", "another"]
METERS = st.none() | st.builds(MeterConfig.policer, st.integers(1, 2), st.integers(1, 2))
ENTRIES = st.builds(
    lambda table, key, action, arg, meter: entry(table, {"key": key}, action, {"arg": arg}, meter),
    st.sampled_from(TABLES),
    st.integers(0, 5),
    st.sampled_from(["one", "two"]),
    st.integers(0, 2),
    METERS,
)
STATES = st.lists(ENTRIES, unique_by=lambda e: e.key, max_size=30)


def apply(tables: Tables, update: Update, keeps_meters: bool = False) -> None:
    """As a P4Runtime server does it: strictly (P4Runtime 1.5, 9.1). `keeps_meters`: as bmv2, when told none."""
    key = update.entry.key
    match update.operation:
        case Operation.INSERT:
            assert key not in tables
            tables[key] = update.entry
        case Operation.MODIFY:
            assert key in tables
            kept = tables[key].meter if keeps_meters and update.entry.meter is None else update.entry.meter
            tables[key] = replace(update.entry, meter=kept)
        case Operation.DELETE:
            del tables[key]
        case Operation.RESET_METER:
            tables[key] = replace(tables[key], meter=None)


def as_tables(entries: list[Entry]) -> Tables:
    return {e.key: e for e in entries}


def differences(held: Entry | None, wanted: Entry | None) -> int:
    """How many writes it takes: one, or two where the meter has to go and something else is to change, or where an
    attachment leads elsewhere."""
    if held is None or wanted is None:
        return held != wanted
    if held.table == "attachment" and (held.action, held.args) != (wanted.action, wanted.args):
        return 2
    if held.meter is None or wanted.meter is not None:
        return held != wanted
    return 1 + (replace(held, meter=None) != wanted)


@given(actual=STATES, desired=STATES, keeps_meters=st.booleans())
def test_any_actual_state_becomes_the_desired_one_by_the_fewest_writes(
    actual: list[Entry], desired: list[Entry], keeps_meters: bool
) -> None:
    tables, wanted = as_tables(actual), as_tables(desired)
    batches = plan(actual, desired)
    different = [differences(tables.get(key), wanted.get(key)) for key in tables.keys() | wanted.keys()]
    assert sum(map(len, batches)) == sum(different)
    assert all(batches)
    for batch in batches:
        for update in batch:
            apply(tables, update, keeps_meters)
    assert tables == wanted
    assert plan(tables.values(), desired) == []


def test_two_desired_entries_with_one_key_are_refused() -> None:
    one = entry("tag", {"port": 1}, "push_vlan", {"vlan_id": 1})
    with pytest.raises(ValueError, match="two entries have one key"):
        plan([], [one, entry("tag", {"port": 1}, "push_vlan", {"vlan_id": 2})])
    assert len(plan([], [one, one])) == 1


OTHER_VNI = 5002
CONFIG = HostConfig.model_validate(
    {
        "pool": {"last": "169.254.1.99"},
        "logical_switch": [
            {
                "vni": OTHER_VNI,
                "hypervisor_port": 5,
                "pool": {"first": "169.254.128.1", "last": "169.254.128.9"},
            }
        ],
    }
)
HOST = HostProfile(CONFIG)
HV_MAC, HV_IP = int("026876000001", 16), int(CONFIG.channel.hypervisor_ip)
CIP = int(CONFIG.channel.cip)
VNI = CONFIG.channel.vni
MACS = [f"02:00:00:00:00:{n:02x}" for n in (1, 2, 3)]
LIPS = [IPv4Address(f"169.254.1.{n}") for n in (10, 11, 12)]


@st.composite
def attachments(draw: st.DrawFn) -> list[Vif]:
    """VIFs with a few MACs and LIPs, each had by one at most, on a few ports, which carry one per VNI and VLAN."""
    count = draw(st.integers(0, 3))
    macs, lips = draw(st.permutations(MACS)), draw(st.permutations(LIPS))
    place = st.tuples(
        st.sampled_from([2, 3, 4]), st.sampled_from([4094, 7]), st.sampled_from([VNI, OTHER_VNI])
    )
    alone = (lambda place: (place[0], place[1]), lambda place: (place[0], place[2]))
    places = draw(st.lists(place, min_size=count, max_size=count, unique_by=alone))
    return [Vif(f"vm{n}", macs[n], port, vlan, lips[n], vni) for n, (port, vlan, vni) in enumerate(places)]


def entries_of(vifs: list[Vif]) -> list[Entry]:
    return HOST.fixed_entries() + [e for vif in vifs for e in HOST.vif_entries(vif)]


def look_up(tables: Tables, table: str, **key: int) -> Entry | None:
    return tables.get((table, tuple(sorted(key.items()))))


def journey(
    tables: Tables, port: int, vlan: int, src: tuple[int, int], dst: tuple[int, int]
) -> tuple[int, ...] | None:
    """What comes out for an IPv4 packet: port, VLAN id, source and destination IP; None: it is dropped."""
    attached = look_up(tables, "attachment", in_port=port, tagged=int(vlan != 0), vlan_id=vlan)
    if attached is None:
        return None
    vni = dict(attached.args)["vni"]
    role = attached.action.removeprefix("attach_")
    src_mac, src_ip = src
    dst_mac, dst_ip = dst
    if look_up(tables, "source_guard", in_port=port, vni=vni, src_mac=src_mac, src_ip=src_ip) is None:
        return None
    if role == "guest":
        restored = look_up(tables, "restore", in_port=port, vni=vni, src_ip=src_ip)
        if restored is None:
            return None
        src_ip = dict(restored.args)["lip"]
    way = look_up(tables, "forward", vni=vni, dst_mac=dst_mac, dst_ip=dst_ip)
    if way is None:
        return None
    out = dict(way.args)["port"]
    member = look_up(tables, "member", port=out, vni=vni)
    if member is None or member.action.removeprefix("member_") == role:
        return None
    tag = look_up(tables, "tag", port=out, vni=vni)
    if tag is None:
        return None
    if member.action == "member_guest":
        translated = look_up(tables, "translate", port=out, vni=vni, dst_ip=dst_ip)
        if translated is None:
            return None
        dst_ip = dict(translated.args)["cip"]
    return out, dict(tag.args).get("vlan_id", 0), src_ip, dst_ip


def all_journeys(tables: Tables) -> dict[tuple[object, ...], tuple[int, ...]]:
    """Every packet that passes, of all that any VIF or the hypervisor might send."""
    macs = [int(mac.replace(":", ""), 16) for mac in MACS]
    hypervisor = (HV_MAC, HV_IP)
    packets = [
        (port, vlan, (mac, CIP), hypervisor) for port in (2, 3, 4) for vlan in (4094, 7) for mac in macs
    ]
    packets += [(port, 0, hypervisor, (mac, int(lip))) for port in (1, 5) for mac in macs for lip in LIPS]
    passed = {packet: journey(tables, *packet) for packet in packets}
    return {packet: outcome for packet, outcome in passed.items() if outcome is not None}


@given(before=attachments(), after=attachments(), seed=st.integers(0, 1000))
def test_no_packet_ever_passes_as_neither_the_old_nor_the_new_state_has_it(
    before: list[Vif], after: list[Vif], seed: int
) -> None:
    tables, wanted = as_tables(entries_of(before)), as_tables(entries_of(after))
    old, new = all_journeys(tables), all_journeys(wanted)
    for batch in plan(tables.values(), wanted.values()):
        for update in random.Random(seed).sample(batch, len(batch)):  # a batch has no order
            apply(tables, update)
            for packet, outcome in all_journeys(tables).items():
                assert outcome in (old.get(packet), new.get(packet)), str(update)
    assert all_journeys(tables) == new
    assert len(new) == 2 * len(after)


def tables_of(batches: list[Batch]) -> list[set[str]]:
    return [{update.entry.table for update in batch} for batch in batches]


def test_an_attachment_comes_behind_its_guards_and_leaves_before_them() -> None:
    vif = Vif("vm1", MACS[0], 2, 4094, LIPS[0], VNI)
    layers = [
        {"restore", "member", "tag", "translate"},
        {"source_guard", "forward", "arp"},
        {"attachment"},
    ]
    assert tables_of(plan(entries_of([]), entries_of([vif]))) == layers
    assert tables_of(plan(entries_of([vif]), entries_of([]))) == layers[::-1]


def test_the_policer_is_reconciled_like_any_value() -> None:
    vif = Vif("vm1", MACS[0], 2, 4094, LIPS[0], VNI)
    slower = HostProfile(HostConfig.model_validate({"policer": {"rate_bytes_per_s": 1000}}))
    (batch,) = plan(HOST.vif_entries(vif), slower.vif_entries(vif))
    (update,) = batch
    assert update.operation is Operation.MODIFY
    assert update.entry.meter == MeterConfig(cir=1000, cburst=1_250_000, pir=1000, pburst=1_250_000)


def test_a_meter_that_an_entry_should_not_have_is_taken_off_it() -> None:
    found = HOST.fixed_entries()[0]
    ((update,),) = plan([replace(found, meter=MeterConfig.policer(1, 1))], [found])
    assert (update.operation, update.entry) == (Operation.RESET_METER, found)


def test_the_guests_tables_are_its_two_ends() -> None:
    guest = GuestProfile(GuestConfig.model_validate({"vif": {"mac": MACS[0]}}))
    shown = [str(e) for e in guest.fixed_entries() + guest.vif_entries(guest.own_vif())]
    mac, cip, hv_mac, hv_ip = "0x20000000001", "0xa9fe0102", "0x26876000001", "0xa9fe0101"
    assert shown == [
        "attachment[in_port=0x2 tagged=0x1 vlan_id=0xffe] -> attach_hypervisor(vlan=0xffe)",
        f"source_guard[in_port=0x2 src_ip={hv_ip} src_mac={hv_mac} vlan=0xffe] -> permit_source()",
        f"arp[target_ip={hv_ip} vlan=0xffe] -> answer_guest(mac={hv_mac})",
        f"forward[dst_ip={hv_ip} dst_mac={hv_mac} vlan=0xffe] -> to_port(port=0x2)",
        "member[port=0x2 vlan=0xffe] -> member_hypervisor()",
        "tag[port=0x2 vlan=0xffe] -> push_vlan(vlan_id=0xffe)",
        "attachment[in_port=0x1 tagged=0x0 vlan_id=0x0] -> attach_guest(vlan=0xffe)",
        f"source_guard[in_port=0x1 src_ip={cip} src_mac={mac} vlan=0xffe] -> permit_source()",
        f"arp[target_ip={cip} vlan=0xffe] -> answer_hypervisor(mac={mac})",
        f"forward[dst_ip={cip} dst_mac={mac} vlan=0xffe] -> to_port(port=0x1)",
        "member[port=0x1 vlan=0xffe] -> member_guest()",
        "tag[port=0x1 vlan=0xffe] -> leave_untagged()",
    ]
