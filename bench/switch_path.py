# SPDX-License-Identifier: Apache-2.0
"""One vSwitch between two interfaces: packets per second and latency, beside a bare veth and a Linux bridge.

Frames are UDP of 64 bytes, sent by a packet socket at one end and received at the other, in namespaces of the
benchmark's own. The vSwitch is a softswitch process with the host program and one attached VIF: each frame is looked up
in every stage, tagged and translated.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path

import grpc
from hvchannel_control.api import control_pb2, control_pb2_grpc
from hvchannel_lab import network, processes
from hvchannel_lab.namespaces import inside
from hvchannel_lab.supervisor import Policy, Supervisor
from hvchannel_lab.topology import Topology, plan
from pyroute2 import IPRoute
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from bench.figures import Figure

SECONDS = 3.0  # of sending, per path
ROUND_TRIPS = 3000
FRAME_BYTES = 64
_ETH_P_ALL = 3


@dataclass(frozen=True, slots=True)
class Route:
    """Where frames go in and come out: (namespace, interface)."""

    name: str
    enter: tuple[str, str]
    leave: tuple[str, str]


def measure() -> list[Figure]:
    """The bare veth first, then each peer, then the vSwitch. Raises OSError, StartError."""
    with tempfile.TemporaryDirectory(prefix="hvc-bench-") as state, _network(Path(state)) as topology:
        vm, hypervisor = topology.vms[0], topology.hypervisor
        ends = (hypervisor.namespace, hypervisor.hostd_interface), (vm.namespace, vm.eth)
        frame = bytes(_frame(topology, "169.254.1.10"))
        bare = Route("one bare veth", (hypervisor.namespace, vm.vnic), ends[1])
        rates, latencies = {bare.name: _rate(bare, frame)}, {bare.name: _latency(bare, frame)}
        with _bridge(topology):
            bridged = Route("Linux bridge", *ends)
            rates[bridged.name], latencies[bridged.name] = _rate(bridged, frame), _latency(bridged, frame)
        name = "softswitch interpreter, host program"
        rates[name], latencies[name] = asyncio.run(_softswitch(topology, Route(name, *ends)))
    return [
        *(
            _beside(f"packets/s, {name}", value, "packets/s", rates[bare.name])
            for name, value in rates.items()
        ),
        *(
            _beside(f"one way, median, {name}", p50, "ns", latencies[bare.name][0])
            for name, (p50, _) in latencies.items()
        ),
        *(
            _beside(f"one way, p99, {name}", p99, "ns", latencies[bare.name][1])
            for name, (_, p99) in latencies.items()
        ),
    ]


def _beside(name: str, value: float, unit: str, bare: float) -> Figure:
    return Figure(name, value, unit, "one bare veth", value / bare)


@contextmanager
def _network(state: Path) -> Iterator[Topology]:
    topology = plan(f"bench-{os.getpid()}", state, 1)
    try:
        network.add_hypervisor(topology.hypervisor, topology.mtu)
        network.add_vm(topology.vms[0], topology)
        network.plug(topology.vms[0], topology)
        yield topology
    finally:
        for namespace in topology.namespaces:
            network.remove_namespace(namespace)


@contextmanager
def _bridge(topology: Topology) -> Iterator[None]:
    """Joins hostd's interface and the VNIC by the kernel's bridge instead of a vSwitch."""
    with inside(topology.hypervisor.namespace):
        route = IPRoute()
    with route:
        route.link("add", ifname="br0", kind="bridge")
        bridge = route.link_lookup(ifname="br0")[0]
        for name in (topology.hypervisor.hostd_switch_interface, topology.vms[0].vnic):
            route.link("set", index=route.link_lookup(ifname=name)[0], master=bridge)
        route.link("set", index=bridge, state="up")
        try:
            yield
        finally:
            route.link("del", index=bridge)


async def _softswitch(topology: Topology, route: Route) -> tuple[float, tuple[float, float]]:
    """With the host vSwitch and its controller up, and the VIF attached."""
    processes.write_configuration(topology)
    vm = topology.vms[0]
    supervisor = Supervisor(topology.state / "processes.json", Policy())
    try:
        await supervisor.start(
            program for program in processes.host_programs(topology) if program.name != "hostd"
        )
        async with grpc.aio.insecure_channel(f"unix:{topology.control_socket('host')}") as channel:
            control = control_pb2_grpc.ControlStub(channel)
            request = control_pb2.AttachRequest(vif_id=vm.vif, mac=vm.mac, port=vm.host_port)
            vif = await control.Attach(request, wait_for_ready=True)
            async for event in control.Watch(control_pb2.WatchRequest()):
                if event.attached.state == control_pb2.Vif.REALISED:
                    break
        frame = bytes(_frame(topology, vif.lip))
        rate = await asyncio.to_thread(_rate, route, frame)
        return rate, await asyncio.to_thread(_latency, route, frame)
    finally:
        await supervisor.stop()


def _frame(topology: Topology, destination: str) -> Ether:
    hypervisor = topology.hypervisor
    headers = (
        Ether(src=hypervisor.mac, dst=topology.vms[0].mac)
        / IP(src=str(hypervisor.address.ip), dst=destination)
        / UDP(sport=9, dport=9)
    )
    return headers / Raw(bytes(FRAME_BYTES - len(headers)))


def _open(end: tuple[str, str], protocol: int) -> socket.socket:
    namespace, interface = end
    with inside(namespace):
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    opened.bind((interface, protocol))
    return opened


def _received(end: tuple[str, str]) -> int:
    namespace, interface = end
    with inside(namespace):
        route = IPRoute()
    with route:
        link = route.get_links(route.link_lookup(ifname=interface)[0])[0]
    return int(link.get_attr("IFLA_STATS64")["rx_packets"])


def _send(end: tuple[str, str], frame: bytes, began: Event, enough: Event) -> None:
    with _open(end, 0) as out:
        began.set()
        while not enough.is_set():
            for _ in range(256):
                out.send(frame)


def _rate(route: Route, frame: bytes) -> float:
    """Packets received per second while another process sends as fast as it can; the first second does not count."""
    context = multiprocessing.get_context("spawn")
    began, enough = context.Event(), context.Event()
    sender = context.Process(target=_send, args=(route.enter, frame, began, enough), daemon=True)
    sender.start()
    try:
        began.wait(30)
        time.sleep(1.0)
        before, since = _received(route.leave), time.perf_counter()
        time.sleep(SECONDS)
        return (_received(route.leave) - before) / (time.perf_counter() - since)
    finally:
        enough.set()
        sender.join()


def _latency(route: Route, frame: bytes) -> tuple[float, float]:
    """Median and 99th percentile, in ns, from before the send to after the receive, one frame at a time."""
    times = []
    with _open(route.enter, 0) as out, _open(route.leave, _ETH_P_ALL) as into:
        into.settimeout(5)
        _drain(into)
        for _ in range(ROUND_TRIPS):
            began = time.perf_counter_ns()
            out.send(frame)
            into.recv(2048)
            times.append(time.perf_counter_ns() - began)
    percentiles = statistics.quantiles(times, n=100)
    return statistics.median(times), percentiles[98]


def _drain(into: socket.socket) -> None:
    """Lets what the last measurement left in the path run out."""
    into.settimeout(0.5)
    try:
        while into.recv(2048):
            pass
    except TimeoutError:
        into.settimeout(5)
