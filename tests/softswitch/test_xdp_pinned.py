# SPDX-License-Identifier: Apache-2.0
"""A data path that outlives its process: killed, taken over, replaced, removed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
from hvchannel_softswitch.bpf import MapKind, bpffs, create_map
from hvchannel_softswitch.xdp.pinned import NameInUseError, Pinned, default_name
from hvchannel_softswitch.xdp.ports import XdpPorts, remove
from structlog.testing import capture_logs

from .redirects import MARK, redirect
from .wires import HEADER, Host, Wires, has_program, inside, ip, receive, wires

pytestmark = pytest.mark.root

ROOT = Path(__file__).parents[2]
NAME = "t-switch"


@dataclass
class Place:
    """Hosts on p1 and p2, a bpffs and a run directory."""

    world: Wires
    run: Path
    bpf: Path
    hosts: list[Host] = field(default_factory=list)
    children: list[subprocess.Popen[str]] = field(default_factory=list)

    def pinned(self, name: str = NAME) -> Pinned:
        return Pinned(name, run=self.run, bpf=self.bpf)

    def ports(self, *names: str) -> XdpPorts:
        return XdpPorts(list(enumerate(names or ("p1", "p2"), 1)), pinned=self.pinned())

    def forwarder(self, *interfaces: str) -> subprocess.Popen[str]:
        """A child that forwards; it inherits the namespace that we are in."""
        where = [NAME, str(self.run), str(self.bpf), *(interfaces or ("p1", "p2"))]
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.softswitch.forwarder", *where],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.children.append(child)
        assert child.stdout is not None
        lines = iter(child.stdout.readline, "")
        assert any(line.startswith("forwarding") for line in lines), "the child ended"
        return child

    def killed_forwarder(self, *interfaces: str) -> None:
        child = self.forwarder(*interfaces)
        child.kill()
        child.wait()

    def pins(self) -> list[str]:
        return sorted(
            str(path.relative_to(self.bpf)) for path in (self.bpf / "softswitch").rglob("*") if path.is_file()
        )


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    bpf = tmp_path / "bpf"
    bpf.mkdir()
    bpffs.mount(bpf)
    with wires() as world:
        made = Place(world, tmp_path / "run", bpf)
        made.hosts = [world.host("p1"), world.host("p2")]
        try:
            yield made
        finally:
            for child in made.children:
                child.kill()
                child.communicate()
            try:
                remove(made.pinned())
                assert made.pins() == []
            finally:
                subprocess.run(["umount", str(bpf)], check=True)


def passes(place: Place) -> set[int]:
    """The marks of frames that go from either host to the other."""
    marks = set()
    sockets = [host.socket() for host in place.hosts]
    for sender, receiver in (sockets, sockets[::-1]):
        sender.send(HEADER + bytes(46))
        marks.add(receive(receiver)[MARK])
    return marks


def test_forwarding_survives_the_death_of_its_process(place: Place) -> None:
    before = [host.features() for host in place.hosts]
    place.killed_forwarder()
    assert passes(place) == {1}
    with capture_logs() as logs:
        assert remove(place.pinned())
    assert [entry["event"] for entry in logs].count("detached") == 2
    assert not has_program("p1")
    assert not has_program("p2")
    assert place.pins() == []
    assert not (place.run / NAME).exists()
    assert [host.features() for host in place.hosts] == before
    assert not remove(place.pinned())


def test_a_new_process_takes_over_and_goes_on(place: Place) -> None:
    place.killed_forwarder()
    ports = place.ports()
    assert ports.adopted is not None
    arena = ports.adopted.maps["arena"]
    assert arena.lookup(bytes(4)) == b"entries!"
    assert ports.adopted.program.info.name == "t_redirect"
    ports.run(ports.adopted.program, ports.adopted.maps)
    assert ports.is_up(1)
    assert passes(place) == {1}
    assert ports.statistics(1).rx_frames == 1
    ports.stop()
    assert place.pins() == []
    assert not has_program("p1")


def test_a_new_process_replaces_the_program_without_losing_a_frame(place: Place) -> None:
    place.killed_forwarder()
    a, b = (host.socket() for host in place.hosts)
    came: list[tuple[int, int]] = []
    sent, window = count(), 64
    replaced = threading.Event()

    def stream() -> None:
        for _ in range(window):
            send()
        while not replaced.is_set():
            take()
            send()
        for _ in range(window):
            take()

    def send() -> None:
        a.send(HEADER + bytes(6) + next(sent).to_bytes(4, "big") + bytes(40))

    def take() -> None:
        frame = receive(b)
        came.append((int.from_bytes(frame[20:24], "big"), frame[MARK]))

    thread = threading.Thread(target=stream)
    thread.start()
    ports = place.ports()
    program = redirect(ports, mark=2)
    arena = create_map(MapKind.ARRAY, 4, 4, 1, name="arena")
    ports.run(program, {"arena": arena})
    replaced.set()
    thread.join()
    assert [number for number, _ in came] == list(range(next(sent)))
    assert {came[0][1], came[-1][1]} == {1, 2}
    assert passes(place) == {2}
    (run,) = {Path(pin).parts[3] for pin in place.pins() if "/runs/" in pin}
    assert run == str(program.info.id)
    ports.stop()
    program.close()
    arena.close()


def is_promiscuous(interface: str) -> bool:
    return "PROMISC" in ip(f"link show {interface}").split(">")[0]


def test_ports_are_promiscuous_for_as_long_as_they_forward(place: Place) -> None:
    """As virtio-net wants it, which else drops what is tagged for a VLAN interface that is not there."""
    place.killed_forwarder()
    assert is_promiscuous("p1")
    assert is_promiscuous("p2")
    ip("link set p2 promisc off")  # as by somebody who does not know what forwards there
    ports = place.ports()
    assert ports.adopted is not None
    ports.run(ports.adopted.program, ports.adopted.maps)
    assert is_promiscuous("p1")
    assert is_promiscuous("p2")
    ports.stop()
    assert not is_promiscuous("p1")
    assert not is_promiscuous("p2")


@pytest.mark.parametrize("end", [lambda place: remove(place.pinned()), lambda place: place.ports().stop()])
def test_what_was_promiscuous_before_stays_so(place: Place, end: Callable[[Place], object]) -> None:
    ip("link set p1 promisc on")
    place.killed_forwarder()
    end(place)
    assert is_promiscuous("p1")
    assert not is_promiscuous("p2")


def test_a_port_that_somebody_set_otherwise_is_promiscuous_again(place: Place) -> None:
    async def run() -> None:
        ports = place.ports()
        program = redirect(ports, mark=1)
        ports.run(program)
        ports.start()
        ip("link set p1 promisc off")
        async with asyncio.timeout(30):
            while not is_promiscuous("p1"):  # noqa: ASYNC110 (the kernel is asked)
                await asyncio.sleep(0.01)
        ports.stop()
        program.close()

    asyncio.run(run())


def test_a_stop_may_leave_it_running(place: Place) -> None:
    ports = place.ports()
    program = redirect(ports, mark=1)
    ports.run(program)
    ports.stop(leave_running=True)
    program.close()
    assert passes(place) == {1}
    again = place.ports()
    assert again.adopted is not None
    assert again.adopted.program.info.name == "t_redirect"
    again.stop()
    assert place.pins() == []


def test_one_process_at_a_time_has_the_name(place: Place) -> None:
    child = place.forwarder()
    with pytest.raises(NameInUseError, match=f"'{NAME}' is process {child.pid}'s"):
        place.pinned()
    assert passes(place) == {1}
    other = place.pinned("t-other")
    other.clear()


def test_what_is_stale_is_dropped_and_told(place: Place) -> None:
    place.killed_forwarder()
    place.hosts[0].unplug()  # the link on it is dead, although pinned
    place.hosts[0].plug()
    with capture_logs() as logs:
        ports = place.ports()
    (told,) = (entry for entry in logs if entry["event"] == "stale_link_dropped")
    assert (told["port"], told["reason"]) == (1, "its interface is gone")
    assert ports.adopted is not None
    ports.run(ports.adopted.program, ports.adopted.maps)
    assert passes(place) == {1}
    ports.stop()


def test_a_port_that_is_none_any_longer_loses_the_program(place: Place) -> None:
    before = place.hosts[1].features()
    place.killed_forwarder()
    with capture_logs() as logs:
        ports = place.ports("p1")
    assert [entry["reason"] for entry in logs if "stale" in entry["event"]] == ["there is no such port now"]
    assert has_program("p1")
    assert not has_program("p2")
    assert place.hosts[1].features() == before
    assert list(ports.ingress.entries().values()) == [1]
    assert ports.devmap.lookup((2).to_bytes(4, "little")) is None
    ports.stop()


def test_ports_that_changed_their_interfaces_are_attached_anew(place: Place) -> None:
    place.killed_forwarder()
    with capture_logs() as logs:
        ports = place.ports("p2", "p1")
    assert ["which is not" in entry["reason"] for entry in logs if "stale" in entry["event"]] == [True, True]
    assert ports.adopted is not None
    ports.run(ports.adopted.program, ports.adopted.maps)
    assert passes(place) == {1}
    ports.stop()


def test_a_process_that_died_between_two_programs(place: Place) -> None:
    place.killed_forwarder()
    ports = place.ports()
    program = redirect(ports, mark=2)
    pinned = ports._wiring.pinned
    assert pinned is not None
    pinned.keep_run(program, {})  # what `run` does first
    ports.stop(leave_running=True)
    # No link runs it yet: the one before is what forwards, and is what is taken over.
    again = place.ports()
    assert again.adopted is not None
    assert again.adopted.program.info.id != program.info.id
    assert "arena" in again.adopted.maps
    again._ports[1].exchange(program)
    again.stop(leave_running=True)
    # One link runs it: the newer is taken over, and the other link brought up to it.
    last = place.ports()
    assert last.adopted is not None
    assert last.adopted.program.info.id == program.info.id
    last.run(last.adopted.program, last.adopted.maps)
    assert passes(place) == {2}
    last.stop()
    program.close()


def test_links_without_their_maps_or_program_are_of_no_use(place: Place) -> None:
    place.killed_forwarder()
    (place.bpf / "softswitch" / NAME / "maps" / "devmap").unlink()
    with capture_logs() as logs:
        ports = place.ports()
    assert {entry["reason"] for entry in logs if "stale" in entry["event"]} == {
        "the ports' maps are not pinned"
    }
    assert not has_program("p1")
    ports.stop()
    place.killed_forwarder()
    for pin in (place.bpf / "softswitch" / NAME / "runs").rglob("program"):
        pin.unlink()
    with capture_logs() as logs:
        ports = place.ports()
    assert any(entry["event"] == "links_dropped" for entry in logs)
    assert ports.adopted is None
    assert not has_program("p1")
    ports.stop()


def test_names(place: Place) -> None:
    here = default_name(3, ["veth0"])
    assert "-3-" in here
    with inside(place.world.another_namespace()):
        assert default_name(3, ["veth0"]) != here
    assert default_name(3, ["veth0"]) == here
    for wrong in ("", "a/b", "a.b"):
        with pytest.raises(ValueError, match=r"no '\.' and no '/'"):
            place.pinned(wrong)


def test_a_stopped_name_is_free(place: Place) -> None:
    first = place.pinned()
    first.clear()
    second = place.pinned()
    second.release()
    place.pinned().clear()


def test_a_name_under_which_nothing_is_kept_leaves_nothing(place: Place) -> None:
    pinned = place.pinned("empty")
    assert pinned.directory.exists()
    pinned.release()
    assert not pinned.directory.exists()


def test_a_released_name_keeps_what_is_pinned_or_noted(place: Place) -> None:
    place.killed_forwarder()
    place.pinned().release()
    assert place.pins() != []
    assert passes(place) == {1}
    noted = place.pinned("noted")
    (noted.directory / "offload.json").write_text("{}")
    noted.release()
    assert (noted.directory / "offload.json").exists()
