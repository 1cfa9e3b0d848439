# SPDX-License-Identifier: Apache-2.0
"""The benches: which switches, which cables between them, and where PTF plugs in."""

from __future__ import annotations

from dataclasses import dataclass

DAEMON_MTU = 9000  # a daemon's port takes more than a VNIC carries, so that a test can send too much
VNIC_MTU = 1500


@dataclass(frozen=True)
class Cable:
    """A veth pair."""

    ends: tuple[str, str]
    mtu: int


@dataclass(frozen=True)
class Switch:
    """One switch: its program, its port numbers with their interfaces, and the port of its P4Runtime server."""

    program: str
    ports: dict[int, str]
    grpc_port: int
    prefix: str = ""  # of its test parameters


@dataclass(frozen=True)
class Bench:
    """`plugs` are PTF's ports: `device-port` and interface."""

    cables: tuple[Cable, ...]
    switches: tuple[Switch, ...]
    plugs: dict[str, str]


def _alone(program: str, vnics: tuple[int, ...]) -> Bench:
    ports = (1, *vnics)
    return Bench(
        cables=tuple(Cable((f"switch{n}", f"ptf{n}"), DAEMON_MTU if n == 1 else VNIC_MTU) for n in ports),
        switches=(Switch(program, {n: f"switch{n}" for n in ports}, 9559),),
        plugs={f"0-{n}": f"ptf{n}" for n in ports},
    )


BENCHES = {
    "host": _alone("host_vswitch", vnics=(2, 3)),
    "guest": _alone("guest_vswitch", vnics=(2,)),
    "chain": Bench(
        cables=(
            Cable(("host1", "hostd"), DAEMON_MTU),
            Cable(("host2", "vnic1"), VNIC_MTU),
            Cable(("guest2", "vnic2"), VNIC_MTU),
            Cable(("guest1", "guestd"), DAEMON_MTU),
        ),
        switches=(
            Switch("host_vswitch", {1: "host1", 2: "host2"}, 9559, "host_"),
            Switch("guest_vswitch", {1: "guest1", 2: "guest2"}, 9560, "guest_"),
        ),
        # Port 2 of each device is one end of the VNIC, which is cut in the middle: a test takes each frame out of the
        # one end and puts it into the other. A socket that only listened would miss what XDP redirects.
        plugs={"0-1": "hostd", "0-2": "vnic1", "1-1": "guestd", "1-2": "vnic2"},
    ),
}
