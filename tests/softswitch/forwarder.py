# SPDX-License-Identifier: Apache-2.0
"""A process that puts a redirect on two ports, says so, and waits to be ended.

python -m tests.softswitch.forwarder NAME RUN_DIRECTORY BPFFS INTERFACE INTERFACE
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from hvchannel_softswitch.bpf import MapFlag, MapKind, create_map
from hvchannel_softswitch.xdp.pinned import Pinned
from hvchannel_softswitch.xdp.ports import XdpPorts

from .redirects import redirect


def main(name: str, run: str, bpf: str, *interfaces: str) -> None:
    pinned = Pinned(name, run=Path(run), bpf=Path(bpf))
    ports = XdpPorts(list(enumerate(interfaces, 1)), pinned=pinned)
    arena = create_map(MapKind.ARRAY, 4, 8, 1, MapFlag.MMAPABLE, "arena")
    arena.update(bytes(4), b"entries!")
    program = redirect(ports, mark=1)
    ports.run(program, {"arena": arena})
    print("forwarding", program.info.id, flush=True)
    signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
