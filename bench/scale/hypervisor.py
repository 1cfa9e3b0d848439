# SPDX-License-Identifier: Apache-2.0
"""The hypervisor's three processes, as one would start them, and the guests' one, in a world's namespaces."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from hvchannel_lab import pinned
from hvchannel_lab.installation import program_path

from bench.routes.processes import running
from bench.scale.world import HYPERVISOR_IP, World

SWITCH, CONTROL, HOSTD, GUESTS = "softswitch", "hvchannel-control", "hostd", "guests"

_ROOT = Path(__file__).parents[2]  # where `python -m bench.scale.guests` finds itself
_CONFIGURATION = """\
[pool]
first = "169.254.1.10"
last = "169.254.127.254"

[[logical_switch]]
vni = 5002
hypervisor_port = 2
vlan = 4093
pool = { first = "169.254.128.1", last = "169.254.254.254" }
"""


@dataclass(frozen=True, slots=True)
class Hypervisor:
    """What runs, by the names above."""

    pids: dict[str, int]
    control: Path  # the controller's socket
    feed: Path


@contextmanager
def started(world: World, vifs: int, folder: Path, hostd_options: Sequence[str]) -> Iterator[Hypervisor]:
    """All four are up, nothing is attached. Raises SwitchError, OSError."""
    control, feed, ready = folder / "control.sock", folder / "feed.db", folder / "guests.ready"
    (folder / "control.toml").write_text(_CONFIGURATION)
    guests = [
        sys.executable,
        "-m",
        "bench.scale.guests",
        world.prefix,
        str(vifs),
        str(folder / "guests"),
        str(ready),
    ]
    ports = [word for port in world.switch_ports(vifs) for word in ("-i", port)]
    switch = [
        *(program_path("softswitch"), "--name", world.prefix, "-L", "warn"),
        *("--no-p4", "--device-id", "1", *ports),
        *("--", "--grpc-server-addr", f"unix:{folder}/p4rt.sock", "--cpu-port", "510"),
    ]
    controller = [
        *(program_path("hvchannel-control"), "host", "--log-level", "warning"),
        *("--config", str(folder / "control.toml")),
    ]
    hostd = [
        *(program_path("hostd"), "--control", str(control), "--feed", str(feed)),
        *("--source", str(HYPERVISOR_IP), "--log-level", "error", *hostd_options),
    ]
    with ExitStack() as up:
        up.callback(pinned.end, [world.prefix])  # what a killed one leaves in the kernel
        environment = os.environ | {"PYTHONPATH": str(_ROOT)}
        pids = {
            GUESTS: up.enter_context(running(guests, None, folder, ready, environment)),
            SWITCH: up.enter_context(running(switch, world.hypervisor, folder, folder / "p4rt.sock")),
            CONTROL: up.enter_context(running(controller, world.hypervisor, folder, control)),
            HOSTD: up.enter_context(running(hostd, world.hypervisor, folder, feed)),
        }
        yield Hypervisor(pids, control, feed)
