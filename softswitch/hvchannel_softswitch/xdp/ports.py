# SPDX-License-Identifier: Apache-2.0
"""The ports of a switch whose program runs in the kernel.

    ports = XdpPorts([(1, "veth0"), (2, "veth2")], pinned=Pinned(name))
    if ports.adopted is not None: ...        # an earlier process left this program forwarding, with these maps
    ports.run(program, {"arena": arena})     # on all ports; in the place of what ran before, port by port atomically
    ports.start()                            # on the running loop: interfaces that come, go and come back
    ...
    ports.stop()                             # nothing stays behind; leave_running=True: everything does

The program looks the port of a frame up in `ingress`, and sends with bpf_redirect_map(devmap, port). All calls come
from the thread, and the network namespace, that made the object.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress

import structlog

from hvchannel_softswitch.bpf import Link, Map, MapKind, Program, XdpMode, create_map
from hvchannel_softswitch.ports import PortStatistics
from hvchannel_softswitch.xdp.attachment import AttachError, NoNativeXdpError
from hvchannel_softswitch.xdp.ingress import FAR_NAME, NEAR_NAME, PORTS, Ingress
from hvchannel_softswitch.xdp.interfaces import Interfaces
from hvchannel_softswitch.xdp.offload import Offload
from hvchannel_softswitch.xdp.pinned import Pinned, Run
from hvchannel_softswitch.xdp.port import Wiring, XdpPort, cut, send_to

log = structlog.get_logger(__name__)

_DEVMAP_NAME = "devmap"


class XdpPorts:
    """Owns the devmap, the ingress maps, and a link on each port's interface."""

    def __init__(self, interfaces: Iterable[tuple[int, str]], *, pinned: Pinned | None = None) -> None:
        """`interfaces` are (port number, interface name). With `pinned`, which becomes this object's, what is here
        outlives the process, and what an earlier one left is taken over; stale parts are dropped and logged. Raises
        ValueError for a number or an interface given twice, or a number that cannot be; OSError."""
        names = _checked(interfaces)
        links = pinned.links() if pinned else {}
        self.devmap, self.ingress, are_old = _maps(pinned)
        self._interfaces = Interfaces()
        offload = Offload(self._interfaces, pinned.directory / "offload.json" if pinned else None)
        self._wiring = Wiring(self._interfaces, offload, self.devmap, self.ingress, pinned)
        self._ports = {number: XdpPort(number, name, self._wiring) for number, name in names.items()}
        self._program: Program | None = None
        self._mode = XdpMode.NATIVE
        self._loop: asyncio.AbstractEventLoop | None = None
        self.on_devices: Callable[[], None] | None = None
        """Called when `devices` is another."""
        self._told: list[tuple[int, int]] = []
        self.adopted: Run | None = self._adopt(links, are_old)
        """What an earlier process left running, if anything: to be run on (`run` with just this), or replaced. Closed
        by `stop`, or before, when its maps are no longer wanted."""

    def run(self, program: Program, maps: Mapping[str, Map] | None = None) -> None:
        """Puts a program in charge of all ports: in the place of the one before, port by port, each frame meeting the
        one or the other. Ports whose interface is missing get it when that comes. `maps` are pinned with the program,
        by their names, and found again as `adopted.maps`. Program and maps stay the caller's, to be closed after the
        next `run` or `stop`.

        Raises AttachError when some interface refuses the exchange: then all go on with the program before. OSError.
        """
        pinned, before = self._wiring.pinned, self._program
        if pinned:
            pinned.keep_run(program, maps or {})
        try:
            for port in self._ports.values():
                port.exchange(program)
        except AttachError:
            assert before is not None  # what refuses the exchange is running it
            for port in self._ports.values():
                with suppress(AttachError):
                    port.exchange(before)
            if pinned:
                pinned.drop_other_runs(before)
            raise
        self._program = program
        self._refresh()
        if pinned:
            pinned.drop_other_runs(program)

    def start(self) -> None:
        """Follows the interfaces on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._interfaces.fileno(), self._news)
        self._refresh()

    def stop(self, *, leave_running: bool = False) -> None:
        """Takes the program off the ports, restores offload settings, and removes what was pinned. `leave_running`:
        none of that; what is pinned goes on forwarding, for the next process. Call it once. Raises OSError."""
        wiring = self._wiring
        if self._loop is not None:
            self._loop.remove_reader(self._interfaces.fileno())
        for port in self._ports.values():
            if leave_running:
                port.leave()
            else:
                port.detach()
        if not leave_running:
            wiring.offload.restore_all()
        if self.adopted is not None:
            self.adopted.close()
        self.ingress.close()
        self.devmap.close()
        self._interfaces.close()
        if wiring.pinned:
            if leave_running:
                wiring.pinned.release()
            else:
                wiring.pinned.clear()

    @property
    def names(self) -> Mapping[int, str]:
        """The interfaces' names by port."""
        return {number: port.name for number, port in self._ports.items()}

    @property
    def devices(self) -> dict[int, int]:
        """The indexes of the interfaces that run the program, by port; those that are up first."""
        attached = [port for port in self._ports.values() if port.is_attached]
        return {port.number: port.ifindex for port in sorted(attached, key=lambda port: not port.is_up)}

    def is_up(self, number: int) -> bool:
        """Whether the port carries frames: its interface is there and up, and runs the program. Raises KeyError."""
        return self._ports[number].is_up

    def mode(self, number: int) -> XdpMode | None:
        """How the port's interface runs the program; None when it does not. Raises KeyError."""
        port = self._ports[number]
        return port.mode if port.is_attached else None

    def statistics(self, number: int) -> PortStatistics:
        """See XdpPort. Raises OSError, KeyError."""
        return self._ports[number].statistics()

    def _news(self) -> None:
        news = self._interfaces.news()
        if news is None:
            self._refresh()
            return
        indexes, names = news
        self._refresh(
            [port for port in self._ports.values() if port.ifindex in indexes or port.name in names]
        )

    def _refresh(self, ports: Collection[XdpPort] | None = None) -> None:
        """Looks at ports anew (None: at all); so it does not matter what exactly the news were."""
        if self._program is None:
            return
        try:
            self._look_at(self._program, self._ports.values() if ports is None else ports)
        finally:
            devices = list(self.devices.items())
            if devices != self._told:
                self._told = devices
                if self.on_devices is not None:
                    self.on_devices()

    def _look_at(self, program: Program, ports: Collection[XdpPort]) -> None:
        try:
            for port in ports:
                port.refresh(program, self._mode)
        except NoNativeXdpError as error:
            # A frame cannot be redirected from native XDP to a driver without it, but from generic to anything.
            log.warning("all_ports_generic_xdp", note="it is slower", reason=str(error))
            self._mode = XdpMode.GENERIC
            for port in self._ports.values():
                if port.mode is XdpMode.NATIVE:
                    port.detach()
            self._look_at(program, self._ports.values())

    def _adopt(self, links: Mapping[int, Link], with_maps: bool) -> Run | None:
        running: set[int] = set()
        for number, link in links.items():
            port = self._ports.get(number)
            if port is None or not with_maps:
                stale = "there is no such port now" if port is None else "the ports' maps are not pinned"
            else:
                stale = port.adopt(link)
            if not stale:
                running.add(link.info.program_id)
                continue
            log.warning("stale_link_dropped", port=number, reason=stale)
            cut(link)
            assert self._wiring.pinned is not None
            self._wiring.pinned.drop_link(number)
        self._forget_what_is_no_port()
        run = self._wiring.pinned.newest_run(running) if self._wiring.pinned else None
        if run is not None:
            self._program = run.program
            log.info("program_taken_over", program=run.program.info.id, ports=len(running))
        elif running:
            log.warning("links_dropped", note="their program is not pinned", programs=sorted(running))
            for port in self._ports.values():
                port.detach()
        # Perhaps it is generic since another's driver has nothing else: right for all then, and if not, only slower.
        if any(port.is_attached and port.mode is XdpMode.GENERIC for port in self._ports.values()):
            self._mode = XdpMode.GENERIC
        return run

    def _forget_what_is_no_port(self) -> None:
        for ifindex, number in self.ingress.entries().items():
            if number not in self._ports or self._ports[number].ifindex != ifindex:
                self.ingress.remove(ifindex)
        for number in range(PORTS):
            if number not in self._ports or not self._ports[number].is_attached:
                send_to(self.devmap, number, None)
        self._wiring.offload.restore_all(
            but={number for number, port in self._ports.items() if port.is_attached}
        )


def remove(pinned: Pinned) -> bool:
    """Ends what an earlier process left under a name: no interface runs its program any longer, offload settings are as
    they were, nothing is pinned, and the name is free. Whether there was anything. Raises OSError."""
    links = pinned.links()
    for number, link in links.items():
        log.info("detached", port=number)
        cut(link)
    interfaces = Interfaces()
    offload = Offload(interfaces, pinned.directory / "offload.json")
    offload.restore_all()
    interfaces.close()
    pinned.clear()
    return bool(links)


def _maps(pinned: Pinned | None) -> tuple[Map, Ingress, bool]:
    """The devmap and the ingress maps, and whether they are those of an earlier process."""
    devmap, near, far = (pinned.map(name) if pinned else None for name in (_DEVMAP_NAME, NEAR_NAME, FAR_NAME))
    if devmap is not None and near is not None and far is not None:
        return devmap, Ingress(near, far), True
    devmap, ingress = create_map(MapKind.DEVMAP, 4, 4, PORTS, name=_DEVMAP_NAME), Ingress()
    if pinned:
        for name, kept in ((_DEVMAP_NAME, devmap), (NEAR_NAME, ingress.near), (FAR_NAME, ingress.far)):
            pinned.keep_map(name, kept)
    return devmap, ingress, False


def _checked(interfaces: Iterable[tuple[int, str]]) -> dict[int, str]:
    names: dict[int, str] = {}
    for number, name in interfaces:
        if number in names:
            raise ValueError(f"port {number} is given twice: {names[number]} and {name}")
        if name in names.values():
            raise ValueError(f"interface {name} is given to port {number} and to another")
        if not 0 <= number < PORTS:
            raise ValueError(f"port {number} of {name}: a number from 0 to {PORTS - 1} is right")
        names[number] = name
    return names
