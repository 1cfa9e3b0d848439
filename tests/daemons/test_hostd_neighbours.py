# SPDX-License-Identifier: Apache-2.0
"""A LIP that another VIF has now: hostd has the kernel forget who had it before."""

import os
from collections.abc import Iterator
from ipaddress import IPv4Interface
from pathlib import Path

import pytest
from hvchannel_daemons.hostd import neighbours
from hvchannel_lab import network
from hvchannel_lab.namespaces import inside
from hvchannel_lab.network import End

pytestmark = pytest.mark.root

NAMESPACE = f"neighbours-{os.getpid()}"
LIP, OTHER = "169.254.1.10", "169.254.1.11"


@pytest.fixture
def namespace() -> Iterator[str]:
    """Where a silent veth's end is the interface of 169.254.0.0/16."""
    network.create_namespace(NAMESPACE)
    try:
        with network.link(NAMESPACE) as link:
            link.add_veth(End("hostd0", NAMESPACE), End("far0", NAMESPACE), 1500)
            link.up("far0")
            link.up("hostd0")
            link.add_address("hostd0", IPv4Interface("169.254.1.1/16"))
            for lip in (LIP, OTHER):
                link._route.neigh(
                    "add",
                    dst=lip,
                    lladdr="0a:00:00:00:00:01",
                    ifindex=link._index("hostd0"),
                    state="reachable",
                )
        yield NAMESPACE
    finally:
        network.remove_namespace(NAMESPACE)


def known() -> set[str]:
    """The addresses whose MAC the caller's namespace knows."""
    lines = Path("/proc/thread-self/net/arp").read_text().splitlines()[1:]
    return {line.split()[0] for line in lines if int(line.split()[2], 16)}


def test_the_kernel_forgets_who_had_the_address(namespace: str) -> None:
    with inside(namespace):
        assert known() == {LIP, OTHER}
        neighbours.forget(LIP)
        assert known() == {OTHER}
        neighbours.forget(LIP)  # there is nothing left to forget


def test_what_has_no_neighbours_is_left_alone() -> None:
    for address in ("127.0.0.11", "::1"):
        neighbours.forget(address)


def test_without_the_right_to_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("fcntl.ioctl", refused)
    neighbours.forget(LIP)
