# SPDX-License-Identifier: Apache-2.0
"""libvirt's hook, called as libvirt calls it, at a real controller with a real vSwitch."""

import signal

import pytest
from hvchannel_control.api import control_pb2
from hvchannel_control.client import ControlClient

from tests.libvirt.hypervisor import PACKAGING, Hypervisor, domain, interface

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]
MAC, MAC3 = "52:54:00:00:00:02", "52:54:00:00:00:03"
VM1 = domain("dev='hvc2'", interfaces=(interface("hvc2", MAC),))
NEVER_REFUSED = (
    "started",
    "stopped",
    "release",
    "migrate",
    "restore",
    "reconnect",
    "attach",
    "no-such-thing",
)


def add_tap(hypervisor: Hypervisor) -> None:
    """As libvirt makes one before it calls `start`."""
    hypervisor.ip("tuntap", "add", "hvc2", "mode", "tap")
    hypervisor.ip("link", "set", "hvc2", "up")


def test_a_domain_comes_and_goes(hypervisor: Hypervisor) -> None:
    assert hypervisor.call("prepare", VM1).returncode == 0
    vif = hypervisor.until_realised("vm1")
    assert (vif.mac, vif.port, vif.vlan, vif.vni) == (MAC, 2, 4094, 5001)
    assert vif.link.state == control_pb2.Link.ABSENT

    add_tap(hypervisor)
    assert hypervisor.call("start", VM1).returncode == 0
    assert hypervisor.setting("ipv4/conf/hvc2/arp_ignore") == "8"
    assert hypervisor.setting("ipv4/conf/hvc2/rp_filter") == "1"
    assert hypervisor.setting("ipv6/conf/hvc2/disable_ipv6") == "1"
    assert "inet6" not in hypervisor.ip("address", "show", "hvc2")
    assert hypervisor.call("started", VM1).returncode == 0
    assert hypervisor.vifs()["vm1"].link.interface == "hvc2"

    assert hypervisor.call("stopped", VM1, words=("end", "-")).returncode == 0
    assert hypervisor.call("release", VM1, words=("end", "destroyed")).returncode == 0
    assert hypervisor.vifs() == {}


def test_every_call_may_be_repeated(hypervisor: Hypervisor) -> None:
    lips = set()
    for operation in ("prepare", "prepare", "reconnect", "prepare"):
        if operation == "reconnect":
            add_tap(hypervisor)
        done = hypervisor.call(operation, VM1)
        assert done.returncode == 0, done.stderr
        lips.add(hypervisor.vifs()["vm1"].lip)
    assert len(lips) == 1
    for _ in range(2):
        assert hypervisor.call("release", VM1).returncode == 0
        assert hypervisor.vifs() == {}


def test_a_restart_of_libvirt_makes_up_for_what_was_missed(hypervisor: Hypervisor) -> None:
    """Attached what a controller that did not answer missed; detached what was unplugged meanwhile."""
    add_tap(hypervisor)
    two = domain("dev='hvc2'", "dev='hvc3' id='b'", interfaces=(interface("hvc3", MAC3),))
    hypervisor.call("prepare", two)
    assert set(hypervisor.vifs()) == {"b"}
    hypervisor.call("reconnect", VM1)
    assert set(hypervisor.vifs()) == {"vm1"}


def test_without_a_controller_a_domain_starts_all_the_same(bare: Hypervisor) -> None:
    done = bare.call("prepare", VM1)
    assert done.returncode == 0
    assert f"domain 'vm1': VIF 'vm1': no controller answers at {bare.socket}" in done.stderr


def test_without_a_controller_a_domain_is_refused_where_that_was_chosen(bare: Hypervisor) -> None:
    bare.configure(HVCHANNEL_ON_FAILURE="refuse")
    done = bare.call("prepare", VM1)
    assert done.returncode == 1
    assert "no controller answers" in done.stderr
    assert {bare.call(operation, VM1).returncode for operation in NEVER_REFUSED} == {0}
    # nor is one that has no VIF
    assert bare.call("prepare", domain().replace("urn:hvchannel", "urn:other")).returncode == 0


def test_a_tap_that_cannot_be_set_apart_is_a_failure_like_another(bare: Hypervisor) -> None:
    assert bare.call("start", VM1).returncode == 0
    bare.configure(HVCHANNEL_ON_FAILURE="refuse")
    done = bare.call("start", VM1)
    assert done.returncode == 1
    assert "no interface hvc2" in done.stderr


def test_a_controller_that_hangs_does_not_hold_libvirt(hypervisor: Hypervisor) -> None:
    hypervisor.configure(HVCHANNEL_WITHIN="1")
    hung = hypervisor.controller
    assert hung is not None
    hung.send_signal(signal.SIGSTOP)
    done = hypervisor.call("prepare", VM1)
    hung.send_signal(signal.SIGCONT)
    assert done.returncode == 0
    assert "did not answer in time" in done.stderr


@pytest.mark.parametrize(("chosen", "status"), [("start", 0), ("refuse", 1)])
def test_a_program_that_is_not_there_is_named(bare: Hypervisor, chosen: str, status: int) -> None:
    bare.configure(HVCHANNEL_BIN="/nowhere", HVCHANNEL_ON_FAILURE=chosen)
    done = bare.call("prepare", VM1)
    assert done.returncode == status
    assert "hvchannel: domain vm1: prepare: /nowhere/hvchannel-libvirt ended with status 127" in done.stderr
    assert bare.call("reconnect", VM1).returncode == 0


def test_domains_without_the_channel_start_no_program(bare: Hypervisor) -> None:
    bare.configure(HVCHANNEL_BIN="/nowhere", HVCHANNEL_ON_FAILURE="refuse")
    done = bare.call("prepare", "<domain><name>vm1</name></domain>")
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_not_valid_in_the_xml_is_named(bare: Hypervisor) -> None:
    bare.configure(HVCHANNEL_ON_FAILURE="refuse")
    done = bare.call("prepare", domain("id='vm1'"))
    assert done.returncode == 1
    assert "domain 'vm1': <vif>: lacks dev" in done.stderr


def test_a_port_that_is_none_of_the_vswitchs_is_named_with_the_valid_ones(hypervisor: Hypervisor) -> None:
    done = hypervisor.call("prepare", domain("dev='tap0'", interfaces=(interface("tap0", MAC),)))
    assert "VIF 'vm1': interface 'tap0' is at no port (valid: hvc2, hvc3)" in done.stderr


def test_a_domain_does_not_take_away_anothers_vif(hypervisor: Hypervisor) -> None:
    """A copied definition: name and UUID are new, the rest is not. libvirt refuses it at the tap, after `prepare`."""
    hypervisor.call("prepare", VM1)
    copy = domain("dev='hvc2' id='vm1'", name="copy", interfaces=(interface("hvc2", MAC),))
    done = hypervisor.call("prepare", copy, name="copy")
    assert "VIF 'vm1': is attached for domain 'vm1'" in done.stderr
    assert "hvchannel-control detach vm1" in done.stderr
    hypervisor.call("release", copy, name="copy")
    assert hypervisor.vifs()["vm1"].mac == MAC


def test_what_was_attached_by_hand_for_another_mac_stays(hypervisor: Hypervisor) -> None:
    with ControlClient(hypervisor.socket) as client:
        client.attach("vm1", MAC3, 3)
    done = hypervisor.call("prepare", VM1)
    assert "VIF 'vm1' is already attached, with MAC 52:54:00:00:00:03 on port 3" in done.stderr
    hypervisor.call("release", VM1)
    assert hypervisor.vifs()["vm1"].mac == MAC3


def test_a_domain_that_was_changed_while_no_controller_answered(hypervisor: Hypervisor) -> None:
    hypervisor.call("prepare", VM1)
    changed = domain("dev='hvc3' vlan='4093'", interfaces=(interface("hvc3", MAC3),))
    assert hypervisor.call("prepare", changed).returncode == 0
    vif = hypervisor.vifs()["vm1"]
    assert (vif.mac, vif.port, vif.vlan) == (MAC3, 3, 4093)


def test_the_packaged_example(hypervisor: Hypervisor) -> None:
    done = hypervisor.call("prepare", (PACKAGING / "domain.xml").read_text())
    assert done.returncode == 0, done.stderr
    assert hypervisor.vifs()["vm1"].port == 2
