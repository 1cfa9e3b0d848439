# SPDX-License-Identifier: Apache-2.0
"""The hypervisor's three processes, as one would start them, and the guests' one, in a world's namespaces."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from hvchannel_lab import pinned
from hvchannel_lab.installation import program_path

from bench.routes.processes import running
from bench.scale.world import HYPERVISOR_IP, World

SWITCH, CONTROL, HOSTD, GUESTS, NATS = "softswitch", "hvchannel-control", "hostd", "guests", "nats-server"
NATS_MONITOR = "127.0.0.1:8222"
"""Where the nats-server tells its counts, over HTTP."""


_NATS_PORT = 4222
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
    feed: str  # where it is, as hostd is told


class FeedKind(StrEnum):
    EMBEDDED = "embedded"
    NATS = "NATS"


@contextmanager
def started(
    world: World,
    vifs: int,
    folder: Path,
    feed_kind: FeedKind = FeedKind.EMBEDDED,
) -> Iterator[Hypervisor]:
    """All four are up, nothing is attached. For its feed, a nats-server runs beside them.

    Raises SwitchError, OSError.
    """
    control, ready, local = folder / "control.sock", folder / "guests.ready", folder / "hostd.sock"
    feed = (
        str(folder / "feed.db") if feed_kind is FeedKind.EMBEDDED else f"nats://127.0.0.1:{_NATS_PORT}/bench"
    )
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
        *(program_path("hostd"), "--control", str(control), "--feed", feed),
        *("--socket", str(local)),
        *("--source", str(HYPERVISOR_IP), "--log-level", "error"),
    ]
    with ExitStack() as up:
        up.callback(pinned.end, [world.prefix])  # what a killed one leaves in the kernel
        environment = os.environ | {"PYTHONPATH": str(_ROOT)}
        nats = {NATS: up.enter_context(_nats_server(world, folder))} if feed_kind is FeedKind.NATS else {}
        pids = nats | {
            GUESTS: up.enter_context(running(guests, None, folder, ready, environment)),
            SWITCH: up.enter_context(running(switch, world.hypervisor, folder, folder / "p4rt.sock")),
            CONTROL: up.enter_context(running(controller, world.hypervisor, folder, control)),
            HOSTD: up.enter_context(running(hostd, world.hypervisor, folder, local)),
        }
        yield Hypervisor(pids, control, feed)


@contextmanager
def _nats_server(world: World, folder: Path) -> Iterator[int]:
    program = shutil.which("nats-server") or shutil.which("nats-server", path="/usr/sbin") or "nats-server"
    store = folder / "nats"
    command = [
        *(
            program,
            "--addr",
            "127.0.0.1",
            "--port",
            str(_NATS_PORT),
            "--jetstream",
            "--store_dir",
            str(store),
        ),
        *("--pid", str(folder / "nats.pid"), "--http_port", NATS_MONITOR.rpartition(":")[2]),
    ]
    with running(command, world.hypervisor, folder, folder / "nats.pid") as pid:
        yield pid
