# SPDX-License-Identifier: Apache-2.0
"""Table `connection_guard`: the hypervisor dials, the guest listens; TCP, UDP and ICMP pass, no other protocol. From a
guest they pass to where the hypervisor dials from, and ICMP as echo alone."""

from ptf.packet import ICMP, TCP, UDP
from ptf.testutils import group

from vswitch import p4runtime
from vswitch.base import GuestTest, HostTest
from vswitch.frames import guest_frame, hypervisor_frame, to_guest, to_hypervisor


def segment(flags, dport=4000):
    return TCP(sport=2345, dport=dport, flags=flags)


class NewConnection:
    """A guest's SYN without ACK goes nowhere, whatever other flags it bears; nor does a segment with neither ACK nor
    RST, which no connection has and which scans for listeners."""

    def runTest(self):
        for flags in ("S", "SF", "SR", "SPU", "SEC", "FSRPUEC", "", "F", "FPU", "U", "PE"):
            with self.subTest(flags=flags):
                frame = guest_frame(self.program, segment(flags))
                self.assert_dropped(self.program.guest.port, frame, "drop_new_connection")


class Permitted:
    """A guest may answer, and end, what the hypervisor began; the hypervisor may begin it."""

    def runTest(self):
        for flags in ("SA", "A", "PA", "FA", "R", "RA", "FSRPAUEC"):
            with self.subTest(guest=flags):
                self.assert_passes(to_hypervisor(self.program, segment(flags)))
        for flags in ("S", "A", "FA", "SEC", ""):
            with self.subTest(hypervisor=flags):
                self.assert_passes(to_guest(self.program, segment(flags)))


class Listener:
    """What a guest sends to a port that nobody dials from goes nowhere; the hypervisor reaches every port."""

    def runTest(self):
        for l4 in (
            *(segment(flags, port) for flags in ("A", "SA", "R") for port in (0, 22, 1023)),
            *(UDP(sport=sport, dport=port) for sport in (53, 40000) for port in (0, 53, 4789, 32767)),
        ):
            with self.subTest(guest=l4.summary()):
                self.assert_dropped(self.program.guest.port, guest_frame(self.program, l4), "drop_listener")
            with self.subTest(hypervisor=l4.summary()):
                self.assert_passes(to_guest(self.program, l4))
        for l4 in (segment("A", 1024), segment("A", 65535), UDP(dport=32768), UDP(dport=65535)):
            with self.subTest(passes=l4.summary()):
                self.assert_passes(to_hypervisor(self.program, l4))


class IcmpError:
    """A guest's ICMP passes as echo request and reply alone: an error may quote another guest's datagram."""

    def runTest(self):
        for kind in (0, 8):
            self.assert_passes(to_hypervisor(self.program, ICMP(type=kind)))
        for kind in (1, 3, 4, 5, 9, 10, 11, 12, 13, 14, 17, 18, 128, 255):
            with self.subTest(type=kind):
                frame = guest_frame(self.program, ICMP(type=kind))
                self.assert_dropped(self.program.guest.port, frame, "drop_protocol")
                self.assert_passes(to_guest(self.program, ICMP(type=kind)))


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
        self.assert_dropped(guest_port, guest_frame(self.program, segment("F")), "drop_new_connection")
        for l4 in (segment("A", 22), UDP(dport=53)):
            self.assert_dropped(guest_port, guest_frame(self.program, l4), "drop_listener")
        for l4 in (segment("A"), segment("SA"), UDP(sport=1, dport=40000), ICMP(type=0)):
            self.assert_passes(to_hypervisor(self.program, l4))
        self.assert_passes(to_guest(self.program, segment("S")))
        self.assert_passes(to_guest(self.program, ICMP(type=3)))
        self.assert_dropped(guest_port, guest_frame(self.program, proto=47), "drop_protocol")
        by_priority = sorted(p4runtime.counts("connection_guard").items(), key=lambda item: -item[0][1])
        self.assertEqual(
            [
                *[("new_connection", 1)] * 2,
                *[("listener", 1)] * 2,
                *(("permit_protocol", packets) for packets in (3, 1, 1, 1)),
            ],
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
class HostConnectionGuardListener(Listener, HostTest):
    pass


@group("guest")
class GuestConnectionGuardListener(Listener, GuestTest):
    pass


@group("host")
class HostConnectionGuardIcmpError(IcmpError, HostTest):
    pass


@group("guest")
class GuestConnectionGuardIcmpError(IcmpError, GuestTest):
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
