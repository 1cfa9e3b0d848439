# SPDX-License-Identifier: Apache-2.0
"""PacketReplicationEngineEntry: multicast groups and clone sessions."""

from __future__ import annotations

import pytest
from finsy.proto import p4r

FRAME = bytes.fromhex("00000000000a 00000000000b 0806")


def _replica(port: int, instance: int = 0) -> p4r.Replica:
    return p4r.Replica(port=port.to_bytes(2 if port > 255 else 1, "big"), instance=instance)


def _group(number: int, *replicas: p4r.Replica, metadata: bytes = b"") -> p4r.Entity:
    group = p4r.MulticastGroupEntry(multicast_group_id=number, replicas=replicas, metadata=metadata)
    return p4r.Entity(
        packet_replication_engine_entry=p4r.PacketReplicationEngineEntry(multicast_group_entry=group)
    )


def _session(number: int, *replicas: p4r.Replica, length: int = 0, service: int = 0) -> p4r.Entity:
    session = p4r.CloneSessionEntry(
        session_id=number, replicas=replicas, packet_length_bytes=length, class_of_service=service
    )
    return p4r.Entity(
        packet_replication_engine_entry=p4r.PacketReplicationEngineEntry(clone_session_entry=session)
    )


def _run(names, action: str, **params: int) -> p4r.Entity:
    return p4r.Entity(table_entry=names.entry("idle_table", names.action(action, **params), src=0xB))


async def test_a_multicast_group_copies_to_its_ports(rig, everything, names):
    await everything.write("INSERT", _group(7, _replica(2), _replica(3, 1)), _run(names, "flood", group=7))
    rig.switch.inject(1, FRAME)
    assert [len(port.sent) for port in rig.ports.values()] == [0, 1, 1, 0]
    await everything.write("MODIFY", _group(7, _replica(4)))
    rig.switch.inject(1, FRAME)
    assert [len(port.sent) for port in rig.ports.values()] == [0, 1, 1, 1]
    await everything.write("DELETE", _group(7))
    rig.switch.inject(1, FRAME)
    assert [len(port.sent) for port in rig.ports.values()] == [0, 1, 1, 1]


async def test_a_clone_session_mirrors_and_truncates(rig, everything, names):
    await everything.write(
        "INSERT", _session(5, _replica(3), length=12), _run(names, "mirror", session=5, port=2)
    )
    rig.switch.inject(1, FRAME)
    assert rig.ports[2].sent == [FRAME]
    assert [len(frame) for frame in rig.ports[3].sent] == [12]
    await everything.write("DELETE", _session(5))
    rig.switch.inject(1, FRAME)
    assert (len(rig.ports[2].sent), len(rig.ports[3].sent)) == (2, 1)


async def test_replicas_are_read_as_they_were_written(everything):
    old_style = p4r.Replica(egress_port=3, instance=2)
    groups = [_group(1, _replica(2), old_style, metadata=b"mine"), _group(2)]
    sessions = [_session(9, _replica(510), length=64)]
    await everything.write("INSERT", *groups, *sessions)
    assert await everything.read(_group(1)) == [groups[0]]
    assert await everything.read(_group(0)) == groups
    assert await everything.read(_session(0)) == await everything.read(_session(9)) == sessions
    assert await everything.read(_group(3)) == []
    assert await everything.read(
        p4r.Entity(packet_replication_engine_entry=p4r.PacketReplicationEngineEntry())
    ) == [*groups, *sessions]


async def test_leading_zeros_of_a_port_are_dropped(everything):
    await everything.write("INSERT", _group(1, p4r.Replica(port=b"\0\0\0\2")))
    assert await everything.read(_group(1)) == [_group(1, _replica(2))]


async def test_a_replica_may_go_to_a_port_that_is_not_there(rig, everything, names):
    """Interfaces come and go: the group is taken, its frames are dropped and counted."""
    await everything.write("INSERT", _group(1, _replica(77), _replica(2)), _run(names, "flood", group=1))
    rig.switch.inject(1, FRAME)
    assert len(rig.ports[2].sent) == 1
    assert rig.switch.unknown_port_drops == 1


async def test_groups_and_sessions_go_with_their_pipeline(everything, config_of):
    await everything.write("INSERT", _group(1, _replica(2)))
    await everything.set_pipeline(config_of("entities"), "RECONCILE_AND_COMMIT")
    assert await everything.read(_group(0)) == [_group(1, _replica(2))]
    await everything.set_pipeline(config_of("entities"))
    assert await everything.read(_group(0)) == []


_BACKUP = p4r.Replica(port=b"\1", backup_replicas=[p4r.BackupReplica(port=b"\2")])
_REFUSED = {
    "group 0": (
        _group(0, _replica(1)),
        "INVALID_ARGUMENT",
        "multicast group 0: ID 0 is not valid in a write (valid: 1 to 65535)",
    ),
    "group beyond": (
        _group(65536, _replica(1)),
        "INVALID_ARGUMENT",
        "multicast group 65536: ID 65536 is not valid in a write (valid: 1 to 65535)",
    ),
    "session beyond": (
        _session(32768, _replica(1)),
        "INVALID_ARGUMENT",
        "clone session 32768: ID 32768 is not valid in a write (valid: 1 to 32767)",
    ),
    "no port": (
        _group(1, p4r.Replica()),
        "INVALID_ARGUMENT",
        "replica 1 of multicast group 1 has no port (valid: 'port', or the older 'egress_port')",
    ),
    "port too wide": (
        _group(1, _replica(2), _replica(512)),
        "OUT_OF_RANGE",
        "port of replica 2 of multicast group 1 value 0x0200 does not fit in 9 bits",
    ),
    "instance too large": (
        _group(1, _replica(2, 65536)),
        "INVALID_ARGUMENT",
        "replica 1 of multicast group 1 has instance 65536 (valid: 0 to 65535)",
    ),
    "twice": (
        _group(1, _replica(2, 1), _replica(2, 1)),
        "INVALID_ARGUMENT",
        "replica 2 of multicast group 1: port 2 with instance 1 is given twice",
    ),
    "backup": (
        _group(1, _BACKUP),
        "UNIMPLEMENTED",
        "replica 1 of multicast group 1 has backup replicas, but this switch does not follow the state of its ports: "
        "leave them out",
    ),
    "class of service": (
        _session(1, _replica(1), service=2),
        "UNIMPLEMENTED",
        "clone session 1 has class of service 2, but this switch has no queues (valid: 0)",
    ),
    "negative length": (
        _session(1, _replica(1), length=-1),
        "INVALID_ARGUMENT",
        "clone session 1 has packet length -1 (valid: 0, for all of it, or more)",
    ),
    "empty": (
        p4r.Entity(packet_replication_engine_entry=p4r.PacketReplicationEngineEntry()),
        "INVALID_ARGUMENT",
        "the packet_replication_engine_entry is empty (valid: multicast_group_entry, clone_session_entry)",
    ),
}


@pytest.mark.parametrize("case", _REFUSED)
async def test_refused(everything, case):
    entity, code, message = _REFUSED[case]
    assert await everything.refused("INSERT", entity) == (code, message)


async def test_presence(everything):
    assert await everything.refused("MODIFY", _group(1)) == ("NOT_FOUND", "multicast group 1 is not there")
    assert await everything.refused("DELETE", _session(1)) == ("NOT_FOUND", "clone session 1 is not there")
    await everything.write("INSERT", _group(1), _session(1))
    assert await everything.refused("INSERT", _group(1)) == (
        "ALREADY_EXISTS",
        "multicast group 1 is already there",
    )
    assert await everything.refused("INSERT", _session(1)) == (
        "ALREADY_EXISTS",
        "clone session 1 is already there",
    )
