# SPDX-License-Identifier: Apache-2.0
"""Frames of every size that a VNIC carries, and those that are too long for it. The daemons' ports take jumbo frames
here, the VNICs do not."""

from ptf.packet import ICMP, IP
from ptf.testutils import group

from vswitch.base import GuestTest, HostTest
from vswitch.frames import Journey, to_guest, to_hypervisor

MTU = 1500  # of a VNIC


def sized(journey, length):
    """The journey with an IPv4 datagram of this many bytes."""
    frames = []
    for frame in (journey.sent, journey.expected):
        ip = IP(src=frame[IP].src, dst=frame[IP].dst)
        frame[IP].underlayer.remove_payload()
        frames.append(frame / ip / ICMP(type=0) / bytes(length - 28))
    return Journey(journey.in_port, frames[0], journey.out_port, frames[1])


class FromSmallestToLargest:
    """From a bare header to a full MTU; a tagged frame is 4 bytes longer than that."""

    def runTest(self):
        for way in (to_guest, to_hypervisor):
            for length in (28, 29, 45, 46, 47, 576, MTU - 1, MTU):
                with self.subTest(way.__name__, length=length):
                    self.assert_passes(sized(way(self.program), length))


class Padding:
    """What stands behind the datagram is not the switch's: a short frame's padding, or more, passes as it is."""

    def runTest(self):
        for way in (to_guest, to_hypervisor):
            for padding in (b"\0" * 18, b"\xff" * 200):
                with self.subTest(way.__name__, length=len(padding)):
                    journey = sized(way(self.program), 28)
                    sent, expected = bytes(journey.sent) + padding, bytes(journey.expected) + padding
                    self.assert_passes(journey._replace(sent=sent, expected=expected))


class Cut:
    """A datagram that says it is longer than its frame passes as it is: what it carries is its receiver's to judge."""

    def runTest(self):
        for way in (to_guest, to_hypervisor):
            journey = way(self.program)
            cut = journey._replace(sent=bytes(journey.sent)[:-10], expected=bytes(journey.expected)[:-10])
            self.assert_passes(cut)


class Oversize:
    """What the VNIC cannot carry is lost there, and the next frame passes."""

    def runTest(self):
        way = to_hypervisor if self.program.guest.vlan is None else to_guest  # the one that ends at the VNIC
        for length in (MTU + 1, MTU + 500, 8900):
            with self.subTest(length=length):
                journey = sized(way(self.program), length)
                self.assert_dropped(journey.in_port, journey.sent, "forwarded")
                self.assert_passes(to_guest(self.program))
                self.assert_passes(to_hypervisor(self.program))


@group("host")
class HostSizesFromSmallestToLargest(FromSmallestToLargest, HostTest):
    pass


@group("guest")
class GuestSizesFromSmallestToLargest(FromSmallestToLargest, GuestTest):
    pass


@group("host")
class HostSizesPadding(Padding, HostTest):
    pass


@group("guest")
class GuestSizesPadding(Padding, GuestTest):
    pass


@group("host")
class HostSizesCut(Cut, HostTest):
    pass


@group("guest")
class GuestSizesCut(Cut, GuestTest):
    pass


@group("host")
class HostSizesOversize(Oversize, HostTest):
    pass


@group("guest")
class GuestSizesOversize(Oversize, GuestTest):
    pass
