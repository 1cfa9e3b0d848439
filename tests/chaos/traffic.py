# SPDX-License-Identifier: Apache-2.0
"""A stream of counted frames over the data path: numbered datagrams from the hypervisor to each VM, all the time."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise

from hvchannel_lab.handle import Handle
from hvchannel_lab.namespaces import inside
from hvchannel_lab.parts import Vm

PORT = 4000
_EVERY = 0.01  # seconds between two datagrams to one VM
_BUFFER = 16 << 20
_SO_RCVBUFFORCE = 33  # socket(7)
_NUMBER = struct.Struct(">QQ")


@dataclass
class Count:
    """Of one VM in one round. `outage`: the longest time, in seconds, in which nothing arrived that was sent."""

    sent: int = 0
    arrived: int = 0
    outage: float = 0.0

    @property
    def lost(self) -> int:
        return self.sent - self.arrived


@dataclass
class _Stream:
    vm: Vm
    lip: str
    out: socket.socket
    into: socket.socket
    number: int = 0
    first: int = 0  # of the round
    arrived: dict[int, float] = field(default_factory=dict)  # when, by number
    sent_at: dict[int, float] = field(default_factory=dict)


class Traffic:
    """Two threads: one sends to all VMs, one receives in all of them."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        vifs = handle.vifs()
        self._lips = {vm.vif: vifs[vm.vif].lip for vm in handle.vms}  # leases stay
        self._streams: list[_Stream] = []
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._over = threading.Event()

    def start(self) -> None:
        topology = self._handle.topology
        self._over.clear()
        self._selector = selectors.DefaultSelector()
        for vm in topology.vms:
            with inside(topology.hypervisor.namespace):
                out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with inside(vm.namespace):
                into = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            out.bind((str(topology.hypervisor.address.ip), 0))
            into.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
            into.bind((str(topology.channel.cip), PORT))
            out.setblocking(False)
            into.setblocking(False)
            stream = _Stream(vm, self._lips[vm.vif], out, into)
            self._streams.append(stream)
            self._selector.register(into, selectors.EVENT_READ, stream)
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """What was counted of the round is kept by the caller or lost."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._threads = []
        if self._streams:
            self._selector.close()
        for stream in self._streams:
            stream.out.close()
            stream.into.close()
        self._streams = []

    @property
    def runs(self) -> bool:
        return bool(self._threads)

    def begin(self) -> None:
        """A round: what is sent from now on is counted."""
        with self._lock:
            for stream in self._streams:
                stream.first = stream.number
                stream.arrived.clear()
                stream.sent_at.clear()

    def counted(self, patience: float) -> dict[str, Count]:
        """Of the round up to now, by VM. `patience`: seconds for what is under way to arrive."""
        with self._lock:
            last = {stream.vm.name: stream.number for stream in self._streams}
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            with self._lock:
                found = {s.vm.name: self._count(s, last[s.vm.name]) for s in self._streams}
            if not any(count.lost for count in found.values()):
                break
            time.sleep(0.02)
        return found

    @staticmethod
    def _count(stream: _Stream, last: int) -> Count:
        numbers = range(stream.first, last)
        arrived = sorted(at for number, at in stream.arrived.items() if number in numbers)
        lost = [number for number in numbers if number not in stream.arrived]
        outage = 0.0
        if lost:
            edges = [stream.sent_at[numbers[0]], *arrived, stream.sent_at[numbers[-1]]]
            outage = max((b - a for a, b in pairwise(edges)), default=0.0)
        return Count(len(numbers), len(arrived), outage)

    def _send(self) -> None:
        due = time.monotonic()
        while not self._over.is_set():
            for stream in self._streams:
                with self._lock:
                    number = stream.number
                    stream.number += 1
                    stream.sent_at[number] = time.monotonic()
                with suppress(OSError):  # no such neighbour now, no room: it is lost, and counted so
                    stream.out.sendto(
                        _NUMBER.pack(number, ~number & (1 << 64) - 1) + bytes(48), (stream.lip, PORT)
                    )
            due += _EVERY
            self._over.wait(max(0.0, due - time.monotonic()))
            due = max(due, time.monotonic() - 1.0)

    def _receive(self) -> None:
        while not self._over.is_set():
            for key, _ in self._selector.select(0.2):
                stream: _Stream = key.data
                try:
                    while True:
                        data = stream.into.recv(2048)
                        number, check = _NUMBER.unpack_from(data)
                        if (
                            number ^ check == (1 << 64) - 1
                        ):  # else it was damaged and its checksum was right by chance
                            with self._lock:
                                if number >= stream.first:
                                    stream.arrived.setdefault(number, time.monotonic())
                except OSError:
                    continue
