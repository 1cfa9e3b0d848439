# SPDX-License-Identifier: Apache-2.0
"""What may run the two P4 programs in a lab."""

from __future__ import annotations

from enum import StrEnum


class Target(StrEnum):
    """A P4Runtime switch with simple_switch_grpc's command line. Its value is the process's name in a lab."""

    SOFTSWITCH = "softswitch"  # the embedded one
    BMV2 = "bmv2"  # p4lang's simple_switch_grpc, from PATH or else its container

    @property
    def traces(self) -> bool:
        """Whether it writes a trace of each packet that a program can read."""
        return self is Target.SOFTSWITCH

    @property
    def follows_interfaces(self) -> bool:
        """Whether a port works whose interface comes after the start, or comes back."""
        return self is Target.SOFTSWITCH


class Architecture(StrEnum):
    """What the P4 programs were compiled for. Its value is the controllers' name for it."""

    V1MODEL = "v1model"
    PNA = "pna"  # the portable NIC

    @property
    def cpu_port(self) -> int:
        """The port of PacketIn and PacketOut."""
        return 0xFFFFFFFD if self is Architecture.PNA else 510


class FeedEngine(StrEnum):
    """Where the documents of a lab come from."""

    SQLITE = "sqlite"  # a file in the lab's directory
    NATS = "nats"  # a nats-server of the lab's own, which nobody outside of its namespaces reaches


class VmKind(StrEnum):
    """What a lab's VMs are."""

    NAMESPACE = "namespace"  # own interfaces and processes, the host's kernel
    QEMU = "qemu"  # machines, with a kernel of their own and virtio-net

    @property
    def patience(self) -> float:
        """How much longer than in a namespace one waits for anything. A guest without KVM on a busy machine is slow."""
        return 20.0 if self is VmKind.QEMU else 1.0


class Engine(StrEnum):
    """What softswitch runs programs on; its own option."""

    AUTO = "auto"  # the kernel if it takes them
    XDP = "xdp"  # the kernel, or nothing
    INTERPRETER = "interpreter"
