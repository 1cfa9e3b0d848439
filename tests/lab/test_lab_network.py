# SPDX-License-Identifier: Apache-2.0
import socket
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hvchannel_lab import namespaces, network, offload
from hvchannel_lab.namespaces import inside
from hvchannel_lab.topology import Topology
from hvchannel_softswitch import bpf

from tests.lab.links import ip, links, until_it_carries

pytestmark = pytest.mark.root
MakeNetwork = Callable[..., Topology]


def addresses(namespace: str) -> dict[str, list[str]]:
    return {
        entry["ifname"]: [f"{info['local']}/{info['prefixlen']}" for info in entry["addr_info"]]
        for entry in ip(namespace, "address")
    }


def test_the_hypervisor_has_hostd_and_a_vnic_per_vm(make_network: MakeNetwork) -> None:
    topology = make_network()
    hypervisor = topology.hypervisor.namespace
    assert set(links(hypervisor)) == {"lo", "hostd0", "hostd0s", "vnic1", "vnic2"}
    assert links(hypervisor)["hostd0"]["address"] == topology.hypervisor.mac
    assert addresses(hypervisor) == {
        "lo": ["127.0.0.1/8"],
        "hostd0": ["169.254.1.1/16"],
        "hostd0s": [],
        "vnic1": [],
        "vnic2": [],
    }


def test_a_vm_has_one_address_and_one_route(make_network: MakeNetwork) -> None:
    topology = make_network()
    for vm in topology.vms:
        assert set(links(vm.namespace)) == {"lo", "eth0", "guestd0", "guestd0s"}
        assert links(vm.namespace)["eth0"]["address"] == vm.mac
        assert links(vm.namespace)["guestd0"]["address"] == vm.mac
        assert addresses(vm.namespace) == {
            "lo": ["127.0.0.1/8"],
            "eth0": [],
            "guestd0": ["169.254.1.2/32"],
            "guestd0s": [],
        }
        (route,) = ip(vm.namespace, "route")
        assert (route["dst"], route["dev"], route["scope"], route["prefsrc"]) == (
            "169.254.1.1",
            "guestd0",
            "link",
            "169.254.1.2",
        )


def test_every_end_is_up_without_offloads_and_without_ipv6(make_network: MakeNetwork) -> None:
    topology = make_network()
    for hop in topology.hops:
        assert "UP" in links(hop.namespace)[hop.interface]["flags"]
        with inside(hop.namespace):
            on = [feature.name for feature in offload.SWITCH_OFF if offload.is_on(hop.interface, feature)]
        assert on == [], hop.name
        assert ip(hop.namespace, "-6", "address") == []


def test_what_ethtool_would_say_of_a_fresh_veth_differs(make_topology: MakeNetwork) -> None:
    """The check above is worth something only if these features are on where nobody switched them off."""
    name = make_topology().namespaces[0]
    network.create_namespace(name)
    try:
        subprocess.run(["ip", "-n", name, "link", "add", "veth-a", "type", "veth"], check=True)
        with inside(name):
            assert offload.is_on("veth-a", offload.Feature.TX_CHECKSUM)
            assert offload.is_on("veth-a", offload.Feature.TCP_SEGMENTATION)
    finally:
        network.remove_namespace(name)


def test_one_feature_is_switched_on_again(make_network: MakeNetwork) -> None:
    topology = make_network(vms=1)
    hypervisor = topology.hypervisor
    with inside(hypervisor.namespace):
        offload.switch_on(hypervisor.hostd_interface, offload.Feature.RECEIVE_COALESCING)
        on = [feature for feature in offload.SWITCH_OFF if offload.is_on(hypervisor.hostd_interface, feature)]
    assert on == [offload.Feature.RECEIVE_COALESCING]


def test_offloads_are_switched_off_whatever_runs_at_the_other_end(make_topology: MakeNetwork) -> None:
    """With XDP there, a veth has no segmentation to be switched off; what it has is switched off all the same."""
    name = make_topology().namespaces[0]
    network.create_namespace(name)
    try:
        subprocess.run(
            ["ip", "-n", name, "link", "add", "veth-a", "type", "veth", "peer", "name", "veth-b"], check=True
        )
        with inside(name):
            passes = bpf.load_program(bytes.fromhex("b7000000020000009500000000000000"), name="passes")
            link = bpf.Link.create_xdp(passes, socket.if_nametoindex("veth-b"), bpf.XdpMode.NATIVE)
            offload.switch_off("veth-a")
            assert not any(offload.is_on("veth-a", feature) for feature in offload.SWITCH_OFF)
            assert offload.is_on("veth-b", offload.Feature.TX_CHECKSUM)
            link.close()
            passes.close()
    finally:
        network.remove_namespace(name)


def test_an_unknown_interface_is_named(make_network: MakeNetwork) -> None:
    topology = make_network(vms=1)
    with inside(topology.namespaces[0]), pytest.raises(OSError, match="vnic9"):
        offload.switch_off("vnic9")


def test_a_full_frame_with_its_tag_passes_a_vnic(make_network: MakeNetwork) -> None:
    topology = make_network(vms=1)
    (vm,) = topology.vms
    with inside(topology.hypervisor.namespace):
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sender.bind((vm.vnic, 0))
    with inside(vm.namespace):
        receiver = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        receiver.bind((vm.eth, 3))
    until_it_carries(topology.hypervisor.namespace, vm.vnic)
    with sender, receiver:
        receiver.settimeout(5)
        addresses_ = bytes.fromhex(vm.mac.replace(":", "")) + b"\x02\x00\x00\x00\x00\x09"
        sender.send(addresses_ + struct.pack("!HHH", 0x8100, 4094, 0x88B5) + bytes(1500))
        # The kernel passes the tag beside the frame: 14 bytes of Ethernet and the 1500.
        assert len(receiver.recv(2000)) == 1514


def _untagged_from_the_vm(topology: Topology, mac: str, source: str) -> bytes:
    """A UDP datagram to the hypervisor's own address, as a VM would send it past the channel's VLAN."""
    payload = b"past the switch"
    udp = struct.pack("!HHHH", 4000, 4001, 8 + len(payload), 0) + payload
    header = struct.pack(
        "!BBHHHBBH4s4s",
        *(0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0),
        *(socket.inet_aton(source), topology.hypervisor.address.ip.packed),
    )
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    header = header[:10] + struct.pack("!H", ~total & 0xFFFF) + header[12:]
    return bytes.fromhex(mac.replace(":", "")) + b"\x0a\x00\x00\x00\x00\x09\x08\x00" + header + udp


@pytest.mark.parametrize("source", ["169.254.1.10", "169.254.1.1", "192.0.2.1", "0.0.0.0"])
def test_the_hypervisors_own_stack_cannot_be_reached_past_the_switch(
    make_network: MakeNetwork, source: str
) -> None:
    topology = make_network(vms=1)
    (vm,) = topology.vms
    vnic_mac = links(topology.hypervisor.namespace)[vm.vnic]["address"]
    with inside(topology.hypervisor.namespace):
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        tap.bind((vm.vnic, 3))
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.bind(("0.0.0.0", 4001))
    with inside(vm.namespace):
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sender.bind((vm.eth, 0))
    with tap, receiver, sender:
        tap.settimeout(5)
        receiver.settimeout(0)
        for destination in (vnic_mac, topology.hypervisor.mac, "ff:ff:ff:ff:ff:ff"):
            sender.send(_untagged_from_the_vm(topology, destination, source))
            tap.recv(2000)  # it is there: the stack has seen it too, in the same softirq
        with pytest.raises(BlockingIOError):
            receiver.recv(2000)


def test_nobody_but_the_switch_answers_arp_on_a_vnic(make_network: MakeNetwork) -> None:
    topology = make_network(vms=1)
    (vm,) = topology.vms
    with inside(vm.namespace):
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sock.bind((vm.eth, 0x0806))
    with inside(topology.hypervisor.namespace):
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        tap.bind((vm.vnic, 0x0806))
    mac = bytes.fromhex(vm.mac.replace(":", ""))
    question = b"\xff" * 6 + mac + struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, 1) + mac
    question += socket.inet_aton("169.254.1.2") + bytes(6) + topology.hypervisor.address.ip.packed
    with sock, tap:
        tap.settimeout(5)
        sock.settimeout(0.2)
        sock.send(question)
        tap.recv(2000)
        with pytest.raises(TimeoutError):
            sock.recv(2000)


def test_a_vnic_is_pulled_and_plugged_again(make_network: MakeNetwork) -> None:
    topology = make_network(vms=1)
    (vm,) = topology.vms
    network.unplug(vm, topology)
    network.unplug(vm, topology)  # pulled already: nothing to do
    assert "vnic1" not in links(topology.hypervisor.namespace)
    assert "eth0" not in links(vm.namespace)
    network.plug(vm, topology)
    assert links(vm.namespace)["eth0"]["address"] == vm.mac


def test_two_labs_stand_side_by_side(make_network: MakeNetwork) -> None:
    one, other = make_network("one"), make_network("other")
    assert not set(one.namespaces) & set(other.namespaces)
    assert addresses(one.namespaces[0]) == addresses(other.namespaces[0])


def test_removed_namespaces_are_gone_and_may_be_removed_again(make_network: MakeNetwork) -> None:
    topology = make_network()
    for _ in range(2):
        for namespace in topology.namespaces:
            network.remove_namespace(namespace)
    assert not set(topology.namespaces) & set(namespaces.existing())


def test_a_namespace_that_exists_is_not_taken_over(make_network: MakeNetwork) -> None:
    topology = make_network(vms=1)
    with pytest.raises(FileExistsError, match=topology.namespaces[0]):
        network.create_namespace(topology.namespaces[0])


def test_the_caller_stays_where_it_was(make_network: MakeNetwork, tmp_path: Path) -> None:
    topology = make_network(vms=1)
    before = Path("/proc/thread-self/ns/net").readlink()
    with pytest.raises(RuntimeError), inside(topology.namespaces[0]):
        assert Path("/proc/thread-self/ns/net").readlink() != before
        raise RuntimeError("out of the block")
    assert Path("/proc/thread-self/ns/net").readlink() == before
