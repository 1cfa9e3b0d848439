# SPDX-License-Identifier: Apache-2.0
"""A lab of two hypervisors with a VM each, vm1 on hv1 and vm2 on hv2, and a nats-server that both reach."""

import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hvchannel_lab import journey, namespaces, packet_trace, pinned, registry, tour
from hvchannel_lab.background import background_lab
from hvchannel_lab.capture import Capture
from hvchannel_lab.handle import Handle, LabTimeoutError
from hvchannel_lab.move import Move, MoveError
from hvchannel_lab.namespaces import inside
from hvchannel_lab.packet_socket import PacketSocket
from hvchannel_lab.parts import Hop
from hvchannel_lab.targets import FeedEngine
from hvchannel_lab.topology import TopologyError, lab_of_namespace
from hvchannel_telemetry.client import ProcessClient
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw

from tests.daemons import nats_servers

pytestmark = [
    pytest.mark.root,
    pytest.mark.e2e,
    pytest.mark.skipif(nats_servers.PROGRAM is None, reason=nats_servers.MISSING),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handle]:
    """The lab; when it is down, nothing of it is left."""
    name = f"t-lab-{os.getpid()}-2h"
    state = tmp_path_factory.mktemp("hosts") / "s"
    with background_lab(name, state, 1, hosts=2, feed_engine=FeedEngine.NATS) as lab:
        yield lab
        assert f"hvc-{name}-cp" in namespaces.existing(), "what is looked for below is there while it is up"
    assert [one for one in namespaces.existing() if lab_of_namespace(one) == name] == []
    assert [one for one in pinned.names() if lab_of_namespace(one) == name] == []
    assert not (registry.RUN / f"{name}.json").exists()


@pytest.fixture
def lab(whole: Handle) -> Iterator[Handle]:
    """With both VMs at home, before and after."""
    yield whole
    for vm in whole.vms:
        move(whole, vm.name, vm.home)


def move(lab: Handle, vm: str, host: str) -> None:
    with Move(lab, vm, host) as moving:
        moving.leave()
        moving.arrive()


def hvchannel(lab: Handle, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HVCHANNEL_")}
    return subprocess.run(
        [sys.executable, "-m", "hvchannel_lab.cli", *words],
        capture_output=True,
        text=True,
        timeout=90,
        env=environment | {"HVCHANNEL_LAB": lab.topology.name},
        check=False,
    )


def test_the_tour_shows_all_of_its_parts(lab: Handle) -> None:
    seen = {part.name: part.show() for part in tour.Tour(lab).parts}
    assert list(seen) == ["before", "delivered", "journeys", "moved", "journey_after", "after"]
    before, after = seen["before"], seen["after"]
    assert [(row.vif, row.host) for row in before.rows] == [("vm1", "hv1"), ("vm2", "hv2")]
    assert [row.attached.lip for row in before.rows] == ["169.254.1.10"] * 2, "a LIP is its hypervisor's own"
    assert [(row.vif, row.host) for row in after.rows] == [("vm1", "hv2"), ("vm2", "hv2")]
    assert [row.attached.mac for row in before.rows] == [row.attached.mac for row in after.rows]
    assert before.well and after.well
    assert [one.vm for one in seen["delivered"]] == ["vm1", "vm2"]
    shown = [*seen["journeys"], *seen["journey_after"]]
    for one, vm, host in zip(shown, ("vm1", "vm2", "vm1"), ("hv1", "hv2", "hv2"), strict=True):
        assert (one.vm, len(one.there), len(one.back)) == (vm, 10, 6)
        assert f"frame leaving by {host}/hostd0" in one.there[1].sources
    moved = seen["moved"]
    assert (moved.lip_before, moved.lip_after) == ("169.254.1.10", "169.254.1.11")
    assert [step.after for step in moved.steps] == sorted(step.after for step in moved.steps)


def test_a_tour_that_cannot_be_shown_says_what_was_not_as_it_should_be(lab: Handle) -> None:
    before, *_, after = tour.Tour(lab).parts
    before.show()
    with pytest.raises(tour.TourError, match="vm1 is to be attached at hv2 and nowhere else, and is at hv1"):
        after.show()


def test_documents_of_before_during_and_after_a_move_arrive_once_each(lab: Handle) -> None:
    guestd, workload = lab.process("vm1/guestd"), lab.process("vm1/workload")
    contents = {key: secrets.token_bytes(100_000) for key in ("before", "during", "after")}
    revisions = {"before": lab.put("vm1", "before", contents["before"])}
    lab.wait_acked("vm1", "before", revisions["before"])

    with Move(lab, "vm1", "hv2") as moving:
        moving.leave()
        assert "vm1" not in lab.vifs()
        revisions["during"] = lab.put("vm1", "during", contents["during"])
        with pytest.raises(LabTimeoutError, match="vm1 has not acknowledged 'during'"):
            lab.wait_acked("vm1", "during", revisions["during"], timeout=0.2)
        moving.arrive()
    lab.wait_acked("vm1", "during", revisions["during"])
    revisions["after"] = lab.put("vm1", "after", contents["after"])
    lab.wait_acked("vm1", "after", revisions["after"])

    for key, content in contents.items():
        lab.wait_report("vm1", key, revisions[key])
        assert lab.read_in_guest("vm1", key) == content
        assert len(lab.reports_about("vm1", key, revisions[key])) == 1, key
    assert (lab.process("vm1/guestd"), lab.process("vm1/workload")) == (guestd, workload)
    assert set(lab.vifs("hv1")) == set()
    assert {vif.vif_id: vif.mac for vif in lab.vifs("hv2").values()} == {vm.vif: vm.mac for vm in lab.vms}
    assert len({vif.lip for vif in lab.vifs("hv2").values()}) == 2
    followed = packet_trace.follow(lab, "vm1")
    assert [passage.switch for passage in followed.there] == ["host vSwitch", "guest vSwitch of vm1"]


def test_a_move_that_was_cut_off_is_finished_by_the_command(lab: Handle) -> None:
    with Move(lab, "vm1", "hv2") as moving:
        moving.leave()
        with pytest.raises(MoveError, match="is being moved just now"), Move(lab, "vm2", "hv1"):
            pass
    # it is nowhere: whoever asks is told so, and asking again is all it takes
    with pytest.raises(TopologyError, match="vm1 is on no hypervisor now"):
        journey.observe(lab)
    moved = hvchannel(lab, "move", "vm1", "hv2")
    assert moved.returncode == 0, moved.stderr
    assert "hv2's hostd has a session" in moved.stdout and moved.stdout.endswith("vm1 is on hv2\n")
    with Move(lab, "vm1", "hv2") as moving:
        moving.leave()
        moving.arrive()
    assert not [step for step in moving.steps if "plugged" in step.says or "detached" in step.says]


@pytest.mark.parametrize(
    ("vm", "host", "says"),
    [
        ("vm9", "hv2", r"no VM 'vm9' in lab .*valid: vm1, vm2"),
        ("vm1", "host", r"no hypervisor 'host' in lab .*valid: hv1, hv2"),
    ],
)
def test_a_move_of_what_is_not_there_is_refused(lab: Handle, vm: str, host: str, says: str) -> None:
    with pytest.raises(TopologyError, match=says):
        Move(lab, vm, host)


def test_verbs_that_speak_to_a_controller_say_which(lab: Handle) -> None:
    (vif,) = json.loads(hvchannel(lab, "list", "--json", "--host", "hv2").stdout)
    assert vif["vif_id"] == "vm2"
    unsaid = hvchannel(lab, "list")
    assert (unsaid.returncode, "give --host (valid: hv1, hv2)" in unsaid.stderr) == (2, True)
    control = lab.topology.control_socket("hv2")
    assert f"export HVCHANNEL_CONTROL={control}\n" in hvchannel(lab, "shell-env", "--host", "hv2").stdout


def test_a_port_whose_vm_is_elsewhere_is_no_trouble(lab: Handle) -> None:
    hv1, vnic = lab.topology.host("hv1").namespace, lab.topology.vm("vm1").vnic
    with ProcessClient(lab.topology.p4runtime_socket("hv1")) as switch:
        assert switch.health()["ports"] == ""
        lab.run_in("hv1", ["ip", "link", "set", vnic, "down"], check=True)
        try:
            lab.until(lambda: switch.health()["ports"] or None, f"{vnic} in {hv1} is down")
            assert switch.health()["ports"] == f"down: 2 ({vnic})"
        finally:
            lab.run_in("hv1", ["ip", "link", "set", vnic, "up"], check=True)
        lab.until(lambda: not switch.health()["ports"] or None, f"{vnic} in {hv1} is up again")


def test_one_hypervisors_daemon_killed_leaves_the_other_alone(lab: Handle) -> None:
    hostd, session = lab.process("hv2/hostd"), lab.sessions()["vm2"]
    killed = lab.kill("hv1/hostd")
    lab.wait_acked("vm2", "meanwhile", lab.put("vm2", "meanwhile", b"2"))
    revision = lab.put("vm1", "meanwhile", b"1")
    lab.wait_restarted("hv1/hostd", killed)
    lab.wait_acked("vm1", "meanwhile", revision, timeout=60)
    assert lab.process("hv2/hostd") == hostd
    assert lab.sessions()["vm2"] == session, "the very same, since the same time"


CONNECT = """
import socket, sys
s = socket.socket()
s.settimeout(0.5)
try:
    s.connect((sys.argv[1], 4222))
    print(s.recv(4).decode())
except OSError as error:
    print("not reached")
"""


def test_the_control_plane_listens_to_hypervisors_only(lab: Handle) -> None:
    def connect(where: str, address: str) -> str:
        return lab.run_in(where, [sys.executable, "-c", CONNECT, address]).stdout.decode().strip()

    topology = lab.topology
    assert topology.control_plane
    address = str(topology.control_plane.address)
    for host in topology.hosts:
        assert connect(host, address) == "INFO"
        assert lab.run_in(host, ["ss", "-Htln"]).stdout == b"", "a hypervisor listens to nobody"
    listening = lab.run_in("cp", ["ss", "-Htln"]).stdout.decode().split()
    assert listening[3::5] == [f"{address}:4222"]
    for uplink in (host.uplink for host in topology.hypervisors):
        assert uplink and connect("cp", str(uplink.far_address.ip)) == "not reached"
    # a guest with root, whose routes lead to the hypervisor
    routed = ["ip", "route", "add", "10.254.0.0/16", "via", "169.254.1.1", "dev", "guestd0", "onlink"]
    lab.run_in("vm1", routed, check=True)
    try:
        assert connect("vm1", address) == "not reached"
    finally:
        lab.run_in("vm1", ["ip", "route", "del", "10.254.0.0/16"], check=True)


def test_no_frame_of_a_guest_gets_to_the_control_planes_network(lab: Handle) -> None:
    topology, vm = lab.topology, lab.topology.vm("vm1")
    hypervisor, vif = topology.host("hv1"), lab.vifs()["vm1"]
    assert hypervisor.uplink and topology.control_plane
    cp0 = Hop(name="hv1/cp0", namespace=hypervisor.namespace, interface=hypervisor.uplink.interface)
    hostd0 = topology.hop("hv1/hostd0")
    harm, permitted = secrets.token_bytes(16), secrets.token_bytes(16)
    addresses = [
        topology.control_plane.address,
        hypervisor.uplink.address.ip,
        hypervisor.uplink.far_address.ip,
    ]
    tagged = Ether(src=vm.mac, dst=hypervisor.mac) / Dot1Q(vlan=vif.vlan)
    with Capture([PacketSocket(cp0), PacketSocket(hostd0)]) as capture:
        for address in addresses:
            for transport in (
                UDP(dport=4222),
                ICMP(),
                TCP(dport=4222, flags="S"),
                TCP(dport=4222, flags="A"),
            ):
                lab.send(
                    "vm1/eth0", bytes(tagged / IP(src=vif.cip, dst=str(address)) / transport / Raw(harm))
                )
        ours = IP(src=vif.cip, dst=str(hypervisor.address.ip)) / UDP(sport=9, dport=40009)
        lab.send("vm1/eth0", bytes(tagged / ours / Raw(permitted)))
        capture.wait(lambda frame: permitted in frame.data, what="the permitted frame at hv1/hostd0")
        assert not [frame for frame in capture.frames() if harm in frame.data]

        # and were one let by, as by the very switch: the hypervisor's stack forwards nothing
        frame = (
            Ether(src=vm.mac, dst=hypervisor.mac) / IP(src=vif.lip, dst=str(addresses[0])) / UDP(dport=4222)
        )
        with inside(hypervisor.namespace), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as port:
            port.bind((hypervisor.hostd_switch_interface, 0))
            port.send(bytes(frame / Raw(harm)))
        capture.wait(lambda frame: frame.hop == hostd0.name and harm in frame.data, what="what was let by")
        lab.wait_acked("vm1", "after", lab.put("vm1", "after", b"1"))  # of later traffic there is some
        assert capture.frames(cp0.name), "the capture does see that network"
        assert not [frame for frame in capture.frames(cp0.name) if harm in frame.data]
