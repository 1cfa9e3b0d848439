# SPDX-License-Identifier: Apache-2.0
"""p4runtime-shell as the tests use it. Its client and its P4Info are module globals, so a process speaks with one
switch at a time; tables keep their entries when the session with their switch ends."""

from __future__ import annotations

import contextlib
import queue
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import p4runtime_sh.shell as sh
from p4.v1 import p4runtime_pb2
from p4runtime_sh.p4runtime import P4RuntimeWriteException

from vswitch.entries import Entry

DEVICE_ID = 1
Refused = P4RuntimeWriteException


class Target(NamedTuple):
    """A switch's P4Runtime address and the program it is to run."""

    grpcaddr: str
    p4info: str
    config: str


class Count(NamedTuple):
    packets: int
    bytes: int


@contextlib.contextmanager
def session(target: Target, *, set_pipeline: bool) -> Iterator[None]:
    """The shell is this switch's primary client. Setting the pipeline empties its tables and clears its counters."""
    config = sh.FwdPipeConfig(target.p4info, target.config) if set_pipeline else None
    sh.setup(device_id=DEVICE_ID, grpc_addr=target.grpcaddr, election_id=(0, 1), config=config, verbose=False)
    try:
        yield
    finally:
        sh.teardown()


def table_entry(entry: Entry) -> sh.TableEntry:
    """The shell's object for the entry."""
    shell_entry = sh.TableEntry(entry.table)(action=entry.action)
    shell_entry.match.set(**{key: str(value) for key, value in entry.match.items()})
    shell_entry.action.set(**{name: str(value) for name, value in entry.params.items()})
    return shell_entry


def keyed(table: str, match: dict[str, object]) -> sh.TableEntry:
    """The shell's object for the entry of this key, to be read or deleted."""
    shell_entry = sh.TableEntry(table)
    shell_entry.match.set(**{key: str(value) for key, value in match.items()})
    return shell_entry


def insert(entry: Entry) -> None:
    """Raises Refused."""
    table_entry(entry).insert()


def modify(entry: Entry) -> None:
    """Raises Refused."""
    table_entry(entry).modify()


def set_default(entry: Entry) -> None:
    """Makes the action the table's default. Raises Refused."""
    default = sh.TableEntry(entry.table)(is_default=True, action=entry.action)
    default.action.set(**{name: str(value) for name, value in entry.params.items()})
    default.modify()


def delete(entry: Entry) -> None:
    """Raises Refused."""
    keyed(entry.table, entry.match).delete()


def tables() -> list[str]:
    """All tables of the program."""
    return [table.name for table in sh.P4Objects(sh.P4Type.table)]


def counts(table: str) -> dict[tuple[str, int], Count]:
    """The direct counter of every entry, by its action's name and its priority (0 in a table of exact keys)."""
    wanted = sh.TableEntry(table)
    wanted.counter_data  # noqa: B018 (asks the switch for it)
    return {
        (entry.action.action_name, entry.priority): Count(
            entry.counter_data.packet_count, entry.counter_data.byte_count
        )
        for entry in wanted.read()
    }


def verdicts() -> Counter[str]:
    """Frames by verdict, ingress's and egress's; those without frames left out."""
    return Counter(
        {
            action: count.packets
            for table in ("verdict", "egress_verdict")
            for (action, _), count in counts(table).items()
            if count.packets
        }
    )


def count(entry: Entry) -> Count:
    """The entry's direct counter."""
    wanted = keyed(entry.table, entry.match)
    wanted.counter_data  # noqa: B018 (asks the switch for it)
    (found,) = wanted.read()
    return Count(found.counter_data.packet_count, found.counter_data.byte_count)


def default_action(table: str) -> str:
    """The name of the table's default action, as the switch tells it."""
    (entry,) = sh.TableEntry(table)(is_default=True).read()
    return str(entry.action.action_name)


def police(entry: Entry, *, rate: int, burst: int) -> None:
    """Both rates (bytes per second) and both bursts (bytes) of the attachment's policer."""
    policed = table_entry(entry)
    policed.meter_config.cir = policed.meter_config.pir = rate
    policed.meter_config.cburst = policed.meter_config.pburst = burst
    policed.modify()


def unpolice(entry: Entry) -> None:
    """The attachment's policer back to its default: everything is green. By the meter's own entity: bmv2 leaves a meter
    alone when its table entry is modified, or deleted and inserted anew, without a meter configuration."""
    meter = sh.DirectMeterEntry("policer")
    meter.table_entry = keyed(entry.table, entry.match)
    meter.modify()


def police_cell(index: object, *, rate: int | None, burst: int | None) -> None:
    """As `police`, of the indexed meter's cell of this number; None: back to its default."""
    cell = sh.MeterEntry("policer")
    cell.index = int(str(index))
    if rate is not None and burst is not None:
        cell.cir = cell.pir = rate
        cell.cburst = cell.pburst = burst
    cell.modify()


def packet_out(payload: bytes, **metadata: int) -> None:
    """A PacketOut with this metadata."""
    sh.PacketOut(payload, **{name: str(value) for name, value in metadata.items()}).send()


class PacketIn(NamedTuple):
    payload: bytes
    metadata: dict[str, int]


def packet_in(timeout: float = 2) -> PacketIn | None:
    """The next PacketIn; None if none comes within `timeout` seconds."""
    message = sh.client.get_stream_packet("packet", timeout=timeout)
    if message is None:
        return None
    return PacketIn(
        message.packet.payload,
        {
            sh.context.get_packet_metadata_name_from_id("packet_in", datum.metadata_id): int.from_bytes(
                datum.value, "big"
            )
            for datum in message.packet.metadata
        },
    )


def subscribe(
    digest: str, *, max_list_size: int = 1, max_timeout_ns: int = 0, ack_timeout_ns: int = 0
) -> None:
    """Digests of this name are sent to this session from now on."""
    entry = sh.DigestEntry(digest)
    entry.max_list_size = max_list_size
    entry.max_timeout_ns = max_timeout_ns
    entry.ack_timeout_ns = ack_timeout_ns
    entry.insert()


def digests(digest: str, timeout: float = 2) -> list[tuple[int, ...]]:
    """The next list of digests, acknowledged; empty if none comes within `timeout` seconds. Each digest is a struct
    of bit fields, in the program's order."""
    try:
        message = sh.client.stream_in_q["digest"].get(timeout=timeout)
    except queue.Empty:
        return []
    acknowledgement = p4runtime_pb2.StreamMessageRequest()
    acknowledgement.digest_ack.digest_id = message.digest.digest_id
    acknowledgement.digest_ack.list_id = message.digest.list_id
    sh.client.stream_out_q.put(acknowledgement)
    assert message.digest.digest_id == sh.P4Objects(sh.P4Type.digest)[digest].id
    return [
        tuple(int.from_bytes(member.bitstring, "big") for member in datum.struct.members)
        for datum in message.digest.data
    ]
