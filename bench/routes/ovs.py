# SPDX-License-Identifier: Apache-2.0
"""Open vSwitch in userspace: a bridge of datapath_type=netdev in each of the two places.

Each vSwitch has an ovsdb-server and an ovs-vswitchd of its own, with all their files in the benchmark's directory: an
Open vSwitch that this machine may run is not touched. The bridges forward by MAC (action NORMAL) and have no table.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hvchannel_lab.namespaces import command_in
from hvchannel_lab.topology import Topology

from bench.routes import wiring
from bench.routes.processes import SwitchError, running
from bench.routes.route import Route, Unavailable, plain

_SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
_PROGRAMS = ("ovs-vswitchd", "ovsdb-server", "ovsdb-tool", "ovs-vsctl")
_WITHIN = 30


@contextmanager
def userspace_bridges(topology: Topology) -> Iterator[Route]:
    """Raises Unavailable where Open vSwitch is not installed."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    found = {name: shutil.which(name, path=path) for name in _PROGRAMS}
    if missing := [name for name, where in found.items() if not where]:
        raise Unavailable(f"{missing[0]} is not installed (Debian: openvswitch-switch)")
    if not _SCHEMA.exists():
        raise Unavailable(f"there is no {_SCHEMA}")
    programs = {name: str(where) for name, where in found.items()}
    hypervisor, vm = topology.hypervisor, topology.vms[0]
    with wiring.for_two_switches(topology, wiring.Offloads.FRAMES), ExitStack() as up:
        pids = [
            up.enter_context(_bridge(programs, namespace, topology.folder(who), ports))
            for who, namespace, ports in (
                ("host", hypervisor.namespace, (hypervisor.hostd_switch_interface, vm.vnic)),
                (vm.name, vm.namespace, (vm.eth, vm.guestd_switch_interface)),
            )
        ]
        yield plain("ovs", "two userspace OVS bridges", topology, tuple(pids))


@contextmanager
def _bridge(programs: dict[str, str], namespace: str, folder: Path, ports: Sequence[str]) -> Iterator[int]:
    """The pid of an ovs-vswitchd with one bridge of these ports."""
    folder.mkdir(parents=True)
    database, server, control = folder / "conf.db", folder / "db.sock", folder / "vswitchd.ctl"
    environment = os.environ | {f"OVS_{name}DIR": str(folder) for name in ("RUN", "LOG", "DB", "SYSCONF")}
    _run([programs["ovsdb-tool"], "create", str(database), str(_SCHEMA)])
    serving = [
        programs["ovsdb-server"],
        str(database),
        f"--remote=punix:{server}",
        f"--unixctl={folder / 'ovsdb.ctl'}",
    ]
    switching = [programs["ovs-vswitchd"], f"unix:{server}", f"--unixctl={control}", "-vconsole:warn"]
    setting = [programs["ovs-vsctl"], f"--db=unix:{server}", f"--timeout={_WITHIN}"]
    with running(serving, namespace, folder, server, environment):
        _run([*setting, "--no-wait", "init"])
        with running(switching, namespace, folder, control, environment) as pid:
            made = ["add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev"]
            for port in ports:
                made += ["--", "add-port", "br0", port]
            _run([*setting, *made])
            yield pid


def _run(command: Sequence[str]) -> None:
    """Raises SwitchError."""
    done = subprocess.run(
        command_in(None, command), capture_output=True, text=True, timeout=2 * _WITHIN, check=False
    )
    if done.returncode != 0:
        raise SwitchError(f"{Path(command[0]).name}: {done.stderr.strip() or done.returncode}")
