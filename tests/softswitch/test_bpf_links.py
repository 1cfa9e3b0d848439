# SPDX-License-Identifier: Apache-2.0
"""Links on real interfaces."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hvchannel_softswitch.bpf import Link, XdpMode, load_program

from .assembler import DROP, PASS, assemble, leave
from .wires import Host, Wires, wait_for, wires

pytestmark = pytest.mark.root


@pytest.fixture
def world() -> Iterator[Wires]:
    with wires() as made:
        yield made


@pytest.fixture
def host(world: Wires) -> Host:
    return world.host("p1")


@pytest.mark.parametrize("mode", list(XdpMode))
def test_a_link_lasts_as_long_as_its_holder(host: Host, mode: XdpMode) -> None:
    ifindex = socket.if_nametoindex("p1")
    with load_program(assemble(leave(PASS)), name="t_pass") as program:
        with Link.create_xdp(program, ifindex, mode) as link:
            assert link.info.ifindex == ifindex
            assert link.info.program_id == program.info.id
            with pytest.raises(OSError, match=r"LINK_CREATE.*busy"):
                Link.create_xdp(program, ifindex, mode)
        Link.create_xdp(program, ifindex, mode).close()


def test_a_link_exchanges_its_program(host: Host) -> None:
    with (
        load_program(assemble(leave(PASS)), name="t_pass") as passes,
        load_program(assemble(leave(DROP)), name="t_drop") as drops,
        Link.create_xdp(passes, socket.if_nametoindex("p1"), XdpMode.NATIVE) as link,
    ):
        before = link.info
        link.update(drops)
        assert link.info == before._replace(program_id=drops.info.id)


def test_a_detached_link_is_held_in_vain(host: Host) -> None:
    ifindex = socket.if_nametoindex("p1")
    with (
        load_program(assemble(leave(PASS)), name="t_pass") as program,
        Link.create_xdp(program, ifindex, XdpMode.NATIVE) as link,
    ):
        link.detach()
        assert link.info.ifindex == 0
        Link.create_xdp(program, ifindex, XdpMode.NATIVE).close()
        link.detach()


def test_a_link_dies_with_its_interface(host: Host) -> None:
    with (
        load_program(assemble(leave(PASS)), name="t_pass") as program,
        Link.create_xdp(program, socket.if_nametoindex("p1"), XdpMode.NATIVE) as link,
    ):
        host.unplug()
        wait_for(lambda: link.info.ifindex == 0, "the link's end")
        with pytest.raises(OSError, match="LINK_UPDATE"):
            link.update(program)
        link.detach()


def test_an_interface_that_is_not_there(world: Wires) -> None:
    with (
        load_program(assemble(leave(PASS)), name="t_pass") as program,
        pytest.raises(OSError, match="LINK_CREATE"),
    ):
        Link.create_xdp(program, 9999, XdpMode.NATIVE)
