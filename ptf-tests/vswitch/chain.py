# SPDX-License-Identifier: Apache-2.0
"""Base class of the tests over two chained switches: the hypervisor's port 2 is the other end of the guest's port 2.

PTF's device 0 is the hypervisor's vSwitch, device 1 the guest's. The VNIC between them is cut: the test is the wire,
and what it does not carry over is not there on the other side.
"""

from __future__ import annotations

import time
from collections import Counter

import ptf.testutils as tu
from ptf import ptfutils
from ptf.packet import Packet

from vswitch import architecture, p4runtime
from vswitch.base import PATIENCE, ReportingTest
from vswitch.channel import GUEST, HOST, Program
from vswitch.entries import entries_of

HOSTD, VNIC_HOST, VNIC_GUEST, GUESTD = (0, 1), (0, 2), (1, 2), (1, 1)


class ChainTest(ReportingTest):
    """Both vSwitches freshly loaded, with the channel's entries. One is spoken with at a time."""

    def setUp(self) -> None:
        super().setUp()
        arch = architecture.current()
        for program in (HOST, GUEST):
            with p4runtime.session(self.target(program), set_pipeline=True):
                for entry in (*entries_of(program, arch.cpu_port), *arch.own_entries(program.ports)):
                    p4runtime.insert(entry)

    @staticmethod
    def target(program: Program) -> p4runtime.Target:
        """Where the program's switch is: test parameters `host_grpcaddr`, `guest_p4info` and so on."""
        prefix = "host" if program is HOST else "guest"
        return p4runtime.Target(*(tu.test_param_get(f"{prefix}_{name}") for name in p4runtime.Target._fields))

    def assert_seen(self, at: tuple[int, int], frame: Packet) -> None:
        """The frame was there."""
        tu.verify_packet(self, frame, at)

    def assert_crosses_vnic(self, frame: Packet, *, to_guest: bool = True) -> None:
        """The frame came out of one vSwitch's end of the VNIC; what came goes into the other's, byte by byte."""
        out, into = (VNIC_HOST, VNIC_GUEST) if to_guest else (VNIC_GUEST, VNIC_HOST)
        device, port = out
        result = tu.dp_poll(
            self, device_number=device, port_number=port, timeout=ptfutils.default_timeout, exp_pkt=frame
        )
        if not isinstance(result, self.dataplane.PollSuccess):
            self.fail(
                f"the frame did not come out of {'host' if to_guest else 'guest'}'s VNIC\n{result.format()}"
            )
        tu.send_packet(self, into, result.packet)

    def assert_nothing_else(self) -> None:
        """No other frame was anywhere, on the VNIC or behind it."""
        tu.verify_no_other_packets(self, device_number=0)
        tu.verify_no_other_packets(self, device_number=1)

    def assert_counted(self, program: Program, **verdicts: int) -> None:
        """The vSwitch has counted exactly these frames since the test began."""
        with p4runtime.session(self.target(program), set_pipeline=False):
            deadline = time.monotonic() + PATIENCE
            while (counted := p4runtime.verdicts()) != Counter(verdicts) and time.monotonic() < deadline:
                time.sleep(0.005)
        self.assertEqual(verdicts, dict(counted), f"frames of {program.name} by verdict")
