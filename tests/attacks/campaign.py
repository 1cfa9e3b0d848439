# SPDX-License-Identifier: Apache-2.0
"""Frames sent by a hostile guest while documents go to it and to its neighbour, and all that could show that one of
them came where it should not: see `Campaign`."""

import secrets
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager

from hvchannel_lab.capture import Capture, CaptureTimeoutError, Frame
from hvchannel_lab.handle import Handle
from scapy.layers.inet import UDP
from scapy.packet import Packet, Raw

from tests.attacks.kinds import Ends, wrong_to_guest, wrong_to_hypervisor
from tests.hostile_guest import TO_VM2, HostileGuest, is_there

AT_THE_HYPERVISOR, AT_THE_NEIGHBOUR = "host/hostd0", "vm2/eth0"
"""Where its frames arrive in the hypervisor's stack, and where the neighbour's VNIC has them. Both are receiving ends:
what leaves by a port is seen at none of a switch in the kernel."""

PERMITTED = ("forwarded", "arp_answered")


class Channel:
    """Documents to each VM."""

    def __init__(self, lab: Handle) -> None:
        self._lab = lab
        self.delivered = 0  # to each

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """One is put for each VM at the begin of the block, and acknowledged at its end, itself or a later one. Raises
        LabTimeoutError."""
        vifs = [vm.vif for vm in self._lab.vms]
        revisions = {vif: self._lab.put(vif, "attacked", secrets.token_bytes(100)) for vif in vifs}
        yield
        for vif, revision in revisions.items():
            assert self._lab.wait_acked(vif, "attacked", revision, timeout=60).acknowledged >= revision
        self.delivered += 1


class Campaign:
    """One capture, any number of attacks. `lab` has two VMs; vm1 is hostile."""

    def __init__(self, lab: Handle, guest: HostileGuest, capture: Capture) -> None:
        self.lab, self.guest, self.capture = lab, guest, capture
        vifs = lab.vifs()
        self.ends = Ends(
            (guest.hypervisor_mac, guest.hypervisor_ip),
            guest.vif.cip,
            guest.vif.vlan,
            {vm.mac: vifs[vm.vif].lip for vm in lab.vms},
        )

    def send(self, frames: Iterable[Packet | bytes]) -> dict[str, int]:
        """Sends them; the verdicts that the host vSwitch gave, but for those that other traffic has as well, when it
        has decided them all."""
        before = self.lab.verdicts("host")
        for frame in frames:
            self.guest.send(frame)
        self.settle()
        after = self.lab.verdicts("host")
        return {
            name: n - before[name] for name, n in after.items() if name not in PERMITTED and n > before[name]
        }

    def settle(self) -> None:
        """A permitted frame has come to the hypervisor: the vSwitch has decided what was sent before it. It may be
        policed, so that it is sent until one comes."""
        mark = secrets.token_bytes(16)
        frame = self.guest.tagged() / self.guest.ip() / UDP(sport=9, dport=40009) / Raw(mark)

        def came() -> Frame | None:
            self.guest.send(frame)
            try:
                return self.capture.wait(lambda f: f.hop == AT_THE_HYPERVISOR and mark in f.data, timeout=1)
            except CaptureTimeoutError:
                return None

        self.lab.until(came, "a permitted frame at the hypervisor", timeout=60)

    def arrivals(self, mark: bytes) -> set[str]:
        """Where frames with this mark have come."""
        return {frame.hop for frame in self.capture.frames() if is_there(frame, mark)}

    def at_the_neighbour(self) -> None:
        """The neighbour's places have shown all that came there: a trace lags behind the frames."""
        before = len(self.capture.frames(AT_THE_NEIGHBOUR, outgoing=False))
        with Channel(self.lab).in_use():
            pass
        self.lab.until(
            lambda: len(self.capture.frames(AT_THE_NEIGHBOUR, outgoing=False)) > before or None,
            "later frames at the neighbour's VNIC",
            timeout=60,
        )

    def strangers(self) -> list[str]:
        """Every frame that came to the hypervisor's stack or to the neighbour and is of no kind that may."""
        mac = self.lab.topology.vm("vm2").mac
        found = [
            (frame, wrong_to_hypervisor(frame.data, self.ends))
            for frame in self.capture.frames(AT_THE_HYPERVISOR, outgoing=False)
        ] + [
            (frame, wrong_to_guest(frame.data, mac, self.ends))
            for frame in self.capture.frames(AT_THE_NEIGHBOUR, outgoing=False)
        ]
        return [
            f"{frame.hop}: {wrong}: {frame.data[:64].hex()}" for frame, wrong in found if wrong is not None
        ]


@contextmanager
def campaign(lab: Handle) -> Iterator[Campaign]:
    """Captures until the end of the block, and remembers it all."""
    with (
        closing(HostileGuest(lab, "vm1")) as guest,
        lab.capture(AT_THE_HYPERVISOR, *TO_VM2, limit=200_000) as capture,
    ):
        yield Campaign(lab, guest, capture)
