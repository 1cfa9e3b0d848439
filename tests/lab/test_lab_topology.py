# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hvchannel_lab import processes
from hvchannel_lab.targets import FeedEngine, Target
from hvchannel_lab.topology import (
    MAX_HOSTS,
    MAX_VMS,
    Topology,
    TopologyError,
    lab_of_namespace,
    plan,
    vif_mac,
)
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

STATE = Path("/var/lib/hvchannel/lab")
NAMES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,23}", fullmatch=True)


def test_everything_is_found_again_by_the_state_directory(tmp_path: Path) -> None:
    topology = plan("lab", tmp_path, 3)
    topology.save()
    assert Topology.load(tmp_path) == topology


SIZES = st.integers(1, MAX_HOSTS).flatmap(
    lambda hosts: st.tuples(st.just(hosts), st.integers(1, MAX_VMS // hosts))
)


def planned(name: str, hosts: int, vms: int) -> Topology:
    return plan(name, STATE, vms, hosts=hosts, feed_engine=FeedEngine.NATS)


def distinct(values: Iterable[object]) -> bool:
    known = list(values)
    return len(set(known)) == len(known)


@given(NAMES, SIZES)
def test_interface_names_fit_the_kernel_and_nothing_is_used_twice(name: str, size: tuple[int, int]) -> None:
    topology = planned(name, *size)
    hosts, vms = topology.hypervisors, topology.vms
    assert (len(hosts), len(vms)) == (size[0], size[0] * size[1])
    assert all(len(hop.interface) <= 15 for hop in topology.hops)
    assert distinct(hop.name for hop in topology.hops)
    assert distinct((hop.namespace, hop.interface) for hop in topology.hops)
    assert distinct(topology.places) and distinct(topology.namespaces)
    assert distinct([*(vm.mac for vm in vms), topology.hypervisors[0].mac])
    # whatever hypervisor a VM moves to, its port, its interface and its VIF id are free there
    assert distinct([hosts[0].hostd_port, *(vm.host_port for vm in vms)])
    assert distinct([hosts[0].hostd_interface, hosts[0].hostd_switch_interface, *(vm.vnic for vm in vms)])
    assert distinct(vm.vif for vm in vms)
    for host in topology.hosts:
        assert len(topology.port_hops(host)) == 1 + len(vms)
        assert sum(vm.home == host for vm in vms) == size[1]


@given(NAMES, SIZES)
def test_the_control_planes_network_clashes_with_nothing(name: str, size: tuple[int, int]) -> None:
    topology = planned(name, *size)
    control_plane, uplinks = (
        topology.control_plane,
        [host.uplink for host in topology.hypervisors if host.uplink],
    )
    assert control_plane is not None and topology.feed_at.endswith(f"/{name}")
    if size[0] == 1:
        assert not uplinks and control_plane.namespace == topology.hypervisor.namespace
        assert control_plane.address.is_loopback
        return
    assert len(uplinks) == size[0]
    assert distinct(uplink.far_interface for uplink in uplinks)
    networks = [uplink.address.network for uplink in uplinks]
    assert distinct(networks)
    for uplink in uplinks:
        assert uplink.address.network == uplink.far_address.network
        assert uplink.address != uplink.far_address
        assert control_plane.address not in uplink.address.network
        assert not uplink.address.network.overlaps(topology.hypervisors[0].address.network)
    assert control_plane.address not in topology.hypervisors[0].address.network


@given(SIZES)
def test_a_lab_of_several_hypervisors_is_found_again_too(size: tuple[int, int]) -> None:
    topology = planned("lab", *size)
    assert Topology.model_validate_json(topology.model_dump_json()) == topology


def test_vms_are_dealt_out_and_one_hypervisor_is_called_host() -> None:
    homes = {vm.name: vm.home for vm in planned("lab", 2, 2).vms}
    assert homes == {"vm1": "hv1", "vm2": "hv1", "vm3": "hv2", "vm4": "hv2"}
    one = plan("lab", STATE, 2)
    assert (one.hosts, one.namespaces) == (("host",), ("hvc-lab-hv", "hvc-lab-vm1", "hvc-lab-vm2"))
    assert {vm.home for vm in one.vms} == {"host"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"hosts": 0}, "0 hypervisors: must be 1 to 8"),
        ({"hosts": 9}, "9 hypervisors: must be 1 to 8"),
        ({"hosts": 8, "vms": 9}, "9 VMs on each of 8 hypervisors: must be 1 to 8, at most 64 in all"),
        ({"hosts": 2, "feed_engine": FeedEngine.SQLITE}, "take --feed nats .FEED=nats with make"),
        (
            {"hosts": 2, "target": Target.BMV2},
            r"target bmv2 opens its ports at its start only.*valid: softswitch",
        ),
    ],
)
def test_several_hypervisors_that_cannot_be_are_refused(options: dict[str, Any], says: str) -> None:
    given = {"vms": 1, "feed_engine": FeedEngine.NATS} | options
    with pytest.raises(TopologyError, match=says):
        plan("lab", STATE, **given)


def test_the_hypervisor_is_one_or_must_be_named() -> None:
    with pytest.raises(TopologyError, match=r"several hypervisors \(hv1, hv2\): say which"):
        _ = planned("lab", 2, 1).hypervisor
    with pytest.raises(TopologyError, match=r"no hypervisor 'hv3' in lab 'lab' \(valid: hv1, hv2\)"):
        planned("lab", 2, 1).host("hv3")


@given(NAMES, st.integers(1, MAX_VMS))
def test_macs_are_locally_administered_and_unicast(name: str, number: int) -> None:
    assert int(vif_mac(name, number)[:2], 16) & 0b11 == 0b10


def test_macs_differ_between_labs() -> None:
    assert vif_mac("one", 1) != vif_mac("two", 1)


@given(NAMES, NAMES)
def test_a_namespace_belongs_to_one_lab_only(one: str, other: str) -> None:
    for namespace in (*plan(one, STATE, 2).namespaces, *planned(one, 8, 1).namespaces):
        assert lab_of_namespace(namespace) == one
        assert one == other or lab_of_namespace(namespace) != other


@pytest.mark.parametrize("namespace", ["hvc-lab", "hvc-lab-vm", "cni-1234", "hvc--hvx", "xhvc-lab-hv"])
def test_other_peoples_namespaces_are_left_alone(namespace: str) -> None:
    assert lab_of_namespace(namespace) is None


@pytest.mark.parametrize("name", ["", "Lab", "-lab", "lab_1", "x" * 25, "a/b"])
def test_a_bad_name_is_refused(name: str) -> None:
    with pytest.raises(TopologyError, match="lab name"):
        plan(name, STATE, 1)


@pytest.mark.parametrize("count", [0, -1, MAX_VMS + 1])
def test_a_bad_number_of_vms_is_refused(count: int) -> None:
    with pytest.raises(TopologyError, match=f"must be 1 to {MAX_VMS}"):
        plan("lab", STATE, count)


def test_a_state_directory_too_deep_for_unix_sockets_is_refused() -> None:
    with pytest.raises(TopologyError, match="unix sockets"):
        plan("lab", Path("/" + "x" * 100), 1)


def test_unknown_parts_name_the_valid_ones() -> None:
    topology = plan("lab", STATE, 2)
    with pytest.raises(TopologyError, match=r"no VM 'vm3'.*vm1, vm2"):
        topology.vm("vm3")
    with pytest.raises(TopologyError, match=r"no part 'hv'.*host, vm1, vm2"):
        topology.folder("hv")
    with pytest.raises(TopologyError, match=r"no hop 'vm1/eth1'.*vm1/eth0"):
        topology.hop("vm1/eth1")


def test_hops_are_in_the_order_of_the_journey() -> None:
    names = [hop.name for hop in plan("lab", STATE, 1).hops]
    assert names == ["host/hostd0", "host/hostd0s", "host/vnic1", "vm1/eth0", "vm1/guestd0s", "vm1/guestd0"]


def test_ports_are_the_interfaces_of_either_end() -> None:
    topology = plan("lab", STATE, 2)
    assert {port: hop.name for port, hop in topology.port_hops("host").items()} == {
        1: "host/hostd0s",
        2: "host/vnic1",
        3: "host/vnic2",
    }
    assert {port: hop.name for port, hop in topology.port_hops("vm2").items()} == {
        1: "vm2/guestd0s",
        2: "vm2/eth0",
    }


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    plan("lab", tmp_path, 1).save()
    path = tmp_path / "topology.json"
    path.write_text(path.read_text().replace('"vnic1"', '"an interface name too long"'))
    with pytest.raises(ValidationError, match="vnic"):
        Topology.load(tmp_path)


def test_a_lab_may_have_no_workload(tmp_path: Path) -> None:
    with_it, without = plan("lab", tmp_path, 1), plan("lab", tmp_path, 1, workload=False)
    assert [program.key for program in processes.workload(with_it, with_it.vms[0])] == ["vm1/workload"]
    assert processes.workload(without, without.vms[0]) == []
