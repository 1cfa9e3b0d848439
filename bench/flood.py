# SPDX-License-Identifier: Apache-2.0
"""How a VM fares while its neighbour floods: its round trips and its documents, beside those of the same lab when all
is quiet.

The flood is of tiny frames from one process in the neighbour. With the vSwitches, the daemons and both ends of the
measurement it shares the machine's cores, so that a part of what it costs is those.
"""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

from hvchannel_lab import bmv2, lab_feed
from hvchannel_lab.background import background_lab
from hvchannel_lab.handle import Handle
from hvchannel_lab.targets import Engine, Target
from rich.console import Console

from bench.documents import latency
from bench.figures import Figure
from bench.routes.route import Route
from bench.traffic import flood, round_trip
from bench.traffic.programs import TrafficError

GOAL = 2.0
"""Times the p99 of quiet."""

DOCUMENTS, BYTES = 150, 1024
_FLOODING, _FLOODED = "vm1", "vm2"
_SWITCHES = (
    ("xdp", Target.SOFTSWITCH, Engine.XDP),
    ("interpreter", Target.SOFTSWITCH, Engine.INTERPRETER),
    ("bmv2", Target.BMV2, Engine.AUTO),
)
_KINDS = (
    ("quiet", None),
    ("flood of permitted frames", False),
    ("flood of spoofed frames", True),
)

Latencies = dict[str, tuple[float, float]]
"""p50 and p99, by what is measured, in its unit."""

_UNITS = {"round trip": "us", "put to acknowledged": "ms"}


def measure(progress: Console) -> list[Figure]:
    """Of each engine, one after the other. Raises BackgroundError, OSError, FeedError, TimeoutError."""
    figures: list[Figure] = []
    for name, target, engine in _SWITCHES:
        if target is Target.BMV2 and shutil.which(bmv2.PROGRAM) is None:
            progress.print(f"  bmv2 is not here: no {bmv2.PROGRAM} on PATH")
            continue
        with tempfile.TemporaryDirectory(prefix="hvc-bench-") as folder:
            state = Path(folder) / "lab"
            lab = background_lab(
                f"bench-{os.getpid()}", state, 2, target=target, engine=engine, trace_limit=1
            )
            with lab as handle:
                figures += _of(name, handle, progress)
    return figures


def _of(name: str, lab: Handle, progress: Console) -> Iterator[Figure]:
    quiet: Latencies = {}
    for kind, spoofing in _KINDS:
        progress.print(f"  {name}: {kind} ...")
        with _flooding(lab, spoofing) as flooded:
            found = _latencies(lab, progress)
        quiet = quiet or found
        for what, values in found.items():
            for percent, value, peer in zip((50, 99), values, quiet.get(what, values), strict=True):
                ratio = None if spoofing is None else value / peer
                held = ratio is not None and percent == 99
                yield Figure(
                    f"{name}, {what} p{percent}: {kind}",
                    value,
                    _UNITS[what],
                    None if ratio is None else "quiet",
                    ratio,
                    f"<= {GOAL:g}x" if held else None,
                    ratio <= GOAL if held and ratio is not None else None,
                )
        if flooded:
            yield Figure(f"{name}: {kind}, sent", flooded[0], "frames/s")


@contextmanager
def _flooding(lab: Handle, spoofing: bool | None) -> Iterator[list[float]]:
    """None: quiet. After the block the list has the rate."""
    found: list[float] = []
    if spoofing is None:
        yield found
        return
    vm = lab.topology.vm(_FLOODING)
    with flood.running(vm.namespace, vm.eth, _tiny_frame(lab), spoofing=spoofing) as process:
        yield found
        found.append(flood.rate(process))


def _latencies(lab: Handle, progress: Console) -> Latencies:
    vm, vif = lab.topology.vm(_FLOODED), lab.vifs()[_FLOODED]
    route = Route("flood", "flood", lab.topology.hypervisor.namespace, vm.namespace, vif.lip, vif.cip)
    found: Latencies = {}
    try:
        trips = round_trip.measure(route)
        found["round trip"] = trips.p50, trips.p99
    except TrafficError as error:
        progress.print(f"    round trip: {error}")
    put = partial(latency.put_to_acknowledged, vif=vm.vif, size=BYTES, count=DOCUMENTS)
    seconds = lab_feed.ask(lab.topology, put).result()
    found["put to acknowledged"] = latency.percentile(seconds, 50), latency.percentile(seconds, 99)
    return found


def _tiny_frame(lab: Handle) -> bytes:
    """An empty UDP datagram of the flooding VM to the hypervisor's address, to a port that a guest may send to."""
    vm, vif, hypervisor = lab.topology.vm(_FLOODING), lab.vifs()[_FLOODING], lab.topology.hypervisor
    macs = bytes.fromhex((hypervisor.mac + vm.mac).replace(":", ""))
    tag = struct.pack("!HHH", 0x8100, vif.vlan, 0x0800)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 28, 0, 0, 64, 17, 0)
    addresses = IPv4Address(vif.cip).packed + hypervisor.address.ip.packed
    total = sum(struct.unpack("!10H", head + addresses))
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return (
        macs
        + tag
        + head[:10]
        + struct.pack("!H", checksum)
        + addresses
        + struct.pack("!HHHH", 9, 40009, 8, 0)
    )
