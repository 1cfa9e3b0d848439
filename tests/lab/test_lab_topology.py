# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from hvchannel_lab.topology import MAX_VMS, Topology, TopologyError, lab_of_namespace, plan, vif_mac
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

STATE = Path("/var/lib/hvchannel/lab")
NAMES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,23}", fullmatch=True)


def test_everything_is_found_again_by_the_state_directory(tmp_path: Path) -> None:
    planned = plan("lab", tmp_path, 3)
    planned.save()
    assert Topology.load(tmp_path) == planned


@given(NAMES, st.integers(1, MAX_VMS))
def test_interface_names_fit_the_kernel_and_nothing_is_used_twice(name: str, count: int) -> None:
    topology = plan(name, STATE, count)
    assert all(len(hop.interface) <= 15 for hop in topology.hops)
    assert len({(hop.namespace, hop.interface) for hop in topology.hops}) == len(topology.hops)
    assert len({vm.mac for vm in topology.vms} | {topology.hypervisor.mac}) == count + 1
    ports = [vm.host_port for vm in topology.vms]
    assert ports == list(range(2, 2 + count))


@given(NAMES, st.integers(1, MAX_VMS))
def test_macs_are_locally_administered_and_unicast(name: str, number: int) -> None:
    assert int(vif_mac(name, number)[:2], 16) & 0b11 == 0b10


def test_macs_differ_between_labs() -> None:
    assert vif_mac("one", 1) != vif_mac("two", 1)


@given(NAMES, NAMES)
def test_a_namespace_belongs_to_one_lab_only(one: str, other: str) -> None:
    for namespace in plan(one, STATE, 2).namespaces:
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
