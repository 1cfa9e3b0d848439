# SPDX-License-Identifier: Apache-2.0
"""The kernel's bpf interface: maps, programs, links, pins, ring buffers. Knows nothing of P4 or of switches.

ports = create_map(MapKind.DEVMAP, 4, 4, 512, name="ports")
program = load_program(instructions, name="switch", frags=True)
link = Link.create_xdp(program, ifindex, XdpMode.NATIVE)
...
link.update(other)       # each frame meets the one program or the other
link.close()             # detached, as nothing else holds it
"""

from hvchannel_softswitch.bpf.barrier import possible_cpus, synchronize
from hvchannel_softswitch.bpf.links import Link, LinkInfo, XdpMode
from hvchannel_softswitch.bpf.maps import Map, MapFlag, MapInfo, MapKind, Update, create_map
from hvchannel_softswitch.bpf.probe import xdp_available
from hvchannel_softswitch.bpf.programs import (
    AttachType,
    Program,
    ProgramInfo,
    TestRun,
    VerifierError,
    XdpAction,
    load_program,
)
from hvchannel_softswitch.bpf.ringbuf import RingBuffer

__all__ = [
    "AttachType",
    "Link",
    "LinkInfo",
    "Map",
    "MapFlag",
    "MapInfo",
    "MapKind",
    "Program",
    "ProgramInfo",
    "RingBuffer",
    "TestRun",
    "Update",
    "VerifierError",
    "XdpAction",
    "XdpMode",
    "create_map",
    "load_program",
    "possible_cpus",
    "synchronize",
    "xdp_available",
]
