# SPDX-License-Identifier: Apache-2.0
"""One port: what is to be true of its interface, and making it so."""

from __future__ import annotations

import errno
import struct
from contextlib import suppress
from dataclasses import dataclass

import structlog

from hvchannel_softswitch.bpf import Link, Map, Program, XdpMode
from hvchannel_softswitch.ports import PortStatistics
from hvchannel_softswitch.xdp import attachment
from hvchannel_softswitch.xdp.attachment import AttachError, NoNativeXdpError
from hvchannel_softswitch.xdp.ingress import Ingress
from hvchannel_softswitch.xdp.interfaces import Counters, Interface, Interfaces
from hvchannel_softswitch.xdp.offload import Offload
from hvchannel_softswitch.xdp.pinned import Pinned

log = structlog.get_logger(__name__)

_MODES = {1: XdpMode.NATIVE, 2: XdpMode.GENERIC}


@dataclass(frozen=True, slots=True)
class Wiring:
    """What the ports of one switch share."""

    interfaces: Interfaces
    offload: Offload
    devmap: Map
    ingress: Ingress
    pinned: Pinned | None


class XdpPort:
    """Port `number` on the interface `name`, which may be there or not."""

    def __init__(self, number: int, name: str, wiring: Wiring) -> None:
        self.number = number
        self.name = name
        self.mode = XdpMode.NATIVE
        """Of the link, if there is one."""
        self.ifindex = 0
        """Of the interface that the link is on; 0: there is no link."""
        self._wiring = wiring
        self._link: Link | None = None
        self._state: tuple[int, int | None, int | None] | None = None
        self._before = Counters()
        self._trouble: str | None = ""  # why it is down, None when it is up; "" before anything was said

    @property
    def is_attached(self) -> bool:
        """Whether its interface had the program when that was last looked at."""
        return self._link is not None

    @property
    def is_up(self) -> bool:
        """Whether the interface was also up then."""
        return self._trouble is None

    def adopt(self, link: Link) -> str:
        """Takes over the link of an earlier process. Returns why it cannot be, "" when it was. Raises OSError."""
        ifindex, interface = link.info.ifindex, self._wiring.interfaces.find(self.name)
        if ifindex == 0:
            return "its interface is gone"
        if interface is None or interface.index != ifindex:
            return f"it is on the interface of ifindex {ifindex}, which is not {self.name!r}"
        self._link, self.ifindex, self._before = link, ifindex, interface.counters
        self.mode = _MODES.get(interface.xdp_mode, XdpMode.GENERIC)
        return ""

    def refresh(self, program: Program, mode: XdpMode) -> None:
        """Makes the port what its interface allows for now, attaching `program` in `mode` where nothing is attached.
        Logs what that changes. Raises NoNativeXdpError, OSError."""
        interface = self._wiring.interfaces.find(self.name)
        if self._link is not None and not (
            interface is not None and interface.index == self.ifindex == self._link.info.ifindex
        ):
            self.detach()
        if interface is None:
            self._say(f"interface {self.name!r} does not exist or is down")
            return
        try:
            if self._link is None:
                self._attach(interface, program, mode)
            elif self._state != interface.state or not interface.is_promiscuous:
                self._wiring.offload.apply(self.number, interface, generic=self.mode is XdpMode.GENERIC)
            send_to(self._wiring.devmap, self.number, interface.index)
        except AttachError as error:
            self._say(str(error))
            return
        self._state = interface.state
        self._say(None if interface.is_up else f"interface {self.name!r} does not exist or is down")

    def exchange(self, program: Program) -> None:
        """Puts `program` in the place of the one attached, if one is. Raises AttachError when the interface
        refuses."""
        if self._link is None or self._link.info.program_id == program.info.id:
            return
        try:
            attachment.replace(self._link, program, self.name)
        except AttachError as error:
            if not error.gone:
                raise
            self.detach()

    def detach(self) -> None:
        """Takes the program off the interface; when there is none, nothing. Raises OSError."""
        if self._link is None:
            return
        wiring, link, self._link = self._wiring, self._link, None
        send_to(wiring.devmap, self.number, None)
        cut(link)
        if wiring.pinned:
            wiring.pinned.drop_link(self.number)
        wiring.ingress.remove(self.ifindex)
        wiring.offload.restore(self.number)
        self.ifindex, self._state = 0, None

    def leave(self) -> None:
        """Lets go of the link without ending it, if it is pinned."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def statistics(self) -> PortStatistics:
        """The interface's counters since this process found or put the program on it; zeros when it is not. Bytes
        as its driver counts them: a veth leaves Ethernet headers out. Raises OSError."""
        interface = self._wiring.interfaces.find(self.name) if self._link is not None else None
        if interface is None or interface.index != self.ifindex:
            return PortStatistics()
        now, then = interface.counters, self._before
        return PortStatistics(
            rx_frames=now.rx_packets - then.rx_packets,
            rx_bytes=now.rx_bytes - then.rx_bytes,
            rx_dropped=now.rx_dropped - then.rx_dropped,
            tx_frames=now.tx_packets - then.tx_packets,
            tx_bytes=now.tx_bytes - then.tx_bytes,
            tx_dropped=now.tx_dropped - then.tx_dropped,
        )

    def _attach(self, interface: Interface, program: Program, mode: XdpMode) -> None:
        wiring = self._wiring
        wiring.offload.apply(self.number, interface, generic=mode is XdpMode.GENERIC)
        wiring.ingress.set(interface.index, self.number)
        try:
            link, actual, reason = attachment.attach(program, self.name, interface.index, mode)
        except (AttachError, NoNativeXdpError):
            wiring.ingress.remove(interface.index)
            wiring.offload.restore(self.number)
            raise
        self._link, self.mode, self.ifindex, self._before = link, actual, interface.index, interface.counters
        if actual is not mode:
            log.warning(
                "generic_xdp", note="it is slower", port=self.number, interface=self.name, reason=reason
            )
            wiring.offload.apply(self.number, interface, generic=True)
        if wiring.pinned:
            wiring.pinned.keep_link(self.number, link)

    def _say(self, trouble: str | None) -> None:
        if trouble == self._trouble:
            return
        self._trouble = trouble
        if trouble is None:
            log.info("port_up", port=self.number, interface=self.name, xdp=self.mode.name.lower())
        else:
            log.warning(
                "port_down",
                note="waiting for its interface",
                port=self.number,
                interface=self.name,
                reason=trouble,
            )


def cut(link: Link) -> None:
    """Ends an attachment, whoever else holds the link: the interface may be in another network namespace by now, and
    have taken its program along."""
    with suppress(OSError):  # the interface is gone
        link.detach()
    link.close()


def send_to(devmap: Map, number: int, ifindex: int | None) -> None:
    """What is sent to port `number` goes to that interface; None: nowhere. Raises AttachError when it is not there."""
    key = struct.pack("=I", number)
    try:
        if ifindex is None:
            devmap.delete(key)
        elif devmap.lookup(key) != struct.pack("=I", ifindex):
            devmap.update(key, struct.pack("=I", ifindex))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise AttachError(f"the interface of port {number} went away", gone=True) from error
