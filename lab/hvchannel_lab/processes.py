# SPDX-License-Identifier: Apache-2.0
"""What runs in a lab: command lines and configuration files of every program, by DESIGN section 2."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from hvchannel_daemons.channel import identity

from hvchannel_lab import bmv2
from hvchannel_lab.installation import program_path
from hvchannel_lab.observed import observed
from hvchannel_lab.parts import Hypervisor, Vm
from hvchannel_lab.supervisor import Program
from hvchannel_lab.targets import Target, VmKind
from hvchannel_lab.throwaway_ca import Authority
from hvchannel_lab.topology import Topology

DEVICE_ID = 1
_PIPELINE_WITHIN = {VmKind.NAMESPACE: 60, VmKind.QEMU: 300}  # seconds; without KVM compiling takes its time
# Stages of the stop: those who use a service go before those who give it.
_FEED, _SWITCH, _CONTROLLER, _DAEMON, _WORKLOAD = range(5)


def write_configuration(topology: Topology) -> None:
    """The folders of all parts and their controllers' files. Raises OSError."""
    for who in topology.places:
        topology.folder(who).mkdir(mode=0o700, parents=True, exist_ok=True)
    if topology.channel_tls:
        authority = Authority(f"hvchannel lab {topology.name}")
        for hypervisor in topology.hypervisors:
            authority.issue(topology.tls_folder(hypervisor.name), identity.HYPERVISOR)
        for vm in topology.vms:
            authority.issue(topology.tls_folder(vm.name), identity.guest_name(vm.vif))
    for hypervisor in topology.hypervisors:
        text = _host_configuration(topology, hypervisor)
        (topology.folder(hypervisor.name) / "control.toml").write_text(text, encoding="utf-8")
    for vm in topology.vms:
        write_guest_configuration(topology, vm)


def write_guest_configuration(topology: Topology, vm: Vm) -> None:
    """A VM's folder and its controller's file. Raises OSError."""
    folder = topology.folder(vm.name)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "control.toml").write_text(_guest_configuration(topology, vm), encoding="utf-8")


def host_programs(topology: Topology, hypervisor: Hypervisor) -> list[Program]:
    """What runs on a hypervisor, besides the control plane's."""
    who = hypervisor.name
    hostd = (
        program_path("hostd"),
        *("--control", str(topology.control_socket(who))),
        *("--feed", topology.feed_at),
        *("--host", who),
        *("--source", str(hypervisor.address.ip)),
        *("--socket", str(socket := topology.folder(who) / "hostd.sock")),
        *_tls(topology, who),
    )
    return [
        _switch(topology, who, hypervisor.namespace),
        _controller(topology, who, hypervisor.namespace, "host"),
        observed(
            Program(
                *(who, "hostd", hypervisor.namespace, hostd, _log(topology, who, "hostd"), _DAEMON),
                ready=socket,
            ),
            socket,
        ),
    ]


def feed_programs(topology: Topology) -> list[Program]:
    """What runs the feed, when that is no file. Raises FileNotFoundError."""
    control_plane = topology.control_plane
    if control_plane is None:
        return []
    server = shutil.which("nats-server") or shutil.which("nats-server", path="/usr/sbin")
    if server is None:
        raise FileNotFoundError("program 'nats-server': not on PATH; apt-get install nats-server")
    who = control_plane.who
    argv = (
        *(server, "--addr", str(control_plane.address), "--port", str(control_plane.port)),
        *("--jetstream", "--store_dir", str(topology.folder(who) / "nats")),
    )
    return [Program(who, "nats", control_plane.namespace, argv, _log(topology, who, "nats"), _FEED)]


def vm_programs(topology: Topology, vm: Vm) -> list[Program]:
    """What runs in one VM, besides its local program."""
    socket = topology.guestd_socket(vm.name)
    guestd = (
        *(program_path("guestd"), "run"),
        *("--listen", f"{topology.channel.cip}:{topology.channel.guest_tcp_port}"),
        *("--state", str(topology.folder(vm.name) / "guestd")),
        *("--socket", str(socket)),
        *_tls(topology, vm.name),
    )
    return [
        _switch(topology, vm.name, vm.namespace),
        _controller(topology, vm.name, vm.namespace, "guest"),
        observed(
            Program(
                *(vm.name, "guestd", vm.namespace, guestd, _log(topology, vm.name, "guestd"), _DAEMON),
                ready=socket,
            ),
            socket,
        ),
    ]


def workload(topology: Topology, vm: Vm) -> list[Program]:
    """The VM's local program, unless the lab has none: answers the documents that its guestd, which must be up, hands
    out."""
    if not topology.workload:
        return []
    argv = (
        *(sys.executable, "-m", "hvchannel_lab.sample_workload"),
        *("--socket", str(topology.guestd_socket(vm.name)), "--name", vm.name),
    )
    return [Program(vm.name, "workload", vm.namespace, argv, _log(topology, vm.name, "workload"), _WORKLOAD)]


def program_of_window(topology: Topology, vm: Vm, guest: Path) -> Program:
    """The lab's window into a VM that is a machine. `guest`: the guest's state directory, in the guest. Ready when all
    programs in there are."""
    folder = topology.folder(vm.name)
    argv = (
        *(sys.executable, "-m", "hvchannel_lab.qemu.relay"),
        *("--folder", str(folder), "--guest", str(guest / vm.name)),
    )
    log = _log(topology, vm.name, "window")
    ready = topology.guestd_socket(vm.name)
    return Program(vm.name, "window", "", argv, log, _CONTROLLER, ready=ready, ready_within=600.0)


def _switch(topology: Topology, who: str, namespace: str) -> Program:
    socket, target = topology.p4runtime_socket(who), topology.target
    common = ["--device-id", str(DEVICE_ID), "--no-p4"]
    for port, hop in topology.port_hops(who).items():
        common += ["-i", f"{port}@{hop.interface}"]
    own = ["--grpc-server-addr", f"unix:{socket}", "--cpu-port", str(topology.architecture.cpu_port)]
    match target:
        case Target.SOFTSWITCH:
            trace = [
                "--trace-file",
                str(topology.trace_file(who)),
                "--trace-limit",
                str(topology.trace_limit),
            ]
            engine = ["--engine", topology.engine, "--name", topology.switch_name(who)]
            argv = [program_path("softswitch"), *engine, *common, *trace, "--", *own]
        case Target.BMV2:
            log = ["--log-console", "--log-level", "warn"]
            argv = bmv2.command(namespace, topology.folder(who), [*common, *log, "--", *own])
    log_file = _log(topology, who, target.value)
    program = Program(who, target.value, namespace, tuple(argv), log_file, _SWITCH, ready=socket)
    return observed(program, socket) if target is Target.SOFTSWITCH else program


def _controller(topology: Topology, who: str, namespace: str, profile: str) -> Program:
    argv = (
        program_path("hvchannel-control"),
        profile,
        "--config",
        str(topology.folder(who) / "control.toml"),
    )
    socket = topology.control_socket(who)
    program = Program(
        *(who, "control", namespace, argv, _log(topology, who, "control"), _CONTROLLER), ready=socket
    )
    return observed(program, socket)


def _tls(topology: Topology, who: str) -> tuple[str, ...]:
    return ("--channel-tls", str(topology.tls_folder(who))) if topology.channel_tls else ()


def _log(topology: Topology, who: str, name: str) -> Path:
    return topology.folder(who) / f"{name}.log"


def _host_configuration(topology: Topology, hypervisor: Hypervisor) -> str:
    channel = topology.channel
    return f"""\
# Relative paths are relative to this folder. Written by the lab at every start.
socket = "control.sock"
state = "control.db"

[switch]
address = "unix:p4rt.sock"
device_id = {DEVICE_ID}
architecture = "{topology.architecture}"
interfaces = {_interfaces(topology, hypervisor.name)}

[channel]
prefix = "{hypervisor.address.network}"
hypervisor_ip = "{hypervisor.address.ip}"
hypervisor_mac = "{hypervisor.mac}"
hypervisor_port = {hypervisor.hostd_port}
cip = "{channel.cip}"
vni = {channel.vni}
vlan = {channel.vlan}

[pool]
first = "{channel.lip_first}"
last = "{channel.lip_last}"
"""


def _guest_configuration(topology: Topology, vm: Vm) -> str:
    hypervisor, channel = topology.host(vm.home), topology.channel
    return f"""\
# Relative paths are relative to this folder. Written by the lab at every start.
# Nothing here differs between guests: the VIF's MAC is that of the VNIC.
socket = "control.sock"

[switch]
address = "unix:p4rt.sock"
device_id = {DEVICE_ID}
architecture = "{topology.architecture}"
pipeline_timeout_s = {_PIPELINE_WITHIN[topology.vm_kind]}
interfaces = {_interfaces(topology, vm.name)}

[channel]
prefix = "{hypervisor.address.network}"
hypervisor_ip = "{hypervisor.address.ip}"
hypervisor_mac = "{hypervisor.mac}"
cip = "{channel.cip}"
vlan = {channel.vlan}

[vif]
vnic = "{vm.eth}"
vnic_port = {vm.eth_port}
daemon_port = {vm.guestd_port}
"""


def _interfaces(topology: Topology, who: str) -> str:
    """A TOML table: the interface at each port."""
    pairs = (f'{port} = "{hop.interface}"' for port, hop in topology.port_hops(who).items())
    return f"{{ {', '.join(pairs)} }}"
