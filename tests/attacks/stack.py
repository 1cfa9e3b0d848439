# SPDX-License-Identifier: Apache-2.0
"""The hypervisor's network stack under attack: who listens there and gets nothing, and what the kernel counted."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from hvchannel_lab.handle import Handle
from hvchannel_lab.namespaces import inside

from tests.attacks.catalogue import LISTENED_TCP, LISTENED_UDP, Established

HIGH_TCP = (8080, 40022)


@dataclass(frozen=True)
class Stack:
    """What `ss` and `nstat` say of it."""

    connections: frozenset[tuple[str, str]]  # established ones to guests: own end, the guest's
    passive_opens: int  # connections that a listener accepted, since the namespace is there

    @staticmethod
    def of(lab: Handle) -> "Stack":
        said = lab.run_in("host", ["ss", "-Htn", "state", "established"], check=True).stdout.decode()
        ends = (line.split()[2:4] for line in said.splitlines())
        counted = lab.run_in("host", ["nstat", "-asz", "--json"], check=True).stdout
        kernel = json.loads(counted)["kernel"]
        return Stack(frozenset((own, far) for own, far in ends), int(kernel["TcpPassiveOpens"]))


def established(lab: Handle, lip: str) -> Established:
    """hostd's connection to the guest with this LIP."""

    def found() -> Established | None:
        for own, far in Stack.of(lab).connections:
            if far.rpartition(":")[0] == lip:
                return Established(int(own.rpartition(":")[2]), int(far.rpartition(":")[2]))
        return None

    return lab.until(found, f"a connection of hostd to {lip}")


@dataclass
class Listeners:
    """Programs of the hypervisor that listen at every address."""

    tcp: dict[int, socket.socket] = field(default_factory=dict)
    udp: dict[int, socket.socket] = field(default_factory=dict)

    def reached(self) -> list[str]:
        """Those that somebody came to."""
        found = []
        for port, listening in self.tcp.items():
            try:
                listening.accept()[0].close()
                found.append(f"tcp {port}")
            except BlockingIOError:
                pass
        for port, receiving in self.udp.items():
            try:
                receiving.recv(65536)
                found.append(f"udp {port}")
            except BlockingIOError:
                pass
        return found


@contextmanager
def listeners(lab: Handle) -> Iterator[Listeners]:
    """On the ports of the catalogue, and some on which a guest's segments do come to the stack."""
    opened = Listeners()
    with ExitStack() as stack:
        with inside(lab.topology.hypervisor.namespace):
            for port in (*LISTENED_TCP, *HIGH_TCP):
                opened.tcp[port] = stack.enter_context(socket.socket())
            for port in LISTENED_UDP:
                opened.udp[port] = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        for port, listening in (*opened.tcp.items(), *opened.udp.items()):
            listening.setblocking(False)
            listening.bind(("0.0.0.0", port))
        for listening in opened.tcp.values():
            listening.listen()
        yield opened
