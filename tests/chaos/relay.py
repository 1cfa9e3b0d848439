# SPDX-License-Identifier: Apache-2.0
"""A bad wire in the place of a VNIC: frames are lost, reordered, doubled or damaged, by chance of a given seed.

The kernel need not have netem: the VNIC becomes two veths, and two threads carry the frames between them.
"""

from __future__ import annotations

import random
import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from hvchannel_lab import network
from hvchannel_lab.namespaces import inside
from hvchannel_lab.network import End
from hvchannel_lab.packet_socket import PacketSocket
from hvchannel_lab.parts import Hop, Vm
from hvchannel_lab.topology import Topology

_HELD = 8  # frames that a reordered one lets pass, at most
_HEADERS = 18  # bytes of Ethernet and its tag
_SETTINGS = {"arp_ignore": "8", "rp_filter": "1"}


@dataclass(frozen=True)
class Badness:
    """Probabilities, per frame."""

    loss: float = 0.0
    reorder: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0


@contextmanager
def bad_wire(vm: Vm, topology: Topology, badness: Badness, seed: str) -> Iterator[None]:
    """In the block the VM's VNIC is such a wire; before and after it is pulled and plugged in again."""
    namespace = topology.hypervisor.namespace
    near, far = f"bad{vm.host_port}h", f"bad{vm.host_port}v"
    network.unplug(vm, topology)
    with network.link(namespace) as here:
        here.add_veth(End(vm.vnic, namespace), End(near, namespace), topology.mtu)
        here.add_veth(End(far, namespace), End(vm.eth, vm.namespace, vm.mac), topology.mtu)
        for interface in (near, far, vm.vnic):
            here.up(interface, _SETTINGS)
    with network.link(vm.namespace) as there:
        there.up(vm.eth, _SETTINGS)
    sources = [_opened(namespace, interface) for interface in (near, far)]
    senders = [_sender(namespace, interface) for interface in (far, near)]
    over = threading.Event()
    threads = [
        threading.Thread(
            target=_carry, args=(source, to, badness, random.Random(f"{seed}/{n}"), over), daemon=True
        )
        for n, (source, to) in enumerate(zip(sources, senders, strict=True))
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
        for end in (*sources, *senders):
            end.close()
        with network.link(namespace) as here:
            here.remove(far)
        network.unplug(vm, topology)
        network.plug(vm, topology)


def _opened(namespace: str, interface: str) -> PacketSocket:
    """With tags where they were: the kernel passes them beside the frame."""
    made = PacketSocket(Hop(name=interface, namespace=namespace, interface=interface))
    made.open()
    return made


def _sender(namespace: str, interface: str) -> socket.socket:
    with inside(namespace):
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    made.bind((interface, 0))
    return made


def _carry(
    source: PacketSocket, to: socket.socket, badness: Badness, luck: random.Random, over: threading.Event
) -> None:
    held: list[tuple[int, bytes]] = []  # with the number of frames that are to pass before
    with selectors.DefaultSelector() as selector:
        selector.register(source.fileno(), selectors.EVENT_READ)
        while not over.is_set():
            frames = (
                [frame.data for frame in source.read() if not frame.outgoing] if selector.select(0.05) else []
            )
            due: list[bytes] = []
            for frame in frames:
                due += _passed(frame, badness, luck, held)
                due += [late for left, late in held if left <= 0]
                held = [(left - 1, late) for left, late in held if left > 0]
            if not frames:
                due, held = [late for _, late in held], []
            for each in due:
                with suppress(OSError):  # the other end is down just now
                    to.send(each)


def _passed(
    frame: bytes, badness: Badness, luck: random.Random, held: list[tuple[int, bytes]]
) -> list[bytes]:
    """What goes on of a frame now; one that is to come later is added to `held`."""
    if luck.random() < badness.loss:
        return []
    if luck.random() < badness.reorder:
        held.append((luck.randint(1, _HELD), frame))
        return []
    if luck.random() < badness.duplicate:
        return [frame, frame]
    if luck.random() < badness.corrupt:
        return [_damaged(frame, luck)]
    return [frame]


def _damaged(frame: bytes, luck: random.Random) -> bytes:
    """One to three bits wrong, behind the Ethernet header: what a frame check sequence would have let pass."""
    damaged = bytearray(frame)
    for _ in range(luck.randint(1, 3)):
        at = luck.randrange(min(_HEADERS, len(frame) - 1), len(frame))
        damaged[at] ^= 1 << luck.randrange(8)
    return bytes(damaged)
