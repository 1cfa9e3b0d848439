# SPDX-License-Identifier: Apache-2.0
"""The ports of a switch whose program runs in the kernel.

    ports = XdpPorts([(1, "veth0"), (2, "veth2")], pinned=Pinned(default_name(0)))
    if ports.adopted is not None: ...        # an earlier process left its program forwarding; see Run
    ports.run(program, {"arena": arena})     # on all ports; in the place of what ran before, port by port atomically
    ports.start()                            # on the running loop: interfaces that come, go and come back
    ...
    ports.stop()                             # nothing stays behind; leave_running=True: everything does

The program looks the port of a frame up in `ingress`, and sends with bpf_redirect_map(devmap, port). All calls come from
the thread, and the network namespace, that made the object.
"""

from __future__ import annotations

import asyncio
import errno
import struct
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from hvchannel_softswitch.bpf import Link, Map, MapKind, Program, XdpMode, create_map
from hvchannel_softswitch.ports import PortStatistics
from hvchannel_softswitch.xdp import attachment
from hvchannel_softswitch.xdp.attachment import AttachError, NoNativeXdpError
from hvchannel_softswitch.xdp.ingress import FAR_NAME, NEAR_NAME, PORTS, Ingress
from hvchannel_softswitch.xdp.interfaces import Counters, Interface, Interfaces
from hvchannel_softswitch.xdp.offload import Offload
from hvchannel_softswitch.xdp.pinned import Pinned, Run

log = structlog.get_logger(__name__)

_DEVMAP_NAME = "devmap"
_MODES = {1: XdpMode.NATIVE, 2: XdpMode.GENERIC}


@dataclass(slots=True)
class _Port:
    number: int
    name: str
    link: Link | None = None
    mode: XdpMode = XdpMode.NATIVE
    ifindex: int = 0
    state: tuple[int, int | None, int | None] | None = None
    before: Counters | None = None
    trouble: str | None = field(default="")
    """Why it is down; None when it is up; "" before anything was said about it."""


class XdpPorts:
    """Owns the devmap, the ingress maps, and a link on each port's interface."""

    def __init__(self, interfaces: Iterable[tuple[int, str]], *, pinned: Pinned | None = None) -> None:
        """`interfaces` are (port number, interface name). With `pinned`, what is here outlives the process, and what an
        earlier one left is taken over; stale parts are dropped and logged. Raises ValueError for a number or an
        interface given twice, or a number that cannot be, OSError."""
        self._ports = _checked(interfaces)
        self._pinned = pinned
        self._interfaces = Interfaces()
        self._offload = Offload(self._interfaces, pinned.directory / "offload.json" if pinned else None)
        self._program: Program | None = None
        self._mode = XdpMode.NATIVE
        self._loop: asyncio.AbstractEventLoop | None = None
        links = pinned.links() if pinned else {}
        self.devmap, self.ingress = self._maps(pinned)
        self.adopted: Run | None = self._adopt(links)
        """What an earlier process left running, if anything; its descriptors stay open as long as this object."""

    def _maps(self, pinned: Pinned | None) -> tuple[Map, Ingress]:
        devmap, near, far = (pinned.map(n) if pinned else None for n in (_DEVMAP_NAME, NEAR_NAME, FAR_NAME))
        if devmap is None:
            devmap = create_map(MapKind.DEVMAP, 4, 4, PORTS, name=_DEVMAP_NAME)
        ingress = Ingress(near, far)
        if pinned:
            for name, kept in ((_DEVMAP_NAME, devmap), (NEAR_NAME, ingress.near), (FAR_NAME, ingress.far)):
                pinned.keep_map(name, kept)
        return devmap, ingress

    # --- what an earlier process left

    def _adopt(self, links: Mapping[int, Link]) -> Run | None:
        running: set[int] = set()
        for number, link in links.items():
            stale = self._adopt_link(number, link)
            if stale:
                log.warning("dropped a stale link", port=number, reason=stale)
                self._drop(number, link)
            else:
                running.add(link.info.program_id)
        for ifindex, number in self.ingress.entries().items():
            if number not in self._ports or self._ports[number].ifindex != ifindex:
                self.ingress.remove(ifindex)
        for number in range(PORTS):
            if number not in self._ports or self._ports[number].link is None:
                self._devmap_set(number, 0)
        run = self._pinned.newest_run(running) if self._pinned else None
        if run is not None:
            self._program = run.program
            log.info("took over a running program", program=run.program.info.id, ports=len(running))
        elif running:
            log.warning("dropped links of a program that is not pinned", programs=sorted(running))
            for port in self._ports.values():
                self._detach(port)
        return run

    def _adopt_link(self, number: int, link: Link) -> str:
        """Why the link cannot be taken over; "" when it was."""
        port = self._ports.get(number)
        if port is None:
            return "there is no such port now"
        ifindex, interface = link.info.ifindex, self._interfaces.find(port.name)
        if ifindex == 0:
            return "its interface is gone"
        if interface is None or interface.index != ifindex:
            return f"it is on the interface of ifindex {ifindex}, which is not {port.name!r}"
        port.link, port.ifindex = link, ifindex
        port.mode = _MODES.get(interface.xdp_mode, XdpMode.GENERIC)
        if (
            port.mode is XdpMode.GENERIC
        ):  # perhaps since another's driver has nothing else: right for all, if slower
            self._mode = XdpMode.GENERIC
        return ""

    # --- the program

    def run(self, program: Program, maps: Mapping[str, Map] | None = None) -> None:
        """Puts a program in charge of all ports: in the place of the one before, port by port, each frame meeting the
        one or the other. Ports whose interface is missing get it when that comes. `maps` are pinned with the program,
        by their names, and found again as `adopted.maps`. The program stays the caller's to close, after `stop`.

        Raises AttachError when some interface refuses to exchange the programs: then all run the one before.
        """
        if self._pinned:
            self._pinned.keep_run(program, maps or {})
        before, self._program = self._program, program
        exchanged: list[_Port] = []
        try:
            for port in self._ports.values():
                if port.link is not None and port.link.info.program_id != program.info.id:
                    self._exchange(port, program)
                    exchanged.append(port)
        except AttachError:
            self._program = before
            for port in exchanged:
                if port.link is not None and before is not None:
                    with suppress(AttachError):
                        attachment.replace(port.link, before, port.name)
            if self._pinned and before is not None:
                self._pinned.drop_other_runs(before)
            raise
        self._refresh()
        if self._pinned:
            self._pinned.drop_other_runs(program)

    def _exchange(self, port: _Port, program: Program) -> None:
        assert port.link is not None
        try:
            attachment.replace(port.link, program, port.name)
        except AttachError as error:
            if not error.gone:
                raise
            self._detach(port)

    # --- interfaces that come and go

    def start(self) -> None:
        """Follows the interfaces on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._interfaces.fileno(), self._news)
        self._news()

    def _news(self) -> None:
        self._interfaces.drain()
        self._refresh()

    def _refresh(self) -> None:
        """Makes every port what its interface allows for now; so it does not matter which news led here."""
        if self._program is None:
            return
        try:
            for port in self._ports.values():
                self._refresh_port(port, self._program)
        except NoNativeXdpError as error:
            log.warning("all ports run generic XDP from now on, which is slower", reason=str(error))
            self._mode = XdpMode.GENERIC
            for port in self._ports.values():
                if port.mode is XdpMode.NATIVE:
                    self._detach(port)
            self._refresh()

    def _refresh_port(self, port: _Port, program: Program) -> None:
        interface = self._interfaces.find(port.name)
        if port.link is not None and (
            interface is None or interface.index != port.ifindex or port.link.info.ifindex != port.ifindex
        ):
            self._detach(port)
        if interface is None:
            self._say(port, f"interface {port.name!r} does not exist or is down")
            return
        try:
            if port.link is None:
                self._attach(port, interface, program)
            elif port.state != interface.state:
                self._offload.apply(port.number, interface, generic=port.mode is XdpMode.GENERIC)
            self._devmap_set(port.number, interface.index)
        except AttachError as error:
            self._say(port, str(error))
            return
        port.state = interface.state
        self._say(port, None if interface.is_up else f"interface {port.name!r} does not exist or is down")

    def _attach(self, port: _Port, interface: Interface, program: Program) -> None:
        self._offload.apply(port.number, interface, generic=self._mode is XdpMode.GENERIC)
        self.ingress.set(interface.index, port.number)
        try:
            link, mode, reason = attachment.attach(program, port.name, interface.index, self._mode)
        except (AttachError, NoNativeXdpError):
            self.ingress.remove(interface.index)
            self._offload.restore(port.number)
            raise
        port.link, port.mode, port.ifindex = link, mode, interface.index
        port.before = interface.counters
        if mode is not self._mode:
            log.warning(
                "a port runs generic XDP, which is slower",
                port=port.number,
                interface=port.name,
                reason=reason,
            )
            self._offload.apply(port.number, interface, generic=True)
        if self._pinned:
            self._pinned.keep_link(port.number, link)

    def _detach(self, port: _Port) -> None:
        if port.link is None:
            return
        self._devmap_set(port.number, 0)
        self._drop(port.number, port.link)
        port.link, port.state = None, None
        self.ingress.remove(port.ifindex)
        self._offload.restore(port.number)

    def _drop(self, number: int, link: Link) -> None:
        """Also of an interface that went to another network namespace, and took its program along."""
        with suppress(OSError):  # the interface went away at this moment
            link.detach()
        link.close()
        if self._pinned:
            self._pinned.drop_link(number)

    def _devmap_set(self, number: int, ifindex: int) -> None:
        """Sends `number` to an interface; 0: to none. Raises AttachError."""
        key = struct.pack("=I", number)
        try:
            if ifindex == 0:
                self.devmap.delete(key)
            elif self.devmap.lookup(key) != struct.pack("=I", ifindex):
                self.devmap.update(key, struct.pack("=I", ifindex))
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise AttachError(f"the interface of port {number} went away", gone=True) from error

    def _say(self, port: _Port, trouble: str | None) -> None:
        if trouble == port.trouble:
            return
        port.trouble = trouble
        if trouble is None:
            mode = port.mode.name.lower()
            log.info("port up", port=port.number, interface=port.name, xdp=mode)
        else:
            log.warning(
                "port down, waiting for its interface", port=port.number, interface=port.name, reason=trouble
            )

    # --- what others ask

    @property
    def names(self) -> Mapping[int, str]:
        """The interfaces' names by port."""
        return {port.number: port.name for port in self._ports.values()}

    def is_up(self, number: int) -> bool:
        """Whether the port carries frames: its interface is there and up, and runs the program. KeyError."""
        return self._ports[number].trouble is None

    def mode(self, number: int) -> XdpMode | None:
        """How the port's interface runs the program; None when it does not. KeyError."""
        port = self._ports[number]
        return None if port.link is None else port.mode

    def statistics(self, number: int) -> PortStatistics:
        """The interface's counters since the program was put on it (zeros when it is not). Frames are counted by the
        driver. Raises OSError, KeyError."""
        port = self._ports[number]
        interface = self._interfaces.find(port.name) if port.link is not None else None
        if interface is None or interface.index != port.ifindex:
            return PortStatistics()
        now, then = interface.counters, port.before or Counters()
        return PortStatistics(
            rx_frames=now.rx_packets - then.rx_packets,
            rx_bytes=now.rx_bytes - then.rx_bytes,
            rx_dropped=now.rx_dropped - then.rx_dropped,
            tx_frames=now.tx_packets - then.tx_packets,
            tx_bytes=now.tx_bytes - then.tx_bytes,
            tx_dropped=now.tx_dropped - then.tx_dropped,
        )

    # --- the end

    def stop(self, *, leave_running: bool = False) -> None:
        """Takes the program off the ports, restores offload settings, and removes what was pinned. `leave_running`:
        none of that; what is pinned goes on forwarding, for the next process. Call it once. Raises OSError."""
        if self._loop is not None:
            self._loop.remove_reader(self._interfaces.fileno())
            self._loop = None
        for port in self._ports.values():
            if leave_running:
                if port.link is not None:
                    port.link.close()
            else:
                self._detach(port)
        if not leave_running:
            self._offload.restore_all()
        self.ingress.close()
        self.devmap.close()
        if self.adopted is not None:
            self.adopted.close()
        self._interfaces.close()
        if self._pinned:
            if leave_running:
                self._pinned.release()
            else:
                self._pinned.clear()


def remove(pinned: Pinned) -> bool:
    """Ends what an earlier process left under a name: no interface runs its program any longer, offload settings are as
    they were, nothing is pinned, and the name is free. Whether there was anything. Raises OSError."""
    links = pinned.links()
    ports = XdpPorts([], pinned=pinned) if links else None
    if ports is None:
        pinned.clear()
        return False
    ports.stop()
    return True


def _checked(interfaces: Iterable[tuple[int, str]]) -> dict[int, _Port]:
    ports: dict[int, _Port] = {}
    names: dict[str, int] = {}
    for number, name in interfaces:
        if other := ports.get(number):
            raise ValueError(f"port {number} is given twice: {other.name} and {name}")
        if name in names:
            raise ValueError(f"interface {name} is given to two ports: {names[name]} and {number}")
        if not 0 <= number < PORTS:
            raise ValueError(f"port {number} of {name}: a number from 0 to {PORTS - 1} is right")
        ports[number] = _Port(number, name)
        names[name] = number
    return ports
