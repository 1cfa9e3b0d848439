# SPDX-License-Identifier: Apache-2.0
"""Our two programs on a P4Runtime switch in each of the two places: bmv2's simple_switch_grpc, and softswitch by each
of its engines."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from hvchannel_lab.installation import program_path
from hvchannel_lab.topology import Topology

from bench.routes import attachments, tables, wiring
from bench.routes.processes import running
from bench.routes.route import Route, Unavailable

BMV2 = "simple_switch_grpc"


@contextmanager
def bmv2(topology: Topology) -> Iterator[Route]:
    """Raises Unavailable where simple_switch_grpc is not on PATH."""
    found = shutil.which(BMV2)
    if not found:
        raise Unavailable(f"{BMV2} is not on PATH")
    with _two(topology, "bmv2", "two bmv2 switches", [found, "--log-console", "-L", "warn"]) as route:
        yield route


@contextmanager
def interpreter(topology: Topology) -> Iterator[Route]:
    """softswitch's interpreter, the one engine of a softswitch that offers no choice."""
    chosen = ["--engine", "interpreter"] if _offers_engines() else []
    with _two(topology, "interpreter", "two softswitches, interpreter", [*_softswitch(), *chosen]) as route:
        yield route


@contextmanager
def xdp(topology: Topology) -> Iterator[Route]:
    """softswitch's engine in the kernel. Raises Unavailable as long as softswitch has none."""
    if not _offers_engines():
        raise Unavailable("softswitch has no option --engine")
    command = [*_softswitch(), "--engine", "xdp"]
    with _two(topology, "xdp", "two softswitches, xdp", command) as route:
        yield route


def _softswitch() -> list[str]:
    return [program_path("softswitch"), "-L", "warn"]


def _offers_engines() -> bool:
    told = subprocess.run([program_path("softswitch"), "--help"], capture_output=True, text=True, check=True)
    return "--engine" in told.stdout


@contextmanager
def _two(topology: Topology, key: str, name: str, command: Sequence[str]) -> Iterator[Route]:
    hypervisor, vm = topology.hypervisor, topology.vms[0]
    with wiring.for_two_switches(topology, wiring.Offloads.FRAMES), ExitStack() as up:
        switches = []
        for who, namespace, program, entries in (
            ("host", hypervisor.namespace, "host_vswitch", attachments.host_entries(topology)),
            (vm.name, vm.namespace, "guest_vswitch", attachments.guest_entries(topology)),
        ):
            folder, socket = topology.folder(who), topology.p4runtime_socket(who)
            folder.mkdir(parents=True)
            ports = [
                word
                for port, hop in topology.port_hops(who).items()
                for word in ("-i", f"{port}@{hop.interface}")
            ]
            general = ["--no-p4", "--device-id", str(tables.DEVICE_ID), *ports]
            own = ["--grpc-server-addr", f"unix:{socket}", "--cpu-port", str(topology.architecture.cpu_port)]
            whole = [*command, *general, "--", *own]
            switches.append(up.enter_context(running(whole, namespace, folder, socket)))
            tables.fill(f"unix:{socket}", program, entries)
        lip = str(attachments.real_vif(topology).lip)
        yield Route(
            key, name, hypervisor.namespace, vm.namespace, lip, str(topology.channel.cip), tuple(switches)
        )
