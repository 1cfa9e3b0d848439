# SPDX-License-Identifier: Apache-2.0
"""Table `restore` (host): what a guest sends comes from the CIP, as every guest's does; from here on it comes from the
VIF's own LIP."""

from ptf.packet import IP
from ptf.testutils import group

from vswitch import p4runtime
from vswitch.base import HostTest
from vswitch.channel import HOST, HYPERVISOR_IP, VIF, VIFS
from vswitch.frames import guest_frame, to_guest, to_hypervisor


@group("host")
class HostRestoreHit(HostTest):
    """Each guest's frames come out with its own LIP, restored by its own entry, which counts them."""

    def runTest(self):
        for vif in VIFS:
            journey = to_hypervisor(HOST)
            sent, expected = journey.sent, journey.expected
            sent.src = expected.src = vif.mac
            expected[IP].src = vif.lip
            self.assert_passes(journey._replace(in_port=vif.port))
            entry = self.entry("restore", "to_lip", in_port=vif.port)
            self.assertEqual((1, len(sent)), p4runtime.count(entry))


@group("host")
class HostRestoreMiss(HostTest):
    """Without its entry a guest's frame is dropped; the hypervisor's do not need one."""

    def runTest(self):
        p4runtime.delete(self.entry("restore", "to_lip", in_port=VIF.port))
        self.assert_dropped(VIF.port, guest_frame(HOST), "drop_unrestored")
        self.assert_passes(to_guest(HOST))


@group("host")
class HostRestoreAddresses(HostTest):
    """The LIP is whatever the entry says, down to the last bit."""

    def runTest(self):
        entry = self.entry("restore", "to_lip", in_port=VIF.port)
        for lip in (
            "169.254.1.10",
            "169.254.254.254",
            "0.0.0.1",
            "255.255.255.255",
            "86.1.254.253",
            HYPERVISOR_IP,
        ):
            with self.subTest(lip=lip):
                p4runtime.modify(entry._replace(params={"lip": lip}))
                journey = to_hypervisor(HOST)
                journey.expected[IP].src = lip
                self.assert_passes(journey)
