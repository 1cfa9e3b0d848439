# SPDX-License-Identifier: Apache-2.0
"""Write and Read of PacketReplicationEngineEntry: multicast groups and clone sessions (section
"PacketReplicationEngineEntry").

A replica's port need not be there: interfaces come and go. Frames for one that is not there are dropped and counted
by the switch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from finsy.proto import p4r

from hvchannel_softswitch.engine import CloneSession, Replica
from hvchannel_softswitch.p4runtime.errors import Code, P4RuntimeError, check_presence, invalid
from hvchannel_softswitch.p4runtime.pipeline import Pipeline
from hvchannel_softswitch.p4runtime.values import to_bytes, to_int

PORT_BITS = 9
"""Of v1model's egress_port."""

MAX_GROUP = MAX_INSTANCE = 0xFFFF
"""The largest values of v1model's mcast_grp and egress_rid."""

MAX_SESSION = 0x7FFF
"""simple_switch's largest clone session."""


def write_replication(
    pipeline: Pipeline, kind: p4r.Update.Type.ValueType, message: p4r.PacketReplicationEngineEntry
) -> None:
    """INSERT, MODIFY or DELETE of one group or session. Raises P4RuntimeError with the spec's code."""
    given = message.WhichOneof("type")
    if given == "multicast_group_entry":
        _write_group(pipeline, kind, message.multicast_group_entry)
    elif given == "clone_session_entry":
        _write_session(pipeline, kind, message.clone_session_entry)
    else:
        raise _empty()


def read_replication(
    pipeline: Pipeline, wanted: p4r.PacketReplicationEngineEntry
) -> Iterator[p4r.PacketReplicationEngineEntry]:
    """One group or session, or (id 0) all of that kind; all of both kinds when the message is empty."""
    given = wanted.WhichOneof("type")
    if given in (None, "multicast_group_entry"):
        number = wanted.multicast_group_entry.multicast_group_id
        for group in list(pipeline.multicast_groups.values()):
            if number in (0, group.multicast_group_id):
                yield p4r.PacketReplicationEngineEntry(multicast_group_entry=group)
    if given in (None, "clone_session_entry"):
        number = wanted.clone_session_entry.session_id
        for session in list(pipeline.clone_sessions.values()):
            if number in (0, session.session_id):
                yield p4r.PacketReplicationEngineEntry(clone_session_entry=session)


def recover_groups(pipeline: Pipeline) -> None:
    """Of a pipeline that was taken over: its multicast groups as the engine has them. What clients wrote beside that,
    their `metadata` and which of the two port fields they used, is not there any more."""
    for number, replicas in pipeline.engine.multicast_groups().items():
        pipeline.multicast_groups[number] = p4r.MulticastGroupEntry(
            multicast_group_id=number,
            replicas=[p4r.Replica(port=to_bytes(one.port), instance=one.instance) for one in replicas],
        )


def _write_group(
    pipeline: Pipeline, kind: p4r.Update.Type.ValueType, message: p4r.MulticastGroupEntry
) -> None:
    number = message.multicast_group_id
    what = f"multicast group {number}"
    _check_number(number, MAX_GROUP, what)
    check_presence(kind, what, is_there=number in pipeline.multicast_groups)
    if kind == p4r.Update.DELETE:
        pipeline.engine.set_multicast_group(number, None)
        del pipeline.multicast_groups[number]
        return
    replicas = decode_replicas(message.replicas, what)
    written = p4r.MulticastGroupEntry(
        multicast_group_id=number, replicas=_written(message.replicas), metadata=message.metadata
    )
    pipeline.engine.set_multicast_group(number, replicas)
    pipeline.multicast_groups[number] = written


def _write_session(
    pipeline: Pipeline, kind: p4r.Update.Type.ValueType, message: p4r.CloneSessionEntry
) -> None:
    number = message.session_id
    what = f"clone session {number}"
    _check_number(number, MAX_SESSION, what)
    check_presence(kind, what, is_there=number in pipeline.clone_sessions)
    if kind == p4r.Update.DELETE:
        pipeline.engine.set_clone_session(number, None)
        del pipeline.clone_sessions[number]
        return
    if message.class_of_service:
        raise P4RuntimeError(
            Code.UNIMPLEMENTED,
            f"{what} has class of service {message.class_of_service}, but this switch has no queues (valid: 0)",
        )
    if message.packet_length_bytes < 0:
        raise invalid(
            f"{what} has packet length {message.packet_length_bytes} (valid: 0, for all of it, or more)"
        )
    replicas = decode_replicas(message.replicas, what)
    written = p4r.CloneSessionEntry(
        session_id=number,
        replicas=_written(message.replicas),
        packet_length_bytes=message.packet_length_bytes,
    )
    pipeline.engine.set_clone_session(number, CloneSession(replicas, message.packet_length_bytes))
    pipeline.clone_sessions[number] = written


def decode_replicas(replicas: Iterable[p4r.Replica], what: str) -> tuple[Replica, ...]:
    """Raises INVALID_ARGUMENT, OUT_OF_RANGE for a port too wide, UNIMPLEMENTED for backup replicas."""
    decoded: dict[Replica, None] = {}
    for place, replica in enumerate(replicas, start=1):
        named = f"replica {place} of {what}"
        if replica.backup_replicas:
            raise P4RuntimeError(
                Code.UNIMPLEMENTED,
                f"{named} has backup replicas, but this switch does not follow the state of its ports: leave them out",
            )
        if replica.instance > MAX_INSTANCE:
            raise invalid(f"{named} has instance {replica.instance} (valid: 0 to {MAX_INSTANCE})")
        one = Replica(_port(replica, named), replica.instance)
        if one in decoded:
            raise invalid(f"{named}: port {one.port} with instance {one.instance} is given twice")
        decoded[one] = None
    return tuple(decoded)


def _port(replica: p4r.Replica, what: str) -> int:
    kind = replica.WhichOneof("port_kind")
    if kind is None:
        raise invalid(f"{what} has no port (valid: 'port', or the older 'egress_port')")
    data = replica.port if kind == "port" else to_bytes(replica.egress_port)
    return to_int(data, PORT_BITS, f"port of {what}")


def _written(replicas: Iterable[p4r.Replica]) -> list[p4r.Replica]:
    """As the client wrote them, each port in the field it came in; bytestrings canonical."""
    written = []
    for replica in replicas:
        copy = p4r.Replica(instance=replica.instance)
        if replica.HasField("port"):
            copy.port = to_bytes(int.from_bytes(replica.port, "big"))
        else:
            copy.egress_port = replica.egress_port
        written.append(copy)
    return written


def _check_number(number: int, largest: int, what: str) -> None:
    if not 0 < number <= largest:
        raise invalid(f"{what}: ID {number} is not valid in a write (valid: 1 to {largest})")


def _empty() -> P4RuntimeError:
    return invalid(
        "the packet_replication_engine_entry is empty (valid: multicast_group_entry, clone_session_entry)"
    )
