# SPDX-License-Identifier: Apache-2.0
"""PacketIn and PacketOut with their metadata: a route that punts, and frames that the controller sends."""

import ptf.testutils as tu
from ptf.packet import IP
from ptf.testutils import group

from vswitch import p4runtime
from vswitch.base import GuestTest, HostTest
from vswitch.channel import HOST, HYPERVISOR_IP, End
from vswitch.frames import guest_frame, hypervisor_asks, hypervisor_frame, link, to_guest, to_hypervisor

NO_TAG = End(0, None)  # the controller's frames: their identifier is in the metadata


class Punted:
    """A punted frame reaches the controller as it would have gone out, before its tag; with its port and the reason
    that the route gives."""

    def runTest(self):
        route = self.entry("forward", "to_port", dst_ip=HYPERVISOR_IP)
        back = to_hypervisor(self.program)
        for reason in (0, 1, 5, 127):
            with self.subTest(reason=reason):
                p4runtime.modify(route._replace(action="punt", params={"reason": reason}))
                tu.send_packet(self, back.in_port, back.sent)
                packet = p4runtime.packet_in()
                self.assertIsNotNone(packet, "no PacketIn")
                self.assertEqual({"ingress_port": back.in_port, "reason": reason}, packet.metadata)
                untagged = link(NO_TAG, back.sent.src, back.sent.dst) / back.expected[IP]
                self.assertEqual(bytes(untagged), packet.payload)
                self.assert_counted("punted")
                tu.verify_no_other_packets(self)


class NotPunted:
    """What is dropped before a route is found is not punted."""

    def runTest(self):
        route = self.entry("forward", "to_port", dst_ip=HYPERVISOR_IP)
        p4runtime.modify(route._replace(action="punt", params={"reason": 1}))
        port = self.program.guest.port
        self.assert_dropped(port, guest_frame(self.program, src=HYPERVISOR_IP), "drop_spoofed")
        self.assert_dropped(port, guest_frame(self.program, proto=47), "drop_protocol")
        self.assertIsNone(p4runtime.packet_in(timeout=0.2))


class Out:
    """A PacketOut bears its identifier literally, and takes the way of a frame from the hypervisor's end: claim 1's
    first identifier as metadata associated with the packet."""

    def send(self, payload, identifier=None):
        metadata = {self.program.identifier: self.program.value if identifier is None else identifier}
        if self.program is not HOST:
            metadata["_pad"] = 0
        p4runtime.packet_out(bytes(payload), **metadata)

    def untagged(self, frame):
        """The frame as the controller sends it."""
        return link(NO_TAG, frame.src, frame.dst) / frame[IP]

    def runTest(self):
        there = to_guest(self.program)
        self.send(self.untagged(there.sent))
        tu.verify_packets(self, there.expected, [there.out_port])
        self.assert_counted("forwarded")
        self.assertEqual(1, p4runtime.count(self.entry("attachment", "attach_controller")).packets)


class OutAnotherIdentifier(Out):
    """With another identifier the controller has no more rights than anybody."""

    def runTest(self):
        widest = 0xFFFFFF if self.program is HOST else 0xFFF
        for identifier in (0, self.program.value - 1, widest):
            with self.subTest(identifier=identifier):
                self.send(self.untagged(hypervisor_frame(self.program)), identifier)
                self.assert_counted("drop_spoofed")
                tu.verify_no_other_packets(self)


class OutSpoofed(Out):
    """Nor with another source."""

    def runTest(self):
        self.send(self.untagged(hypervisor_frame(self.program, src="169.254.1.77")))
        self.assert_counted("drop_spoofed")
        tu.verify_no_other_packets(self)


class OutUnattached(Out):
    """Without its attachment the controller sends nothing."""

    def runTest(self):
        p4runtime.delete(self.entry("attachment", "attach_controller"))
        self.send(self.untagged(hypervisor_frame(self.program)))
        self.assert_counted("drop_unattached")
        tu.verify_no_other_packets(self)


class OutTruncated(Out):
    """A PacketOut may be as broken as any frame."""

    def runTest(self):
        whole = bytes(self.untagged(hypervisor_frame(self.program)))
        for length in (1, 13, 14, 33, 41):
            with self.subTest(length=length):
                self.send(whole[:length])
                self.assert_counted("drop_malformed")
        tu.verify_no_other_packets(self)


@group("host")
class HostPacketInPunted(Punted, HostTest):
    pass


@group("guest")
class GuestPacketInPunted(Punted, GuestTest):
    pass


@group("host")
class HostPacketInNotPunted(NotPunted, HostTest):
    pass


@group("guest")
class GuestPacketInNotPunted(NotPunted, GuestTest):
    pass


@group("host")
class HostPacketOut(Out, HostTest):
    pass


@group("guest")
class GuestPacketOut(Out, GuestTest):
    pass


@group("host")
class HostPacketOutAnotherIdentifier(OutAnotherIdentifier, HostTest):
    pass


@group("guest")
class GuestPacketOutAnotherIdentifier(OutAnotherIdentifier, GuestTest):
    pass


@group("host")
class HostPacketOutSpoofed(OutSpoofed, HostTest):
    pass


@group("guest")
class GuestPacketOutSpoofed(OutSpoofed, GuestTest):
    pass


@group("host")
class HostPacketOutUnattached(OutUnattached, HostTest):
    pass


@group("guest")
class GuestPacketOutUnattached(OutUnattached, GuestTest):
    pass


@group("host")
class HostPacketOutTruncated(OutTruncated, HostTest):
    pass


@group("guest")
class GuestPacketOutTruncated(OutTruncated, GuestTest):
    pass


@group("host")
class HostPacketOutArp(Out, HostTest):
    """The controller asks by ARP, and the answer goes out of the port it entered as if by."""

    def runTest(self):
        question = hypervisor_asks(HOST)
        self.send(question.sent)
        tu.verify_packets(self, question.expected, [question.out_port])
        self.assert_counted("arp_answered")
