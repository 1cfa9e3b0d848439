# SPDX-License-Identifier: Apache-2.0
"""Table `connection_guard`: the hypervisor dials, the guest listens; TCP, UDP and ICMP pass, no other protocol."""

from ptf.packet import ICMP, TCP, UDP
from ptf.testutils import group

from vswitch import p4runtime
from vswitch.base import GuestTest, HostTest
from vswitch.frames import guest_frame, hypervisor_frame, to_guest, to_hypervisor


def segment(flags):
    return TCP(sport=2345, dport=4000, flags=flags)


class NewConnection:
    """A guest's SYN without ACK goes nowhere, whatever other flags it bears."""

    def runTest(self):
        for flags in ("S", "SF", "SR", "SPU", "SEC", "FSRPUEC"):
            with self.subTest(flags=flags):
                frame = guest_frame(self.program, segment(flags))
                self.assert_dropped(self.program.guest.port, frame, "drop_new_connection")


class Permitted:
    """A guest may answer, and end, what the hypervisor began; the hypervisor may begin it."""

    def runTest(self):
        for flags in ("SA", "A", "PA", "FA", "R", "RA", "F", "", "FSRPAUEC"):
            with self.subTest(guest=flags):
                self.assert_passes(to_hypervisor(self.program, segment(flags)))
        for flags in ("S", "A", "FA", "SEC"):
            with self.subTest(hypervisor=flags):
                self.assert_passes(to_guest(self.program, segment(flags)))


class OtherProtocol:
    """The default action refuses all but TCP, UDP and ICMP, from either end."""

    def runTest(self):
        for protocol in (0, 2, 4, 41, 47, 50, 51, 58, 89, 132, 136, 255):
            with self.subTest(protocol=protocol):
                frame = guest_frame(self.program, proto=protocol)
                self.assert_dropped(self.program.guest.port, frame, "drop_protocol")
        frame = hypervisor_frame(self.program, proto=47)
        self.assert_dropped(self.program.hypervisor.port, frame, "drop_protocol")


class Counters:
    """Each const entry counts its own frames; the first that fits takes a frame, in the order of the source."""

    def runTest(self):
        guest_port = self.program.guest.port
        self.assert_dropped(guest_port, guest_frame(self.program, segment("S")), "drop_new_connection")
        for l4 in (segment("A"), segment("SA"), UDP(sport=1, dport=2), ICMP(type=0)):
            self.assert_passes(to_hypervisor(self.program, l4))
        self.assert_passes(to_guest(self.program, segment("S")))
        self.assert_dropped(guest_port, guest_frame(self.program, proto=47), "drop_protocol")
        by_priority = sorted(p4runtime.counts("connection_guard").items(), key=lambda item: -item[0][1])
        self.assertEqual(
            [("new_connection", 1), ("permit_protocol", 3), ("permit_protocol", 1), ("permit_protocol", 1)],
            [(action, count.packets) for (action, _), count in by_priority],
        )


@group("host")
class HostConnectionGuardNewConnection(NewConnection, HostTest):
    pass


@group("guest")
class GuestConnectionGuardNewConnection(NewConnection, GuestTest):
    pass


@group("host")
class HostConnectionGuardPermitted(Permitted, HostTest):
    pass


@group("guest")
class GuestConnectionGuardPermitted(Permitted, GuestTest):
    pass


@group("host")
class HostConnectionGuardOtherProtocol(OtherProtocol, HostTest):
    pass


@group("guest")
class GuestConnectionGuardOtherProtocol(OtherProtocol, GuestTest):
    pass


@group("host")
class HostConnectionGuardCounters(Counters, HostTest):
    pass


@group("guest")
class GuestConnectionGuardCounters(Counters, GuestTest):
    pass
