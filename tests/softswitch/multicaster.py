# SPDX-License-Identifier: Apache-2.0
"""A process that runs the program of test_xdp_multicast on p1 to p4, says so, and waits to be ended.

python -m tests.softswitch.multicaster NAME RUN_DIRECTORY BPFFS
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from hvchannel_softswitch.xdp.pinned import Pinned

from .test_xdp_multicast import fill, pinned_switch


def main(name: str, run: str, bpf: str) -> None:
    switch = pinned_switch(Pinned(name, run=Path(run), bpf=Path(bpf)))
    switch.keep_config(b"multicast")
    switch.commit(fill(switch))
    print("multicasting", flush=True)
    signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
