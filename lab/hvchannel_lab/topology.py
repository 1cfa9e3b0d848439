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

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from hvchannel_lab.targets import Engine, FeedEngine, Target

TOPOLOGY_FILE = "topology.json"
MAX_VMS = 64
DEFAULT_TRACE_LIMIT = 4000
NATS_PORT = 4222  # of the lab's own nats-server; the namespace is the lab's, so labs do not clash
_NAMESPACE = re.compile(r"hvc-(?P<lab>.+)-(?P<who>hv|vm[0-9]+)")
_LAB_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,23}")
_LONGEST_SOCKET = "vm64/softswitch.metrics.sock"
_UNIX_PATH_MAX = 107  # sockaddr_un.sun_path is 108 bytes, with its terminating zero

InterfaceName = Annotated[
    str, StringConstraints(pattern=r"^[a-z][a-z0-9]{0,14}$")
]  # the kernel's limit: 15 bytes
Mac = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{2}:){5}[0-9a-f]{2}$")]
Port = Annotated[int, Field(ge=1, lt=510)]  # 9 bits; 510 is the CPU port, 511 means "drop"


class TopologyError(ValueError):
    """A lab that cannot be described: says which value and what would be right."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Channel(_Model):
    """Identifiers and addresses of the channel, the same on the whole hypervisor."""

    vni: Annotated[int, Field(ge=1, lt=1 << 24)] = 5001
    vlan: Annotated[int, Field(ge=1, le=4094)] = 4094
    cip: IPv4Address = IPv4Address("169.254.1.2")
    lip_first: IPv4Address = IPv4Address("169.254.1.10")
    lip_last: IPv4Address = IPv4Address("169.254.254.254")
    guest_tcp_port: Annotated[int, Field(ge=1, le=65535)] = 2345
    cpu_port: int = 510


class Hypervisor(_Model):
    """The hypervisor's namespace: hostd's own interface, and its end at the host vSwitch."""

    namespace: str
    mac: Mac = "02:68:76:00:00:01"
    address: IPv4Interface = IPv4Interface("169.254.1.1/16")
    hostd_interface: InterfaceName = "hostd0"
    hostd_switch_interface: InterfaceName = "hostd0s"
    hostd_port: Port = 1


class Vm(_Model):
    """One VM: its namespace, its VNIC (`vnic` on the hypervisor, `eth` in the VM) and guestd's interface."""

    name: str
    vif: str
    namespace: str
    mac: Mac
    host_port: Port
    vnic: InterfaceName
    eth: InterfaceName = "eth0"
    eth_port: Port = 2
    guestd_interface: InterfaceName = "guestd0"
    guestd_switch_interface: InterfaceName = "guestd0s"
    guestd_port: Port = 1


class Hop(_Model):
    """An interface that frames of the channel pass, by its name in captures: `host/vnic1`, `vm1/eth0`."""

    name: str
    namespace: str
    interface: str


class Topology(_Model):
    """A whole lab. `state` is its directory: one folder per `who` ("host" and each VM's name)."""

    name: str
    state: Path
    target: Target = Target.SOFTSWITCH
    engine: Engine = Engine.AUTO  # of softswitch
    feed_engine: FeedEngine = FeedEngine.SQLITE
    mtu: Annotated[int, Field(ge=576, le=3400)] = 1500
    trace_limit: Annotated[int, Field(ge=1)] = DEFAULT_TRACE_LIMIT  # packets a vSwitch's trace holds
    channel: Channel = Channel()
    hypervisor: Hypervisor
    vms: tuple[Vm, ...]

    @property
    def whos(self) -> tuple[str, ...]:
        """The parts with a switch of their own, hence a folder, a trace and tables: "host", "vm1", ..."""
        return ("host", *(vm.name for vm in self.vms))

    @property
    def namespaces(self) -> tuple[str, ...]:
        """All network namespaces of the lab, the hypervisor's first."""
        return (self.hypervisor.namespace, *(vm.namespace for vm in self.vms))

    @property
    def hops(self) -> tuple[Hop, ...]:
        """Every interface of the channel, in the order in which a frame for the VMs passes them."""
        return tuple(self._hops())

    def _hops(self) -> Iterator[Hop]:
        hypervisor = self.hypervisor
        for interface in (hypervisor.hostd_interface, hypervisor.hostd_switch_interface):
            yield Hop(name=f"host/{interface}", namespace=hypervisor.namespace, interface=interface)
        for vm in self.vms:
            yield Hop(name=f"host/{vm.vnic}", namespace=hypervisor.namespace, interface=vm.vnic)
            for interface in (vm.eth, vm.guestd_switch_interface, vm.guestd_interface):
                yield Hop(name=f"{vm.name}/{interface}", namespace=vm.namespace, interface=interface)

    def port_hops(self, who: str) -> dict[int, Hop]:
        """Which hop each port of the vSwitch of `who` is. Raises TopologyError with the valid names."""
        if who == "host":
            ports = {self.hypervisor.hostd_port: self.hypervisor.hostd_switch_interface}
            ports |= {vm.host_port: vm.vnic for vm in self.vms}
        else:
            vm = self.vm(who)
            ports = {vm.guestd_port: vm.guestd_switch_interface, vm.eth_port: vm.eth}
        return {port: self.hop(f"{who}/{interface}") for port, interface in ports.items()}

    def hop(self, name: str) -> Hop:
        """Raises TopologyError with the valid names."""
        for hop in self.hops:
            if hop.name == name:
                return hop
        raise TopologyError(
            f"no hop {name!r} in lab {self.name!r} (valid: {', '.join(h.name for h in self.hops)})"
        )

    def vm(self, name: str) -> Vm:
        """The VM of that name or VIF id. Raises TopologyError with the valid names."""
        for vm in self.vms:
            if name in (vm.name, vm.vif):
                return vm
        raise TopologyError(
            f"no VM {name!r} in lab {self.name!r} (valid: {', '.join(v.name for v in self.vms)})"
        )

    def folder(self, who: str) -> Path:
        """The state folder of "host" or a VM. Raises TopologyError with the valid names."""
        if who not in self.whos:
            raise TopologyError(f"no part {who!r} in lab {self.name!r} (valid: {', '.join(self.whos)})")
        return self.state / who

    def switch_name(self, who: str) -> str:
        """Of what softswitch pins, and keeps in its folder below /run/softswitch: that of its network namespace, which
        no other switch of any lab is in. Raises TopologyError with the valid names."""
        return self.hypervisor.namespace if who == "host" else self.vm(who).namespace

    def p4runtime_socket(self, who: str) -> Path:
        """Where the vSwitch of `who` serves P4Runtime."""
        return self.folder(who) / "p4rt.sock"

    def control_socket(self, who: str) -> Path:
        """Where the controller of `who` serves its local API."""
        return self.folder(who) / "control.sock"

    def guestd_socket(self, vm: str) -> Path:
        """Where guestd serves the VM's local programs."""
        return self.folder(vm) / "guestd.sock"

    def trace_file(self, who: str) -> Path:
        """The vSwitch's trace, of a target that writes one: one JSON object per packet and line."""
        return self.folder(who) / "trace.jsonl"

    @property
    def feed_at(self) -> str:
        """The feed as hostd is told it. That of NATS is reached from the hypervisor's namespace only."""
        if self.feed_engine is FeedEngine.NATS:
            return f"nats://127.0.0.1:{NATS_PORT}/{self.name}"
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


def plan(
    name: str,
    state: Path,
    vms: int,
    channel: Channel | None = None,
    trace_limit: int = DEFAULT_TRACE_LIMIT,
    target: Target = Target.SOFTSWITCH,
    engine: Engine = Engine.AUTO,
    feed_engine: FeedEngine = FeedEngine.SQLITE,
) -> Topology:
    """The lab of that name with so many VMs. Nothing is created. Raises TopologyError."""
    if not _LAB_NAME.fullmatch(name):
        raise TopologyError(
            f"lab name {name!r}: must be 1 to 24 of a-z, 0-9 and '-', the first a letter or digit"
        )
    if not 1 <= vms <= MAX_VMS:
        raise TopologyError(f"{vms} VMs: must be 1 to {MAX_VMS}")
    if engine is not Engine.AUTO and target is not Target.SOFTSWITCH:
        raise TopologyError(f"engine {engine}: target {target} has no engines to choose from; leave it out")
    state = state.absolute()
    if len(os.fsencode(state / _LONGEST_SOCKET)) > _UNIX_PATH_MAX:
        longest = _UNIX_PATH_MAX - len(_LONGEST_SOCKET) - 1
        raise TopologyError(
            f"state directory {state}: more than the {longest} bytes with which unix sockets fit; "
            "choose another by --state"
        )
    return Topology(
        name=name,
        state=state,
        target=target,
        engine=engine,
        feed_engine=feed_engine,
        trace_limit=trace_limit,
        channel=channel or Channel(),
        hypervisor=Hypervisor(namespace=f"hvc-{name}-hv"),
        vms=tuple(_vm(name, number) for number in range(1, vms + 1)),
    )


def _vm(lab: str, number: int) -> Vm:
    return Vm(
        name=f"vm{number}",
        vif=f"vm{number}",
        namespace=f"hvc-{lab}-vm{number}",
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
