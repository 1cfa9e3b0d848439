# SPDX-License-Identifier: Apache-2.0
"""Table `translate`, and the checksums of both translations: towards a guest the LIP becomes the CIP, and back. What
comes out must be what a sender with those addresses would have computed from all the bytes."""

from ptf.packet import ICMP, IP, TCP, UDP
from ptf.testutils import group

from vswitch import p4runtime
from vswitch.base import GuestTest, HostTest
from vswitch.channel import GUEST, HOST, VIF, VIFS
from vswitch.frames import hypervisor_frame, to_guest, to_hypervisor

WAYS = (to_guest, to_hypervisor)
EDGES = (0x0000, 0x0001, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF)


def sum_of_ones(first, second):
    """Ones' complement addition of 16 bit words (RFC 1071)."""
    total = first + second
    return (total & 0xFFFF) + (total >> 16)


def again(frame):
    """The frame as it is on the wire, with every field that scapy computes filled in."""
    return frame.__class__(bytes(frame))


@group("host")
class HostTranslateHit(HostTest):
    """Each VIF's LIP becomes the CIP by its own entry, which counts; MACs stay."""

    def runTest(self):
        for vif in VIFS:
            journey = to_guest(HOST)
            journey.sent.dst = journey.expected.dst = vif.mac
            journey.sent[IP].dst = vif.lip
            self.assert_passes(journey._replace(out_port=vif.port))
            self.assertEqual(1, p4runtime.count(self.entry("translate", "to_cip", port=vif.port)).packets)


@group("host")
class HostTranslateMiss(HostTest):
    """A route to a guest without a translation is a contradiction: dropped in egress, after all."""

    def runTest(self):
        p4runtime.delete(self.entry("translate", "to_cip", port=VIF.port))
        self.assert_dropped(HOST.hypervisor.port, hypervisor_frame(HOST), "forwarded", "drop_untranslated")
        self.assert_passes(to_hypervisor(HOST))


@group("host")
@group("checksums")
class HostChecksumTcp(HostTest):
    """TCP: options, odd and even payloads, all flags that pass."""

    def runTest(self):
        for way in WAYS:
            for l4 in (
                TCP(sport=1, dport=40000, flags="A"),
                TCP(
                    sport=65535,
                    dport=65535,
                    seq=0xFFFFFFFF,
                    ack=0xFFFFFFFF,
                    flags="FPA",
                    window=65535,
                    urgptr=65535,
                ),
                TCP(
                    dport=1024,
                    flags="SA",
                    options=[("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 2)), ("WScale", 7)],
                ),
                TCP(dport=40000, flags="A") / b"odd",
            ):
                with self.subTest(way.__name__, l4=l4.summary()):
                    self.assert_passes(way(HOST, l4))


@group("host")
@group("checksums")
class HostChecksumUdp(HostTest):
    """UDP: ports at their edges, odd and even payloads; fields of the IPv4 header that a switch leaves alone."""

    def runTest(self):
        for way in WAYS:
            for l4 in (UDP(sport=0, dport=0x8000), UDP(sport=65535, dport=65535), UDP(dport=40000) / b"odd"):
                with self.subTest(way.__name__, l4=l4.summary()):
                    self.assert_passes(way(HOST, l4))
            for ip in ({"ttl": 0}, {"ttl": 1}, {"ttl": 255}, {"tos": 0xFF}, {"id": 0xFFFF, "flags": "DF"}):
                with self.subTest(way.__name__, **ip):
                    self.assert_passes(way(HOST, **ip))


@group("host")
@group("checksums")
class HostChecksumUdpZero(HostTest):
    """A UDP checksum of zero says that there is none, and stays zero (RFC 768)."""

    def runTest(self):
        for way in WAYS:
            self.assert_passes(way(HOST, UDP(sport=4000, dport=40001, chksum=0)))


@group("host")
@group("checksums")
class HostChecksumIcmp(HostTest):
    """ICMP's checksum covers no address, and stays."""

    def runTest(self):
        for way in WAYS:
            self.assert_passes(way(HOST, ICMP(type=8, id=7, seq=0xFFFF)))


@group("host")
@group("checksums")
class HostChecksumEdges(HostTest):
    """Transport checksums at and next to the two zeros of ones' complement, before and after the translation. UDP
    sends a computed zero as all ones; a TCP checksum is never all ones, since its addresses are not zero."""

    def runTest(self):
        for way in WAYS:
            for header in (UDP(sport=1, dport=40000), TCP(sport=1, dport=40000, flags="A")):
                for side in ("sent", "expected"):
                    for wanted in EDGES:
                        if (header.name, wanted) in {("UDP", 0x0000), ("TCP", 0xFFFF)}:
                            continue
                        with self.subTest(
                            way.__name__, protocol=header.name, side=side, checksum=hex(wanted)
                        ):
                            self.assert_passes(self.with_checksum(way, header, side, wanted))

    def with_checksum(self, way, header, side, wanted):
        """The journey with a payload word that gives this checksum on this side."""
        base = getattr(again_both(way(HOST, header / b"\0\0")), side)[header.name].chksum
        word = (base - wanted) % 0xFFFF
        journey = way(HOST, header / word.to_bytes(2, "big"))
        assert getattr(again_both(journey), side)[header.name].chksum == wanted, "the test's own arithmetic"
        return journey


@group("host")
@group("checksums")
class HostChecksumHeaderEdges(HostTest):
    """The IPv4 header's own checksum at its edges, after the translation."""

    def runTest(self):
        for way in WAYS:
            base = again_both(way(HOST, id=0)).expected[IP].chksum
            for wanted in EDGES[:-1]:
                with self.subTest(way.__name__, checksum=hex(wanted)):
                    journey = way(HOST, id=(base - wanted) % 0xFFFF)
                    self.assertEqual(wanted, again_both(journey).expected[IP].chksum)
                    self.assert_passes(journey)


@group("host")
@group("checksums")
class HostChecksumWrongStaysWrong(HostTest):
    """A checksum that was wrong stays wrong by as much: the switch must not vouch for bytes it has not summed."""

    def runTest(self):
        for way in WAYS:
            for layer in (IP, UDP, TCP):
                journey = again_both(way(HOST, TCP(dport=40000, flags="A") if layer is TCP else None))
                for frame in (journey.sent, journey.expected):
                    frame[layer].chksum = sum_of_ones(frame[layer].chksum, 0x1234)
                with self.subTest(way.__name__, layer=layer.__name__):
                    self.assert_passes(journey)


@group("guest")
@group("checksums")
class GuestChecksumsAreLeftAlone(GuestTest):
    """The guest vSwitch translates nothing, and passes every checksum as it is, right or wrong."""

    def runTest(self):
        for way in WAYS:
            for l4 in (
                TCP(dport=40000, flags="A"),
                TCP(dport=40000, flags="A", chksum=0x1234),
                UDP(dport=40000, chksum=0),
                UDP(dport=40000, chksum=0xFFFF),
                ICMP(),
            ):
                with self.subTest(way.__name__, l4=l4.summary()):
                    self.assert_passes(way(GUEST, l4))
            with self.subTest(way.__name__, header=0x1234):
                self.assert_passes(way(GUEST, chksum=0x1234))


def again_both(journey):
    """The journey with the computed fields of both its frames filled in."""
    return journey._replace(sent=again(journey.sent), expected=again(journey.expected))
