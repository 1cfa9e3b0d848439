# SPDX-License-Identifier: Apache-2.0
"""Offload settings of a port's interface and of its veth's other end, set and restored."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hvchannel_softswitch.xdp.features import Features
from hvchannel_softswitch.xdp.interfaces import Interface, Interfaces
from hvchannel_softswitch.xdp.offload import Offload
from hvchannel_softswitch.xdp.peers import KnownNamespaces, find_peer, plain_socket
from structlog.testing import capture_logs

from .wires import Wires, active_features, inside, ip, wires

pytestmark = pytest.mark.root


@pytest.fixture
def world() -> Iterator[Wires]:
    with wires() as made:
        yield made


@pytest.fixture
def interfaces(world: Wires) -> Iterator[Interfaces]:
    made = Interfaces()
    yield made
    made.close()


def the(interfaces: Interfaces, name: str) -> Interface:
    found = interfaces.find(name)
    assert found is not None
    return found


def test_interfaces_are_found_by_name(world: Wires, interfaces: Interfaces) -> None:
    host = world.host("p1", mtu=1400)
    found = the(interfaces, "p1")
    assert (found.name, found.kind, found.mtu, found.is_up, found.xdp_mode) == ("p1", "veth", 1400, True, 0)
    assert interfaces.at(found.index) == found
    other = interfaces.at(found.peer or 0, namespace=found.peer_namespace)
    assert other is not None
    assert other.name == "eth0"
    assert interfaces.find("p2") is None
    assert interfaces.find("a-name-that-no-interface-can-have") is None
    host.unplug()
    assert interfaces.find("p1") is None


def test_features_are_read_and_wanted(world: Wires) -> None:
    world.host("p1")
    features = Features(plain_socket())
    assert not features.read("p1")["rx-gro"].active
    features.want("p1", {"rx-gro": True, "tx-checksum-ip-generic": False, "no-such-feature": True})
    now = features.read("p1")
    assert now["rx-gro"].active
    assert not now["tx-checksum-ip-generic"].wanted
    assert now["tx-tcp-segmentation"].wanted  # but, without checksums, it is not active
    assert not now["tx-tcp-segmentation"].active
    with pytest.raises(OSError, match="on p9: No such device"):
        features.read("p9")
    features.close()


def test_everything_is_set_and_restored(world: Wires, interfaces: Interfaces) -> None:
    host = world.host("p1")
    own, peer = active_features("p1"), host.features()
    offload = Offload(interfaces)
    with capture_logs() as logs:
        offload.apply(1, the(interfaces, "p1"), generic=False)
        offload.apply(1, the(interfaces, "p1"), generic=False)
    assert [entry["event"] for entry in logs] == ["offload_set"]
    assert logs[0]["interface"] == "eth0"
    assert logs[0]["namespace"] == f"/run/netns/{host.namespace}"
    assert logs[0]["on"] == "GRO"
    assert logs[0]["off"] == "VLAN insertion, segmentation, tx checksums"
    now = host.features()
    assert now["rx-gro"]
    assert not any(
        on
        for name, on in now.items()
        if name.startswith("tx-checksum")
        or (name.endswith("-segmentation") and name != "tx-generic-segmentation")
        or name in ("tx-vlan-hw-insert", "tx-vlan-stag-hw-insert", "tx-gso-list")
    )
    assert active_features("p1") == own
    with capture_logs() as logs:
        offload.restore(1)
        offload.restore(1)
    assert [entry["event"] for entry in logs] == ["offload_restored"]
    assert (active_features("p1"), host.features()) == (own, peer)


def test_what_was_off_before_stays_off(world: Wires, interfaces: Interfaces) -> None:
    host = world.host("p1")
    with inside(host.namespace):
        features = Features(plain_socket())
    features.want("eth0", {"tx-checksum-ip-generic": False, "rx-gro": True})
    before = host.features()
    offload = Offload(interfaces)
    offload.apply(1, the(interfaces, "p1"), generic=False)
    offload.restore_all()
    assert host.features() == before
    features.close()


def test_both_ends_in_one_namespace(world: Wires, interfaces: Interfaces) -> None:
    ip("link add p1 type veth peer name far1")
    before = active_features("far1")
    offload = Offload(interfaces)
    offload.apply(1, the(interfaces, "p1"), generic=False)
    assert active_features("far1")["rx-gro"]
    assert not active_features("p1")["rx-gro"]
    offload.restore_all()
    assert active_features("far1") == before


def test_generic_xdp_wants_no_coalesced_frames(world: Wires, interfaces: Interfaces) -> None:
    ip("link add p1 type veth peer name far1")
    features = Features(plain_socket())
    features.want("p1", {"rx-gro": True})
    offload = Offload(interfaces)
    offload.apply(1, the(interfaces, "p1"), generic=True)
    assert not active_features("p1")["rx-gro"]
    offload.restore_all()
    assert active_features("p1")["rx-gro"]
    features.close()


def test_a_peer_that_moved_is_restored_where_it_is(world: Wires, interfaces: Interfaces) -> None:
    ip("link add p1 type veth peer name far1")
    before = active_features("far1")
    offload = Offload(interfaces)
    offload.apply(1, the(interfaces, "p1"), generic=False)
    there = world.another_namespace()
    ip(f"link set far1 netns {there}")
    offload.restore_all()
    with inside(there):
        assert active_features("far1") == before


def test_a_later_process_restores(world: Wires, interfaces: Interfaces, tmp_path: Path) -> None:
    host, file = world.host("p1"), tmp_path / "offload.json"
    before = host.features()
    Offload(interfaces, file).apply(1, the(interfaces, "p1"), generic=False)
    assert host.features() != before
    second = Offload(interfaces, file)
    second.apply(1, the(interfaces, "p1"), generic=False)  # nothing to change, and nothing forgotten
    Offload(interfaces, file).restore_all()
    assert host.features() == before
    assert not file.exists()


def test_another_interface_of_the_same_port_begins_anew(
    world: Wires, interfaces: Interfaces, tmp_path: Path
) -> None:
    one, other = world.host("p1"), world.host("q1")
    before = one.features()
    Offload(interfaces, tmp_path / "offload.json").apply(1, the(interfaces, "p1"), generic=False)
    second = Offload(interfaces, tmp_path / "offload.json")
    second.apply(1, the(interfaces, "q1"), generic=False)
    assert one.features() == before
    second.restore_all()
    assert other.features() == before


def test_a_damaged_file_is_told_and_no_obstacle(world: Wires, interfaces: Interfaces, tmp_path: Path) -> None:
    (tmp_path / "offload.json").write_text('{"1": {"colour": "red"}}')
    with capture_logs() as logs:
        Offload(interfaces, tmp_path / "offload.json").restore_all()
    assert logs[0]["log_level"] == "warning"
    assert "forgotten" in logs[0]["event"]


def test_each_port_is_one_line_more(world: Wires, interfaces: Interfaces, tmp_path: Path) -> None:
    hosts, file = [world.host(f"p{n}") for n in range(1, 5)], tmp_path / "offload.json"
    before = [host.features() for host in hosts]
    offload = Offload(interfaces, file)
    written = []
    for port in range(1, 5):
        offload.apply(port, the(interfaces, f"p{port}"), generic=False)
        written.append(file.stat().st_size)
    assert max(b - a for a, b in pairwise(written)) <= written[0]
    for _ in range(100):  # and what is superseded does not grow for ever
        offload.restore(2)
        offload.apply(2, the(interfaces, "p2"), generic=False)
    assert file.stat().st_size < 100 * written[0]
    Offload(interfaces, file).restore_all()
    assert [host.features() for host in hosts] == before
    assert not file.exists()


def test_a_line_that_was_not_finished_was_of_no_change(
    world: Wires, interfaces: Interfaces, tmp_path: Path
) -> None:
    host, file = world.host("p1"), tmp_path / "offload.json"
    before = host.features()
    Offload(interfaces, file).apply(1, the(interfaces, "p1"), generic=False)
    with file.open("a") as kept:
        kept.write('{"2": {"interf')
    other = world.host("p2")
    Offload(interfaces, file).apply(2, the(interfaces, "p2"), generic=False)
    Offload(interfaces, file).restore_all()
    assert host.features() == before == other.features()


def test_what_an_earlier_version_kept_is_restored(
    world: Wires, interfaces: Interfaces, tmp_path: Path
) -> None:
    host, file = world.host("p1"), tmp_path / "offload.json"
    before = host.features()
    Offload(interfaces, file).apply(1, the(interfaces, "p1"), generic=False)
    merged = {
        port: record for line in file.read_text().splitlines() for port, record in json.loads(line).items()
    }
    file.write_text(json.dumps(merged, indent=1))
    Offload(interfaces, file).restore_all()
    assert host.features() == before


def test_namespaces_that_are_known_are_not_asked_again(
    world: Wires, interfaces: Interfaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.host("p1")
    asked = []
    ask = interfaces.namespace_id

    def counted(descriptor: int) -> int | None:
        asked.append(descriptor)
        return ask(descriptor)

    monkeypatch.setattr(interfaces, "namespace_id", counted)
    known: KnownNamespaces = {}
    for _ in range(10):
        peer = find_peer(interfaces, the(interfaces, "p1"), known)
        assert peer is not None
        assert peer.socket is not None
        peer.socket.close()
        asked.append(-1)
    assert len(asked) - asked.index(-1) - 1 == 2 * 9
    known[next(iter(known))] = Path("/run/netns/gone")  # the name is another's now
    peer = find_peer(interfaces, the(interfaces, "p1"), known)
    assert peer is not None
    assert peer.socket is not None
    peer.socket.close()


def test_an_interface_that_went_away_needs_no_restoring(world: Wires, interfaces: Interfaces) -> None:
    host = world.host("p1")
    offload = Offload(interfaces)
    offload.apply(1, the(interfaces, "p1"), generic=False)
    host.unplug()
    with capture_logs() as logs:
        offload.restore_all()
    assert logs == []


def test_a_peer_out_of_sight_is_told_once_with_the_remedy(world: Wires, interfaces: Interfaces) -> None:
    # A namespace without a name, and without a process: only a descriptor holds it.
    name = f"t-xdp-{os.getpid()}-unseen"
    ip(f"netns add {name}")
    held = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        ip(f"link add p1 type veth peer name eth0 netns {name}")
        subprocess.run(["ip", "netns", "del", name], check=True)
        found = find_peer(interfaces, the(interfaces, "p1"))
        assert found is not None
        assert (found.name, found.socket) == ("eth0", None)
        offload = Offload(interfaces)
        with capture_logs() as logs:
            offload.apply(1, the(interfaces, "p1"), generic=False)
            offload.apply(1, the(interfaces, "p1"), generic=False)
        assert [entry["log_level"] for entry in logs] == ["warning"]
        assert logs[0]["remedy"] == "ethtool -K eth0 tx off tso off txvlan off gro on"
        assert "nsid" in logs[0]["namespace"]
    finally:
        os.close(held)
