# SPDX-License-Identifier: Apache-2.0
"""What a lab consists of, by name; written to its state directory, where commands and tests find it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Annotated

from pydantic import Field

from hvchannel_lab.parts import Channel, ControlPlane, Hop, Hypervisor, Model, Uplink, Vm
from hvchannel_lab.targets import Architecture, Engine, FeedEngine, Target, VmKind

TOPOLOGY_FILE = "topology.json"
DEFAULT_TRACE_LIMIT = 4000
MAX_HOSTS = 8
MAX_VMS = 64  # of a lab
_LONGEST_SOCKET = "vm64/softswitch.metrics.sock"
_UNIX_PATH_MAX = 107  # sockaddr_un.sun_path is 108 bytes, with its terminating zero
# Of the control plane's network, in the namespaces of one lab only: its own address, and a /30 per hypervisor.
_CONTROL_PLANE = IPv4Address("10.254.0.1")
_UPLINKS = IPv4Address("10.254.1.0")
_LAB_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,23}")
_NAMESPACE = re.compile(r"hvc-(?P<lab>.+)-(?P<who>hv[0-9]*|vm[0-9]+|cp)")


class TopologyError(ValueError):
    """A lab that cannot be described: says which value and what would be right."""


class Topology(Model):
    """A whole lab. `state` is its directory: one folder per `who`, a hypervisor's or a VM's name.

    A lab of one hypervisor calls it "host", one of several "hv1", "hv2" and so on.
    """

    name: str
    state: Path
    target: Target = Target.SOFTSWITCH
    engine: Engine = Engine.AUTO  # of softswitch
    architecture: Architecture = Architecture.V1MODEL  # of the P4 programs
    vm_kind: VmKind = VmKind.NAMESPACE
    mtu: Annotated[int, Field(ge=576, le=3400)] = 1500
    trace_limit: Annotated[int, Field(ge=1)] = DEFAULT_TRACE_LIMIT  # packets a vSwitch's trace holds
    workload: bool = True  # a program in each VM that answers each document
    channel: Channel = Channel()
    hypervisors: Annotated[tuple[Hypervisor, ...], Field(min_length=1)]
    vms: tuple[Vm, ...]
    feed_engine: FeedEngine = FeedEngine.SQLITE
    channel_tls: bool = False  # hostd and guestd know each other by certificates of the lab's own CA
    control_plane: ControlPlane | None = None  # None: the feed is a file

    @property
    def hypervisor(self) -> Hypervisor:
        """The hypervisor of a lab that has one. Raises TopologyError."""
        if len(self.hypervisors) > 1:
            raise TopologyError(
                f"lab {self.name!r} has several hypervisors ({', '.join(self.hosts)}): say which"
            )
        return self.hypervisors[0]

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hypervisors' names."""
        return tuple(hypervisor.name for hypervisor in self.hypervisors)

    @property
    def whos(self) -> tuple[str, ...]:
        """The parts with a switch of their own, hence a folder, a trace and tables: "host", "vm1", ..."""
        return (*self.hosts, *(vm.name for vm in self.vms))

    @property
    def places(self) -> dict[str, str]:
        """The network namespace of each part, the hypervisors' first; that of the control plane is its own only in a
        lab of several hypervisors."""
        found = {hypervisor.name: hypervisor.namespace for hypervisor in self.hypervisors}
        if self.control_plane:
            found.setdefault(self.control_plane.who, self.control_plane.namespace)
        return found | {vm.name: vm.namespace for vm in self.vms}

    @property
    def namespaces(self) -> tuple[str, ...]:
        """All network namespaces of the lab, the hypervisors' first."""
        return tuple(self.places.values())

    def namespace(self, where: str) -> str:
        """The network namespace of a part. Raises TopologyError with the valid names."""
        return self.places[self._part(where, self.places)]

    @property
    def hops(self) -> tuple[Hop, ...]:
        """Every interface of the channel, in the order in which a frame for the VMs passes them. A VNIC has a hop at
        each hypervisor, of which one exists at a time."""
        return tuple(self._hops())

    def _hops(self) -> Iterator[Hop]:
        for hypervisor in self.hypervisors:
            for interface in (hypervisor.hostd_interface, hypervisor.hostd_switch_interface):
                yield _hop(hypervisor, interface)
            for vm in self.vms:
                yield _hop(hypervisor, vm.vnic)
                if vm.home == hypervisor.name:
                    for interface in (vm.eth, vm.guestd_switch_interface, vm.guestd_interface):
                        yield _hop(vm, interface)

    def port_hops(self, who: str) -> dict[int, Hop]:
        """Which hop each port of the vSwitch of `who` is. Raises TopologyError with the valid names."""
        part: Hypervisor | Vm
        if who in self.hosts:
            part = self.host(who)
            ports = {part.hostd_port: part.hostd_switch_interface}
            ports |= {vm.host_port: vm.vnic for vm in self.vms}
        else:
            part = self.vm(who)
            ports = {part.guestd_port: part.guestd_switch_interface, part.eth_port: part.eth}
        return {port: _hop(part, interface) for port, interface in ports.items()}

    def hop(self, name: str) -> Hop:
        """Raises TopologyError with the valid names."""
        for hop in self.hops:
            if hop.name == name:
                return hop
        raise TopologyError(
            f"no hop {name!r} in lab {self.name!r} (valid: {', '.join(h.name for h in self.hops)})"
        )

    def host(self, name: str) -> Hypervisor:
        """The hypervisor of that name. Raises TopologyError with the valid names."""
        for hypervisor in self.hypervisors:
            if name == hypervisor.name:
                return hypervisor
        raise TopologyError(f"no hypervisor {name!r} in lab {self.name!r} (valid: {', '.join(self.hosts)})")

    def vm(self, name: str) -> Vm:
        """The VM of that name or VIF id. Raises TopologyError with the valid names."""
        for vm in self.vms:
            if name in (vm.name, vm.vif):
                return vm
        raise TopologyError(
            f"no VM {name!r} in lab {self.name!r} (valid: {', '.join(v.name for v in self.vms)})"
        )

    def folder(self, who: str) -> Path:
        """The state folder of a part. Raises TopologyError with the valid names."""
        return self.state / self._part(who, self.places)

    def _part(self, name: str, valid: dict[str, str]) -> str:
        if name not in valid:
            raise TopologyError(f"no part {name!r} in lab {self.name!r} (valid: {', '.join(valid)})")
        return name

    def switch_name(self, who: str) -> str:
        """Of what softswitch pins, and keeps in its folder below /run/softswitch: that of its network namespace, which
        no other switch of any lab is in. Raises TopologyError with the valid names."""
        return self.namespace(who)

    def p4runtime_socket(self, who: str) -> Path:
        """Where the vSwitch of `who` serves P4Runtime."""
        return self.folder(who) / "p4rt.sock"

    def control_socket(self, who: str) -> Path:
        """Where the controller of `who` serves its local API."""
        return self.folder(who) / "control.sock"

    def tls_folder(self, who: str) -> Path:
        """Certificates of the channel, of a lab with TLS on it."""
        return self.folder(who) / "tls"

    def guestd_socket(self, vm: str) -> Path:
        """Where guestd serves the VM's local programs."""
        return self.folder(vm) / "guestd.sock"

    def trace_file(self, who: str) -> Path:
        """The vSwitch's trace, of a target that writes one: one JSON object per packet and line."""
        return self.folder(who) / "trace.jsonl"

    @property
    def feed_at(self) -> str:
        """The feed as hostd is told it. That of NATS is reached from the lab's namespaces only."""
        if self.control_plane:
            return f"nats://{self.control_plane.address}:{self.control_plane.port}/{self.name}"
        return str(self.feed)

    @property
    def feed(self) -> Path:
        """The embedded feed: what the network control plane has for the VMs, and what came back."""
        return self.state / "feed.db"

    def save(self) -> None:
        """Writes `topology.json` into the state directory, in one step."""
        partial = self.state / f".{TOPOLOGY_FILE}"
        partial.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")
        partial.replace(self.state / TOPOLOGY_FILE)

    @staticmethod
    def load(state: Path) -> Topology:
        """Reads back what `save` wrote. Raises FileNotFoundError, pydantic.ValidationError."""
        return Topology.model_validate_json((state / TOPOLOGY_FILE).read_bytes())


def _hop(part: Hypervisor | Vm, interface: str) -> Hop:
    return Hop(name=f"{part.name}/{interface}", namespace=part.namespace, interface=interface)


def plan(
    name: str,
    state: Path,
    vms: int,
    channel: Channel | None = None,
    trace_limit: int = DEFAULT_TRACE_LIMIT,
    target: Target = Target.SOFTSWITCH,
    engine: Engine = Engine.AUTO,
    feed_engine: FeedEngine = FeedEngine.SQLITE,
    channel_tls: bool = False,
    hosts: int = 1,
    vm_kind: VmKind = VmKind.NAMESPACE,
    workload: bool = True,
    architecture: Architecture = Architecture.V1MODEL,
) -> Topology:
    """The lab of that name with so many hypervisors and VMs on each of them. Raises TopologyError."""
    _check_name(name)
    _check_size(hosts, vms)
    if engine is not Engine.AUTO and target is not Target.SOFTSWITCH:
        raise TopologyError(f"engine {engine}: target {target} has no engines to choose from; leave it out")
    if architecture is not Architecture.V1MODEL and target is not Target.SOFTSWITCH:
        raise TopologyError(
            f"architecture {architecture}: target {target} has no P4Runtime server for it (valid: {Target.SOFTSWITCH})"
        )
    if hosts > 1 and feed_engine is not FeedEngine.NATS:
        raise TopologyError(
            f"{hosts} hypervisors share one feed, and {feed_engine} is one machine's: take --feed {FeedEngine.NATS} "
            f"(FEED={FeedEngine.NATS} with make)"
        )
    if hosts > 1 and not target.follows_interfaces:
        raise TopologyError(
            f"{hosts} hypervisors: target {target} opens its ports at its start only, so that no VM could move there "
            f"(valid: {Target.SOFTSWITCH})"
        )
    if vm_kind is VmKind.QEMU and (hosts > 1 or target is not Target.SOFTSWITCH):
        raise TopologyError(
            f"VMs of kind {vm_kind}: on one hypervisor, with target {Target.SOFTSWITCH}; here are {hosts}, and {target}"
        )
    state = state.absolute()
    _check_state(state)
    hypervisors = tuple(_hypervisor(name, number, hosts) for number in range(1, hosts + 1))
    return Topology(
        name=name,
        state=state,
        target=target,
        engine=engine,
        architecture=architecture,
        feed_engine=feed_engine,
        channel_tls=channel_tls,
        vm_kind=vm_kind,
        trace_limit=trace_limit,
        workload=workload,
        channel=channel or Channel(),
        hypervisors=hypervisors,
        vms=tuple(
            _vm(name, number, hypervisors[(number - 1) // vms].name) for number in range(1, hosts * vms + 1)
        ),
        control_plane=_control_plane(name, hypervisors) if feed_engine is FeedEngine.NATS else None,
    )


def _check_name(name: str) -> None:
    if not _LAB_NAME.fullmatch(name):
        raise TopologyError(
            f"lab name {name!r}: must be 1 to 24 of a-z, 0-9 and '-', the first a letter or digit"
        )


def _check_size(hosts: int, vms: int) -> None:
    if not 1 <= hosts <= MAX_HOSTS:
        raise TopologyError(f"{hosts} hypervisors: must be 1 to {MAX_HOSTS}")
    if hosts == 1 and not 1 <= vms <= MAX_VMS:
        raise TopologyError(f"{vms} VMs: must be 1 to {MAX_VMS}")
    if not 1 <= vms <= MAX_VMS // hosts:
        raise TopologyError(
            f"{vms} VMs on each of {hosts} hypervisors: must be 1 to {MAX_VMS // hosts}, at most {MAX_VMS} in all"
        )


def _check_state(state: Path) -> None:
    if len(os.fsencode(state / _LONGEST_SOCKET)) > _UNIX_PATH_MAX:
        longest = _UNIX_PATH_MAX - len(_LONGEST_SOCKET) - 1
        raise TopologyError(
            f"state directory {state}: more than the {longest} bytes with which unix sockets fit; "
            "choose another by --state"
        )


def _hypervisor(lab: str, number: int, of: int) -> Hypervisor:
    if of == 1:
        return Hypervisor(name="host", namespace=f"hvc-{lab}-hv")
    name, network = f"hv{number}", _UPLINKS + 4 * (number - 1)
    uplink = Uplink(
        address=IPv4Interface(f"{network + 2}/30"),
        far_interface=name,
        far_address=IPv4Interface(f"{network + 1}/30"),
    )
    return Hypervisor(name=name, namespace=f"hvc-{lab}-{name}", uplink=uplink)


def _control_plane(lab: str, hypervisors: tuple[Hypervisor, ...]) -> ControlPlane:
    if len(hypervisors) > 1:
        return ControlPlane(who="cp", namespace=f"hvc-{lab}-cp", address=_CONTROL_PLANE)
    (only,) = hypervisors
    return ControlPlane(who=only.name, namespace=only.namespace, address=IPv4Address("127.0.0.1"))


def _vm(lab: str, number: int, home: str) -> Vm:
    return Vm(
        name=f"vm{number}",
        vif=f"vm{number}",
        namespace=f"hvc-{lab}-vm{number}",
        home=home,
        mac=vif_mac(lab, number),
        host_port=1 + number,
        vnic=f"vnic{number}",
    )


def vif_mac(lab: str, number: int) -> str:
    """A locally administered unicast address, distinct per VM and (by a hash) per lab.

    The first byte differs from that of the hypervisor's well-known address, so the two never clash.
    """
    digest = hashlib.sha256(lab.encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (0x0A, *digest[:3], number >> 8, number & 0xFF))


def lab_of_namespace(namespace: str) -> str | None:
    """The lab that a network namespace belongs to, by its name; None when it is nobody's of ours."""
    match = _NAMESPACE.fullmatch(namespace)
    return match["lab"] if match else None
