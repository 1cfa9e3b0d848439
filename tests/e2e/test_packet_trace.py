# SPDX-License-Identifier: Apache-2.0
"""`hvchannel trace`: a packet that the channel sent anyway, through both vSwitches, there and back."""

import secrets

import pytest
from hvchannel_control.client import ControlClient
from hvchannel_lab import packet_trace
from hvchannel_lab.targets import Engine

pytestmark = [pytest.mark.root, pytest.mark.e2e]
ENGINES = (Engine.AUTO, Engine.INTERPRETER)
HOST_TO = [
    "attachment",
    "source_guard",
    "connection_guard",
    "forward",
    "member",
    "verdict",
    "tag",
    "translate",
]


def tables(passage: packet_trace.Passage) -> list[str]:
    return [line.split()[0] for line in passage.tables if " hit: " in line]


def test_a_packet_is_followed_there_and_back(lab):
    lab.wait_acked("vm1", "traced", lab.put("vm1", "traced", secrets.token_bytes(64)))
    revisions = {delivery: lab.delivery("vm1", delivery) for delivery in ("traced",)}
    trace = packet_trace.follow(lab, "vm1")
    lip, mac = lab.vifs()["vm1"].lip, lab.vms[0].mac
    host, guest = trace.there
    assert (host.port_in, host.port_out, host.identifier) == ("1 (hostd0s)", "2 (vnic1)", "VNI 5001")
    assert (guest.port_in, guest.port_out, guest.identifier) == ("2 (eth0)", "1 (guestd0s)", "VLAN 4094")
    assert tables(host) == HOST_TO
    assert host.before.startswith("untagged") and f"> {mac}" in host.before and f"> {lip}:2345" in host.before
    assert (
        host.after == guest.before
        and host.after.startswith("vlan 4094")
        and "> 169.254.1.2:2345" in host.after
    )
    assert guest.after.startswith("untagged")
    guest, host = trace.back
    assert (guest.port_in, host.port_out) == ("1 (guestd0s)", "1 (hostd0s)")
    assert guest.after == host.before and f"{lip}:2345 >" in host.after
    assert "restore" in tables(host)
    assert {key: lab.delivery("vm1", key) for key in revisions} == revisions, "nothing was put"
    told = packet_trace.lines(trace)
    assert any("forward [vni=5001 dst_mac=" in line and f"dst_ip={lip}]" in line for line in told)


def test_where_there_is_no_lab_the_hosts_trace_tells_its_part(lab):
    file = lab.topology.trace_file("host")
    with ControlClient(lab.topology.control_socket("host")) as control:
        (vm2,) = (vif for vif in control.vifs() if vif.vif_id == "vm2")
    trace = packet_trace.from_host("vm2", vm2.port, file)
    (there,), (back,) = trace.there, trace.back
    assert (there.port_out, back.port_in) == (str(vm2.port), str(vm2.port))
    assert "the guest vSwitch" in trace.missing[0]
    with pytest.raises(packet_trace.NoPacketError, match="no packet left or entered by port 99"):
        packet_trace.from_host("vm9", 99, file)
